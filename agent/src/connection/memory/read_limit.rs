//! The stream that responses come from, read in small pieces while their readers are slow. The library's buffer for it
//! grows with what a read yields, and shrinks again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionMemory;
use crate::connection::pass_on_writes::pass_on_writes;

pub struct ReadLimited<S> {
    stream: S,
    memory: Arc<ConnectionMemory>,
}

impl<S> ReadLimited<S> {
    pub fn new(stream: S, memory: Arc<ConnectionMemory>) -> Self {
        Self { stream, memory }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadLimited<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let limit = this.memory.read_limit();
        if out.remaining() <= limit {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let mut part = ReadBuf::new(out.initialize_unfilled_to(limit));
        let result = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        let count = part.filled().len();
        out.advance(count);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadLimited<S> {
    pass_on_writes!(stream);
}
