//! Limiter: bounds how many unproven tasks run at once, such as handshakes, and what the handshakes of one source may
//! cost. At the limit a new task evicts the one that has run longest of the source that has most: an honest client is
//! done in milliseconds, and one that stays on to keep others out is the first to be evicted.

mod failures;

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::fair_limiter::{FairLimiter, Source};
use crate::handshake::HandshakeError;
use failures::Failures;

/// Bounds how many handshakes, or other tasks of strangers, are under way at once, and how many handshakes of one
/// source may fail.
///
/// At the limit a new task evicts one: of the source that has most tasks, the one that has run longest. So a source
/// alone may use all places, and one of many keeps its share whatever the others do. A source is an IPv4 address, or
/// an IPv6 network of 64 bits, which one host can have to itself.
///
/// ```no_run
/// # use std::sync::Arc;
/// # async fn run(identities: hotcert_tls::Identities, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let acceptor = identities.acceptor(["h2", "http/1.1"]);
/// let limiter = Arc::new(hotcert_tls::HandshakeLimiter::new(256));
/// loop {
///     let (socket, from) = listener.accept().await?;
///     let (acceptor, limiter) = (acceptor.clone(), Arc::clone(&limiter));
///     tokio::spawn(async move {
///         match limiter.handshake_from(from.ip(), acceptor.accept(socket)).await {
///             Ok(stream) => { /* serve it */ }
///             Err(error) => eprintln!("{from}: {error}"),
///         }
///     });
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct HandshakeLimiter {
    places: FairLimiter,
    failures: Mutex<Failures>,
}

impl HandshakeLimiter {
    /// A limiter of so many tasks, at least one.
    pub fn new(limit: usize) -> Self {
        Self { places: FairLimiter::new(limit), failures: Mutex::default() }
    }

    /// Runs `task` in a place. `None` if it was evicted before it was done. All tasks without a source share as one
    /// source does.
    pub async fn run<F: Future>(&self, task: F) -> Option<F::Output> {
        self.run_in_place(Source::Unknown, task).await
    }

    /// As [`HandshakeLimiter::run`], for a task of the peer at `source`. `None` if it was evicted before it was done.
    pub async fn run_from<F: Future>(&self, source: IpAddr, task: F) -> Option<F::Output> {
        self.run_in_place(source.into(), task).await
    }

    /// Makes a handshake with the peer at `source` in a place, within the budget of that source: each handshake is
    /// charged to it until it succeeds. Beyond the budget it fails at once with [`HandshakeError::Throttled`], before
    /// a byte is read, as long as peers of another source have been served; the budget comes back with time. A
    /// handshake that gave way to others fails with [`HandshakeError::Evicted`].
    pub async fn handshake_from<T, F>(&self, source: IpAddr, handshake: F) -> Result<T, HandshakeError>
    where
        F: Future<Output = Result<T, HandshakeError>>,
    {
        let source = Source::from(source);
        if !lock(&self.failures).admit(source, Instant::now()) {
            return Err(HandshakeError::Throttled);
        }
        let done = self.run_in_place(source, handshake).await.ok_or(HandshakeError::Evicted)??;
        lock(&self.failures).succeeded(source, Instant::now());
        Ok(done)
    }

    /// Tasks that run now.
    pub fn active(&self) -> usize {
        self.places.held()
    }

    async fn run_in_place<F: Future>(&self, source: Source, task: F) -> Option<F::Output> {
        // A place is refused only for the sake of one that answers a request, and none does.
        self.places.reserve_for(source, 1)?.run(task).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
