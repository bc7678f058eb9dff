//! The relay: bytes between two streams, both ways, any protocol. A direction that is idle holds
//! no buffer; one that moves borrows the thread's, and keeps it only while the receiving side is
//! slower than the sending one. Nothing is allocated per chunk.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::{Pending, borrow_buffer, return_buffer};

/// Chunks a direction may move before the other tasks of the thread get their turn.
const TURNS: usize = 16;

/// Relays until both directions have ended, each by passing the end of the stream on, or until one
/// fails. Dropping it drops both streams.
pub async fn relay<A, B>(mut a: A, mut b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a_to_b, mut b_to_a) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let there = a_to_b.poll(cx, &mut a, &mut b)?;
        let back = b_to_a.poll(cx, &mut b, &mut a)?;
        match there.is_ready() && back.is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

#[derive(Default)]
struct Direction {
    pending: Pending,
    unflushed: bool,
    stage: Stage,
}

#[derive(Default, Clone, Copy)]
enum Stage {
    #[default]
    Open,
    /// The sender has ended; what is pending goes out first.
    Ended,
    Done,
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURNS {
            while !self.pending.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, self.pending.bytes()))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.consume(count);
                self.unflushed = true;
            }
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Done;
                    return Poll::Ready(Ok(()));
                }
                Stage::Open => {}
            }
            if self.fill(cx, from)?.is_pending() {
                if self.unflushed {
                    // A stream that encrypts may hold the last of it back.
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what there is, up to a buffer full. Ready if there was something, the end included.
    fn fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, from: &mut R) -> io::Result<Poll<()>> {
        let mut buffer = borrow_buffer();
        let mut read = ReadBuf::new(&mut buffer);
        let mut failed = None;
        while read.remaining() > 0 {
            let before = read.filled().len();
            match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                Poll::Ready(Ok(())) if read.filled().len() == before => {
                    self.stage = Stage::Ended;
                    break;
                }
                Poll::Ready(Ok(())) => {}
            }
        }
        let count = read.filled().len();
        if let Some(error) = failed {
            return_buffer(buffer);
            return Err(error);
        }
        let ended = matches!(self.stage, Stage::Ended);
        self.pending.fill(buffer, 0, count);
        Ok(if count > 0 || ended { Poll::Ready(()) } else { Poll::Pending })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn both_directions_arrive_whole_and_ends_are_passed_on() {
        let (mut client, near) = tokio::io::duplex(1000);
        let (far, mut app) = tokio::io::duplex(77);
        let relay = tokio::spawn(relay(near, far));
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let server = tokio::spawn(async move {
            let mut got = Vec::new();
            app.read_to_end(&mut got).await.unwrap();
            app.write_all(&got).await.unwrap();
            app.shutdown().await.unwrap();
        });
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
        read.unwrap();
        assert!(back == expected);
        server.await.unwrap();
        relay.await.unwrap().unwrap();
    }
}
