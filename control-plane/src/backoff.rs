//! How long to wait after failures. Half of each delay is random: what failed together, as a thousand writes do when the
//! API server is away, is not tried again together.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// After so many failures every delay is the longest.
const MOST_FAILURES: u32 = 32;

/// Delays that double from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// After this many failures in a row, 1 or more.
    pub fn delay(self, failures: u32) -> Duration {
        // What is random comes on top, up to as much again.
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(self.first / 2)
            .with_max_delay(self.longest / 2)
            .without_max_times()
            .with_jitter()
            .build();
        let before = failures.clamp(1, MOST_FAILURES) - 1;
        delays.nth(before as usize).map_or(self.longest, |delay| delay.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(30));

    #[test]
    fn delays_double_up_to_the_longest_and_are_half_of_that_or_more() {
        for (failures, expected) in
            [(0, 20), (1, 20), (2, 40), (3, 80), (11, 20_480), (12, 30_000), (13, 30_000), (u32::MAX, 30_000)]
        {
            let full = Duration::from_millis(expected);
            // The library computes in single precision.
            let rounding = full / 1_000_000;
            for _ in 0..100 {
                let delay = BACKOFF.delay(failures);
                assert!((full / 2 - rounding..=full + rounding).contains(&delay), "{failures}: {delay:?}");
            }
        }
    }

    #[test]
    fn what_failed_together_is_not_tried_again_together() {
        let delays: BTreeSet<_> = (0..1000).map(|_| BACKOFF.delay(12)).collect();
        assert!(delays.len() > 900, "{} different delays", delays.len());
        let seconds = Duration::from_secs(17)..Duration::from_secs(28);
        assert!(*delays.first().unwrap() < seconds.start && *delays.last().unwrap() > seconds.end);
    }
}
