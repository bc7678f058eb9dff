//! Gives memory that is free back to the system. The allocator keeps what was freed for the next who asks, between what is
//! still in use: after many connections have ended the process would hold their memory for good, and its neighbours in
//! the pod pay for it. Another allocator that gives back by itself takes twice as much at rest.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

/// Between looks at what the allocator keeps.
const INTERVAL: Duration = Duration::from_secs(2);
/// Less is not worth the time: the threads that carry traffic wait while it is given back.
const WORTH_BYTES: usize = 8 << 20;
/// A load that takes it again at once is left alone for twice as long each time.
const MIN_PAUSE: Duration = Duration::from_secs(4);
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Runs until dropped.
pub async fn give_back() {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut policy = Policy::new(Instant::now());
    loop {
        tick.tick().await;
        let Some(unused) = allocator::unused() else { return std::future::pending().await };
        if policy.is_due(unused, Instant::now()) {
            // An error means that the runtime ends.
            let _ = tokio::task::spawn_blocking(allocator::give_back).await;
            let left = allocator::unused().unwrap_or_default();
            debug!(bytes = unused.saturating_sub(left), "free memory given back");
            policy.given_back(left, Instant::now());
        }
    }
}

/// When to give back, from the resident memory that is not in use: the program itself, and what the allocator keeps.
struct Policy {
    least: usize,
    pause: Duration,
    last: Option<Instant>,
    started: Instant,
}

impl Policy {
    fn new(now: Instant) -> Self {
        Self { least: usize::MAX, pause: MIN_PAUSE, last: None, started: now }
    }

    fn is_due(&mut self, unused: usize, now: Instant) -> bool {
        self.least = self.least.min(unused);
        let since = now - self.last.unwrap_or(self.started);
        if since > 2 * MAX_PAUSE {
            self.pause = MIN_PAUSE;
        }
        unused > self.least + WORTH_BYTES && since >= self.pause
    }

    /// `left` is what could not be given back.
    fn given_back(&mut self, left: usize, now: Instant) {
        if self.last.is_some() {
            self.pause = (2 * self.pause).min(MAX_PAUSE);
        }
        (self.least, self.last) = (left, Some(now));
    }
}

#[cfg(target_env = "gnu")]
mod allocator {
    use std::fs;

    /// Resident memory that the allocator has not given to anybody, in bytes, with that of the program itself.
    pub fn unused() -> Option<usize> {
        let pages: usize = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
        // SAFETY: it has no arguments, and takes the locks of the allocator.
        #[expect(unsafe_code, reason = "the allocator is asked through C alone")]
        let info = unsafe { libc::mallinfo2() };
        Some((pages * rustix::param::page_size()).saturating_sub(info.uordblks + info.hblkhd))
    }

    pub fn give_back() {
        // SAFETY: it frees nothing that is in use, and takes the locks of the allocator.
        #[expect(unsafe_code, reason = "the allocator is told through C alone")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Others give back by themselves.
#[cfg(not(target_env = "gnu"))]
mod allocator {
    pub fn unused() -> Option<usize> {
        None
    }

    pub fn give_back() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_back_when_worth_the_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut policy = Policy::new(start);
        assert!(!policy.is_due(10 << 20, at(10)));
        assert!(!policy.is_due(18 << 20, at(12)));
        assert!(policy.is_due(100 << 20, at(14)));
        policy.given_back(14 << 20, at(14));
        assert!(!policy.is_due(20 << 20, at(100)));
        assert!(policy.is_due(30 << 20, at(100)));
    }

    #[test]
    fn load_that_takes_it_again_is_left_alone_for_longer_and_longer() {
        let start = Instant::now();
        let mut policy = Policy::new(start);
        let (mut times, mut now) = (0, start);
        let hour = Duration::from_secs(3600);
        policy.is_due(10 << 20, start);
        while now < start + hour {
            now += INTERVAL;
            if policy.is_due(100 << 20, now) {
                policy.given_back(10 << 20, now);
                times += 1;
            }
        }
        assert!((30..40).contains(&times), "{times} times in an hour");
        now += 3 * MAX_PAUSE;
        assert!(policy.is_due(100 << 20, now));
        policy.given_back(10 << 20, now);
        assert!(policy.is_due(100 << 20, now + 2 * MIN_PAUSE), "as at the start");
    }
}
