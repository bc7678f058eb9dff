//! Limiter: bounds how many unproven tasks run at once, such as handshakes. At the limit a new task
//! evicts the one that has run longest: an honest client is done in milliseconds, and one that stays on to
//! keep others out is the first to be evicted.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Bounds how many handshakes, or other tasks of strangers, are under way at once. At the limit a new one evicts
/// the one that has run longest: an honest client is done in milliseconds, and one that stays on to keep others
/// out is the first to be evicted.
#[derive(Debug)]
pub struct HandshakeLimiter {
    limit: usize,
    permits: Mutex<Permits>,
}

#[derive(Debug, Default)]
struct Permits {
    next_id: u64,
    /// Oldest first. Dropping the sender evicts the task that has the permit.
    granted: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl HandshakeLimiter {
    /// A limiter of so many tasks, at least one.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), permits: Mutex::default() }
    }

    /// Runs `task` under a permit. `None` if it was evicted before it was done.
    pub async fn run<F: Future>(&self, task: F) -> Option<F::Output> {
        let (permit, evicted) = self.grant();
        tokio::select! {
            biased;
            output = task => {
                drop(permit);
                Some(output)
            }
            _ = evicted => None,
        }
    }

    /// Tasks that run now.
    pub fn active(&self) -> usize {
        self.lock().granted.len()
    }

    fn grant(&self) -> (Permit<'_>, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let mut permits = self.lock();
        if permits.granted.len() >= self.limit {
            permits.granted.pop_front();
        }
        let id = permits.next_id;
        permits.next_id += 1;
        permits.granted.push_back((id, sender));
        (Permit { limiter: self, id }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Permits> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Permit<'a> {
    limiter: &'a HandshakeLimiter,
    id: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let granted = &mut self.limiter.lock().granted;
        if let Ok(index) = granted.binary_search_by_key(&self.id, |(id, _)| *id) {
            granted.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn new_task_at_the_limit_evicts_the_longest_running_one() {
        let limiter = HandshakeLimiter::new(2);
        let (first, second) = (limiter.run(pending::<()>()), limiter.run(pending::<()>()));
        tokio::pin!(first, second);
        assert!(
            futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending()
        );
        assert_eq!(limiter.run(async { 7 }).await, Some(7));
        assert_eq!(first.await, None);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(limiter.active(), 1);
    }
}
