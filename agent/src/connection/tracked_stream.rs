//! The tracked stream over TLS: it counts bytes, reports activity to the tracker, and fails once the
//! tracker has cut the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::tracker::{CloseStage, Connection};

/// Bytes of one side, as the app sees them: without TLS.
#[derive(Clone)]
pub struct ByteCounters {
    pub received: Counter,
    pub sent: Counter,
}

impl ByteCounters {
    /// For a stream whose bytes are counted elsewhere.
    pub fn uncounted() -> Self {
        Self { received: Counter::default(), sent: Counter::default() }
    }
}

/// A stream whose connection is in the tracker.
pub struct TrackedStream<S> {
    stream: S,
    connection: Arc<Connection>,
    counters: ByteCounters,
}

impl<S> TrackedStream<S> {
    pub fn new(stream: S, connection: Arc<Connection>, counters: ByteCounters) -> Self {
        Self { stream, connection, counters }
    }

    fn fail_if_cut(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.wake_on_close(cx.waker());
        if self.connection.close_stage() == CloseStage::Cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the agent"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.fail_if_cut(cx)?;
        let before = out.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, out);
        let count = out.filled().len() - before;
        if count > 0 {
            this.connection.record_activity();
            this.connection.record_received();
            this.counters.received.inc_by(count as u64);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> TrackedStream<S> {
    fn count_written(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = result {
            self.connection.record_activity();
            self.counters.sent.inc_by(*count as u64);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.fail_if_cut(cx)?;
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.count_written(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.fail_if_cut(cx)?;
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.count_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.fail_if_cut(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.fail_if_cut(cx)?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
