//! The summary: a JSON object, a table, and whether the demo succeeded.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::leaf_tracker::LeafTracker;
use crate::load_stats::LoadStats;
use crate::progress::Progress;

/// Printed by `--json`, in this order.
#[derive(Debug, Serialize)]
pub struct Summary {
    seconds: f64,
    requests: u64,
    failed: u64,
    new_connections: u64,
    leaf_rotations: u64,
    root_rollovers: u64,
    broken_published: u64,
    broken_served: u64,
    swap_to_served_ms: SwapToServed,
    old_connections_kept: u64,
    request_ms: RequestTimes,
    grpc: Calls,
    #[serde(skip)]
    restored: u64,
    #[serde(skip)]
    retried: u64,
    #[serde(skip)]
    retry: Option<String>,
    #[serde(skip)]
    reasons: Vec<String>,
}

/// On the gRPC pair.
#[derive(Debug, Serialize)]
struct Calls {
    calls: u64,
    failed: u64,
    new_connections: u64,
    longest_ms: f64,
}

#[derive(Debug, Serialize)]
struct SwapToServed {
    median: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct RequestTimes {
    p50: f64,
    p99: f64,
    p99_while_rotating: f64,
}

impl Summary {
    pub fn new(
        took: Duration,
        load_stats: &LoadStats,
        grpc_stats: &LoadStats,
        progress: &Progress,
        leaf_tracker: &LeafTracker,
    ) -> Self {
        let (counts, calls) = (load_stats.counts(), grpc_stats.counts());
        let swaps = progress.swaps();
        let (leaf_rotations, swaps) = (swaps.len() as u64, Sorted::new(swaps));
        let (all, rotating) = load_stats.durations();
        let (all, rotating) = (Sorted::new(all), Sorted::new(rotating));
        Self {
            seconds: rounded(took.as_secs_f64()),
            requests: counts.requests,
            failed: counts.failed,
            new_connections: counts.opened,
            leaf_rotations,
            root_rollovers: progress.rollovers(),
            broken_published: progress.broken(),
            broken_served: leaf_tracker.wrongly_served(),
            swap_to_served_ms: SwapToServed {
                median: swaps.milliseconds(0.5),
                p99: swaps.milliseconds(0.99),
                max: swaps.milliseconds(1.0),
            },
            old_connections_kept: counts.kept,
            request_ms: RequestTimes {
                p50: all.milliseconds(0.5),
                p99: all.milliseconds(0.99),
                p99_while_rotating: rotating.milliseconds(0.99),
            },
            grpc: Calls {
                calls: calls.requests,
                failed: calls.failed,
                new_connections: calls.opened,
                longest_ms: Sorted::new(grpc_stats.durations().0).milliseconds(1.0),
            },
            restored: progress.restorations(),
            retried: counts.retried + calls.retried,
            retry: load_stats.retry().or(grpc_stats.retry()),
            reasons: [load_stats.reasons(), grpc_stats.reasons()].concat(),
        }
    }

    /// No request and no call failed, and only good leaves were served.
    pub fn is_success(&self) -> bool {
        self.failed == 0 && self.grpc.failed == 0 && self.broken_served == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { swap_to_served_ms: swap, request_ms: request, grpc, .. } = self;
        writeln!(f, "  requests            {:>7}   {} failed", self.requests, self.failed)?;
        writeln!(
            f,
            "                                p50 {} ms, p99 {} ms, p99 while rotating {} ms",
            request.p50, request.p99, request.p99_while_rotating
        )?;
        writeln!(f, "  new connections     {:>7}", self.new_connections)?;
        writeln!(
            f,
            "  gRPC calls          {:>7}   {} failed, longest {} ms; {} connections",
            grpc.calls, grpc.failed, grpc.longest_ms, grpc.new_connections
        )?;
        writeln!(
            f,
            "  old connections     {:>7}   kept serving after their leaf had been replaced",
            self.old_connections_kept
        )?;
        writeln!(
            f,
            "  leaf rotations      {:>7}   served after {} ms (median), p99 {} ms, longest {} ms",
            self.leaf_rotations, swap.median, swap.p99, swap.max
        )?;
        writeln!(f, "  root rollovers      {:>7}", self.root_rollovers)?;
        writeln!(
            f,
            "  broken candidates   {:>7}   {} served, {} replaced by the control plane",
            self.broken_published, self.broken_served, self.restored
        )?;
        if let Some(first) = &self.retry {
            let explanation = "requests met an idle connection closing and were sent again";
            writeln!(f, "  retried             {:>7}   {explanation}; the first:", self.retried)?;
            writeln!(f, "                                {first}")?;
        }
        for reason in &self.reasons {
            writeln!(f, "  failed: {reason}")?;
        }
        Ok(())
    }
}

struct Sorted(Vec<Duration>);

impl Sorted {
    fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    /// The nearest rank; 0 when there was nothing to measure.
    fn milliseconds(&self, quantile: f64) -> f64 {
        let rank = (self.0.len() as f64 * quantile).ceil() as usize;
        let duration = self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default();
        rounded(duration.as_secs_f64() * 1000.0)
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sorted = Sorted::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(sorted.milliseconds(0.5), 100.0);
        assert_eq!(sorted.milliseconds(0.99), 198.0);
        assert_eq!(sorted.milliseconds(1.0), 200.0);
        assert_eq!(Sorted::new(Vec::new()).milliseconds(0.99), 0.0);
    }
}
