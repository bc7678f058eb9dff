//! The connection's own handle on its entry: it reports activity and learns when to close.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use super::ConnectionTracker;
use super::entry::{CloseReason, CloseStage, Entry, Protocol, Side};
use super::peer_id::PeerId;
use super::peer_name::PeerName;
use super::state::Shared;
use hotcert_tls::Peer;

/// Dropping it removes the connection from the tracker.
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    pub(super) key: usize,
}

impl Connection {
    pub fn close_stage(&self) -> CloseStage {
        self.entry.close_stage()
    }

    /// HTTP: makes the response to this request the last.
    pub fn close_after_this_request(&self) {
        self.entry.close(CloseStage::LastRequest, CloseReason::NotAllowed);
    }

    /// HTTP/2: too many of its frames carry nothing.
    pub fn close_for_frames(&self) {
        if self.entry.close(CloseStage::Cut, CloseReason::Frames) {
            self.shared.log_frames(&self.entry);
        }
    }

    /// HTTP/2: its peer has gone without a word.
    pub fn close_unresponsive(&self) {
        self.entry.close(CloseStage::Cut, CloseReason::Unresponsive);
    }

    /// Wakes the task of `waker` when the close stage changes. Read `close_stage` afterwards.
    pub fn wake_on_close(&self, waker: &Waker) {
        self.entry.waker.register(waker);
    }

    /// Bytes moved.
    pub fn record_activity(&self) {
        self.entry.last_activity.store(self.shared.now(), Relaxed);
    }

    /// HTTP/1: bytes came in; if no request is in flight they begin a request head.
    pub fn record_received(&self) {
        let entry = &self.entry;
        if entry.side != Side::Outbound
            && entry.protocol() == Protocol::Http1
            && entry.in_flight.load(Relaxed) == 0
            && entry.head_since.load(Relaxed) == 0
        {
            entry.head_since.store(self.shared.now().max(1), Relaxed);
        }
    }

    /// What its peer is called.
    pub fn peer_name(&self) -> PeerName<'_> {
        self.entry.name()
    }

    /// Whose it is.
    pub fn holder(&self) -> PeerId {
        self.entry.holder
    }

    /// It is closed for want of something that its peer, or all of them, have used up.
    pub fn turn_away(&self) {
        self.entry.close(CloseStage::Cut, CloseReason::Limit);
    }

    /// Who is at its other end, if that showed a certificate.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.entry.peer.as_ref()
    }

    /// The generation under which it was made.
    pub fn generation(&self) -> u64 {
        self.entry.generation
    }

    /// What the app turned out to speak, or goes on with.
    pub fn speaks(&self, protocol: Protocol) {
        self.entry.speak(protocol);
    }

    /// HTTP/1.1: it was upgraded, and is limited and closed as TCP is from now on.
    pub fn upgrade(&self) {
        self.entry.carry_bytes();
        if self.entry.is_untrusted() {
            self.entry.close(CloseStage::Cut, CloseReason::RootRemoved);
        }
    }

    /// Adds a stream of this HTTP/2 connection that carries bytes from now on. `None` when no place is
    /// free.
    pub fn open_tunnel(&self) -> Option<Self> {
        ConnectionTracker { shared: Arc::clone(&self.shared) }.open_tunnel(self)
    }

    /// A request head is complete. The request is in flight until the returned guard is dropped.
    pub fn begin_request(&self) -> InFlight {
        self.entry.head_since.store(0, Relaxed);
        self.entry.requested.store(true, Relaxed);
        self.entry.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.entry))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let entry = state.entries.remove(self.key);
        state.places.remove(&entry);
        drop(state);
        self.shared.count_closed(entry.side, entry.close_reason());
    }
}

pub struct InFlight(Arc<Entry>);

impl InFlight {
    /// A second guard of the same request, for its other direction.
    pub fn share(&self) -> Self {
        self.0.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
