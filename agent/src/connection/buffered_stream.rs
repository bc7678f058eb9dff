//! The buffered stream under TLS: it reads what the socket has in one call, where rustls would ask for
//! 4 KiB at a time. Buffers are borrowed from the thread and returned when empty, so that an idle connection
//! holds none.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Plaintext that is moved in one call: a whole number of full TLS records.
pub const PLAIN_BYTES: usize = 4 * RECORD_BYTES;
const RECORD_BYTES: usize = 16 * 1024;
/// What encryption adds to a record at most, in TLS 1.3 and 1.2 alike.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// Every buffer has this size: `PLAIN_BYTES`, and the same encrypted, fit.
const BUFFER_BYTES: usize = PLAIN_BYTES + 4 * RECORD_OVERHEAD_BYTES;
/// Free buffers that a thread keeps.
const MAX_FREE_BUFFERS: usize = 16;

thread_local! {
    static FREE_BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `BUFFER_BYTES`, one of the thread's free ones if there is any.
pub fn borrow_buffer() -> Box<[u8]> {
    FREE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

pub fn return_buffer(buffer: Box<[u8]>) {
    FREE_BUFFERS.with_borrow_mut(|free| {
        if free.len() < MAX_FREE_BUFFERS {
            free.push(buffer);
        }
    });
}

/// Bytes on their way, in a borrowed buffer that is returned once they are consumed.
#[derive(Default)]
pub struct BufferedBytes {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl BufferedBytes {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Takes over `buffer[start..end]`. Must be empty.
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

impl Drop for BufferedBytes {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            return_buffer(buffer);
        }
    }
}

/// A socket that reads ahead of what is asked for.
pub struct BufferedStream {
    socket: TcpStream,
    unread: BufferedBytes,
}

impl BufferedStream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, unread: BufferedBytes::default() }
    }

    /// Where the peer connected to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl AsyncRead for BufferedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            let mut buffer = borrow_buffer();
            let mut read = ReadBuf::new(&mut buffer);
            let result = Pin::new(&mut this.socket).poll_read(cx, &mut read);
            let count = read.filled().len();
            if !matches!(result, Poll::Ready(Ok(()))) {
                return_buffer(buffer);
                return result;
            }
            this.unread.fill(buffer, 0, count);
        }
        let bytes = this.unread.bytes();
        let count = bytes.len().min(out.remaining());
        out.put_slice(&bytes[..count]);
        this.unread.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedStream {
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

#[cfg(test)]
mod tests;
