//! Handshake limiter: bounds how many handshakes are under way at once, and what those of one source may cost. At the
//! limit a new handshake evicts the one that has waited longest for its peer, of the source that has most: an honest
//! client is done in milliseconds, and one that stays on to keep others out is the first to be evicted. One that waits
//! for this program to compute is not evicted by those that came after it from its own source.

mod failures;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::fair_limiter::{Activity, FairLimiter, Source};
use crate::handshake::HandshakeError;
use failures::Failures;

/// Handshakes at once, unless a program is told otherwise: few enough for the descriptors that a process has by default.
pub(crate) const DEFAULT_PLACES: usize = 256;

/// Cheap to clone; clones share the places and the budgets.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeLimiter {
    places: FairLimiter,
    failures: Arc<Mutex<Failures>>,
}

impl HandshakeLimiter {
    /// A limiter of so many handshakes at once, at least one.
    pub fn new(places: usize) -> Self {
        Self { places: FairLimiter::new(places), failures: Arc::default() }
    }

    /// Makes a handshake with a peer of `source` in a place, within the budget of that source: each handshake is
    /// charged to it until it succeeds. Beyond the budget it fails before it has begun, as long as peers of another
    /// source have been served; the budget comes back with time. `handshake` says when it waits to be computed.
    pub async fn run<T, F>(
        &self,
        source: Source,
        handshake: impl FnOnce(Activity) -> F,
    ) -> Result<T, HandshakeError>
    where
        F: Future<Output = Result<T, HandshakeError>>,
    {
        // What the sources that the caller does not name have used is nobody's in particular.
        if source != Source::Unknown && !lock(&self.failures).admit(source, Instant::now()) {
            return Err(HandshakeError::Throttled);
        }
        let mut place = self.places.reserve_for(source, 1).ok_or(HandshakeError::Evicted)?;
        let handshake = handshake(place.activity());
        let done = place.run(handshake).await.ok_or(HandshakeError::Evicted)??;
        lock(&self.failures).succeeded(source, Instant::now());
        Ok(done)
    }

    /// Handshakes under way.
    #[cfg(test)]
    pub fn active(&self) -> usize {
        self.places.held()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
