//! The counts in the status of the reload loop as Prometheus counters, read when asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use hotcert_tls::Identities;
use hotcert_tls::identity::RejectionReason;
use hotcert_tls::status::{Outcome, Status};

/// Counts by label values.
type Counts = Vec<(Vec<(&'static str, &'static str)>, u64)>;

pub struct ReloadCounters {
    name: &'static str,
    help: &'static str,
    identities: Identities,
    read: fn(&Status) -> Counts,
}

impl ReloadCounters {
    /// Candidates by outcome, and the reason of those that were not published.
    pub fn candidates(name: &'static str, help: &'static str, identities: &Identities) -> Box<dyn Collector> {
        let read = |status: &Status| {
            let labels = |(outcome, reason): &(Outcome, Option<RejectionReason>)| {
                vec![
                    ("outcome", outcome.as_str()),
                    ("reason", reason.map_or("none", RejectionReason::as_str)),
                ]
            };
            status.candidates.iter().map(|(key, count)| (labels(key), *count)).collect()
        };
        Box::new(Self { name, help, identities: identities.clone(), read })
    }

    /// Failures of the watch on the Secret by reason.
    pub fn api_failures(
        name: &'static str,
        help: &'static str,
        identities: &Identities,
    ) -> Box<dyn Collector> {
        let read = |status: &Status| {
            let failures = status.source.api.iter().flat_map(|api| &api.failures);
            failures.map(|(reason, count)| (vec![("reason", reason.as_str())], *count)).collect()
        };
        Box::new(Self { name, help, identities: identities.clone(), read })
    }
}

impl Collector for ReloadCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        for (labels, count) in (self.read)(&self.identities.status()) {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ReloadCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadCounters").field("name", &self.name).finish_non_exhaustive()
    }
}
