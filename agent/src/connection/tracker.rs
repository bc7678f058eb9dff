//! The tracker of open connections, and the one sweeper that asks those due to close: connections
//! that came in under a removed root, under an older leaf, too old, too long idle, or too slow to
//! say what they want. Connections have no timers of their own.

pub(super) mod connection;
mod roots;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use slab::Slab;
use tokio::sync::Notify;

pub use connection::{CloseStage, Connection, InFlight, Protocol, Side};
use connection::{Entry, Reason};

use crate::tls::peer::Peer;
use crate::tls::snapshot::Snapshot;

/// How long connections may live, and how they end.
#[derive(Clone, Debug)]
pub struct Limits {
    pub max_connections: usize,
    /// No byte in either direction.
    pub idle: Duration,
    pub max_age: Duration,
    /// From the first byte of an HTTP/1 request to the end of its head.
    pub request_head: Duration,
    /// After a change of leaf, HTTP connections of an older one are asked to close.
    pub drain_after: Duration,
    /// After a root was removed, what an HTTP request in flight under it has left.
    pub root_drain: Duration,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct ConnectionTracker {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) started: Instant,
    /// Milliseconds since `started`, moved on by the sweeper while there are connections: reading it costs nothing.
    pub(super) clock: AtomicU64,
    pub(super) state: Mutex<TrackerState>,
    /// The first connection after there was none.
    pub(super) opened: Notify,
    closed: Family<ClosedLabels, Counter>,
    anchored: Mutex<roots::Anchored>,
}

#[derive(Default)]
pub(super) struct TrackerState {
    pub(super) entries: Slab<Arc<Entry>>,
    /// The snapshot that the entries were last judged by.
    pub(super) judged_by: Option<Arc<Snapshot>>,
    /// Of generations that still have connections.
    pub(super) leaves: HashMap<u64, LeafState>,
}

/// What became of the leaf of a generation.
pub(super) struct LeafState {
    pub(super) not_after: SystemTime,
    /// When another leaf was published, in tracker milliseconds.
    pub(super) superseded: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClosedLabels {
    pub reason: &'static str,
}

/// Open connections by the generation they were made under.
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
        let shared = Shared {
            limits,
            started: Instant::now(),
            clock: AtomicU64::new(0),
            state: Mutex::default(),
            opened: Notify::new(),
            closed: Family::default(),
            anchored: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Enters a connection that has shaken hands under `snapshot`. `None` when the tracker is full.
    pub fn open(
        &self,
        side: Side,
        kind: Protocol,
        snapshot: &Snapshot,
        peer: Option<Arc<Peer>>,
    ) -> Option<Connection> {
        let mut state = self.state();
        if state.entries.len() >= self.shared.limits.max_connections {
            drop(state);
            self.refuse();
            return None;
        }
        if state.entries.is_empty() {
            self.catch_up();
            self.shared.opened.notify_one();
        }
        let entry = Arc::new(Entry::new(side, kind, snapshot.generation, peer, self.now()));
        let key = state.entries.insert(Arc::clone(&entry));
        // Leaf and trust may have changed between the handshake and here.
        let newer = state.judged_by.clone().filter(|latest| latest.generation > snapshot.generation);
        let same_leaf = |latest: &Arc<Snapshot>| latest.identity.leaf.same_as(&snapshot.identity.leaf);
        let superseded = newer.as_ref().is_some_and(|latest| !same_leaf(latest)).then(|| self.now());
        state
            .leaves
            .entry(snapshot.generation)
            .or_insert(LeafState { not_after: snapshot.identity.leaf.usable_until, superseded });
        drop(state);
        if let Some(latest) = newer
            && !entry.trusted_under(&latest)
        {
            self.end_untrusted(&entry);
        }
        Some(Connection { tracker: self.clone(), entry, key })
    }

    /// Counts a connection that is turned away because the tracker is full.
    pub fn refuse(&self) {
        self.count_closed("limit");
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

    /// Connections whose peer today's trust would refuse; being closed, but not gone yet.
    pub fn under_removed_roots(&self) -> usize {
        self.state().entries.iter().filter(|(_, entry)| entry.untrusted()).count()
    }

    /// Asks every connection of one side, because the agent is to stop.
    pub fn close_all(&self, side: Side, stage: CloseStage) {
        for (_, entry) in self.state().entries.iter().filter(|(_, entry)| entry.side == side) {
            entry.close(stage, Reason::Shutdown);
        }
    }

    pub(super) fn catch_up(&self) {
        self.advance(self.shared.started.elapsed());
    }

    pub(super) fn advance(&self, since_start: Duration) {
        self.shared.clock.fetch_max(millis(since_start), Relaxed);
    }

    pub(super) fn end_untrusted(&self, entry: &Entry) {
        entry.untrusted_since.store(self.now() + 1, Relaxed);
        // An HTTP connection closed while it seems idle may lose a request that is on its way, so it
        // is told to go with its next answer, and cut when the deadline is over.
        let stage = if entry.kind == Protocol::Tcp { CloseStage::Cut } else { CloseStage::LastRequest };
        entry.close(stage, Reason::RootRemoved);
    }

    pub fn closed(&self) -> &Family<ClosedLabels, Counter> {
        &self.shared.closed
    }

    fn close(&self, key: usize) {
        let mut state = self.state();
        let entry = state.entries.remove(key);
        drop(state);
        self.count_closed(entry.reason());
    }

    fn count_closed(&self, reason: &'static str) {
        self.shared.closed.get_or_create(&ClosedLabels { reason }).inc();
    }

    pub(super) fn now(&self) -> u64 {
        self.shared.clock.load(Relaxed)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TrackerState> {
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
