//! What is to be written to a stream: small pieces in one buffer, and a large one as it is, in one call where the stream
//! can.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;

/// Smaller pieces are copied into the buffer.
const SMALL_BYTES: usize = 2 * 1024;
/// A buffer with so much is written before more is added.
const FULL_BYTES: usize = 16 * 1024;

pub struct Output<D> {
    buffer: Vec<u8>,
    written: usize,
    /// Comes after the buffer.
    piece: Option<D>,
    /// Comes after the piece.
    after: &'static [u8],
    /// The stream may hold something back.
    unflushed: bool,
}

impl<D: Buf> Output<D> {
    pub fn new() -> Self {
        Self { buffer: Vec::new(), written: 0, piece: None, after: b"", unflushed: false }
    }

    /// Where the next bytes go, if there is no piece that they come after.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_none());
        &mut self.buffer
    }

    /// Adds a piece, and the bytes after it.
    pub fn push(&mut self, mut piece: D, after: &'static [u8]) {
        debug_assert!(self.piece.is_none());
        if piece.remaining() <= SMALL_BYTES {
            while piece.has_remaining() {
                let part = piece.chunk();
                self.buffer.extend_from_slice(part);
                let count = part.len();
                piece.advance(count);
            }
            self.buffer.extend_from_slice(after);
        } else {
            (self.piece, self.after) = (Some(piece), after);
        }
    }

    /// Whether more may be added before it is written.
    pub fn has_room(&self) -> bool {
        self.piece.is_none() && self.buffer.len() < FULL_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.piece.is_none() && self.after.is_empty()
    }

    /// Whether all of it was written, and nothing is held back by the stream.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    /// Whether some of what was added last was written.
    pub fn is_begun(&self) -> bool {
        self.unflushed
    }

    /// Writes all of it. What the stream holds back is not waited for.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = ready!(self.poll_write_some(cx, stream))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.consume(count);
        }
        Poll::Ready(Ok(()))
    }

    /// The same, and has the stream send it.
    pub fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx, stream))?;
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let piece = self.piece.as_ref().map_or(&b""[..], Buf::chunk);
        let parts = [&self.buffer[self.written..], piece, self.after];
        let stream = Pin::new(stream);
        if stream.is_write_vectored() && parts[0].len() < parts.iter().map(|part| part.len()).sum() {
            return stream.poll_write_vectored(cx, &parts.map(IoSlice::new));
        }
        let first = parts.into_iter().find(|part| !part.is_empty());
        stream.poll_write(cx, first.unwrap_or_default())
    }

    fn consume(&mut self, mut count: usize) {
        let of_buffer = count.min(self.buffer.len() - self.written);
        self.written += of_buffer;
        count -= of_buffer;
        if self.written == self.buffer.len() {
            // An idle connection has no room for what it may write.
            (self.buffer, self.written) = (Vec::new(), 0);
        }
        if let Some(piece) = &mut self.piece {
            let of_piece = count.min(piece.remaining());
            piece.advance(of_piece);
            count -= of_piece;
            if !piece.has_remaining() {
                self.piece = None;
            }
        }
        self.after = &self.after[count..];
    }
}
