//! LogLimiter: what clients and servers can cause is logged at most once in a while per subject, with the
//! count of suppressed messages, if there are any, so that a hostile peer cannot fill the log and one problem does not hide
//! another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);
/// Subjects beyond this number share one interval.
const MAX_SUBJECTS: usize = 128;

#[derive(Default)]
pub struct LogLimiter(Mutex<HashMap<String, Subject>>);

/// A message may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many were suppressed since the last one; `None` for none, so that the log leaves the field out.
    pub suppressed: Option<u64>,
}

struct Subject {
    last_logged: Instant,
    suppressed: u64,
}

impl LogLimiter {
    /// The permission to log a message about `subject` now, or `None` if one was logged a moment ago.
    pub fn allow(&self, subject: &str) -> Option<Allowed> {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = subjects.len() >= MAX_SUBJECTS && !subjects.contains_key(subject);
        let subject = if full { "(others)" } else { subject };
        let now = Instant::now();
        match subjects.get_mut(subject) {
            Some(known) if now.duration_since(known.last_logged) < INTERVAL => {
                known.suppressed += 1;
                None
            }
            Some(known) => {
                known.last_logged = now;
                let suppressed = std::mem::take(&mut known.suppressed);
                Some(Allowed { suppressed: (suppressed > 0).then_some(suppressed) })
            }
            None => {
                subjects.insert(subject.to_owned(), Subject { last_logged: now, suppressed: 0 });
                Some(Allowed { suppressed: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FIRST: Option<Allowed> = Some(Allowed { suppressed: None });

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
        let log_limiter = LogLimiter::default();
        for _ in 0..3 {
            log_limiter.allow("a");
        }
        let expire = |subjects: &mut HashMap<String, Subject>| {
            for known in subjects.values_mut() {
                known.last_logged -= INTERVAL;
            }
        };
        expire(&mut log_limiter.0.lock().unwrap());
        assert_eq!(log_limiter.allow("a"), Some(Allowed { suppressed: Some(2) }));
        expire(&mut log_limiter.0.lock().unwrap());
        assert_eq!(log_limiter.allow("a"), FIRST);
    }
}
