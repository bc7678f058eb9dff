//! One HTTP/2 stream to an app or a server: as the body of a request, as the body of a response, and as bytes
//! both ways after a CONNECT. Each takes from its sender only what the receiver has room for.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::h2_body::{BodySender, Part};
use super::request_body::{RequestBody, Taken};

/// Sends the body of a request. Completes with whether all of it was sent, which it was not if the stream was reset.
pub struct Upload {
    sender: BodySender<RequestBody>,
    /// What was sent, to send it again. `None` if it is not to be, or had trailers.
    taken: Option<Taken>,
}

impl Upload {
    pub fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Self { sender: BodySender::new(body, stream, Reason::CANCEL), taken: Some(Taken::default()) }
    }

    /// The body, once more. `None` if it was not small, or had trailers.
    pub fn again(&mut self) -> Option<RequestBody> {
        self.taken.take().and_then(RequestBody::again)
    }

    /// Goes on until the end, or until the response is dropped before its end, which cancels the request.
    pub async fn finish_unless_cancelled(mut self, mut response_ended: oneshot::Receiver<()>) {
        self.taken = None;
        let mut watched = true;
        poll_fn(|cx| {
            if watched && let Poll::Ready(ended) = Pin::new(&mut response_ended).poll(cx) {
                watched = false;
                if ended.is_err() {
                    self.sender.reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            }
            Pin::new(&mut self).poll(cx).map(|_| ())
        })
        .await;
    }
}

impl Future for Upload {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let Self { sender, taken } = self.get_mut();
        let sent = sender.poll(cx, |part| match (part, &mut *taken) {
            (Part::Data(bytes), Some(taken)) => taken.add(bytes),
            (Part::Trailers, taken) => *taken = None,
            (Part::Data(_), None) => {}
        });
        // An error means that the stream or its connection has ended, which the response says as well.
        sent.map(|sent| sent.unwrap_or(false))
    }
}

/// The body of a message as it is received.
pub struct Download {
    stream: RecvStream,
    data_ended: bool,
    /// Told when it has ended; dropped before, it cancels what is still being sent.
    ended: Option<oneshot::Sender<()>>,
}

impl Download {
    pub fn new(stream: RecvStream, ended: Option<oneshot::Sender<()>>) -> Self {
        let mut this = Self { stream, data_ended: false, ended };
        if this.stream.is_end_stream() {
            this.end();
        }
        this
    }

    fn end(&mut self) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(());
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        let frame = ready!(this.poll_stream(cx));
        if !matches!(frame, Some(Err(_))) && (frame.is_none() || this.stream.is_end_stream()) {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Bytes both ways.
pub struct StreamIo<B: Buf = Bytes> {
    send: SendStream<B>,
    receive: RecvStream,
    unread: Bytes,
}

impl<B: Buf> StreamIo<B> {
    pub fn new(send: SendStream<B>, receive: RecvStream) -> Self {
        Self { send, receive, unread: Bytes::new() }
    }
}

impl<B: Buf + Unpin> AsyncRead for StreamIo<B> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(bytes)) => this.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        let _ = this.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl<B: Buf + From<Bytes> + Unpin> AsyncWrite for StreamIo<B> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(bytes.len());
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = this.send.capacity().min(bytes.len());
        this.send
            .send_data(Bytes::copy_from_slice(&bytes[..count]).into(), false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().send.send_data(Bytes::new().into(), true).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}
