//! The tracker of open connections. The reaper asks those of them to close that are due: accepted under a
//! removed root, under an older leaf, too old, idle for too long, too slow to send a request, or without one. How many
//! a peer may have, and which gives way to another's, is decided in `places`.
//! Connections have no timers of their own.

mod connection;
pub(super) mod entry;
mod limit_log;
mod limits;
mod peer_id;
mod peer_name;
mod places;
mod roots;
pub(super) mod state;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub use connection::{Connection, InFlight};
use entry::{CloseReason, Entry, Origin};
pub use entry::{CloseStage, Protocol, Side};
pub use limits::Limits;
pub use peer_id::PeerId;
pub use peer_name::PeerName;
pub use state::ClosedLabels;
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

    /// Adds a connection of the agent's own making, whose handshake was made under `snapshot`. `None` when no place is
    /// free.
    pub fn open(
        &self,
        side: Side,
        protocol: Protocol,
        snapshot: &Snapshot,
        peer: Option<Arc<Peer>>,
    ) -> Option<Connection> {
        let source = Ipv4Addr::UNSPECIFIED.into();
        let holder = PeerId::new(&self.shared.hasher, peer.as_deref(), source);
        self.open_of(Origin { holder, source, listed: true }, side, protocol, snapshot, peer)
    }

    /// Adds a client's connection, whose handshake was made under `snapshot`. If no place is free, the one that has
    /// the least claim to its own gives way; `None` if none has. `listed`: it is on the allow list.
    pub fn admit(
        &self,
        protocol: Protocol,
        snapshot: &Snapshot,
        peer: Option<Arc<Peer>>,
        source: IpAddr,
        listed: bool,
    ) -> Option<Connection> {
        let holder = PeerId::new(&self.shared.hasher, peer.as_deref(), source);
        self.open_of(Origin { holder, source, listed }, Side::Inbound, protocol, snapshot, peer)
    }

    /// Adds a connection of the app, in plain text, which begins as HTTP/1.
    pub fn open_plain(&self) -> Connection {
        let state = self.state();
        if state.entries.is_empty() {
            self.shared.catch_up();
            self.shared.first_opened.notify_one();
        }
        let source = Ipv4Addr::LOCALHOST.into();
        let origin = Origin { holder: PeerId::default(), source, listed: true };
        // No leaf and no root matters to it.
        let entry = Entry::new(Side::App, Protocol::Http1, u64::MAX, None, origin, self.shared.now());
        self.insert(state, entry)
    }

    fn open_of(
        &self,
        origin: Origin,
        side: Side,
        protocol: Protocol,
        snapshot: &Snapshot,
        peer: Option<Arc<Peer>>,
    ) -> Option<Connection> {
        let mut state = self.state_with_a_place(side, origin, peer.as_deref())?;
        // Leaf and trust may have changed between the handshake and here.
        let newer = state.applied.as_ref().filter(|latest| latest.generation > snapshot.generation);
        let same_leaf = |latest: &Arc<Snapshot>| latest.identity.leaf.same_as(&snapshot.identity.leaf);
        let superseded = newer.is_some_and(|latest| !same_leaf(latest));
        let superseded_at = superseded.then(|| self.shared.now());
        state
            .leaves
            .entry(snapshot.generation)
            .or_insert(LeafState { not_after: snapshot.identity.leaf.usable_until, superseded_at });
        let entry = Entry::new(side, protocol, snapshot.generation, peer, origin, self.shared.now());
        Some(self.insert(state, entry))
    }

    /// Adds a stream of an HTTP/2 connection that carries bytes from now on: it is limited and closed as a TCP
    /// connection of the same peer. `None` when no place is free.
    fn open_tunnel(&self, connection: &Connection) -> Option<Connection> {
        let Entry { side, generation, ref peer, .. } = *connection.entry;
        let origin = connection.entry.origin();
        let state = self.state_with_a_place(side, origin, peer.as_deref())?;
        let entry = Entry::new(side, Protocol::Tcp, generation, peer.clone(), origin, self.shared.now());
        Some(self.insert(state, entry))
    }

    /// The state, while there is a place for one more connection.
    fn state_with_a_place(
        &self,
        side: Side,
        origin: Origin,
        peer: Option<&Peer>,
    ) -> Option<MutexGuard<'_, TrackerState>> {
        let mut state = self.state();
        if state.entries.is_empty() {
            self.shared.catch_up();
            self.shared.first_opened.notify_one();
        }
        let (limits, now) = (&self.shared.limits, self.shared.now());
        let TrackerState { entries, places, .. } = &mut *state;
        if places.is_free(side, limits) {
            return Some(state);
        }
        let name = PeerName { peer, source: origin.source };
        // The app's own connections to servers have the app as their only source, and nothing to share.
        if side == Side::Inbound
            && origin.listed
            && let Some((victim, reason)) = places.make_room(entries, limits, origin.holder, now)
        {
            self.shared.log_gave_way(&victim, reason, origin.holder, name);
            return Some(state);
        }
        drop(state);
        self.shared.count_closed(side, CloseReason::Limit);
        self.shared.log_turned_away(side, origin.holder, (side == Side::Inbound).then_some(name));
        None
    }

    fn insert(&self, mut state: MutexGuard<'_, TrackerState>, entry: Entry) -> Connection {
        let (generation, entry) = (entry.generation, Arc::new(entry));
        state.places.take(&entry);
        let key = state.entries.insert(Arc::clone(&entry));
        if let Some(stage) = state.closing.get(entry.side as usize).copied().flatten() {
            entry.close(stage, CloseReason::Shutdown);
        }
        let newer = state.applied.clone().filter(|latest| latest.generation > generation);
        drop(state);
        if let Some(latest) = newer
            && !entry.is_trusted_under(&latest)
        {
            self.close_untrusted(&entry, &latest);
        }
        Connection { shared: Arc::clone(&self.shared), entry, key }
    }

    /// A connection to a server is not made because no place is free.
    pub fn reject_outbound(&self) {
        self.shared.count_closed(Side::Outbound, CloseReason::Limit);
        self.shared.log_turned_away(Side::Outbound, PeerId::default(), None);
    }

    /// The most connections that one side may have.
    pub fn max_connections(&self) -> usize {
        self.shared.limits.places()
    }

    pub fn is_full(&self, side: Side) -> bool {
        !self.state().places.is_free(side, &self.shared.limits)
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
        if let Some(closing) = state.closing.get_mut(side as usize) {
            *closing = (*closing).max(Some(stage));
        }
        for (_, entry) in state.entries.iter().filter(|(_, entry)| entry.side == side) {
            entry.close(stage, CloseReason::Shutdown);
        }
    }

    /// Closes a connection whose peer `snapshot` does not trust: at once if it is revoked.
    pub(super) fn close_untrusted(&self, entry: &Entry, snapshot: &Snapshot) {
        entry.untrusted_since.store(self.shared.now() + 1, Relaxed);
        if entry.peer.as_ref().is_some_and(|peer| snapshot.revokes(peer)) {
            entry.close(CloseStage::Cut, CloseReason::Revoked);
            return;
        }
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
