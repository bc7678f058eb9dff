//! The heads of HTTP/2 frames in one direction of a connection. Payloads are skipped by their length.

use h2::Reason;

const HEAD_BYTES: usize = 9;
/// What a client sends before its first frame.
const PREFACE_BYTES: u32 = 24;
/// The longest padding of a DATA frame, with its length.
const MAX_PADDING: u32 = 256;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    Headers,
    Settings,
    Ping,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub length: u32,
    flags: u8,
    pub stream: u32,
}

impl Frame {
    fn parse(head: &[u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            4 => Kind::Settings,
            6 => Kind::Ping,
            _ => Kind::Other,
        };
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { kind, length: u32::from_be_bytes([0, a, b, c]), flags, stream }
    }

    /// Of DATA: whether there is more in it than there may be padding.
    pub fn has_data(&self) -> bool {
        let padding = if self.flags & PADDED == 0 { 0 } else { MAX_PADDING };
        self.length > padding
    }

    pub fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }
}

/// Finds the frames in bytes as they come.
pub struct FrameScanner {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that have come.
    filled: usize,
    /// Bytes to skip before the next head.
    skip: u32,
}

impl FrameScanner {
    pub fn new() -> Self {
        Self { head: [0; HEAD_BYTES], filled: 0, skip: 0 }
    }

    /// In the direction in which a preface comes first.
    pub fn after_preface() -> Self {
        Self { skip: PREFACE_BYTES, ..Self::new() }
    }

    pub fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.skip == 0
    }

    pub fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Frame)) {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let count = bytes.len().min(HEAD_BYTES - self.filled);
            self.head[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled < HEAD_BYTES {
                return;
            }
            let frame = Frame::parse(&self.head);
            (self.filled, self.skip) = (0, frame.length);
            found(&frame);
        }
    }
}

/// Tells the other side that the connection ends, and why.
pub fn go_away(last_stream: u32, reason: Reason) -> [u8; HEAD_BYTES + 8] {
    let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&last_stream.to_be_bytes());
    frame[HEAD_BYTES + 4..].copy_from_slice(&u32::from(reason).to_be_bytes());
    frame
}
