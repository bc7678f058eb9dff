//! Versions that nobody needs, and keys that no rollback needs: removing them is work that can wait.

use std::time::{Duration, Instant};

use crate::planner::Action;

/// How many are removed in a round that has nothing else to do: it has time, and other work may come meanwhile.
const MAX_ALONE: usize = 100;
/// The same beside other work, which may never end, and only once in so long.
const MAX_BESIDE: usize = 8;
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Tidying {
    /// When some were removed beside other work.
    beside_at: Option<Instant>,
}

impl Tidying {
    /// Leaves as many of them in the plan as this round has time for; `is_busy`: there is more to do than actions. Returns
    /// in how long the next ones are due, if any were taken out.
    pub fn postpone(&mut self, actions: &mut Vec<&Action>, is_busy: bool, now: Instant) -> Option<Duration> {
        let planned = actions.len();
        if !actions.iter().any(|action| action.is_tidying()) {
            return None;
        }
        let mut room = if !is_busy && actions.iter().all(|action| action.is_tidying()) {
            MAX_ALONE
        } else if self.beside_at.is_none_or(|at| now.duration_since(at) >= EVERY) {
            self.beside_at = Some(now);
            MAX_BESIDE
        } else {
            0
        };
        actions.retain(|action| {
            let fits = !action.is_tidying() || room > 0;
            room -= usize::from(fits && action.is_tidying());
            fits
        });
        let since = self.beside_at.map_or(Duration::ZERO, |at| now.duration_since(at));
        (actions.len() < planned).then(|| EVERY.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::object_name::ObjectName;
    use crate::planner::observed::ResourceVersion;

    #[test]
    fn most_of_it_waits_for_a_round_with_nothing_else_to_do() {
        let certificate = ObjectName::new("shop", "mtls-prod-payments");
        let expected = ResourceVersion("1".into());
        let prune =
            Action::Prune { certificate: certificate.clone(), version: 1, expected: expected.clone() };
        let remove = Action::RemoveKey { certificate: certificate.clone(), version: 2, expected };
        let nudge = Action::Nudge { pod: certificate, revision: 1 };
        let (mut tidying, begin) = (Tidying::default(), Instant::now());
        let mut left = |planned: &[&Action], is_busy, after| {
            let mut actions = planned.repeat(MAX_ALONE);
            let due = tidying.postpone(&mut actions, is_busy, begin + after);
            (actions.len(), actions.iter().filter(|action| action.is_tidying()).count(), due)
        };
        // A round without any takes nobody's turn.
        assert_eq!(left(&[&nudge], true, Duration::ZERO), (MAX_ALONE, 0, None));
        let beside = [&prune, &nudge, &remove];
        assert_eq!(left(&beside, false, Duration::ZERO), (MAX_ALONE + MAX_BESIDE, MAX_BESIDE, Some(EVERY)));
        assert_eq!(left(&beside, false, EVERY / 2), (MAX_ALONE, 0, Some(EVERY / 2)));
        assert_eq!(left(&beside, false, EVERY), (MAX_ALONE + MAX_BESIDE, MAX_BESIDE, Some(EVERY)));
        let alone = [&prune, &remove];
        assert_eq!(left(&alone, false, EVERY), (MAX_ALONE, MAX_ALONE, Some(EVERY)));
        // As when a rollover waits for pods.
        assert_eq!(left(&alone, true, EVERY), (0, 0, Some(EVERY)));
    }
}
