//! The app's connection on a route with `#proxy-v2`: it begins with a header that introduces the client, and an app that
//! closes it at that is reported.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::proxy::app_endpoint::AppStream;

/// An app that does not know the header closes when it has read it; one that waits for its client does so later.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A connection to the app that has begun with the header.
pub struct Introduced {
    app: AppStream,
    since: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The app has sent nothing yet.
    Silent,
    /// The app closed, and had sent nothing.
    Refused,
    /// The app has sent something, or the client has ended its side first.
    Accepted,
}

impl Introduced {
    /// Sends the header, in one piece, as receivers expect it.
    pub async fn begin(mut app: AppStream, header: &[u8]) -> Self {
        let written = app.write_all(header).await;
        let state = if written.is_ok() { State::Silent } else { State::Refused };
        Self { app, since: Instant::now(), state }
    }

    /// Whether the app has closed at once, and without a byte.
    pub fn was_refused(&self) -> bool {
        self.state == State::Refused
    }

    pub fn abort(self) {
        self.app.abort();
    }

    fn closed(&mut self) {
        if self.state == State::Silent && self.since.elapsed() < AT_ONCE {
            self.state = State::Refused;
        }
    }
}

impl AsyncRead for Introduced {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let result = Pin::new(&mut this.app).poll_read(cx, out);
        match &result {
            Poll::Ready(Ok(())) if out.filled().len() > before => this.state = State::Accepted,
            Poll::Ready(_) => this.closed(),
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncWrite for Introduced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.app).poll_write(cx, bytes);
        if matches!(result, Poll::Ready(Err(_))) {
            this.closed();
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().app).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state == State::Silent {
            this.state = State::Accepted;
        }
        Pin::new(&mut this.app).poll_shutdown(cx)
    }
}
