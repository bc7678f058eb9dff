//! The buffered stream under TLS: it reads what the socket has in one call, where rustls would ask for
//! 4 KiB at a time. Buffers are borrowed from the thread and returned when empty, so that an idle connection
//! holds none; where its peer has no room in the memory budget it reads no more than is asked for.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::memory::{RelayRoom, Share};
use crate::connection::pass_on_writes::pass_on_writes;

/// Plaintext that is moved in one call: a whole number of full TLS records.
pub const PLAIN_BYTES: usize = 4 * RECORD_BYTES;
const RECORD_BYTES: usize = 16 * 1024;
/// What encryption adds to a record at most, in TLS 1.3 and 1.2 alike.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// Every buffer has this size: `PLAIN_BYTES`, and the same encrypted, fit.
const BUFFER_BYTES: usize = PLAIN_BYTES + 4 * RECORD_OVERHEAD_BYTES;
/// The flights of a handshake, session tickets, and a response in a few writes.
const PROMPT_READS: u8 = 8;
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
        if buffer.len() == BUFFER_BYTES && free.len() < MAX_FREE_BUFFERS {
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

    /// Keeps what there is in a buffer of its size.
    pub fn shrink(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let (start, end) = (std::mem::take(&mut self.start), self.end);
            self.end -= start;
            self.buffer = Some(buffer[start..end].into());
            return_buffer(buffer);
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
    /// So many reads are acknowledged at once.
    prompt_reads: u8,
    /// Of its peer, once that is known.
    share: Option<Arc<Share>>,
}

impl BufferedStream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, unread: BufferedBytes::default(), prompt_reads: 0, share: None }
    }

    /// To a server, whose first messages are acknowledged at once: one that leaves Nagle's algorithm on keeps its first
    /// response until its session tickets are, which the kernel would delay by 40 ms.
    pub fn to_server(socket: TcpStream) -> Self {
        Self { prompt_reads: PROMPT_READS, ..Self::new(socket) }
    }

    /// Reads ahead only while this share has room for it.
    pub fn set_share(&mut self, share: Arc<Share>) {
        self.share = Some(share);
    }

    /// Where the peer connected to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn reads_ahead(&self) -> bool {
        self.share.as_ref().is_none_or(|share| share.relay_room() == RelayRoom::Ample)
    }
}

impl AsFd for BufferedStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for BufferedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            if !this.reads_ahead() {
                return Pin::new(&mut this.socket).poll_read(cx, out);
            }
            let mut buffer = borrow_buffer();
            let mut read = ReadBuf::new(&mut buffer);
            let result = Pin::new(&mut this.socket).poll_read(cx, &mut read);
            let count = read.filled().len();
            if !matches!(result, Poll::Ready(Ok(()))) {
                return_buffer(buffer);
                return result;
            }
            this.unread.fill(buffer, 0, count);
            if this.prompt_reads > 0 {
                this.prompt_reads -= 1;
                // The option does not last.
                let _ = sockopt::set_tcp_quickack(&this.socket, true);
            }
        }
        let bytes = this.unread.bytes();
        let count = bytes.len().min(out.remaining());
        out.put_slice(&bytes[..count]);
        this.unread.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedStream {
    pass_on_writes!(socket);
}

#[cfg(test)]
mod tests;
