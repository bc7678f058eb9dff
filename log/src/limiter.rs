//! What clients and servers can cause is logged at most once in a while per subject, with the count of suppressed
//! messages, if there are any, so that a hostile peer cannot fill the log and one problem does not hide another.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);
/// Subjects beyond this number share one interval, until others are over theirs.
const MAX_SUBJECTS: usize = 128;

#[derive(Default)]
pub struct LogLimiter {
    subjects: Mutex<Subjects>,
    hashes: RandomState,
}

/// A message may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many were suppressed since the last one; `None` for none, so that the log leaves the field out.
    pub suppressed: Option<u64>,
}

#[derive(Default)]
struct Subjects {
    /// By hash, because a peer may choose how long the text is.
    known: HashMap<u64, Subject>,
    /// All that there is no room for.
    others: Subject,
    /// Before this, no subject is over its interval.
    full_until: Option<Instant>,
}

#[derive(Default)]
struct Subject {
    last_logged: Option<Instant>,
    suppressed: u64,
}

impl LogLimiter {
    /// The permission to log a message about `subject` now, or `None` if one was logged a moment ago.
    pub fn allow(&self, subject: &(impl Hash + ?Sized)) -> Option<Allowed> {
        self.allow_at(subject, Instant::now())
    }

    fn allow_at(&self, subject: &(impl Hash + ?Sized), now: Instant) -> Option<Allowed> {
        let hash = self.hashes.hash_one(subject);
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner).of(hash, now).allow(now)
    }
}

impl Subjects {
    fn of(&mut self, hash: u64, now: Instant) -> &mut Subject {
        if !self.known.contains_key(&hash) {
            self.make_room(now);
            if self.known.len() >= MAX_SUBJECTS {
                return &mut self.others;
            }
        }
        self.known.entry(hash).or_default()
    }

    /// Forgets subjects that are over their interval, if there is no room. What was suppressed of them is reported
    /// with the next message of the others, so those with nothing suppressed go first.
    fn make_room(&mut self, now: Instant) {
        if self.known.len() < MAX_SUBJECTS || self.full_until.is_some_and(|until| now < until) {
            return;
        }
        self.known.retain(|_, subject| !subject.is_over(now) || subject.suppressed > 0);
        if self.known.len() >= MAX_SUBJECTS {
            let others = &mut self.others.suppressed;
            self.known.retain(|_, subject| {
                let is_over = subject.is_over(now);
                *others += if is_over { subject.suppressed } else { 0 };
                !is_over
            });
        }
        let oldest = self.known.values().filter_map(|subject| subject.last_logged).min();
        self.full_until = oldest.map(|oldest| oldest + INTERVAL);
    }
}

impl Subject {
    fn is_over(&self, now: Instant) -> bool {
        self.last_logged.is_none_or(|last| now.duration_since(last) >= INTERVAL)
    }

    fn allow(&mut self, now: Instant) -> Option<Allowed> {
        if !self.is_over(now) {
            self.suppressed += 1;
            return None;
        }
        self.last_logged = Some(now);
        let suppressed = std::mem::take(&mut self.suppressed);
        Some(Allowed { suppressed: (suppressed > 0).then_some(suppressed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Option<Allowed> = Some(Allowed { suppressed: None });

    fn suppressed(count: u64) -> Option<Allowed> {
        Some(Allowed { suppressed: Some(count) })
    }

    #[test]
    fn each_subject_is_limited_alone_and_the_number_of_subjects_is_bounded() {
        let log_limiter = LogLimiter::default();
        assert_eq!(
            (log_limiter.allow("a"), log_limiter.allow("a"), log_limiter.allow("b")),
            (FIRST, None, FIRST)
        );
        let logged = (0..10_000).filter(|n| log_limiter.allow(&n.to_string()).is_some()).count();
        assert_eq!(logged, MAX_SUBJECTS - 2 + 1);
    }

    #[test]
    fn suppressed_messages_are_reported_with_the_next_one_only() {
        let (log_limiter, start) = (LogLimiter::default(), Instant::now());
        let allow = |intervals: u32| log_limiter.allow_at("a", start + INTERVAL * intervals);
        assert_eq!([allow(0), allow(0), allow(0)], [FIRST, None, None]);
        assert_eq!([allow(1), allow(2)], [suppressed(2), FIRST]);
    }

    #[test]
    fn subjects_that_are_over_their_interval_make_room_for_others() {
        let (log_limiter, start) = (LogLimiter::default(), Instant::now());
        let logged = |prefix: &str, now| {
            let subjects = (0..2 * MAX_SUBJECTS).map(|n| format!("{prefix}{n}"));
            subjects.filter(|subject| log_limiter.allow_at(subject, now).is_some()).count()
        };
        for round in 0..5 {
            let now = start + INTERVAL * round;
            assert_eq!(logged(&format!("{round}-"), now), MAX_SUBJECTS + 1, "round {round}");
            assert_eq!(log_limiter.allow_at("late", now + INTERVAL - Duration::from_millis(1)), None);
        }
    }

    #[test]
    fn what_was_suppressed_of_a_forgotten_subject_is_reported_with_the_others() {
        let (log_limiter, start) = (LogLimiter::default(), Instant::now());
        let fill = |prefix: &str, times, now| {
            for n in 0..MAX_SUBJECTS {
                for _ in 0..times {
                    log_limiter.allow_at(&format!("{prefix}{n}"), now);
                }
            }
        };
        // One of each is suppressed, so that none can go without a trace.
        fill("old-", 2, start);
        let later = start + INTERVAL;
        fill("new-", 1, later);
        assert_eq!(log_limiter.allow_at("one too many", later), suppressed(MAX_SUBJECTS as u64));
        // With room among those of which nothing was suppressed, the others stay.
        let (log_limiter, now) = (LogLimiter::default(), start);
        for _ in 0..3 {
            log_limiter.allow_at("kept", now);
        }
        for n in 0..MAX_SUBJECTS {
            log_limiter.allow_at(&n.to_string(), now);
        }
        assert_eq!(log_limiter.allow_at("new", now + INTERVAL), FIRST);
        assert_eq!(log_limiter.allow_at("kept", now + INTERVAL), suppressed(2));
    }
}
