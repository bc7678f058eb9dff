//! The body of a response on its way through the agent. It holds what must last until it has ended: the request that is
//! in flight, and the connection that it comes on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::content::Content;
use super::grpc::{self, GrpcStatus};
use super::pool::Lease;
use crate::connection::memory::{Chunk, RequestMemory};
use crate::connection::tracker::InFlight;

const BROKEN: &str = "hotcert-agent: the connection ended before the response";

/// The body of a response: one that is passed on, or one of the agent's own.
pub struct ProxyBody {
    content: Content,
    hold: Option<Hold>,
    /// What the request holds of the memory budget.
    memory: Option<RequestMemory>,
    /// A gRPC call is told of a broken connection by a status, not by a reset of its stream.
    grpc: bool,
}

/// Held until the body has ended or is dropped.
struct Hold {
    _in_flight: Option<InFlight>,
    lease: Lease,
}

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl ProxyBody {
    pub fn own(text: String) -> Self {
        Self { content: Content::Own(Some(text.into())), hold: None, memory: None, grpc: false }
    }

    pub fn empty() -> Self {
        Self { content: Content::Own(None), hold: None, memory: None, grpc: false }
    }

    /// A body that is passed on from the connection of `lease`, which is released when the body has ended.
    pub fn passed_on(
        content: Content,
        lease: Lease,
        in_flight: Option<InFlight>,
        memory: RequestMemory,
        grpc: bool,
    ) -> Self {
        let hold = Some(Hold { _in_flight: in_flight, lease });
        let mut this = Self { content, hold, memory: None, grpc };
        memory.begin_response(if this.is_end_stream() { Some(0) } else { this.size_hint().exact() });
        this.memory = Some(memory);
        this.release_if_ended();
        this
    }

    fn release_if_ended(&mut self) {
        if self.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Hold { lease, .. }) = self.hold.take() {
            lease.release();
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match &mut self.content {
            Content::Http1(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into))
            }
            Content::Http2(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Err(error)) if self.grpc && !error.is_reset() => {
                    let trailers = grpc::trailers(GrpcStatus::Unavailable, BROKEN);
                    self.content = Content::Own(None);
                    Some(Ok(Frame::trailers(trailers)))
                }
                frame => frame.map(|frame| frame.map_err(Into::into)),
            },
            Content::Own(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
        })
    }
}

impl Body for ProxyBody {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        let this = self.get_mut();
        if let Some(memory) = &this.memory {
            ready!(memory.poll_room(cx));
        }
        let frame = ready!(this.poll_content(cx));
        match &frame {
            Some(Ok(_)) => this.release_if_ended(),
            None => this.release(),
            Some(Err(_)) => this.hold = None,
        }
        let count = |bytes| match &this.memory {
            Some(memory) => memory.take(bytes),
            None => bytes.into(),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Http1(body) => body.is_end_stream(),
            Content::Http2(body) => body.is_end_stream(),
            Content::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Http1(body) => body.size_hint(),
            Content::Http2(_) => SizeHint::default(),
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
