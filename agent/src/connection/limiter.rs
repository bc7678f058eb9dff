//! Limiter: a bounded number of those who have not shown yet what they are good for. A newcomer who
//! finds none takes the place of whoever has held one longest: an honest client is done in
//! milliseconds, and one that holds on to its place to keep others out is the first to lose it.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub struct Limiter {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// Oldest first. Dropping the sender puts its holder out.
    holders: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Limiter {
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), taken: Mutex::default() }
    }

    /// Runs `work` in a place. `None` if the place was lost before it was done.
    pub async fn hold<F: Future>(&self, work: F) -> Option<F::Output> {
        let (place, lost) = self.take();
        tokio::select! {
            biased;
            done = work => {
                drop(place);
                Some(done)
            }
            _ = lost => None,
        }
    }

    pub fn taken(&self) -> usize {
        self.lock().holders.len()
    }

    fn take(&self) -> (Slot<'_>, oneshot::Receiver<()>) {
        let (sender, lost) = oneshot::channel();
        let mut taken = self.lock();
        if taken.holders.len() >= self.limit {
            taken.holders.pop_front();
        }
        let number = taken.next;
        taken.next += 1;
        taken.holders.push_back((number, sender));
        (Slot { limiter: self, number }, lost)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Slot<'a> {
    limiter: &'a Limiter,
    number: u64,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let holders = &mut self.limiter.lock().holders;
        if let Ok(index) = holders.binary_search_by_key(&self.number, |(number, _)| *number) {
            holders.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn newcomer_takes_the_place_of_the_one_who_holds_on_longest() {
        let limiter = Limiter::new(2);
        let (first, second) = (limiter.hold(pending::<()>()), limiter.hold(pending::<()>()));
        tokio::pin!(first, second);
        assert!(
            futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending()
        );
        assert_eq!(limiter.hold(async { 7 }).await, Some(7));
        assert_eq!(first.await, None);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(limiter.taken(), 1);
    }
}
