//! How much of a sender is listened to, and what of it was heard before. In memory: what a restart forgets
//! is checked against the objects all the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Messages in a row, and how soon there may be another.
const BURST: u32 = 100;
const EVERY: Duration = Duration::from_millis(100);
/// How many messages are remembered, and for how long: longer than a signature is believed.
const REMEMBERED: usize = 10_000;
const FOR: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default)]
pub struct Guard(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By sender, when what was taken so far is made up for.
    taken: BTreeMap<String, SystemTime>,
    /// By id.
    heard: BTreeMap<String, SystemTime>,
    order: VecDeque<String>,
}

impl Guard {
    /// `sender` is one that the settings name, so that these are few.
    pub fn lets_pass(&self, sender: &str, now: SystemTime) -> bool {
        let mut known = self.known();
        let longest = now + EVERY * BURST;
        let until = known.taken.entry(sender.to_owned()).or_insert(now);
        // Beyond what there can be is a clock that was put back.
        if *until > longest + EVERY {
            *until = now;
        }
        let next = (*until).max(now) + EVERY;
        let passes = next <= longest;
        if passes {
            *until = next;
        }
        passes
    }

    pub fn was_here(&self, id: &str, now: SystemTime) -> bool {
        let known = self.known();
        known.heard.get(id).is_some_and(|at| now.duration_since(*at).unwrap_or_default() < FOR)
    }

    pub fn remember(&self, id: &str, now: SystemTime) {
        let mut known = self.known();
        if known.heard.insert(id.to_owned(), now).is_none() {
            known.order.push_back(id.to_owned());
        }
        while known.order.len() > REMEMBERED {
            if let Some(oldest) = known.order.pop_front() {
                known.heard.remove(&oldest);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_as_much_as_time_goes_by() {
        let guard = Guard::default();
        let passed = |now| (0..1000).filter(|_| guard.lets_pass("a", now)).count();
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(passed(now), BURST as usize);
        assert_eq!(passed(now + EVERY * 5), 5);
        assert!(guard.lets_pass("b", now));
        assert_eq!(passed(UNIX_EPOCH), BURST as usize, "a clock that was put back");
    }

    #[test]
    fn what_was_heard_is_remembered_within_bounds() {
        let guard = Guard::default();
        let now = UNIX_EPOCH + FOR;
        assert!(!guard.was_here("0", now));
        guard.remember("0", now);
        assert!(guard.was_here("0", now) && !guard.was_here("0", now + FOR));
        for id in 1..=REMEMBERED {
            guard.remember(&id.to_string(), now);
        }
        assert!(!guard.was_here("0", now) && guard.was_here("1", now));
        assert_eq!(guard.known().heard.len(), REMEMBERED);
    }
}
