//! LogLimiter: what clients and servers can cause is logged at most once in a while for each
//! subject, with how many were left out, so that a hostile peer cannot fill the log and a second
//! problem is not drowned by the first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(5);
/// Beyond so many subjects they share one allow.
const MAX_SUBJECTS: usize = 128;

#[derive(Default)]
pub struct LogLimiter(Mutex<HashMap<String, Subject>>);

struct Subject {
    at: Instant,
    left_out: u64,
}

impl LogLimiter {
    /// Whether it is this subject's allow; if so, how many were left out since the last.
    pub fn allow(&self, subject: &str) -> Option<u64> {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = subjects.len() >= MAX_SUBJECTS && !subjects.contains_key(subject);
        let subject = if full { "(others)" } else { subject };
        let now = Instant::now();
        match subjects.get_mut(subject) {
            Some(said) if now.duration_since(said.at) < EVERY => {
                said.left_out += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.left_out))
            }
            None => {
                subjects.insert(subject.to_owned(), Subject { at: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_its_turn_and_the_number_of_subjects_is_bounded() {
        let log_limiter = LogLimiter::default();
        assert_eq!(
            (log_limiter.allow("a"), log_limiter.allow("a"), log_limiter.allow("b")),
            (Some(0), None, Some(0))
        );
        let heard = (0..10_000).filter(|n| log_limiter.allow(&n.to_string()).is_some()).count();
        assert_eq!(heard, MAX_SUBJECTS - 2 + 1);
    }
}
