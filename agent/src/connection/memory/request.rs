//! What one request holds of the budget, from its arrival until the last byte of its response is on its way.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::time::timeout;

use super::{Chunk, Share};

/// A request with its head and its stream, before anything is done for it.
const WAITING_BYTES: usize = 4 * 1024;
/// What its client may send meanwhile, if it has a body.
const UNREAD_BYTES: usize = 64 * 1024;
/// What other peers give back is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A request that is served: its connection to the app with a buffer for either direction, and what the app has
/// answered before anybody reads it.
const SERVED_BYTES: usize = 32 * 1024;
/// What one connection may hold of its responses, over all of its streams, beyond one piece of each. It is more than
/// what is on its way in a network of ten gigabits and one millisecond.
const CONNECTION_BYTES: usize = 1024 * 1024;
/// Room that the next piece of a response must find.
const PIECE_BYTES: usize = 64 * 1024;
/// A request that finds no room within this is answered by the agent.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// One connection that brings requests.
pub struct ConnectionMemory {
    pub(super) share: Arc<Share>,
    /// Of responses, in its queues.
    buffered: AtomicUsize,
}

/// There was no room for a request in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl ConnectionMemory {
    pub fn new(share: Arc<Share>) -> Arc<Self> {
        Arc::new(Self { share, buffered: AtomicUsize::new(0) })
    }

    /// Room for one request; waits for it.
    pub async fn admit(self: &Arc<Self>, has_body: bool) -> Result<RequestMemory, NoRoom> {
        if !self.share.try_charge(SERVED_BYTES) {
            Box::pin(self.share.wait(has_body, ROOM_WITHIN)).await?;
        }
        Ok(RequestMemory::new(self))
    }

    /// How much to read at once from where responses come: little while much of them waits to be read.
    pub(super) fn read_limit(&self) -> usize {
        const SMALL: usize = 4 * 1024;
        let buffered = self.buffered.load(Relaxed);
        match buffered {
            _ if !self.share.has_room(PIECE_BYTES) => SMALL,
            _ if buffered < CONNECTION_BYTES / 4 => usize::MAX,
            _ if buffered < CONNECTION_BYTES => 4 * SMALL,
            _ => SMALL,
        }
    }
}

impl Share {
    /// Waits until room for a request was charged.
    pub(super) async fn wait(&self, has_body: bool, within: Duration) -> Result<(), NoRoom> {
        let _waiting = Waiting::begin(self, has_body)?;
        let room = async {
            while !self.try_charge(SERVED_BYTES) {
                let _ = timeout(LOOK_AGAIN, self.freed.notified()).await;
            }
        };
        timeout(within, room).await.map_err(|_| NoRoom)?;
        // There may be room for another, where other peers gave back theirs.
        self.wake_one();
        Ok(())
    }
}

/// A request that waits is in the budget, and not in what the share serves: a peer none of whose requests is served has
/// room. Those that wait may together hold as much as those that are served.
struct Waiting<'a> {
    share: &'a Share,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn begin(share: &'a Share, has_body: bool) -> Result<Self, NoRoom> {
        let bytes = WAITING_BYTES + if has_body { UNREAD_BYTES } else { 0 };
        share.budget.waited.inc();
        if share.waiting_bytes.load(SeqCst) + bytes > share.allowed() {
            return Err(NoRoom);
        }
        share.waiting.fetch_add(1, SeqCst);
        share.waiting_bytes.fetch_add(bytes, SeqCst);
        share.budget.in_use.fetch_add(bytes, Relaxed);
        Ok(Self { share, bytes })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { share, bytes } = *self;
        share.budget.in_use.fetch_sub(bytes, Relaxed);
        share.waiting_bytes.fetch_sub(bytes, SeqCst);
        share.waiting.fetch_sub(1, SeqCst);
    }
}

/// Held by a request and by each piece of its response.
#[derive(Clone)]
pub struct RequestMemory(Arc<Held>);

struct Held {
    connection: Arc<ConnectionMemory>,
    /// Pieces of its response, in bytes.
    in_flight: AtomicUsize,
    /// Woken when a piece has gone.
    waker: AtomicWaker,
}

impl RequestMemory {
    /// `SERVED_BYTES` are charged already.
    fn new(connection: &Arc<ConnectionMemory>) -> Self {
        Self(Arc::new(Held {
            connection: Arc::clone(connection),
            in_flight: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
        }))
    }

    /// Ready when the next piece of the response may be taken: always if none is on its way, so that whoever reads goes
    /// on whatever others hold.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.may_take() {
            return Poll::Ready(());
        }
        self.0.waker.register(cx.waker());
        // A piece may have gone meanwhile.
        if self.0.may_take() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// A piece of the response, which is counted until it is dropped.
    pub fn take(&self, bytes: Bytes) -> Chunk {
        let (held, count) = (&self.0, bytes.len());
        held.in_flight.fetch_add(count, AcqRel);
        held.connection.buffered.fetch_add(count, Relaxed);
        held.connection.share.charge(count);
        Chunk::counted(bytes, self.clone(), count)
    }

    pub(super) fn give_back(&self, count: usize) {
        let held = &self.0;
        held.connection.share.release(count);
        held.connection.buffered.fetch_sub(count, Relaxed);
        held.in_flight.fetch_sub(count, AcqRel);
        held.waker.wake();
    }
}

impl Held {
    fn may_take(&self) -> bool {
        let connection = &self.connection;
        self.in_flight.load(Acquire) == 0
            || connection.buffered.load(Relaxed) < CONNECTION_BYTES && connection.share.has_room(PIECE_BYTES)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.share.release(SERVED_BYTES);
    }
}
