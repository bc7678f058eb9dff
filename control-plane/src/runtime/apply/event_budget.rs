//! How many Events of one kind are written at a time. An Event is a courtesy, and one for each of ten thousand
//! certificates that are issued together would be every fifth request: past a burst they are in the log alone.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const BURST: u32 = 100;
/// In which one more is allowed.
const REFILL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct EventBudget(Mutex<(u32, Instant)>);

impl Default for EventBudget {
    fn default() -> Self {
        Self(Mutex::new((BURST, Instant::now())))
    }
}

impl EventBudget {
    /// Whether one more may be written.
    pub fn take(&self, now: Instant) -> bool {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = &mut *budget;
        let refilled = now.saturating_duration_since(*since).as_secs() / REFILL.as_secs();
        if refilled > 0 {
            *left = left.saturating_add(u32::try_from(refilled).unwrap_or(BURST)).min(BURST);
            *since = now;
        }
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_allowed_and_then_one_a_second() {
        let (budget, now) = (EventBudget::default(), Instant::now());
        let allowed = |at| (0..BURST * 2).filter(|_| budget.take(at)).count();
        assert_eq!(allowed(now), 100);
        assert_eq!(allowed(now + REFILL * 3), 3);
        assert_eq!(allowed(now + REFILL * 1_000), 100, "no more than a burst is saved up");
    }
}
