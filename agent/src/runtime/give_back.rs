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
/// What changes by more from one look to the next is still in the making.
const SETTLED_BYTES: usize = 1 << 20;
/// A load that takes it again at once is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs until dropped.
pub async fn give_back() {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut policy = Policy::default();
    loop {
        tick.tick().await;
        let Some(unused) = allocator::unused() else { return std::future::pending().await };
        if policy.is_due(unused, Instant::now()) {
            // An error means that the runtime ends.
            let _ = tokio::task::spawn_blocking(allocator::give_back).await;
            let left = allocator::unused().unwrap_or_default();
            policy.gave_back(left);
            debug!(bytes = unused.saturating_sub(left), "free memory given back");
        }
    }
}

/// When to give back, from the resident memory that is not in use: the program itself, and what the allocator keeps.
#[derive(Default)]
struct Policy {
    /// At rest: the least that it ever was.
    least: Option<usize>,
    before: usize,
    last: Option<Instant>,
}

impl Policy {
    fn is_due(&mut self, unused: usize, now: Instant) -> bool {
        let least = self.least.map_or(unused, |least| least.min(unused));
        let settled = unused.abs_diff(self.before) <= SETTLED_BYTES;
        let rested = self.last.is_none_or(|last| now - last >= PAUSE);
        (self.least, self.before) = (Some(least), unused);
        let due = unused > least + WORTH_BYTES && settled && rested;
        if due {
            self.last = Some(now);
        }
        due
    }

    /// What is left cannot be given back, and is no reason to try again.
    fn gave_back(&mut self, left: usize) {
        self.least = Some(left);
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
    fn it_is_given_back_when_it_has_settled_and_is_worth_the_time() {
        let start = Instant::now();
        let mut policy = Policy::default();
        let mut is_due =
            |mebibytes: usize, seconds| policy.is_due(mebibytes << 20, start + Duration::from_secs(seconds));
        let looks = [(10, 0), (18, 2), (18, 4), (60, 6), (100, 8)];
        assert!(looks.iter().all(|(unused, at)| !is_due(*unused, *at)));
        assert!(is_due(100, 10));
        // Some of it could not be given back.
        assert!(!is_due(30, 12) && !is_due(30, 14));
        assert!(is_due(30, 16));
        assert!(!is_due(12, 18) && !is_due(12, 100));
        assert!(!is_due(40, 102) && is_due(40, 104));
        policy.gave_back(35 << 20);
        let mut is_due =
            |mebibytes: usize, seconds| policy.is_due(mebibytes << 20, start + Duration::from_secs(seconds));
        assert!(!is_due(36, 110) && !is_due(36, 120));
    }
}
