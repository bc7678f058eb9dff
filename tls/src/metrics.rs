//! Counters and gauges through the `metrics` facade, for the exporter that the program has.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

use crate::event::Event;
use crate::identity::RejectionReason;
use crate::status::Outcome;

/// Candidates by outcome and reason.
pub(crate) fn count_candidate(name: &Arc<str>, outcome: Outcome, reason: Option<RejectionReason>) {
    let reason = reason.map_or("none", RejectionReason::as_str);
    let name = Arc::clone(name);
    counter!("hotcert_tls_candidates_total", "identity" => name, "outcome" => outcome.as_str(), "reason" => reason).increment(1);
}

/// The generation that is current, and the end of its leaf's validity.
pub(crate) fn record(name: &Arc<str>, event: &Event) {
    if let Event::Published { generation, not_after, .. } = event {
        gauge!("hotcert_tls_generation", "identity" => Arc::clone(name)).set(*generation as f64);
        gauge!("hotcert_tls_not_after_seconds", "identity" => Arc::clone(name)).set(since_epoch(*not_after));
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
