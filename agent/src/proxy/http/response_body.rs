//! The body of a response on its way through the agent. It holds what must last until it has ended: the request that is
//! in flight, and the connection that it comes on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::content::{BodyError, Content};
use super::grpc::{self, GrpcStatus};
use super::pool::Lease;
use crate::connection::memory::{Chunk, RequestMemory};
use crate::connection::tracker::InFlight;
use crate::proxy::access_log::RequestRecord;

const BROKEN: &str = "hotcert-agent: the connection ended before the response";

/// The body of a response: one that is passed on, or one of the agent's own.
pub struct ProxyBody {
    content: Content,
    hold: Option<Hold>,
    /// What the request holds of the memory budget.
    memory: Option<RequestMemory>,
    /// A gRPC call is told of a broken connection by a status, not by a reset of its stream.
    grpc: bool,
    /// What is told of the request, until the body has ended.
    record: Option<RequestRecord>,
}

/// Held until the body has ended or is dropped.
struct Hold {
    _in_flight: Option<InFlight>,
    lease: Lease,
}

impl ProxyBody {
    pub fn own(text: String) -> Self {
        Self { content: Content::Own(Some(text.into())), hold: None, memory: None, grpc: false, record: None }
    }

    pub fn empty() -> Self {
        Self { content: Content::Own(None), hold: None, memory: None, grpc: false, record: None }
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
        let mut this = Self { content, hold, memory: None, grpc, record: None };
        memory.begin_response(if this.is_end_stream() { Some(0) } else { this.size_hint().exact() });
        this.memory = Some(memory);
        this.release_if_ended();
        this
    }

    /// Tells `record` of the response and of its end.
    pub fn observe(response: &mut Response<Self>, mut record: RequestRecord) {
        record.answered(response);
        match response.body().is_end_stream() || record.wants_no_content(response.status()) {
            true => record.complete(),
            false => response.body_mut().record = Some(record),
        }
    }

    fn record(&mut self, frame: Option<&Result<Frame<Bytes>, BodyError>>) {
        let ended = self.is_end_stream();
        let Some(record) = &mut self.record else { return };
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    record.sent(data.len());
                } else if let Some(trailers) = frame.trailers_ref() {
                    record.trailers(trailers);
                }
                if ended && let Some(record) = self.record.take() {
                    record.complete();
                }
            }
            Some(Err(_)) => self.record.take().map_or((), RequestRecord::upstream_gone),
            None => self.record.take().map_or((), RequestRecord::complete),
        }
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
        Poll::Ready(match ready!(Pin::new(&mut self.content).poll_frame(cx)) {
            Some(Err(error)) if self.grpc && !error.is_reset() => {
                let trailers = grpc::trailers(GrpcStatus::Unavailable, BROKEN);
                self.content = Content::Own(None);
                Some(Ok(Frame::trailers(trailers)))
            }
            frame => frame,
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
        this.record(frame.as_ref());
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
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
