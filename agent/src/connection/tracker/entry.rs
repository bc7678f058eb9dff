//! The tracker's record of one open connection: what the reaper must know of it, and how it is asked to
//! close.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

use futures_util::task::AtomicWaker;

use super::peer_id::PeerId;
use super::peer_name::PeerName;
use hotcert_tls::Peer;
use hotcert_tls::Snapshot;

/// HTTP without a request in flight is idle after this: long enough for a request that is on its way.
const HTTP_IDLE_AFTER_MILLIS: u64 = 1000;
/// TCP on which no byte has moved for this long: a protocol may be silent between two bytes that belong together.
const TCP_IDLE_AFTER_MILLIS: u64 = 60_000;
/// An unlisted client has this long to ask, and to read that it is refused.
const UNLISTED_FOR_MILLIS: u64 = 5000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Inbound,
    Outbound,
    /// From the app, in plain text, to be carried to servers. It takes no place.
    App,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::App => "app",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    Tcp,
    Http1,
    Http2,
}

/// What a connection is asked to do; each stage includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CloseStage {
    None,
    /// HTTP: make the next response the last. TCP has no such stage.
    LastRequest,
    /// HTTP: close as soon as no request is in flight.
    Finish,
    /// Close now.
    Cut,
}

/// Why a connection was asked to close, and the metric label under which its end is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::connection) enum CloseReason {
    /// It was not asked: the peers ended it.
    Done,
    LeafChanged,
    RootRemoved,
    /// The peer's certificate is revoked.
    Revoked,
    MaxAge,
    Idle,
    /// No request came since the handshake.
    NoRequest,
    SlowRequest,
    Shutdown,
    NotAllowed,
    /// Idle, it gave way to a new one, because no place was free.
    GaveWay,
    /// Busy, it gave way to one of another peer, because its own has more than its share of the places.
    OverShare,
    /// Turned away, because no place was free.
    Limit,
    /// HTTP/2: too many of its frames carried nothing.
    Frames,
    /// HTTP/2: its peer did not answer a PING.
    Unresponsive,
}

impl CloseReason {
    const ALL: [Self; 15] = [
        Self::Done,
        Self::LeafChanged,
        Self::RootRemoved,
        Self::Revoked,
        Self::MaxAge,
        Self::Idle,
        Self::NoRequest,
        Self::SlowRequest,
        Self::Shutdown,
        Self::NotAllowed,
        Self::GaveWay,
        Self::OverShare,
        Self::Limit,
        Self::Frames,
        Self::Unresponsive,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::LeafChanged => "drained",
            Self::RootRemoved => "root_removed",
            Self::Revoked => "revoked",
            Self::MaxAge => "max_age",
            Self::Idle => "idle",
            Self::NoRequest => "no_request",
            Self::SlowRequest => "slow_request",
            Self::Shutdown => "shutdown",
            Self::NotAllowed => "not_allowed",
            Self::GaveWay => "gave_way",
            Self::OverShare => "over_share",
            Self::Limit => "limit",
            Self::Frames => "frames",
            Self::Unresponsive => "unresponsive",
        }
    }
}

/// Equal for connections of one chain on one side, which is verified once for all of them. Whose they are is
/// [`PeerId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::connection) struct ChainKey {
    inbound: bool,
    /// The address of the interned chain.
    chain: usize,
}

/// Whose a connection is, and whether its peer is on the allow list.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) struct Origin {
    pub holder: PeerId,
    /// Where it comes from, for the log.
    pub source: IpAddr,
    pub listed: bool,
}

/// Times are milliseconds of the tracker's clock.
pub(in crate::connection) struct Entry {
    pub side: Side,
    /// Changes when an HTTP/1.1 connection is upgraded.
    protocol: AtomicU8,
    pub generation: u64,
    pub opened_at: u64,
    /// 0..=255, fixed per connection: spreads what would be due at once.
    pub jitter: u8,
    /// Whether its peer is on the allow list; if not, it is told so and closed.
    pub listed: bool,
    pub peer: Option<Arc<Peer>>,
    /// Whose place it takes.
    pub holder: PeerId,
    source: IpAddr,
    pub last_activity: AtomicU64,
    /// HTTP/1: when the first byte of a request came whose head is not complete; 0 when none.
    pub head_since: AtomicU64,
    pub in_flight: AtomicU32,
    /// HTTP: a request head was complete.
    pub requested: AtomicBool,
    /// It has no place any more.
    pub gave_way: AtomicBool,
    /// Whatever it does, it is cut at this time.
    pub cut_at: AtomicU64,
    close_stage: AtomicU8,
    close_reason: AtomicU8,
    /// When its peer was found untrusted, +1; 0 if it is trusted.
    pub untrusted_since: AtomicU64,
    pub waker: AtomicWaker,
}

