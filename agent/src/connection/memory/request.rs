//! What one request holds of the budget, from its arrival until the last byte of its response is on its way.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::Body;
use tokio::time::timeout;

use super::{Chunk, Share};

/// A request that waits for room, with its head and its stream.
const WAITING_BYTES: usize = 4 * 1024;
/// What its client may send meanwhile, if it has a body.
const UNREAD_BYTES: usize = 64 * 1024;
/// What other peers give back is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A request that is served: its head, its stream and its connection to the app.
const SERVED_BYTES: usize = 10 * 1024;
/// Bodies up to this are part of it.
const SMALL_BODY_BYTES: u64 = 4 * 1024;
/// A request with a longer body, until the app has it, and one whose response is longer: a buffer for either direction,
/// and what was read before anybody takes it.
const BUFFER_BYTES: usize = 24 * 1024;
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
    pub async fn admit(self: &Arc<Self>, upload: Upload) -> Result<RequestMemory, NoRoom> {
        if !self.share.try_charge(upload.served_bytes()) {
            Box::pin(self.share.wait(upload, ROOM_WITHIN)).await?;
        }
        Ok(RequestMemory::new(self, upload))
    }

    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// How much to read at once from where responses come: little while much of them waits to be read.
    pub(super) fn read_limit(&self) -> usize {
        const SMALL: usize = 4 * 1024;
        let buffered = self.buffered.load(Relaxed);
        match buffered {
            // As many as its small requests may be answered at once, and none be read.
            _ if !self.share.has_room(PIECE_BYTES) => SMALL / 2,
            _ if buffered < CONNECTION_BYTES / 4 => usize::MAX,
            _ if buffered < CONNECTION_BYTES => 4 * SMALL,
            _ => SMALL,
        }
    }
}

/// What a client may send with a request: none if it has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// `None`: its end is not known.
    length: Option<u64>,
}

impl Upload {
    pub fn of(body: &impl Body) -> Self {
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        Self { length }
    }

    fn is_small(self) -> bool {
        self.length.is_some_and(|length| length <= SMALL_BODY_BYTES)
    }

    fn served_bytes(self) -> usize {
        SERVED_BYTES + if self.is_small() { 0 } else { BUFFER_BYTES }
    }

    fn waiting_bytes(self) -> usize {
        let length = self.length.and_then(|length| usize::try_from(length).ok());
        WAITING_BYTES + length.unwrap_or(UNREAD_BYTES).min(UNREAD_BYTES)
    }
}

impl Share {
    /// Waits until room for a request was charged.
    pub(super) async fn wait(&self, upload: Upload, within: Duration) -> Result<(), NoRoom> {
        let _waiting = Waiting::begin(self, upload.waiting_bytes())?;
        let room = async {
            while !self.try_charge(upload.served_bytes()) {
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
    fn begin(share: &'a Share, bytes: usize) -> Result<Self, NoRoom> {
        share.budget.waited.inc();
        if share.waiting_bytes.load(SeqCst) + bytes > share.allowed() {
            return Err(NoRoom);
        }
        share.waiting.fetch_add(1, SeqCst);
        share.waiting_bytes.fetch_add(bytes, SeqCst);
        share.of_its_side().fetch_add(bytes, Relaxed);
        Ok(Self { share, bytes })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { share, bytes } = *self;
        share.of_its_side().fetch_sub(bytes, Relaxed);
        share.waiting_bytes.fetch_sub(bytes, SeqCst);
        share.waiting.fetch_sub(1, SeqCst);
    }
}

/// Held by a request and by each piece of its response.
#[derive(Clone)]
pub struct RequestMemory(Arc<Held>);

struct Held {
    connection: Arc<ConnectionMemory>,
    /// Bodies that are longer than small: of the request until it has ended, and of the response.
    long_bodies: AtomicUsize,
    /// Pieces of its response, in bytes.
    in_flight: AtomicUsize,
    /// Woken when a piece has gone.
    waker: AtomicWaker,
}

/// Held by the body of a request until it has ended.
pub struct UploadMemory(RequestMemory);

impl RequestMemory {
    /// What it is served with is charged already.
    fn new(connection: &Arc<ConnectionMemory>, upload: Upload) -> Self {
        Self(Arc::new(Held {
            connection: Arc::clone(connection),
            long_bodies: AtomicUsize::new(usize::from(!upload.is_small())),
            in_flight: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
        }))
    }

    /// To be dropped when the body of the request has ended. Called once, with the same `upload`.
    pub fn upload(&self, upload: Upload) -> Option<UploadMemory> {
        (!upload.is_small()).then(|| UploadMemory(self.clone()))
    }

    /// The app has answered with so many bytes, if that is known. A response that comes is never refused.
    pub fn begin_response(&self, length: Option<u64>) {
        let is_small = length.is_some_and(|length| length <= SMALL_BODY_BYTES);
        if !is_small && self.0.long_bodies.fetch_add(1, AcqRel) == 0 {
            self.0.connection.share.charge(BUFFER_BYTES);
        }
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

impl Drop for UploadMemory {
    fn drop(&mut self) {
        let held = &self.0.0;
        if held.long_bodies.fetch_sub(1, AcqRel) == 1 {
            held.connection.share.release(BUFFER_BYTES);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let buffers = if self.long_bodies.load(Relaxed) > 0 { BUFFER_BYTES } else { 0 };
        self.connection.share.release(SERVED_BYTES + buffers);
    }
}
