//! What the load counts: requests, failures, connections, and how long each request took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failure reasons kept for the summary; the others are only counted.
const MAX_REASONS: usize = 5;

#[derive(Default)]
pub struct LoadStats {
    requests: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    opened: AtomicU64,
    kept: AtomicU64,
    /// Number of the latest storefront leaf that was served (see `LeafTracker::number`).
    served: AtomicU64,
    reasons: Mutex<Vec<String>>,
    /// Why the first retry was needed.
    retry: Mutex<Option<String>>,
    requests_done: Mutex<Vec<Span>>,
    rotations: Mutex<Vec<Span>>,
}

/// From and to.
#[derive(Clone, Copy)]
pub struct Span(pub Instant, pub Instant);

impl Span {
    pub fn duration(self) -> Duration {
        self.1 - self.0
    }

    fn overlaps(self, other: Self) -> bool {
        self.0 <= other.1 && other.0 <= self.1
    }
}

/// The counters at one moment.
#[derive(Clone, Copy)]
pub struct Counts {
    pub requests: u64,
    pub failed: u64,
    pub retried: u64,
    pub opened: u64,
    pub kept: u64,
}

impl LoadStats {
    pub fn answered(&self, from: Instant) {
        self.requests.fetch_add(1, Relaxed);
        lock(&self.requests_done).push(Span(from, Instant::now()));
    }

    /// A request without the expected response, or a connection that could not be opened.
    pub fn failed(&self, reason: String) {
        self.requests.fetch_add(1, Relaxed);
        self.failed.fetch_add(1, Relaxed);
        let mut reasons = lock(&self.reasons);
        if reasons.len() < MAX_REASONS {
            reasons.push(reason);
        }
    }

    /// A request that met an idle connection closing, sent again on a new one.
    pub fn retried(&self, reason: String) {
        self.retried.fetch_add(1, Relaxed);
        lock(&self.retry).get_or_insert(reason);
    }

    pub fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// A keep-alive connection answered although a newer leaf was already served to others.
    pub fn kept(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    pub fn serves(&self, leaf: u64) {
        self.served.fetch_max(leaf, Relaxed);
    }

    pub fn latest_served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    pub fn rotated(&self, during: Span) {
        lock(&self.rotations).push(during);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            opened: self.opened.load(Relaxed),
            kept: self.kept.load(Relaxed),
        }
    }

    pub fn reasons(&self) -> Vec<String> {
        lock(&self.reasons).clone()
    }

    pub fn retry(&self) -> Option<String> {
        lock(&self.retry).clone()
    }

    /// How long answered requests took: all of them, and those that overlapped a rotation.
    pub fn durations(&self) -> (Vec<Duration>, Vec<Duration>) {
        let (requests, rotations) = (lock(&self.requests_done), lock(&self.rotations));
        let rotating = |request: &&Span| rotations.iter().any(|during| during.overlaps(**request));
        (
            requests.iter().map(|request| request.duration()).collect(),
            requests.iter().filter(rotating).map(|request| request.duration()).collect(),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_a_rotation_are_separated() {
        let load_stats = LoadStats::default();
        let begun = Instant::now();
        load_stats.answered(begun);
        let between = Instant::now();
        load_stats.rotated(Span(between + Duration::from_secs(1), between + Duration::from_secs(2)));
        assert_eq!(load_stats.durations().1.len(), 0);
        load_stats.rotated(Span(begun, begun));
        assert_eq!((load_stats.durations().0.len(), load_stats.durations().1.len()), (1, 1));
    }

    #[test]
    fn all_failures_are_counted_and_the_first_reasons_kept() {
        let load_stats = LoadStats::default();
        (0..MAX_REASONS + 2).for_each(|number| load_stats.failed(number.to_string()));
        assert_eq!(load_stats.counts().failed, 7);
        assert_eq!(load_stats.reasons(), ["0", "1", "2", "3", "4"]);
    }
}
