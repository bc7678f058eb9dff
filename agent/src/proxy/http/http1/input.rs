//! What was read from a stream and not used yet. It holds no room for what may come: reads go into a buffer of the
//! thread, and what they yield is kept in as much room as it takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::{MAX_HEAD_BYTES, Malformed};
use crate::connection::buffered_stream::{PLAIN_BYTES, borrow_buffer, return_buffer};

/// The first read of a connection; more as long as reads are filled.
const FIRST_READ_BYTES: usize = 8 * 1024;
/// What is kept in the buffer that it was read into.
const KEPT_BYTES: usize = PLAIN_BYTES / 2;

pub struct Input {
    pub bytes: Bytes,
    next_read: usize,
    /// The other side has ended its stream.
    pub ended: bool,
    /// It did so without a word, where TLS has one.
    pub cut: bool,
}

/// A head that comes in pieces.
#[derive(Default)]
pub struct PartialHead {
    bytes: BytesMut,
    /// No head ends before.
    searched: usize,
    checked: bool,
}

/// Why there is no head.
#[derive(Debug)]
pub enum NoHead {
    /// The stream ended, in the midst of a head or before it.
    Ended {
        partial: bool,
    },
    Failed(io::Error),
    Malformed(Malformed),
}

/// Whether these bytes may begin a head.
pub type Check = fn(&[u8]) -> Result<(), Malformed>;

impl Input {
    pub fn new() -> Self {
        Self { bytes: Bytes::new(), next_read: FIRST_READ_BYTES, ended: false, cut: false }
    }

    /// Reads once, when all that was read before has been used. Ready when there are bytes or the stream has ended.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        debug_assert!(self.bytes.is_empty() && !self.ended);
        let mut buffer = borrow_buffer();
        let mut read = ReadBuf::new(&mut buffer[..self.next_read]);
        let result = Pin::new(stream).poll_read(cx, &mut read);
        let count = read.filled().len();
        match result {
            Poll::Ready(Ok(())) => {
                self.ended = count == 0;
                self.next_read = match count {
                    count if count == self.next_read => 2 * count,
                    count => (self.next_read / 2).max(count.next_power_of_two()),
                };
                self.next_read = self.next_read.clamp(FIRST_READ_BYTES, PLAIN_BYTES);
                self.bytes = taken(buffer, count);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                return_buffer(buffer);
                // TLS without close_notify: whether the end is one follows from the framing.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    return Poll::Ready(Err(error));
                }
                (self.ended, self.cut) = (true, true);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                return_buffer(buffer);
                Poll::Pending
            }
        }
    }

    /// The next head, with the empty line that ends it.
    pub fn poll_head<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        partial: &mut PartialHead,
        check: Check,
    ) -> Poll<Result<Bytes, NoHead>> {
        loop {
            if let Some(head) = partial.take_head(&mut self.bytes, check).map_err(NoHead::Malformed)? {
                return Poll::Ready(Ok(head));
            }
            if !self.ended {
                ready!(self.poll_read(cx, stream)).map_err(NoHead::Failed)?;
            }
            if self.ended {
                return Poll::Ready(Err(NoHead::Ended { partial: !partial.is_empty() }));
            }
        }
    }
}

/// What a read has yielded.
fn taken(mut buffer: Box<[u8]>, count: usize) -> Bytes {
    if count >= KEPT_BYTES {
        return Bytes::from_owner(Kept { buffer: std::mem::take(&mut buffer), count });
    }
    let bytes = Bytes::copy_from_slice(&buffer[..count]);
    return_buffer(buffer);
    bytes
}

/// A buffer that goes back to a thread when nobody needs its bytes.
struct Kept {
    buffer: Box<[u8]>,
    count: usize,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.count]
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        return_buffer(std::mem::take(&mut self.buffer));
    }
}

impl PartialHead {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has come of a head that is refused. It is in `input` if it came whole.
    pub fn begun<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        if self.is_empty() { input } else { &self.bytes }
    }

    /// The head that ends in `input`, if one does. What belongs to it is taken out of `input`.
    fn take_head(&mut self, input: &mut Bytes, check: Check) -> Result<Option<Bytes>, Malformed> {
        if self.is_empty() {
            skip_empty_lines(input);
            if input.is_empty() {
                return Ok(None);
            }
            // As most do, it has come whole.
            if let Some(end) = end_of_head(input, 0) {
                return within_limit(end, input).map(|()| Some(input.split_to(end)));
            }
        }
        self.bytes.extend_from_slice(input);
        input.clear();
        if self.searched == 0 {
            // An empty line may come in two pieces.
            skip_empty_lines(&mut self.bytes);
            if matches!(&self.bytes[..], [] | [b'\r']) {
                return Ok(None);
            }
        }
        if let Some(end) = end_of_head(&self.bytes, self.searched) {
            within_limit(end, &self.bytes)?;
            let mut all = std::mem::take(self).bytes.freeze();
            let head = all.split_to(end);
            *input = all;
            return Ok(Some(head));
        }
        if !self.checked {
            check(&self.bytes)?;
            self.checked = memchr::memchr(b'\n', &self.bytes).is_some();
        }
        within_limit(self.bytes.len(), &self.bytes)?;
        // The last bytes may be the first of an empty line.
        self.searched = self.bytes.len().saturating_sub(2);
        Ok(None)
    }
}

/// Those before a message, which some clients write after another (RFC 9112, 2.2).
fn skip_empty_lines(input: &mut impl Buf) {
    loop {
        let line = match input.chunk() {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return,
        };
        input.advance(line);
    }
}

/// Where the empty line ends that ends a head. `from`: no line ends before.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|end| match bytes[from + end + 1..] {
        [b'\n', ..] => Some(from + end + 2),
        [b'\r', b'\n', ..] => Some(from + end + 3),
        _ => None,
    })
}

fn within_limit(length: usize, head: &[u8]) -> Result<(), Malformed> {
    if length <= MAX_HEAD_BYTES {
        return Ok(());
    }
    match memchr::memchr(b'\n', &head[..MAX_HEAD_BYTES.min(head.len())]) {
        Some(_) => Err(Malformed::FieldsTooLong),
        None => Err(Malformed::LineTooLong),
    }
}

#[cfg(test)]
mod tests;
