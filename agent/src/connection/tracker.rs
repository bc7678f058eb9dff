//! The tracker of open connections. The reaper asks those of them to close that are due: accepted under a
//! removed root, under an older leaf, too old, idle for too long, or too slow to send a request.
//! Connections have no timers of their own.

mod connection;
pub(super) mod entry;
mod roots;
pub(super) mod state;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub use connection::{Connection, InFlight};
use entry::{CloseReason, Entry};
pub use entry::{CloseStage, Protocol, Side};
pub use state::{ClosedLabels, Limits};
use state::{LeafState, Shared, TrackerState};

use hotcert_tls::Peer;
use hotcert_tls::Snapshot;
use hotcert_tls::identity::Trust;

/// Cheap to clone.
#[derive(Clone)]
pub struct ConnectionTracker {
    pub(super) shared: Arc<Shared>,
}

/// Open connections by the generation under which they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ByGeneration {
    pub current: usize,
    pub previous: usize,
    pub older: usize,
}

impl ByGeneration {
    pub fn total(self) -> usize {
        self.current + self.previous + self.older
    }
}

impl ConnectionTracker {
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared::new(limits)) }
    }

    /// Adds a connection whose handshake was made under `snapshot`. `None` when the tracker is full.
    pub fn open(
        &self,
        side: Side,
        protocol: Protocol,
        snapshot: &Snapshot,
        peer: Option<Arc<Peer>>,
    ) -> Option<Connection> {
        let mut state = self.state();
        if !self.has_room(&mut state) {
            drop(state);
            self.count_rejected();
            return None;
        }
        // Leaf and trust may have changed between the handshake and here.
        let newer = state.applied.as_ref().filter(|latest| latest.generation > snapshot.generation);
        let same_leaf = |latest: &Arc<Snapshot>| latest.identity.leaf.same_as(&snapshot.identity.leaf);
        let superseded = newer.is_some_and(|latest| !same_leaf(latest));
        let superseded_at = superseded.then(|| self.shared.now());
        state
            .leaves
            .entry(snapshot.generation)
            .or_insert(LeafState { not_after: snapshot.identity.leaf.usable_until, superseded_at });
        Some(self.insert(state, side, protocol, snapshot.generation, peer))
    }

    /// Adds a stream of an HTTP/2 connection that carries bytes from now on: it is limited and closed as a TCP
    /// connection of the same peer. `None` when the tracker is full.
    fn open_tunnel(&self, connection: &Connection) -> Option<Connection> {
        let mut state = self.state();
        if !self.has_room(&mut state) {
            drop(state);
            self.count_rejected();
            return None;
        }
        let Entry { side, generation, ref peer, .. } = *connection.entry;
        Some(self.insert(state, side, Protocol::Tcp, generation, peer.clone()))
    }

    fn has_room(&self, state: &mut TrackerState) -> bool {
        if state.entries.is_empty() {
            self.shared.catch_up();
            self.shared.first_opened.notify_one();
        }
        state.entries.len() < self.shared.limits.max_connections
    }

    fn insert(
        &self,
        mut state: MutexGuard<'_, TrackerState>,
        side: Side,
        protocol: Protocol,
        generation: u64,
        peer: Option<Arc<Peer>>,
    ) -> Connection {
        let entry = Arc::new(Entry::new(side, protocol, generation, peer, self.shared.now()));
        let key = state.entries.insert(Arc::clone(&entry));
        if let Some(stage) = state.closing[side as usize] {
            entry.close(stage, CloseReason::Shutdown);
        }
        let newer = state.applied.clone().filter(|latest| latest.generation > generation);
        drop(state);
        if let Some(latest) = newer
            && !entry.is_trusted_under(&latest)
        {
            self.close_untrusted(&entry);
        }
        Connection { shared: Arc::clone(&self.shared), entry, key }
    }

    /// Counts a connection that is turned away because the tracker is full.
    pub fn count_rejected(&self) {
        self.shared.count_closed(CloseReason::Limit);
    }

    pub fn max_connections(&self) -> usize {
        self.shared.limits.max_connections
    }

    pub fn is_full(&self) -> bool {
        self.state().entries.len() >= self.shared.limits.max_connections
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().entries.is_empty()
    }

    /// Open connections of one side; `current` is the current generation.
    pub fn count(&self, side: Side, current: u64) -> ByGeneration {
        let mut count = ByGeneration::default();
        for (_, entry) in self.state().entries.iter().filter(|(_, entry)| entry.side == side) {
            match current.saturating_sub(entry.generation) {
                0 => count.current += 1,
                1 => count.previous += 1,
                _ => count.older += 1,
            }
        }
        count
    }

    /// Connections whose peer the current trust bundle would refuse: asked to close, but still open.
    pub fn under_removed_roots(&self) -> usize {
        self.state().entries.iter().filter(|(_, entry)| entry.is_untrusted()).count()
    }

    /// By the SHA-256 of each root of `trust`: open connections, inbound and outbound, whose peer it alone
    /// verifies. Peers without a certificate depend on no root; with one root, all others depend on it.
    pub fn under_each_root(&self, trust: &Trust) -> BTreeMap<String, usize> {
        let open = roots::by_peer(&self.state().entries);
        self.shared.root_usage.lock().unwrap_or_else(PoisonError::into_inner).count(open, trust)
    }

    /// Asks every connection of one side to close, and each that opens from now on, because the agent shuts
    /// down.
    pub fn close_all(&self, side: Side, stage: CloseStage) {
        let mut state = self.state();
        let closing = &mut state.closing[side as usize];
        *closing = (*closing).max(Some(stage));
        for (_, entry) in state.entries.iter().filter(|(_, entry)| entry.side == side) {
            entry.close(stage, CloseReason::Shutdown);
        }
    }

    pub(super) fn close_untrusted(&self, entry: &Entry) {
        entry.untrusted_since.store(self.shared.now() + 1, Relaxed);
        // An HTTP connection that is closed while it seems idle may lose a request that is on its way, so
        // its next response is the last, and it is cut when the deadline is over.
        let stage = if entry.protocol() == Protocol::Tcp { CloseStage::Cut } else { CloseStage::LastRequest };
        entry.close(stage, CloseReason::RootRemoved);
    }

    /// Ended connections by reason.
    pub fn closed(&self) -> &Family<ClosedLabels, Counter> {
        &self.shared.closed
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TrackerState> {
        self.shared.lock()
    }
}

#[cfg(test)]
mod tests;
