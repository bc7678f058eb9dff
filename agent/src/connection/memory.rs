//! The memory budget: what requests and their responses may hold while they wait for those who send and read them. One
//! budget for the process, of which each peer has a share; a share is a part of what is left, so that a peer that takes
//! much leaves less for itself and always something for the others; a part is kept for either side, as of the places. A
//! peer is a [`PeerId`]. What is over a share waits: it is neither reset nor read from where it comes.

mod chunk;
mod read_limit;
mod relay;
mod request;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

pub use chunk::Chunk;
pub use read_limit::ReadLimited;
pub use relay::{RelayMemory, RelayRoom};
pub use request::{ConnectionMemory, NoRoom, RequestMemory, Upload, UploadMemory};

use crate::connection::tracker::{PeerId, Side};

/// A peer may hold as much as a fifth of what is left of the budget: alone a sixth, and each of two a seventh. With the
/// budget of a limit of 256 MiB this is what 2,000 small requests hold that are served at once.
const PEER_DIVISOR: usize = 5;

/// In bytes.
pub struct MemoryBudget {
    limit: usize,
    /// Each side may count on so much, whatever the other takes.
    kept_for_each_side: usize,
    /// By side.
    in_use: [AtomicUsize; 2],
    /// By identity.
    peers: Mutex<HashMap<u64, Weak<Share>>>,
    /// Requests that had to wait for memory.
    pub waited: Counter,
}

/// What one peer holds, on all of its connections.
pub struct Share {
    budget: Arc<MemoryBudget>,
    holder: Holder,
    in_use: AtomicUsize,
    /// Requests that wait for room, and what wakes one of them.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    freed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// A client, by its identity.
    Peer(u64),
    /// The app, in what it sends out. It is alone on its side, and may have all that is left there.
    App,
}

impl Holder {
    fn side(self) -> Side {
        match self {
            Self::Peer(_) => Side::Inbound,
            Self::App => Side::Outbound,
        }
    }
}

impl MemoryBudget {
    pub fn new(limit: usize, kept_for_each_side: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            kept_for_each_side,
            in_use: Default::default(),
            peers: Mutex::default(),
            waited: Counter::default(),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn in_use(&self) -> usize {
        self.of_side(Side::Inbound) + self.of_side(Side::Outbound)
    }

    fn of_side(&self, side: Side) -> usize {
        self.in_use[side as usize].load(Relaxed)
    }

    /// The most that one side may hold.
    fn side_limit(&self) -> usize {
        self.limit.saturating_sub(self.kept_for_each_side)
    }

    /// What is left for one side: what neither has, without what is kept for the other.
    fn left(&self, side: Side) -> usize {
        let (own, all) = (self.of_side(side), self.in_use());
        let kept_for_other = self.kept_for_each_side.max(all.saturating_sub(own));
        let free = self.limit.saturating_sub(own).saturating_sub(kept_for_other);
        free.max(self.kept_for_each_side.saturating_sub(own))
    }

    /// The share of a client.
    pub fn of_peer(self: &Arc<Self>, peer: PeerId) -> Arc<Share> {
        let mut peers = self.peers();
        if let Some(share) = peers.get(&peer.identity).and_then(Weak::upgrade) {
            return share;
        }
        let share = self.share(Holder::Peer(peer.identity));
        peers.insert(peer.identity, Arc::downgrade(&share));
        share
    }

    /// The share of the app in what it sends out.
    pub fn of_app(self: &Arc<Self>) -> Arc<Share> {
        self.share(Holder::App)
    }

    fn share(self: &Arc<Self>, holder: Holder) -> Arc<Share> {
        Arc::new(Share {
            budget: Arc::clone(self),
            holder,
            in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<u64, Weak<Share>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// What it may hold now.
    fn allowed(&self) -> usize {
        let (budget, in_use) = (&self.budget, self.in_use.load(SeqCst));
        let left = budget.left(self.holder.side());
        let most = match self.holder {
            Holder::Peer(_) => budget.limit.saturating_sub(budget.in_use()).max(left) / PEER_DIVISOR,
            Holder::App => usize::MAX,
        };
        most.min(in_use + left)
    }

    /// Whether so many bytes more are within the share. Who holds nothing always has room, until many such peers hold
    /// half as much again as their side may.
    fn has_room(&self, bytes: usize) -> bool {
        let (budget, in_use) = (&self.budget, self.in_use.load(SeqCst));
        let most = budget.side_limit() / 2 * 3;
        let is_served = in_use == 0 && budget.of_side(self.holder.side()) < most;
        is_served || in_use + bytes <= self.allowed()
    }

    fn charge(&self, bytes: usize) {
        self.in_use.fetch_add(bytes, SeqCst);
        self.of_its_side().fetch_add(bytes, Relaxed);
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
        self.of_its_side().fetch_sub(bytes, Relaxed);
        self.in_use.fetch_sub(bytes, SeqCst);
        self.wake_one();
    }

    fn of_its_side(&self) -> &AtomicUsize {
        &self.budget.in_use[self.holder.side() as usize]
    }

    fn wake_one(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Holder::Peer(identity) = self.holder {
            let mut peers = self.budget.peers();
            // Another may have been made meanwhile.
            if peers.get(&identity).is_some_and(|share| share.strong_count() == 0) {
                peers.remove(&identity);
            }
            if peers.is_empty() {
                // What a flood took room for is given back.
                *peers = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests;
