//! Prometheus metrics of the controller. Counters are updated where things happen; gauges are computed from
//! the current state at each scrape.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use hotcert_log::{DroppedLines, exposition};
use hotcert_tls::{Identities, RejectionReason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::health::Health;
use super::webhook_certificate::plan::Phase;
use crate::controller::webhook_counters::WebhookCounters;
use crate::runtime::metrics::ReconcileMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    generation: Gauge,
    not_after: Family<NoLabels, Gauge<f64, AtomicU64>>,
    phase: Family<PhaseLabels, Gauge>,
}

impl Metrics {
    pub fn new(webhook: &WebhookCounters, reconcile: &ReconcileMetrics, identities: &Identities) -> Self {
        let mut registry = Registry::with_prefix("hotcert_controller");
        let metrics = Self {
            ready: Gauge::default(),
            generation: Gauge::default(),
            not_after: Family::default(),
            phase: Family::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        reconcile.register(r);
        r.register(
            "build",
            "Version of this controller",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        register_log(r);
        webhook.register(r);
        r.register("ready", "1 if /readyz answers 200", metrics.ready.clone());
        r.register(
            "webhook_generation",
            "Webhook certificates that were served since the start",
            metrics.generation.clone(),
        );
        r.register(
            "webhook_not_after_timestamp_seconds",
            "End of validity of the webhook's served certificate",
            metrics.not_after.clone(),
        );
        r.register(
            "webhook_phase",
            "1 for the current phase of the webhook's certificate, else 0",
            metrics.phase.clone(),
        );
        r.register_collector(Box::new(Candidates(identities.clone())));
        Self { registry, ..metrics }
    }

    /// Registers metrics of other modules.
    pub fn register(&mut self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry);
    }

    /// The current state in the format that is asked for, after its content type.
    pub fn render(&self, health: &Health, accept: Option<&str>, now: SystemTime) -> (&'static str, String) {
        self.ready.set(health.unready(now).is_none().into());
        let snapshot = health.identities.current();
        self.generation.set(snapshot.as_ref().map_or(0, |snapshot| snapshot.generation as i64));
        // Absent while there is no certificate, so that no alert fires on a zero.
        self.not_after.clear();
        if let Some(snapshot) = snapshot {
            let end = snapshot.identity.leaf.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.not_after.get_or_create(&NoLabels {}).set(end.as_secs_f64());
        }
        let current = health.status.report().certificate.phase;
        for phase in Phase::ALL {
            let labels = PhaseLabels { phase: phase.as_str() };
            self.phase.get_or_create(&labels).set((current == Some(phase)).into());
        }
        exposition::render(&self.registry, accept)
    }
}

/// What every controller has, in a cluster and on a directory.
pub fn register_log(registry: &mut Registry) {
    registry.register_collector(DroppedLines::collector(
        "log_lines_dropped",
        "Log lines that did not reach standard error, by reason",
    ));
}

/// The reload's own counts, read at each scrape.
#[derive(Debug)]
struct Candidates(Identities);

impl Collector for Candidates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "webhook_reloads",
            "Candidates for the webhook's certificate, by outcome and reason",
            None,
            MetricType::Counter,
        )?;
        for ((outcome, reason), count) in self.0.status().candidates {
            let reason = reason.map_or("none", RejectionReason::as_str);
            let labels = [("outcome", outcome.as_str()), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
