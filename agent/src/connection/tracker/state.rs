//! What the tracker, the reaper and every open connection share: the entries, the clock, the counters.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hotcert_log::LogLimiter;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use slab::Slab;
use tokio::sync::Notify;

use super::entry::{CloseReason, CloseStage, Entry, Side};
use super::limits::Limits;
use super::places::Places;
use super::roots::RootUsage;
use hotcert_tls::Snapshot;

pub(in crate::connection) struct Shared {
    pub limits: Limits,
    pub started: Instant,
    /// Milliseconds since `started`, advanced by the reaper while there are connections, so that
    /// reading it costs nothing.
    pub clock: AtomicU64,
    state: Mutex<TrackerState>,
    /// Notified when a connection opens and there was none.
    pub first_opened: Notify,
    pub closed: Family<ClosedLabels, Counter>,
    pub root_usage: Mutex<RootUsage>,
    /// For the names and addresses of peers.
    pub hasher: RandomState,
    pub log_limiter: LogLimiter,
}

#[derive(Default)]
pub(in crate::connection) struct TrackerState {
    pub entries: Slab<Arc<Entry>>,
    pub places: Places,
    /// The snapshot that was last applied to the entries.
    pub applied: Option<Arc<Snapshot>>,
    /// The leaf of each generation that still has connections.
    pub leaves: HashMap<u64, LeafState>,
    /// By side with a place: the stage that a drain has reached.
    pub closing: [Option<CloseStage>; 2],
}

pub(in crate::connection) struct LeafState {
    pub not_after: SystemTime,
    /// When another leaf was published, by the tracker's clock.
    pub superseded_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClosedLabels {
    pub side: &'static str,
    pub reason: &'static str,
}

impl Shared {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            clock: AtomicU64::new(0),
            state: Mutex::default(),
            first_opened: Notify::new(),
            closed: Family::default(),
            root_usage: Mutex::default(),
            hasher: RandomState::new(),
            log_limiter: LogLimiter::default(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, TrackerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> u64 {
        self.clock.load(Relaxed)
    }

    /// Sets the clock to the time that has passed since the start.
    pub fn catch_up(&self) {
        self.advance(self.started.elapsed());
    }

    pub fn advance(&self, since_start: Duration) {
        self.clock.fetch_max(millis(since_start), Relaxed);
    }

    pub fn count_closed(&self, side: Side, reason: CloseReason) {
        self.closed.get_or_create(&ClosedLabels { side: side.as_str(), reason: reason.as_str() }).inc();
    }
}

pub(in crate::connection) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
