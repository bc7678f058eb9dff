//! Bounds the messages of each sender: a burst, and a steady rate after it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const BURST: u32 = 100;
/// Between two messages at the steady rate.
const INTERVAL: Duration = Duration::from_millis(100);

/// By sender, when its messages so far would have arrived at the steady rate (GCRA).
#[derive(Debug, Default)]
pub struct RateLimiter(Mutex<BTreeMap<String, SystemTime>>);

impl RateLimiter {
    /// Counts a message if it is allowed. `sender` is one of the settings file, so the map is bounded.
    pub fn allow(&self, sender: &str, now: SystemTime) -> bool {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = now + INTERVAL * BURST;
        let arrival = arrivals.entry(sender.to_owned()).or_insert(now);
        // Later than possible: the clock was set back.
        if *arrival > latest + INTERVAL {
            *arrival = now;
        }
        let next = (*arrival).max(now) + INTERVAL;
        let is_allowed = next <= latest;
        if is_allowed {
            *arrival = next;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_burst_is_allowed_and_the_steady_rate_after_it() {
        let limiter = RateLimiter::default();
        let allowed = |now| (0..1000).filter(|_| limiter.allow("a", now)).count();
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(allowed(now), BURST as usize);
        assert_eq!(allowed(now + INTERVAL * 5), 5);
        assert!(limiter.allow("b", now));
        assert_eq!(allowed(UNIX_EPOCH), BURST as usize, "the clock was set back");
    }
}
