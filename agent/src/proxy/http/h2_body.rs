//! Sends a body on one HTTP/2 stream, and takes from its sender only what the receiver has room for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use hyper::body::Body;

use super::content::BodyError;
use super::headers::remove_hop_headers;

pub struct BodySender<B: Body> {
    body: B,
    stream: SendStream<B::Data>,
    /// Taken from the body, and waiting for room in the stream's window.
    chunk: Option<Chunk<B::Data>>,
    /// The reset of a body that ends early without one.
    broken: Reason,
}

struct Chunk<D: Buf> {
    data: D,
    last: bool,
}

/// What is about to be sent.
pub enum Part<'a, D> {
    Data(&'a D),
    Trailers,
}

impl<B> BodySender<B>
where
    B: Body<Error = BodyError> + Unpin,
    B::Data: From<Bytes>,
{
    pub fn new(body: B, stream: SendStream<B::Data>, broken: Reason) -> Self {
        Self { body, stream, chunk: None, broken }
    }

    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Sends all of it; `passing` sees each part. Completes with whether all was sent, which it was not if one side has
    /// reset the stream.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut passing: impl FnMut(Part<'_, B::Data>),
    ) -> Poll<Result<bool, h2::Error>> {
        loop {
            if self.stream.poll_reset(cx)?.is_ready() {
                return Poll::Ready(Ok(false));
            }
            if let Some(chunk) = self.chunk.take() {
                if self.stream.capacity() == 0 {
                    let room = self.stream.poll_capacity(cx);
                    self.chunk = Some(chunk);
                    match ready!(room) {
                        Some(Ok(_)) => continue,
                        Some(Err(error)) => return Poll::Ready(Err(error)),
                        None => return Poll::Ready(Ok(false)),
                    }
                }
                self.stream.send_data(chunk.data, chunk.last)?;
                if chunk.last {
                    return Poll::Ready(Ok(true));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.end()),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    // What the sender said to the agent is said to the receiver, which must not take it for an end.
                    let reason = error.reset_reason().filter(|reason| *reason != Reason::NO_ERROR);
                    self.reset(reason.unwrap_or(self.broken));
                    return Poll::Ready(Ok(false));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    passing(Part::Data(&data));
                    if data.has_remaining() {
                        // One byte is claim enough to be told when there is room: a claim on the whole chunk would take
                        // from the connection's window what other streams could use.
                        self.stream.reserve_capacity(1);
                        self.chunk = Some(Chunk { data, last });
                    } else if last {
                        return Poll::Ready(self.end());
                    }
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        passing(Part::Trailers);
                        remove_hop_headers(&mut trailers);
                        self.stream.reserve_capacity(0);
                        self.stream.send_trailers(trailers)?;
                        return Poll::Ready(Ok(true));
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Result<bool, h2::Error> {
        self.stream.send_data(B::Data::from(Bytes::new()), true).map(|()| true)
    }
}
