//! The memory budget: what requests and their responses may hold while they wait for those who send and read them. One
//! budget for the process, of which each peer has a share; a share is a part of what is left, so that a peer that takes
//! much leaves less for itself and always something for the others. What is over a share waits: it is neither reset nor
//! read from where it comes.

mod chunk;
mod read_limit;
mod request;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

pub use chunk::Chunk;
use hotcert_tls::Peer;
pub use read_limit::ReadLimited;
pub use request::{ConnectionMemory, NoRoom, RequestMemory};

/// A peer may hold as much as a fifth of what is left: alone a sixth of the budget, and each of two a seventh. With the
/// budget of a limit of 256 MiB this is what 600 requests hold that are served at once.
const PEER_DIVISOR: usize = 5;
/// The app, through its outbound connections, may hold as much as is left: half of the budget.
const APP_DIVISOR: usize = 1;

/// In bytes.
pub struct MemoryBudget {
    limit: usize,
    in_use: AtomicUsize,
    /// By the address of the interned peer.
    peers: Mutex<HashMap<usize, Weak<Share>>>,
    /// Requests that had to wait for memory.
    pub waited: Counter,
}

/// What one peer holds, on all of its connections.
pub struct Share {
    budget: Arc<MemoryBudget>,
    divisor: usize,
    in_use: AtomicUsize,
    /// Requests that wait for room, and what wakes one of them.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    freed: Notify,
    /// Kept, so that its address is not another peer's meanwhile.
    peer: Option<Arc<Peer>>,
}

impl MemoryBudget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            in_use: AtomicUsize::new(0),
            peers: Mutex::default(),
            waited: Counter::default(),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// The share of a client. A client without a certificate is known by its connection alone.
    pub fn of_peer(self: &Arc<Self>, peer: Option<&Arc<Peer>>) -> Arc<Share> {
        let Some(peer) = peer else { return self.share(PEER_DIVISOR, None) };
        let key = Arc::as_ptr(peer) as usize;
        let mut peers = self.peers();
        if let Some(share) = peers.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        let share = self.share(PEER_DIVISOR, Some(Arc::clone(peer)));
        peers.insert(key, Arc::downgrade(&share));
        share
    }

    /// The share of the app in what it sends out.
    pub fn of_app(self: &Arc<Self>) -> Arc<Share> {
        self.share(APP_DIVISOR, None)
    }

    fn share(self: &Arc<Self>, divisor: usize, peer: Option<Arc<Peer>>) -> Arc<Share> {
        Arc::new(Share {
            budget: Arc::clone(self),
            divisor,
            in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            peer,
        })
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<usize, Weak<Share>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// What it may hold now.
    fn allowed(&self) -> usize {
        self.budget.limit.saturating_sub(self.budget.in_use()) / self.divisor
    }

    /// Whether so many bytes more are within the share. Who holds nothing always has room, until many such peers hold
    /// half as much again as the budget.
    fn has_room(&self, bytes: usize) -> bool {
        let in_use = self.in_use.load(SeqCst);
        let is_served = in_use == 0 && self.budget.in_use() < self.budget.limit / 2 * 3;
        is_served || in_use + bytes <= self.allowed()
    }

    fn charge(&self, bytes: usize) {
        self.in_use.fetch_add(bytes, SeqCst);
        self.budget.in_use.fetch_add(bytes, Relaxed);
    }

    /// Not exact where threads compete: each may be right by itself.
    fn try_charge(&self, bytes: usize) -> bool {
        let room = self.has_room(bytes);
        if room {
            self.charge(bytes);
        }
        room
    }

    fn release(&self, bytes: usize) {
        self.budget.in_use.fetch_sub(bytes, Relaxed);
        self.in_use.fetch_sub(bytes, SeqCst);
        self.wake_one();
    }

    fn wake_one(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            let key = Arc::as_ptr(peer) as usize;
            let mut peers = self.budget.peers();
            // Another may have been made meanwhile.
            if peers.get(&key).is_some_and(|share| share.strong_count() == 0) {
                peers.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