impl Entry {
    pub fn new(
        side: Side,
        protocol: Protocol,
        generation: u64,
        peer: Option<Arc<Peer>>,
        origin: Origin,
        opened_at: u64,
    ) -> Self {
        // Any spread will do. The address of a fresh allocation would repeat; a counter does not.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let jitter = (NEXT.fetch_add(1, Relaxed).wrapping_mul(2_654_435_761) >> 24) as u8;
        Self {
            side,
            protocol: AtomicU8::new(protocol as u8),
            generation,
            opened_at,
            jitter,
            listed: origin.listed,
            peer,
            holder: origin.holder,
            source: origin.source,
            last_activity: AtomicU64::new(opened_at),
            head_since: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            requested: AtomicBool::new(false),
            gave_way: AtomicBool::new(false),
            cut_at: AtomicU64::new(if origin.listed { u64::MAX } else { opened_at + UNLISTED_FOR_MILLIS }),
            close_stage: AtomicU8::new(CloseStage::None as u8),
            close_reason: AtomicU8::new(CloseReason::Done as u8),
            untrusted_since: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    pub fn name(&self) -> PeerName<'_> {
        PeerName { peer: self.peer.as_deref(), source: self.source }
    }

    pub fn origin(&self) -> Origin {
        Origin { holder: self.holder, source: self.source, listed: self.listed }
    }

    /// Asks the connection to close. A stage that was reached already stays, with its reason. Whether it was not.
    pub fn close(&self, stage: CloseStage, reason: CloseReason) -> bool {
        let is_new = self.close_stage.fetch_max(stage as u8, AcqRel) < stage as u8;
        if is_new {
            self.close_reason.store(reason as u8, Relaxed);
            self.waker.wake();
        }
        is_new
    }

    pub fn close_stage(&self) -> CloseStage {
        match self.close_stage.load(Acquire) {
            0 => CloseStage::None,
            1 => CloseStage::LastRequest,
            2 => CloseStage::Finish,
            _ => CloseStage::Cut,
        }
    }

    pub fn protocol(&self) -> Protocol {
        match self.protocol.load(Relaxed) {
            0 => Protocol::Tcp,
            1 => Protocol::Http1,
            _ => Protocol::Http2,
        }
    }

    /// From now on it carries bytes, and no request.
    pub fn carry_bytes(&self) {
        self.speak(Protocol::Tcp);
    }

    pub fn speak(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Relaxed);
        if protocol != Protocol::Http1 {
            self.head_since.store(0, Relaxed);
        }
    }

    pub fn close_reason(&self) -> CloseReason {
        let reason = usize::from(self.close_reason.load(Relaxed));
        CloseReason::ALL.get(reason).copied().unwrap_or(CloseReason::Done)
    }

    /// Its peer loses nothing but a connection if it is closed.
    pub fn is_idle(&self, now: u64) -> bool {
        let quiet = match self.protocol() {
            Protocol::Tcp => TCP_IDLE_AFTER_MILLIS,
            Protocol::Http1 | Protocol::Http2 => HTTP_IDLE_AFTER_MILLIS,
        };
        self.in_flight.load(Relaxed) == 0 && now >= self.last_activity.load(Relaxed) + quiet
    }

    pub fn is_untrusted(&self) -> bool {
        self.untrusted_since.load(Relaxed) > 0
    }

    /// Whether its peer would be accepted, or dialled, under `snapshot`. A peer that presented no
    /// certificate cannot lose trust.
    pub fn is_trusted_under(&self, snapshot: &Snapshot) -> bool {
        let Some(peer) = &self.peer else {
            return true;
        };
        match self.side {
            Side::Inbound => snapshot.trusts_client(peer),
            Side::Outbound => snapshot.trusts_server(peer),
            Side::App => true,
        }
    }

    pub fn chain_key(&self) -> ChainKey {
        let chain = self.peer.as_ref().map_or(0, |peer| Arc::as_ptr(peer) as usize);
        ChainKey { inbound: self.side == Side::Inbound, chain }
    }
}
