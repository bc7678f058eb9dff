//! Actions that failed, and when each is tried again. One that fails does not delay the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::apply::ApplyError;
use crate::planner::Action;

/// Delays double from the first to the longest.
pub type Delays = (Duration, Duration);

/// After a failure.
pub const RETRY: Delays = (Duration::from_millis(500), Duration::from_secs(60));
/// After a conflict: mostly the next round plans on the new state.
const RETRY_CONFLICT: Delays = (Duration::from_millis(20), Duration::from_secs(30));
/// How many conflicts in a row are not reported as a failure.
const MAX_CONFLICTS: u32 = 6;

/// By the target of the action.
#[derive(Debug, Default)]
pub struct FailedActions(BTreeMap<String, FailedAction>);

#[derive(Debug)]
struct FailedAction {
    attempts: u32,
    retry_at: Instant,
    /// `None` while it may pass unreported, as a conflict does.
    why: Option<String>,
}

impl FailedActions {
    /// Forgets those that are not planned any more.
    pub fn retain(&mut self, planned: &[Action]) {
        let planned: BTreeSet<_> = planned.iter().map(target).collect();
        self.0.retain(|target, _| planned.contains(target));
    }

    /// Whether the last action on this target failed.
    pub fn contains(&self, target: &str) -> bool {
        self.0.contains_key(target)
    }

    pub fn is_backing_off(&self, action: &Action) -> bool {
        self.0.get(&target(action)).is_some_and(|failed| failed.retry_at > Instant::now())
    }

    pub fn record_success(&mut self, action: &Action) {
        self.0.remove(&target(action));
    }

    pub fn record_failure(&mut self, action: &Action, error: &ApplyError) {
        let delays = if error.is_conflict() { RETRY_CONFLICT } else { RETRY };
        let new = || FailedAction { attempts: 0, retry_at: Instant::now(), why: None };
        let failed = self.0.entry(target(action)).or_insert_with(new);
        failed.attempts = failed.attempts.saturating_add(1);
        failed.retry_at = Instant::now() + delay(delays, failed.attempts);
        if !error.is_conflict() || failed.attempts > MAX_CONFLICTS {
            failed.why = Some(format!("{}: {error}; it is tried again", action.kind()));
        }
    }

    /// Why each failed, by target.
    pub fn reported(&self) -> BTreeMap<String, String> {
        let reported =
            |(target, failed): (&String, &FailedAction)| Some((target.clone(), failed.why.clone()?));
        self.0.iter().filter_map(reported).collect()
    }

    pub fn next_retry(&self) -> Option<Instant> {
        self.0.values().map(|failed| failed.retry_at).min()
    }
}

/// The object, or its status, which is retried on its own.
pub fn target(action: &Action) -> String {
    let object = action.object();
    if action.is_status_update() { format!("the status of {object}") } else { object }
}

pub fn delay((first, longest): Delays, attempts: u32) -> Duration {
    (first * 2_u32.pow(attempts.min(16))).min(longest)
}
