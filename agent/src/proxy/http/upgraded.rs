//! The stream of bytes that is left of a connection, or of one stream of it, when a request has switched it to another
//! protocol.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::connection::pass_on_writes::pass_on_writes;

/// The stream is to come when the switch is agreed on: kept in the extensions of the request, or of the response of 101.
#[derive(Clone, Default)]
pub struct OnUpgrade(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// The connection's side of [`OnUpgrade`]. Dropped, it says that there was no switch.
pub struct Switch(oneshot::Sender<Upgraded>);

/// Both sides of a switch that may come.
pub fn upgrade() -> (Switch, OnUpgrade) {
    let (sender, receiver) = oneshot::channel();
    (Switch(sender), OnUpgrade(Arc::new(Mutex::new(Some(receiver)))))
}

impl Switch {
    pub fn done(self, stream: Upgraded) {
        // Nobody waits: the stream is closed.
        let _ = self.0.send(stream);
    }
}

impl OnUpgrade {
    /// Takes it out of a request. Without one in it, no switch will be made.
    pub fn of_request<B>(request: &mut Request<B>) -> Self {
        request.extensions_mut().remove::<Self>().unwrap_or_default()
    }

    /// Takes it out of a response.
    pub fn of_response<B>(response: &mut Response<B>) -> Self {
        response.extensions_mut().remove::<Self>().unwrap_or_default()
    }

    /// The stream, once the switch is made. `None` if it is not.
    pub async fn stream(self) -> Option<Upgraded> {
        let coming = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        coming.await.ok()
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream that has switched, from its first byte in the new protocol on.
pub struct Upgraded {
    /// What was read already.
    unread: Bytes,
    stream: Box<dyn Stream>,
}

impl Upgraded {
    pub fn new(stream: Box<dyn Stream>, unread: Bytes) -> Self {
        Self { unread, stream }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let count = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        if this.unread.is_empty() {
            // Its buffer is free.
            this.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    pass_on_writes!(stream);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_was_read_already_comes_first() {
        let (mut one, other) = tokio::io::duplex(64);
        let (switch, coming) = upgrade();
        let mut request = Request::new(());
        request.extensions_mut().insert(coming);
        switch.done(Upgraded::new(Box::new(other), Bytes::from_static(b"read ")));
        one.write_all(b"unread").await.unwrap();
        drop(one);
        let mut text = String::new();
        let mut stream = OnUpgrade::of_request(&mut request).stream().await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "read unread");
    }

    #[tokio::test]
    async fn switch_that_was_not_made_gives_no_stream() {
        let (switch, coming) = upgrade();
        drop(switch);
        assert!(coming.stream().await.is_none());
    }
}
