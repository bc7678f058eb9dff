//! Prometheus metrics. Counters are kept where things happen; what follows from the state of now is
//! worked out when asked for.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use hotcert_agent::admin::reload_counters::ReloadCounters;
use hotcert_agent::tls::reload::status::ReloadStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::health::Health;
use crate::runtime::reconcile::Counts as IssuingCounts;

/// Admission requests by entry of the webhook configuration and outcome; connections by result.
#[derive(Clone, Default)]
pub struct Counts {
    admissions: Family<AdmissionLabels, Counter>,
    connections: Family<ConnectionLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    webhook: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

impl Counts {
    pub fn admission(&self, webhook: &'static str, outcome: &'static str) {
        self.admissions.get_or_create(&AdmissionLabels { webhook, outcome }).inc();
    }

    pub fn connection(&self, result: &'static str) {
        self.connections.get_or_create(&ConnectionLabels { result }).inc();
    }

    /// How many pods came to which end.
    pub fn outcome(&self, outcome: &'static str) -> u64 {
        let of = |webhook| {
            self.admissions.get(&AdmissionLabels { webhook, outcome }).map_or(0, |count| count.get())
        };
        of("pods") + of("namespaces")
    }
}

pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    generation: Gauge,
    not_after: Family<NoLabels, Gauge<f64, AtomicU64>>,
    phase: Family<PhaseLabels, Gauge>,
}

impl Metrics {
    pub fn new(counts: &Counts, issuing: &IssuingCounts, reload: &ReloadStatus) -> Self {
        let mut registry = Registry::with_prefix("hotcert_controller");
        let metrics = Self {
            ready: Gauge::default(),
            generation: Gauge::default(),
            not_after: Family::default(),
            phase: Family::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        issuing.register(r);
        r.register(
            "build",
            "Version of this controller",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        r.register("ready", "1 if /readyz answers 200", metrics.ready.clone());
        r.register(
            "admission_requests",
            "Pods the webhook was asked about, by what came of it",
            counts.admissions.clone(),
        );
        r.register("connections", "TLS connections to the webhook, by result", counts.connections.clone());
        r.register(
            "webhook_generation",
            "Webhook certificates served since start",
            metrics.generation.clone(),
        );
        r.register(
            "webhook_not_after_timestamp_seconds",
            "End of validity of the webhook's served certificate",
            metrics.not_after.clone(),
        );
        r.register(
            "webhook_phase",
            "1 for the phase that the webhook's certificate is in",
            metrics.phase.clone(),
        );
        r.register_collector(ReloadCounters::candidates(
            "webhook_reloads",
            "Candidates for the webhook's certificate by outcome, and why they were not taken",
            reload,
        ));
        Self { registry, ..metrics }
    }

    /// Of other parts.
    pub fn register(&mut self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry);
    }

    /// The state of now in the Prometheus (OpenMetrics) text format.
    pub fn render(&self, health: &Health, now: SystemTime) -> String {
        self.ready.set(health.unready(now).is_none().into());
        let snapshot = health.current.load();
        self.generation.set(snapshot.as_ref().map_or(0, |snapshot| snapshot.generation as i64));
        // Left out while there is none, so that no alert fires on a zero.
        self.not_after.clear();
        if let Some(snapshot) = snapshot {
            let end = snapshot.identity.leaf.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.not_after.get_or_create(&NoLabels {}).set(end.as_secs_f64());
        }
        let now_in = health.status.report().certificate.phase;
        for phase in crate::controller::webhook_certificate::plan::PHASES {
            self.phase.get_or_create(&PhaseLabels { phase }).set((now_in == Some(phase)).into());
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
