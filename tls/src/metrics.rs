//! Counters and gauges through the `metrics` facade, for the exporter that the program has.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

use crate::event::Event;
use crate::identity::RejectionReason;
use crate::status::Outcome;

/// Candidates by outcome and reason.
pub(crate) fn count_candidate(outcome: Outcome, reason: Option<RejectionReason>) {
    let reason = reason.map_or("", RejectionReason::as_str);
    counter!("hotcert_tls_candidates_total", "outcome" => outcome.as_str(), "reason" => reason).increment(1);
}

/// The generation that is current, and the end of its leaf's validity.
pub(crate) fn record(event: &Event) {
    if let Event::Published { generation, not_after, .. } = event {
        gauge!("hotcert_tls_generation").set(*generation as f64);
        gauge!("hotcert_tls_not_after_seconds").set(since_epoch(*not_after));
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
