//! The relay: bytes between two streams, both ways, any protocol. An idle direction holds no buffer; a
//! busy one borrows one from the thread, and keeps it only while the receiver is slower than the sender, counted in the
//! memory budget. Nothing is allocated per chunk, except where that has no room: then what waits is kept in a buffer of
//! its own size.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::buffered_stream::{BufferedBytes, PLAIN_BYTES, borrow_buffer};
use crate::connection::memory::{RelayMemory, RelayRoom, Share};

/// Chunks that a direction moves before it yields to the other tasks of the thread.
const MAX_CHUNKS_PER_POLL: usize = 8;

/// Relays until both directions have ended, each by passing the end of the stream on, or until one fails.
/// Bytes that arrived before a failure are passed on. What waits for a receiver is of `share`.
pub async fn relay<A, B>(a: &mut A, b: &mut B, share: &Arc<Share>) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a_to_b, mut b_to_a) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let forward = a_to_b.poll(cx, a, b, share)?;
        let backward = b_to_a.poll(cx, b, a, share)?;
        match forward.is_ready() && backward.is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

#[derive(Default)]
struct Direction {
    pending: BufferedBytes,
    unflushed: bool,
    stage: Stage,
    /// As there was when `pending` was read.
    room: RelayRoom,
    memory: RelayMemory,
}

#[derive(Default)]
enum Stage {
    #[default]
    Open,
    /// The sender has ended; pending bytes are written first.
    Ended,
    /// The sender has failed; pending bytes are written first.
    Failed(io::Error),
    Done,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        share: &Arc<Share>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncWrite + Unpin,
    {
        for chunks in 0..=MAX_CHUNKS_PER_POLL {
            while !self.pending.is_empty() {
                let Poll::Ready(written) = Pin::new(&mut *to).poll_write(cx, self.pending.bytes()) else {
                    if self.room != RelayRoom::Ample {
                        self.pending.shrink();
                    }
                    self.memory.block(share, self.room);
                    // While nothing is read from the sender, this is how it is noticed that it was cut.
                    let _ = Pin::new(&mut *from).poll_flush(cx)?;
                    return Poll::Pending;
                };
                let count = written?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.consume(count);
                self.unflushed = true;
            }
            self.memory.unblock();
            self.room = share.relay_room();
            // What the receiver took may be in its buffer still.
            if self.room != RelayRoom::Ample && self.poll_flush(cx, to, share)?.is_pending() {
                return Poll::Pending;
            }
            if chunks == MAX_CHUNKS_PER_POLL {
                // Before another is read, so that one that waits for its turn holds none.
                break;
            }
            match std::mem::take(&mut self.stage) {
                Stage::Done => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Ok(()));
                }
                Stage::Failed(error) => return Poll::Ready(Err(error)),
                Stage::Ended => {
                    self.stage = Stage::Ended;
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Done;
                    return Poll::Ready(Ok(()));
                }
                Stage::Open => {}
            }
            if self.fill(cx, from).is_pending() {
                // A stream that encrypts may have buffered the last bytes.
                ready!(self.poll_flush(cx, to, share))?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        share: &Arc<Share>,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            let flushed = Pin::new(to).poll_flush(cx);
            if flushed.is_pending() {
                self.memory.block(share, self.room);
            }
            ready!(flushed)?;
            self.unflushed = false;
        }
        self.memory.unblock();
        Poll::Ready(Ok(()))
    }

    /// Reads what is available, up to a full buffer. Ready if there was anything, including an end.
    fn fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<()> {
        let mut buffer = borrow_buffer();
        let most = match self.room {
            RelayRoom::Ample => PLAIN_BYTES,
            RelayRoom::Tight { read } => read,
        };
        let mut read = ReadBuf::new(&mut buffer[..most]);
        while read.remaining() > 0 {
            let before = read.filled().len();
            self.stage = match Pin::new(&mut *from).poll_read(cx, &mut read) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if read.filled().len() > before => continue,
                Poll::Ready(Ok(())) => Stage::Ended,
                // TLS without close_notify: too many clients end like this to treat it as a failure.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Stage::Ended,
                Poll::Ready(Err(error)) => Stage::Failed(error),
            };
            break;
        }
        let count = read.filled().len();
        self.pending.fill(buffer, 0, count);
        if count > 0 || !matches!(self.stage, Stage::Open) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::connection::memory::MemoryBudget;
    use crate::proxy_fixture::DEADLINE;

    fn share() -> Arc<Share> {
        MemoryBudget::new(64 << 20, 0).of_app()
    }

    #[tokio::test]
    async fn both_directions_arrive_whole_and_ends_are_passed_on() {
        let (mut client, mut near) = tokio::io::duplex(1000);
        let (mut far, mut app) = tokio::io::duplex(77);
        let relay = tokio::spawn(async move { relay(&mut near, &mut far, &share()).await });
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

    /// Gives some bytes and fails at once after them.
    struct Failing(&'static [u8]);

    impl AsyncRead for Failing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let bytes = std::mem::take(&mut self.0);
            if bytes.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            out.put_slice(bytes);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Failing {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Gives bytes without an end, until it is cut.
    struct Endless(Arc<AtomicBool>);

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            out.put_slice(&vec![0; out.remaining()]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.0.load(Relaxed) {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                false => Poll::Ready(Ok(())),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn sender_that_is_cut_while_the_receiver_does_not_read_ends_the_relay() {
        let (mut far, _app) = tokio::io::duplex(1000);
        let cut = Arc::new(AtomicBool::new(false));
        let (mut client, share) = (Endless(Arc::clone(&cut)), share());
        let mut relay = Box::pin(relay(&mut client, &mut far, &share));
        assert!(futures_util::poll!(&mut relay).is_pending());
        cut.store(true, Relaxed);
        let ended = tokio::time::timeout(DEADLINE, relay).await.expect("an end before the deadline");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn many_receivers_that_do_not_read_hold_little_beyond_a_share_and_nothing_when_they_do() {
        const LIMIT: usize = 8 << 20;
        const RELAYS: usize = 1000;
        let budget = MemoryBudget::new(LIMIT, 0);
        let share = budget.of_peer(Default::default());
        let mut relays = Vec::new();
        for _ in 0..RELAYS {
            let (mut far, app) = tokio::io::duplex(1000);
            let (share, mut client) = (Arc::clone(&share), Endless(Arc::default()));
            let mut relay = Box::pin(async move { relay(&mut client, &mut far, &share).await });
            assert!(futures_util::poll!(&mut relay).is_pending());
            relays.push((relay, app));
        }
        let held = budget.in_use();
        assert!(held > LIMIT / 8 && held < LIMIT / 6 + RELAYS * (8 << 10), "{held}");
        // What waits beyond the share goes on, a little at a time.
        let (relay, app) = relays.last_mut().unwrap();
        let mut bytes = vec![0; 100_000];
        let read = app.read_exact(&mut bytes);
        tokio::select! {
            read = tokio::time::timeout(DEADLINE, read) => drop(read.unwrap().unwrap()),
            _ = relay => panic!("it has ended"),
        }
        drop(relays);
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn bytes_before_a_failure_are_passed_on() {
        let (mut far, mut app) = tokio::io::duplex(1000);
        let error = relay(&mut Failing(b"the last words"), &mut far, &share()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(far);
        let mut got = Vec::new();
        app.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"the last words");
    }
}
