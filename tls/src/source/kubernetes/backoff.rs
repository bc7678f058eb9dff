//! How long the watcher waits before it tries again, and which errors it has logged, between two healthy
//! watches.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::source::{WatchError, WatchErrorReason};

const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// For errors that stay until an operator changes something.
const MAX_PAUSE_WITHOUT_INTERVENTION: Duration = Duration::from_secs(150);

pub(super) struct Backoff {
    transient: ExponentialBackoff,
    permanent: ExponentialBackoff,
    logged: BTreeSet<WatchErrorReason>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            transient: exponential(MAX_PAUSE),
            permanent: exponential(MAX_PAUSE_WITHOUT_INTERVENTION),
            logged: BTreeSet::new(),
        }
    }
}

/// Jitter adds up to as much again, so that a thousand agents do not reconnect at once.
fn exponential(max: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(max)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Backoff {
    pub(super) fn next_pause(&mut self, error: &WatchError) -> Duration {
        let backoff = if error.needs_intervention() { &mut self.permanent } else { &mut self.transient };
        backoff.next().unwrap_or(MAX_PAUSE)
    }

    /// Whether this reason is to be logged: each is logged once.
    pub(super) fn first_of(&mut self, reason: WatchErrorReason) -> bool {
        self.logged.insert(reason)
    }
}
