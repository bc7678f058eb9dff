//! Counters of the admission webhook: admission requests by outcome, connections by result.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::admission_review::AdmissionOutcome;
use super::webhook_path::WebhookPath;

#[derive(Clone, Default)]
pub struct WebhookCounters {
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

impl AdmissionLabels {
    fn new(webhook: WebhookPath, outcome: AdmissionOutcome) -> Self {
        Self { webhook: webhook.as_str(), outcome: outcome.as_str() }
    }
}

impl WebhookCounters {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "admission_requests",
            "Admission requests for pods, by webhook and outcome",
            self.admissions.clone(),
        );
        registry.register(
            "connections",
            "TLS connections to the webhook, by result",
            self.connections.clone(),
        );
    }

    pub fn admission(&self, webhook: WebhookPath, outcome: AdmissionOutcome) {
        self.admissions.get_or_create(&AdmissionLabels::new(webhook, outcome)).inc();
    }

    pub fn connection(&self, result: &'static str) {
        self.connections.get_or_create(&ConnectionLabels { result }).inc();
    }

    /// Admission requests with this outcome, of every webhook.
    pub fn admissions(&self, outcome: AdmissionOutcome) -> u64 {
        let count =
            |webhook| self.admissions.get(&AdmissionLabels::new(webhook, outcome)).map_or(0, |c| c.get());
        WebhookPath::ALL.into_iter().map(count).sum()
    }
}
