//! A limit on frames of HTTP/2 that carry nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, resets, empty DATA, frames of
//! unknown kinds. Each costs this side work and the other side nothing, and none is held up by flow control. A peer whose
//! frames of this kind are out of proportion to those with requests, responses and data is sent away. The stream beneath
//! the library is watched rather than the library asked, so that the limit does not depend on what it counts.

mod frames;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::keep_alive::Heard;
use crate::connection::tracker::Connection;
use frames::{Frame, FrameScanner, Kind};

/// What a connection may spend at once. A client that opens and resets all of its streams at its start, with a window
/// update and a priority for each, needs a quarter of it; to work it off takes about a millisecond.
const BUDGET: u32 = 2_000;
/// Given back each second, whatever the connection carries: far above what keepalive needs.
const REFILL_PER_SECOND: u32 = 100;
/// For each HEADERS frame of either side: a request may come with a priority, window updates and a PING, and be reset.
const REFILL_PER_HEADERS: u32 = 4;
/// For each DATA frame that is sent: some clients acknowledge each in two windows and measure the round trip by a PING.
const REFILL_PER_SENT_DATA: u32 = 5;
/// For each so many bytes of it: some acknowledge every 4 KiB that they have read, in two windows.
const SENT_BYTES_PER_TOKEN: u32 = 1024;
/// For each DATA frame that is received.
const REFILL_PER_RECEIVED_DATA: u32 = 2;
/// A change of settings is applied to every stream and acknowledged; a connection has one or two.
const SETTINGS_COST: u32 = 20;
/// It is answered.
const PING_COST: u32 = 2;
/// Payload that says nothing is read all the same.
const BYTES_PER_TOKEN: u32 = 1024;
/// What one poll of a connection takes before other connections of the thread have their turn: so many frames, or fewer
/// with long header blocks, whose fields may each be as short as a byte.
const FRAMES_PER_POLL: u32 = 256;
const HEADER_BYTES_PER_FRAME: u32 = 64;

/// What is left to spend.
struct FrameBudget {
    left: u32,
    refilled: Instant,
}

impl FrameBudget {
    fn new() -> Self {
        Self { left: BUDGET, refilled: Instant::now() }
    }

    fn refill(&mut self, tokens: u32) {
        self.left = (self.left + tokens).min(BUDGET);
    }

    /// Whether there was enough. The clock is looked at only when there is not.
    fn spend(&mut self, tokens: u32, now: impl FnOnce() -> Instant) -> bool {
        if self.left < tokens {
            let now = now();
            let millis = now.saturating_duration_since(self.refilled).as_millis().min(60_000);
            self.refilled = now;
            self.refill(millis as u32 * REFILL_PER_SECOND / 1000);
        }
        match self.left.checked_sub(tokens) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Whether a frame of the other side is within the budget.
    fn receive(&mut self, frame: &Frame) -> bool {
        let bytes = frame.length / BYTES_PER_TOKEN;
        let cost = match frame.kind {
            Kind::Headers => {
                self.refill(REFILL_PER_HEADERS);
                return true;
            }
            Kind::Data if frame.has_data() => {
                self.refill(REFILL_PER_RECEIVED_DATA);
                return true;
            }
            // At most one for each stream.
            Kind::Data if frame.ends_stream() => return true,
            Kind::Settings if !frame.is_ack() => SETTINGS_COST + bytes,
            Kind::Ping if !frame.is_ack() => PING_COST,
            _ => 1 + bytes,
        };
        self.spend(cost, Instant::now)
    }

    fn send(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Headers => self.refill(REFILL_PER_HEADERS),
            Kind::Data if frame.has_data() => {
                self.refill(REFILL_PER_SENT_DATA + frame.length / SENT_BYTES_PER_TOKEN);
            }
            _ => {}
        }
    }
}

/// The stream beneath one HTTP/2 connection.
pub struct FrameLimited<S> {
    stream: S,
    /// The entry in the tracker, if it has one.
    tracked: Option<Arc<Connection>>,
    budget: FrameBudget,
    received: FrameScanner,
    sent: FrameScanner,
    /// Frames since the connection yielded.
    in_a_row: u32,
    /// The highest stream that the other side has opened.
    last_stream: u32,
    /// Told of what comes in.
    heard: Option<Arc<Heard>>,
}

impl<S> FrameLimited<S> {
    /// Of a server, which is sent the preface of a connection.
    pub fn server(stream: S, tracked: Option<Arc<Connection>>) -> Self {
        Self::new(stream, tracked, FrameScanner::after_preface(), FrameScanner::new())
    }

    /// Of a client, which sends the preface.
    pub fn client(stream: S, tracked: Option<Arc<Connection>>, heard: Arc<Heard>) -> Self {
        let this = Self::new(stream, tracked, FrameScanner::new(), FrameScanner::after_preface());
        Self { heard: Some(heard), ..this }
    }

    fn new(stream: S, tracked: Option<Arc<Connection>>, received: FrameScanner, sent: FrameScanner) -> Self {
        Self {
            stream,
            tracked,
            budget: FrameBudget::new(),
            received,
            sent,
            in_a_row: 0,
            last_stream: 0,
            heard: None,
        }
    }

    /// Whether all frames of `bytes` are within the budget.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        let Self { budget, received, in_a_row, last_stream, heard, .. } = self;
        let mut within = true;
        received.scan(bytes, |frame| {
            *in_a_row += match frame.kind {
                Kind::Headers | Kind::Other => 1 + frame.length / HEADER_BYTES_PER_FRAME,
                Kind::Data | Kind::Settings | Kind::Ping => 1,
            };
            if frame.kind == Kind::Headers {
                *last_stream = frame.stream.max(*last_stream);
            }
            if let Some(heard) = heard {
                heard.any.store(true, Relaxed);
                if matches!(frame.kind, Kind::Headers | Kind::Data) {
                    heard.response.store(true, Relaxed);
                }
            }
            within = within && budget.receive(frame);
        });
        within
    }
}

impl<S: AsyncWrite + Unpin> FrameLimited<S> {
    /// Says why and closes. Best effort: a peer that does not read is not waited for.
    fn send_away(&mut self, cx: &mut Context<'_>) -> io::Error {
        if self.sent.is_between_frames() {
            let frame = frames::go_away(self.last_stream, Reason::ENHANCE_YOUR_CALM);
            if Pin::new(&mut self.stream).poll_write(cx, &frame).is_ready() {
                let _ = Pin::new(&mut self.stream).poll_flush(cx);
            }
        }
        if let Some(tracked) = &self.tracked {
            tracked.close_for_frames();
        }
        debug!("HTTP/2 connection closed: its frames carry nothing");
        io::Error::new(io::ErrorKind::ConnectionAborted, "too many HTTP/2 frames that carry nothing")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FrameLimited<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.in_a_row >= FRAMES_PER_POLL {
            this.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = out.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, out);
        if result.is_pending() {
            this.in_a_row = 0;
        }
        if !this.receive(&out.filled()[before..]) {
            return Poll::Ready(Err(this.send_away(cx)));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameLimited<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = result {
            let Self { budget, sent, .. } = this;
            sent.scan(&bytes[..count], |frame| budget.send(frame));
        }
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(mut count)) = result {
            let Self { budget, sent, .. } = this;
            for slice in bytes {
                let written = count.min(slice.len());
                sent.scan(&slice[..written], |frame| budget.send(frame));
                count -= written;
                if count == 0 {
                    break;
                }
            }
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
