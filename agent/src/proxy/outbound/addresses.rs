//! The addresses of a server, tried as RFC 8305 has it: both families in turn, the next address when the one before it
//! has failed or has not answered for a moment, and the first that accepts is used. An address that failed is tried last
//! for a while, so that a dead record of a headless Service delays one connection and not every one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tracing::debug;

/// From one attempt to the next while there is no answer: RFC 8305's recommendation.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Attempts of one call that are under way at once: each holds a descriptor. A server of which two addresses do not answer
/// is waited for until the third does, or the first has failed.
const MAX_ATTEMPTS: usize = 3;
/// Of a name with more addresses the first are tried.
const MAX_ADDRESSES: usize = 64;
/// A pod that has gone leaves its Service within seconds.
const AVOID_FOR: Duration = Duration::from_secs(10);
/// More are not remembered: names that requests choose may resolve to anything.
const MAX_AVOIDED: usize = 1024;

/// Addresses that have failed, of all servers.
#[derive(Default)]
pub struct FailedAddresses {
    at: Mutex<HashMap<SocketAddr, Instant>>,
    pub count: Counter,
}

impl FailedAddresses {
    /// Refused, or did not answer in time.
    pub fn record(&self, address: SocketAddr) {
        self.count.inc();
        let now = Instant::now();
        let mut at = self.lock();
        if at.len() >= MAX_AVOIDED {
            at.retain(|_, failed| now.duration_since(*failed) < AVOID_FOR);
        }
        if at.len() < MAX_AVOIDED {
            at.insert(address, now);
        }
    }

    fn is_recent(&self, address: &SocketAddr) -> bool {
        self.lock().get(address).is_some_and(|failed| failed.elapsed() < AVOID_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of one server that are left to try.
pub struct Addresses<'a> {
    left: VecDeque<SocketAddr>,
    failed: &'a FailedAddresses,
}

impl<'a> Addresses<'a> {
    pub fn new(resolved: Vec<SocketAddr>, failed: &'a FailedAddresses) -> Self {
        let (late, early): (Vec<_>, Vec<_>) =
            resolved.into_iter().take(MAX_ADDRESSES).partition(|address| failed.is_recent(address));
        let left = in_turn(early).into_iter().chain(in_turn(late)).collect();
        Self { left, failed }
    }

    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Connects to the first that accepts. Those that have not answered by then stay for another call. When the time is
    /// over, none has.
    pub async fn connect(&mut self, within: Duration) -> io::Result<(TcpStream, SocketAddr)> {
        let mut over = pin!(sleep(within));
        let mut attempts = FuturesUnordered::new();
        let mut under_way: Vec<(SocketAddr, Instant)> = Vec::new();
        let mut last = io::Error::other("its name has no address");
        loop {
            if attempts.len() < MAX_ATTEMPTS
                && let Some(address) = self.left.pop_front()
            {
                under_way.push((address, Instant::now()));
                attempts.push(async move { (address, TcpStream::connect(address).await) });
            } else if attempts.is_empty() {
                return Err(last);
            }
            let result = tokio::select! {
                result = attempts.next() => result,
                () = &mut over => {
                    self.put_back(&under_way);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                () = sleep(ATTEMPT_DELAY), if attempts.len() < MAX_ATTEMPTS && !self.left.is_empty() => None,
            };
            let Some((address, result)) = result else { continue };
            under_way.retain(|(other, _)| *other != address);
            match result {
                Ok(socket) => {
                    self.put_back(&under_way);
                    return Ok((socket, address));
                }
                Err(error) => {
                    debug!(%address, %error, "an address of a server cannot be connected to");
                    // What this process lacks says nothing of the address.
                    if !is_own(&error) {
                        self.failed.record(address);
                    }
                    last = error;
                }
            }
        }
    }

    fn put_back(&mut self, overtaken: &[(SocketAddr, Instant)]) {
        for (address, since) in overtaken {
            if since.elapsed() >= ATTEMPT_DELAY {
                debug!(%address, "an address of a server has not answered");
                self.failed.record(*address);
            }
            self.left.push_back(*address);
        }
    }
}

/// There are no descriptors left, or no ports.
fn is_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|error| own.contains(&error))
}

/// Both families in turn, beginning with that of the first.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let count = addresses.len();
    let first = addresses.first().map(SocketAddr::is_ipv4);
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.is_ipv4()) == first);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(count);
    while ordered.len() < count {
        ordered.extend(same.next());
        ordered.extend(other.next());
    }
    ordered
}

#[cfg(test)]
mod tests;
