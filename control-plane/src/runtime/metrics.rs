//! What the loop counts, for metrics. Labels are bounded: authorities, kinds of actions, outcomes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::condition::{Condition, ConditionStatus, ConditionType};
use crate::planner::Action;
use crate::planner::observed::{KeyringState, Observed};
use crate::runtime::apply::ApplyError;

#[derive(Clone)]
pub struct Counts {
    actions: Family<ActionLabels, Counter>,
    /// From writing a Secret to a handshake that shows its leaf.
    published_to_served: Histogram,
    certificates: Family<CertificateLabels, Gauge>,
    earliest: Family<AuthorityLabels, Gauge<f64, AtomicU64>>,
    root: Family<AuthorityLabels, Gauge<f64, AtomicU64>>,
    phase: Family<PhaseLabels, Gauge>,
    waiting: Family<AuthorityLabels, Gauge>,
    leading: Gauge,
    watched: Family<SecretLabels, Gauge<f64, AtomicU64>>,
    orphans: Family<NamespaceLabels, Gauge>,
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

/// How many Secrets of others have a line of their own.
const WATCHED: usize = 1_000;
const PHASES: [&str; 4] = ["Steady", "Distributing", "Reissuing", "Retiring"];

impl Default for Counts {
    fn default() -> Self {
        Self {
            actions: Family::default(),
            published_to_served: Histogram::new(exponential_buckets(0.005, 2.0, 16)),
            certificates: Family::default(),
            earliest: Family::default(),
            root: Family::default(),
            phase: Family::default(),
            waiting: Family::default(),
            leading: Gauge::default(),
            watched: Family::default(),
            orphans: Family::default(),
        }
    }
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("actions", "Planned actions by kind and what came of them", self.actions.clone());
        registry.register(
            "published_to_served_seconds",
            "From writing a Secret to a handshake that shows its leaf, per pod",
            self.published_to_served.clone(),
        );
        registry.register("certificates", "Certificates by their Ready condition", self.certificates.clone());
        registry.register(
            "certificate_earliest_not_after_timestamp_seconds",
            "End of the published leaf that ends first",
            self.earliest.clone(),
        );
        registry.register(
            "root_not_after_timestamp_seconds",
            "End of the root that signs",
            self.root.clone(),
        );
        registry.register("rollover_phase", "1 for the phase that an authority is in", self.phase.clone());
        registry.register(
            "rollover_waiting",
            "Pods and certificates that hold the present step of a rollover",
            self.waiting.clone(),
        );
        registry.register(
            "watched_secret_not_after_timestamp_seconds",
            "End of the leaf in a Secret that others issue and that has the label hotcert.dev/watch",
            self.watched.clone(),
        );
        registry.register(
            "orphaned_secrets",
            "Secrets that no ServiceCertificate publishes any more, and that are left for who serves them",
            self.orphans.clone(),
        );
        registry.register("leading", "1 if this replica leads", self.leading.clone());
    }

    pub fn leads(&self, leads: bool) {
        self.leading.set(leads.into());
    }

    /// `observed` is the look that it was planned on.
    pub fn applied(&self, action: &Action, result: &Result<(), ApplyError>, observed: &Observed) {
        let outcome = match result {
            Ok(()) => "ok",
            Err(error) => error.reason(),
        };
        self.actions.get_or_create(&ActionLabels { action: action.kind(), outcome }).inc();
        if let (Action::UpdateCertificateStatus { status, certificate }, Ok(())) = (action, result)
            && let Some(served) = &status.served
            && let Some(before) = observed.certificates.get(certificate)
            && before.status.served.as_ref().is_none_or(|before| before.revision != served.revision)
        {
            // Once a publication: when every pod serves it, or is late.
            served.by_pod.iter().filter_map(|pod| pod.seconds).for_each(|seconds| {
                self.published_to_served.observe(seconds);
            });
        }
    }

    /// What follows from a look.
    pub fn observe(&self, observed: &Observed) {
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for family in [&self.earliest, &self.root] {
            family.clear();
        }
        self.certificates.clear();
        self.phase.clear();
        self.waiting.clear();
        for (name, authority) in &observed.authorities {
            let name: Arc<str> = Arc::from(name.as_str());
            let of = AuthorityLabels { authority: Arc::clone(&name) };
            if let KeyringState::Present(ring) = &authority.keyring {
                let now_in = ring.state.rollover().map_or(PHASES[0], |rollover| rollover.phase.as_str());
                for phase in PHASES {
                    let labels = PhaseLabels { authority: Arc::clone(&name), phase };
                    self.phase.get_or_create(&labels).set((phase == now_in).into());
                }
                if let Some(root) = ring.roots.get(ring.state.signing()) {
                    self.root.get_or_create(&of).set(seconds(root.not_after));
                }
            }
            let waiting = authority.status.rollover.as_ref().map_or(0, |rollover| rollover.waiting_for_total);
            self.waiting.get_or_create(&of).set(waiting);
        }
        self.watched.clear();
        self.orphans.clear();
        for (name, foreign) in &observed.watched_secrets {
            let namespace: Arc<str> = Arc::from(name.namespace.as_str());
            if foreign.orphan {
                self.orphans.get_or_create(&NamespaceLabels { namespace }).inc();
            }
        }
        let leaves = observed.watched_secrets.iter().filter(|(_, foreign)| !foreign.orphan);
        for (name, leaf) in
            leaves.filter_map(|(name, foreign)| Some((name, foreign.leaf.as_ref()?))).take(WATCHED)
        {
            let (namespace, secret) = (Arc::from(name.namespace.as_str()), Arc::from(name.name.as_str()));
            self.watched.get_or_create(&SecretLabels { namespace, secret }).set(seconds(leaf.not_after));
        }
        let mut earliest = std::collections::BTreeMap::new();
        let mut count = std::collections::BTreeMap::new();
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
            self.earliest
                .get_or_create(&AuthorityLabels { authority: Arc::from(authority) })
                .set(seconds(end));
        }
    }
}
