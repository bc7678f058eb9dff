//! LogLimiter: what clients and servers can cause is logged at most once in a while per subject, with the
//! count of suppressed messages, so that a hostile peer cannot fill the log and one problem does not hide
//! another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(5);
/// Subjects beyond this number share one interval.
const MAX_SUBJECTS: usize = 128;

#[derive(Default)]
pub struct LogLimiter(Mutex<HashMap<String, Subject>>);

struct Subject {
    last_logged: Instant,
    suppressed: u64,
}

impl LogLimiter {
    /// Whether a message about `subject` may be logged now; if so, how many were suppressed since the last.
    pub fn allow(&self, subject: &str) -> Option<u64> {
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
                Some(std::mem::take(&mut known.suppressed))
            }
            None => {
                subjects.insert(subject.to_owned(), Subject { last_logged: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_limited_alone_and_the_number_of_subjects_is_bounded() {
        let log_limiter = LogLimiter::default();
        assert_eq!(
            (log_limiter.allow("a"), log_limiter.allow("a"), log_limiter.allow("b")),
            (Some(0), None, Some(0))
        );
        let logged = (0..10_000).filter(|n| log_limiter.allow(&n.to_string()).is_some()).count();
        assert_eq!(logged, MAX_SUBJECTS - 2 + 1);
    }
}
