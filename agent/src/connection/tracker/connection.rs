//! One open connection: what the sweeper must know of it, and how it is told to end.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::ConnectionTracker;
use crate::tls::peer::Peer;
use crate::tls::snapshot::Snapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Inbound,
    Outbound,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Http1,
    Http2,
}

/// What a connection is asked to do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CloseStage {
    None,
    /// HTTP: let the next response be the last. TCP has no such thing.
    LastRequest,
    /// HTTP: end as soon as no request is in flight.
    Finish,
    /// End now.
    Cut,
}

/// Why it was asked; the label under which its end is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::connection) enum Reason {
    Done,
    LeafChanged,
    RootRemoved,
    MaxAge,
    Idle,
    SlowRequest,
    Shutdown,
    NotAllowed,
}

impl Reason {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Done, "done"),
        (Self::LeafChanged, "drained"),
        (Self::RootRemoved, "root_removed"),
        (Self::MaxAge, "max_age"),
        (Self::Idle, "idle"),
        (Self::SlowRequest, "slow_request"),
        (Self::Shutdown, "shutdown"),
        (Self::NotAllowed, "not_allowed"),
    ];
}

/// The tracker's record of a connection.
pub(in crate::connection) struct Entry {
    pub side: Side,
    pub kind: Protocol,
    pub generation: u64,
    pub opened: u64,
    /// 0..=255, fixed per connection: spreads what is due at once.
    pub jitter: u8,
    pub peer: Option<Arc<Peer>>,
    pub activity: AtomicU64,
    /// HTTP/1: when the first byte of a request came whose head is not complete; 0 when none.
    pub head_since: AtomicU64,
    pub in_flight: AtomicU32,
    order: AtomicU8,
    reason: AtomicU8,
    /// When its peer was found untrusted, +1; 0 if it is not.
    pub untrusted_since: AtomicU64,
    waker: AtomicWaker,
}

impl Entry {
    pub fn new(side: Side, kind: Protocol, generation: u64, peer: Option<Arc<Peer>>, now: u64) -> Self {
        // Any spread will do; the address of a fresh allocation would repeat, a counter does not.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let jitter = (NEXT.fetch_add(1, Relaxed).wrapping_mul(2_654_435_761) >> 24) as u8;
        Self {
            side,
            kind,
            generation,
            opened: now,
            jitter,
            peer,
            activity: AtomicU64::new(now),
            head_since: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            order: AtomicU8::new(0),
            reason: AtomicU8::new(0),
            untrusted_since: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    pub fn close(&self, order: CloseStage, reason: Reason) {
        if self.order.fetch_max(order as u8, AcqRel) < order as u8 {
            self.reason.store(reason as u8, Relaxed);
            self.waker.wake();
        }
    }

    pub fn close_stage(&self) -> CloseStage {
        match self.order.load(Acquire) {
            0 => CloseStage::None,
            1 => CloseStage::LastRequest,
            2 => CloseStage::Finish,
            _ => CloseStage::Cut,
        }
    }

    pub fn reason(&self) -> &'static str {
        let reason = usize::from(self.reason.load(Relaxed));
        Reason::ALL.get(reason).map_or("done", |(_, label)| label)
    }

    pub fn untrusted(&self) -> bool {
        self.untrusted_since.load(Relaxed) > 0
    }

    /// Whether its peer would be let in, or be dialled, under `snapshot`. Who showed no
    /// certificate has none to lose.
    pub fn trusted_under(&self, snapshot: &Snapshot) -> bool {
        let Some(peer) = &self.peer else {
            return true;
        };
        match self.side {
            Side::Inbound => snapshot.configs.trusts_client(&peer.chain, peer.verified_at),
            Side::Outbound => snapshot.configs.trusts_server(&peer.chain, peer.verified_at),
        }
    }

    /// Equal for connections of one peer on one side.
    pub fn peer_key(&self) -> (bool, usize) {
        let address = self.peer.as_ref().map_or(0, |peer| Arc::as_ptr(peer) as usize);
        (self.side == Side::Inbound, address)
    }
}

/// The connection's own end of its record. Dropping it takes it out of the tracker.
pub struct Connection {
    pub(in crate::connection) tracker: ConnectionTracker,
    pub(in crate::connection) entry: Arc<Entry>,
    pub(in crate::connection) key: usize,
}

impl Connection {
    pub fn close_stage(&self) -> CloseStage {
        self.entry.close_stage()
    }

    /// HTTP: has the answer to this request be the last.
    pub fn end_after_this(&self) {
        self.entry.close(CloseStage::LastRequest, Reason::NotAllowed);
    }

    /// Has the task of `waker` polled again when the order changes. Ask `close_stage` afterwards.
    pub fn wake_on_close(&self, waker: &Waker) {
        self.entry.waker.register(waker);
    }

    /// Bytes moved.
    pub fn touch(&self) {
        self.entry.activity.store(self.tracker.now(), Relaxed);
    }

    /// HTTP/1: bytes came in; if no request is in flight they begin a head.
    pub fn head_bytes(&self) {
        let entry = &self.entry;
        if entry.side == Side::Inbound
            && entry.kind == Protocol::Http1
            && entry.in_flight.load(Relaxed) == 0
            && entry.head_since.load(Relaxed) == 0
        {
            entry.head_since.store(self.tracker.now().max(1), Relaxed);
        }
    }

    /// A request's head is complete. In flight until the returned value is dropped.
    pub fn request(&self) -> InFlight {
        self.entry.head_since.store(0, Relaxed);
        self.entry.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.entry))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tracker.close(self.key);
    }
}

pub struct InFlight(Arc<Entry>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
