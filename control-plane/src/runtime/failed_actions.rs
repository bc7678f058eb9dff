//! Actions that failed, and when each is tried again. One that fails does not delay the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::apply::ApplyError;
use crate::backoff::Backoff;
use crate::planner::Action;

/// After a failure.
pub const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// After a conflict: mostly the next round plans on the new state.
const RETRY_CONFLICT: Backoff = Backoff::new(Duration::from_millis(40), Duration::from_secs(30));
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
        if self.0.is_empty() {
            return;
        }
        let planned: BTreeSet<_> = planned.iter().map(target).collect();
        self.0.retain(|target, _| planned.contains(target));
    }

    /// Whether the last action on this target failed.
    pub fn contains(&self, target: &str) -> bool {
        self.0.contains_key(target)
    }

    pub fn is_backing_off(&self, action: &Action) -> bool {
        !self.0.is_empty()
            && self.0.get(&target(action)).is_some_and(|failed| failed.retry_at > Instant::now())
    }

    pub fn record_success(&mut self, action: &Action) {
        if !self.0.is_empty() {
            self.0.remove(&target(action));
        }
    }

    pub fn record_failure(&mut self, action: &Action, error: &ApplyError) {
        let backoff = if error.is_conflict() { RETRY_CONFLICT } else { RETRY };
        let new = || FailedAction { attempts: 0, retry_at: Instant::now(), why: None };
        let failed = self.0.entry(target(action)).or_insert_with(new);
        failed.attempts = failed.attempts.saturating_add(1);
        failed.retry_at = Instant::now() + backoff.delay(failed.attempts);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::object_name::ObjectName;
    use crate::store::StoreError;

    fn nudge(pod: u32) -> Action {
        Action::Nudge { pod: ObjectName::new("shop", format!("pod-{pod}")), revision: 1 }
    }

    #[test]
    fn actions_that_fail_in_one_moment_are_tried_again_at_different_times() {
        let error = ApplyError::Store(StoreError::Failed { what: "nudging".into(), cause: "503".into() });
        let mut failed = FailedActions::default();
        let begin = Instant::now();
        for _ in 0..10 {
            (0..100).for_each(|pod| failed.record_failure(&nudge(pod), &error));
        }
        assert!(failed.is_backing_off(&nudge(0)) && !failed.is_backing_off(&nudge(100)));
        let retries: BTreeSet<_> = failed.0.values().map(|failed| failed.retry_at).collect();
        let (first, last) = (retries.first().unwrap(), retries.last().unwrap());
        // Half a minute is random; what it takes to record the failures is not.
        assert!(retries.len() > 90 && *last - *first > Duration::from_secs(10), "{:?}", *last - *first);
        assert!(*first >= begin + Duration::from_secs(29), "{:?}", *first - begin);
        assert_eq!(failed.reported().len(), 100);
    }

    #[test]
    fn success_and_a_new_plan_forget_a_failure_and_a_few_conflicts_are_not_reported() {
        let conflict = ApplyError::Store(StoreError::Conflict("the pod".into()));
        let mut failed = FailedActions::default();
        for _ in 0..MAX_CONFLICTS {
            failed.record_failure(&nudge(1), &conflict);
        }
        assert!(failed.reported().is_empty() && failed.next_retry().is_some());
        failed.record_failure(&nudge(1), &conflict);
        assert_eq!(failed.reported().len(), 1);
        failed.record_failure(&nudge(2), &conflict);
        failed.record_success(&nudge(1));
        assert!(!failed.contains(&target(&nudge(1))) && failed.contains(&target(&nudge(2))));
        failed.retain(&[nudge(1)]);
        assert_eq!(failed.next_retry(), None);
    }
}
