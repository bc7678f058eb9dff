//! The metrics of the reconciler. Labels are bounded: authorities, kinds of actions, outcomes, and at most
//! [`MAX_WATCHED`] Secrets. Gauges of the observed state exist on the replica that leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::apply::ApplyError;
use crate::api::condition::{Condition, ConditionStatus, ConditionType};
use crate::planner::Action;
use crate::planner::observed::{Authority, KeyringState, Observed};

/// How many watched Secrets have a series of their own.
const MAX_WATCHED: usize = 1_000;
const PHASES: [&str; 4] = ["Steady", "Distributing", "Reissuing", "Retiring"];

#[derive(Clone)]
pub struct ReconcileMetrics {
    actions: Family<ActionLabels, Counter>,
    planning_seconds: Counter<f64, AtomicU64>,
    planned_objects: Counter,
    published_to_served: Histogram,
    certificates: Family<CertificateLabels, Gauge>,
    earliest_not_after: Family<AuthorityLabels, Gauge<f64, AtomicU64>>,
    root_not_after: Family<AuthorityLabels, Gauge<f64, AtomicU64>>,
    rollover_phase: Family<PhaseLabels, Gauge>,
    rollover_waiting: Family<AuthorityLabels, Gauge>,
    leading: Gauge,
    watched_not_after: Family<SecretLabels, Gauge<f64, AtomicU64>>,
    orphaned_secrets: Family<NamespaceLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecretLabels {
    namespace: Arc<str>,
    secret: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthorityLabels {
    authority: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    authority: Arc<str>,
    ready: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    authority: Arc<str>,
    phase: &'static str,
}

impl Default for ReconcileMetrics {
    fn default() -> Self {
        Self {
            actions: Family::default(),
            planning_seconds: Counter::default(),
            planned_objects: Counter::default(),
            published_to_served: Histogram::new(exponential_buckets(0.005, 2.0, 16)),
            certificates: Family::default(),
            earliest_not_after: Family::default(),
            root_not_after: Family::default(),
            rollover_phase: Family::default(),
            rollover_waiting: Family::default(),
            leading: Gauge::default(),
            watched_not_after: Family::default(),
            orphaned_secrets: Family::default(),
        }
    }
}

impl ReconcileMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("actions", "Planned actions by kind and what came of them", self.actions.clone());
        registry.register(
            "planning_seconds",
            "What finding changed objects and planning them took",
            self.planning_seconds.clone(),
        );
        registry.register(
            "planned_objects",
            "Objects that were planned, each time counted",
            self.planned_objects.clone(),
        );
        registry.register(
            "published_to_served_seconds",
            "From writing a Secret to a handshake that shows its leaf, per pod",
            self.published_to_served.clone(),
        );
        registry.register("certificates", "Certificates by their Ready condition", self.certificates.clone());
        registry.register(
            "certificate_earliest_not_after_timestamp_seconds",
            "End of the published leaf that ends first",
            self.earliest_not_after.clone(),
        );
        registry.register(
            "root_not_after_timestamp_seconds",
            "End of the root that signs",
            self.root_not_after.clone(),
        );
        registry.register(
            "rollover_phase",
            "1 for the phase that an authority is in",
            self.rollover_phase.clone(),
        );
        registry.register(
            "rollover_waiting",
            "Pods and certificates that hold the present step of a rollover",
            self.rollover_waiting.clone(),
        );
        registry.register(
            "watched_secret_not_after_timestamp_seconds",
            "End of the leaf in a Secret that others issue and that has the label hotcert.dev/watch",
            self.watched_not_after.clone(),
        );
        registry.register(
            "orphaned_secrets",
            "Secrets that no ServiceCertificate publishes any more, and that are left for who serves them",
            self.orphaned_secrets.clone(),
        );
        registry.register("leading", "1 if this replica leads", self.leading.clone());
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    pub fn record_planned(&self, objects: usize, took: Duration) {
        self.planning_seconds.inc_by(took.as_secs_f64());
        self.planned_objects.inc_by(u64::try_from(objects).unwrap_or(u64::MAX));
    }

    /// `observed` is the state that the action was planned on.
    pub fn record_applied(&self, action: &Action, result: &Result<(), ApplyError>, observed: &Observed) {
        let outcome = match result {
            Ok(()) => "ok",
            Err(error) => error.reason(),
        };
        self.actions.get_or_create(&ActionLabels { action: action.kind(), outcome }).inc();
        if let (Action::UpdateCertificateStatus { status, certificate, .. }, Ok(())) = (action, result)
            && let Some(served) = &status.served
            && let Some(before) = observed.certificates.get(certificate)
            && before.status.served.as_ref().is_none_or(|before| before.revision != served.revision)
        {
            // Once per publication: when every pod serves it, or is late.
            served.by_pod.iter().filter_map(|pod| pod.seconds).for_each(|seconds| {
                self.published_to_served.observe(seconds);
            });
        }
    }

    /// Removes the gauges of what is observed: a replica that does not lead observes nothing, and the last it saw
    /// would stand there for ever beside what the leader reports.
    pub fn clear_observed(&self) {
        self.certificates.clear();
        self.earliest_not_after.clear();
        self.root_not_after.clear();
        self.rollover_phase.clear();
        self.rollover_waiting.clear();
        self.watched_not_after.clear();
        self.orphaned_secrets.clear();
    }

    /// Replaces the gauges by what follows from this state.
    pub fn record_observed(&self, observed: &Observed) {
        self.root_not_after.clear();
        self.rollover_phase.clear();
        self.rollover_waiting.clear();
        for (name, authority) in &observed.authorities {
            self.record_authority(name, authority);
        }
        self.record_certificates(observed);
        self.record_watched(observed);
    }

    fn record_authority(&self, name: &str, authority: &Authority) {
        let name: Arc<str> = Arc::from(name);
        let labels = AuthorityLabels { authority: Arc::clone(&name) };
        if let KeyringState::Present(keyring) = &authority.keyring {
            let current = keyring.state.rollover().map_or(PHASES[0], |rollover| rollover.phase.as_str());
            for phase in PHASES {
                let labels = PhaseLabels { authority: Arc::clone(&name), phase };
                self.rollover_phase.get_or_create(&labels).set((phase == current).into());
            }
            if let Some(root) = keyring.roots.get(keyring.state.signing()) {
                self.root_not_after.get_or_create(&labels).set(timestamp(root.not_after));
            }
        }
        let waiting = authority.status.rollover.as_ref().map_or(0, |rollover| rollover.waiting_for_total);
        self.rollover_waiting.get_or_create(&labels).set(waiting);
    }

    fn record_certificates(&self, observed: &Observed) {
        self.certificates.clear();
        self.earliest_not_after.clear();
        let mut earliest = BTreeMap::new();
        let mut count = BTreeMap::new();
        for certificate in observed.certificates.values() {
            let authority = certificate.spec.authority.as_str();
            let ready = Condition::find(&certificate.status.conditions, ConditionType::Ready);
            let ready = ready.map_or(ConditionStatus::Unknown, |ready| ready.status).as_str();
            *count.entry((authority, ready)).or_insert(0_i64) += 1;
            if let Some((_, version)) = certificate.published_version() {
                let end = earliest.entry(authority).or_insert(version.leaf.not_after);
                *end = version.leaf.not_after.min(*end);
            }
        }
        for ((authority, ready), number) in count {
            let labels = CertificateLabels { authority: Arc::from(authority), ready };
            self.certificates.get_or_create(&labels).set(number);
        }
        for (authority, end) in earliest {
            let labels = AuthorityLabels { authority: Arc::from(authority) };
            self.earliest_not_after.get_or_create(&labels).set(timestamp(end));
        }
    }

    fn record_watched(&self, observed: &Observed) {
        self.watched_not_after.clear();
        self.orphaned_secrets.clear();
        let (orphans, watched): (Vec<_>, Vec<_>) =
            observed.watched_secrets.iter().partition(|(_, secret)| secret.orphan);
        for (name, _) in orphans {
            let namespace = Arc::from(name.namespace.as_str());
            self.orphaned_secrets.get_or_create(&NamespaceLabels { namespace }).inc();
        }
        let leaves = watched.into_iter().filter_map(|(name, secret)| Some((name, secret.leaf.as_ref()?)));
        for (name, leaf) in leaves.take(MAX_WATCHED) {
            let (namespace, secret) = (Arc::from(name.namespace.as_str()), Arc::from(name.name.as_str()));
            let labels = SecretLabels { namespace, secret };
            self.watched_not_after.get_or_create(&labels).set(timestamp(leaf.not_after));
        }
    }
}

fn timestamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
