//! The body of a response, read from its connection as it is taken. At its end the connection is free for the next
//! request, if it may have one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{ReadHalf, split};
use tokio::sync::oneshot;

use super::Error;
use super::chunked::Part;
use super::client::{Idle, Wire, finish};
use super::decode::Decoder;
use super::feed::poll_part;
use super::framing::Read;
use super::input::Input;
use super::upload::Upload;
use crate::proxy::http::upgraded::Stream;

pub struct ResponseBody {
    decoder: Decoder,
    from: From,
}

enum From {
    Wire {
        wire: Box<Wire>,
        /// Where the connection goes at the end, if it may have another request.
        idle: Option<Idle>,
    },
    /// The request is still being sent: the response came before its end. Such a connection has no other request, because
    /// the rest of this one may never be read.
    Half(Box<Half>),
    Ended,
}

struct Half {
    stream: ReadHalf<Box<dyn Stream>>,
    input: Input,
    /// Tells the sending side of the end.
    ended: oneshot::Sender<()>,
}

impl ResponseBody {
    pub fn new(read: Read, wire: Box<Wire>, upload: Upload, idle: Idle) -> Self {
        let decoder = Decoder::new(read.framing);
        let from = if upload.has_ended() {
            let idle = (read.persists && upload.is_done()).then_some(idle);
            From::Wire { wire, idle }
        } else {
            let Wire { stream, input, attached } = *wire;
            let (reading, writing) = split(stream);
            let (ended, response_ended) = oneshot::channel();
            tokio::spawn(async move {
                finish(upload, writing, response_ended).await;
                drop(attached);
            });
            From::Half(Box::new(Half { stream: reading, input, ended }))
        };
        let mut this = Self { decoder, from };
        this.release_if_ended();
        this
    }

    fn release_if_ended(&mut self) {
        if !self.decoder.is_done() {
            return;
        }
        match std::mem::replace(&mut self.from, From::Ended) {
            // What came after the response was not asked for.
            From::Wire { wire, idle: Some(idle) } if wire.input.bytes.is_empty() && !wire.input.ended => {
                idle.put(wire);
            }
            From::Half(half) => {
                let _ = half.ended.send(());
            }
            From::Wire { .. } | From::Ended => {}
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let part = match &mut this.from {
            From::Wire { wire, .. } => {
                let Wire { stream, input, .. } = &mut **wire;
                poll_part(cx, &mut this.decoder, input, stream)
            }
            From::Half(half) => {
                let Half { stream, input, .. } = &mut **half;
                poll_part(cx, &mut this.decoder, input, stream)
            }
            From::Ended => return Poll::Ready(None),
        };
        let part = ready!(part);
        this.release_if_ended();
        Poll::Ready(match part {
            Ok(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Part::End(trailers)) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => {
                this.decoder = Decoder::Done;
                this.from = From::Ended;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.from, From::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
