//! Streams under and over TLS. `ReadAhead` lies under TLS and takes what the socket has in one
//! call, where rustls would ask for 4 KiB at a time. `Metered` lies over it, counts, and ends when
//! the tracker says so. Neither holds a buffer while nothing is in it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::tracker::{CloseStage, Connection};

/// As much as goes out as full TLS records in one call.
pub const PLAIN_BYTES: usize = 4 * RECORD_BYTES;
const RECORD_BYTES: usize = 16 * 1024;
/// What encryption adds to a record, in TLS 1.3 and 1.2 alike.
const SEAL_BYTES: usize = 32;
/// The unit in which buffers are lent: that much fits, sealed as well.
const BUFFER_BYTES: usize = PLAIN_BYTES + 4 * SEAL_BYTES;
/// Buffers a thread keeps for the next to ask.
const KEPT_BUFFERS: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `BUFFER_BYTES` from the thread's stock.
pub fn borrow_buffer() -> Box<[u8]> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

pub fn return_buffer(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|kept| {
        if kept.len() < KEPT_BUFFERS {
            kept.push(buffer);
        }
    });
}

/// Bytes that are on their way, in a borrowed buffer that is returned when they are gone.
#[derive(Default)]
pub struct Pending {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Puts `end - start` bytes of a buffer in; only while empty.
    pub fn fill(&mut self, buffer: Box<[u8]>, start: usize, end: usize) {
        debug_assert!(self.is_empty() && start <= end && end <= buffer.len());
        if start == end {
            return_buffer(buffer);
        } else {
            (self.buffer, self.start, self.end) = (Some(buffer), start, end);
        }
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
            if let Some(buffer) = self.buffer.take() {
                return_buffer(buffer);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            return_buffer(buffer);
        }
    }
}

/// A socket of which more is read than was asked for.
pub struct ReadAhead {
    socket: TcpStream,
    ahead: Pending,
}

impl ReadAhead {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, ahead: Pending::default() }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            let mut buffer = borrow_buffer();
            let mut read = ReadBuf::new(&mut buffer);
            let result = Pin::new(&mut this.socket).poll_read(cx, &mut read);
            let count = read.filled().len();
            if !matches!(result, Poll::Ready(Ok(()))) {
                return_buffer(buffer);
                return result;
            }
            this.ahead.fill(buffer, 0, count);
        }
        let bytes = this.ahead.bytes();
        let count = bytes.len().min(out.remaining());
        out.put_slice(&bytes[..count]);
        this.ahead.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Bytes of one side, as the app sees them (without TLS).
#[derive(Clone)]
pub struct ByteCounters {
    pub received: Counter,
    pub sent: Counter,
}

/// A stream that is in the tracker: it counts, and fails once the tracker has cut it.
pub struct Metered<S> {
    stream: S,
    connection: Arc<Connection>,
    traffic: ByteCounters,
}

impl<S> Metered<S> {
    pub fn new(stream: S, connection: Arc<Connection>, traffic: ByteCounters) -> Self {
        Self { stream, connection, traffic }
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.wake_on_close(cx.waker());
        if self.connection.close_stage() == CloseStage::Cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the agent"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let before = out.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, out);
        let count = out.filled().len() - before;
        if count > 0 {
            this.connection.touch();
            this.connection.head_bytes();
            this.traffic.received.inc_by(count as u64);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> Metered<S> {
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = result {
            self.connection.touch();
            self.traffic.sent.inc_by(*count as u64);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
