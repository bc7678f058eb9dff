//! One side of an HTTP/2 connection (RFC 9113), as much of it as a gRPC call needs: frames in and out, header
//! blocks of a few fields, and both directions' flow control. It does no I/O.

mod hpack;

use std::io;

use hpack::{Decoder, Encoder};
pub use hpack::{Field, Head, Known};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Of a frame, before its payload.
const FRAME_HEAD: usize = 9;
/// What each side takes without having said so, as we do.
const MAX_FRAME: usize = 16 * 1024;
const DEFAULT_WINDOW: i64 = 65_535;
/// What the other side may send on the connection before it hears of us again.
const WINDOW: u32 = 1 << 30;

mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// What came on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Fields before the data or after it.
    Head {
        stream: u32,
        head: Head,
        ends: bool,
    },
    Data {
        stream: u32,
        length: usize,
        ends: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    /// The other side wants no more streams.
    GoAway {
        code: u32,
    },
}

pub struct Session {
    /// Of the other side's preface, what did not come yet.
    preface: &'static [u8],
    /// What came, and how much of it was looked at.
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
    encoder: Encoder,
    decoder: Decoder,
    /// Data that the other side takes on the connection.
    window: i64,
    /// Data that came since the other side was given more window.
    taken: u32,
    max_streams: u32,
}

impl Session {
    pub fn client() -> Self {
        let mut session = Self::new();
        session.output.extend_from_slice(PREFACE);
        session.begin();
        session
    }

    pub fn server() -> Self {
        let mut session = Self { preface: PREFACE, ..Self::new() };
        session.begin();
        session
    }

    fn new() -> Self {
        Self {
            preface: &[],
            input: Vec::new(),
            read: 0,
            output: Vec::new(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            window: DEFAULT_WINDOW,
            taken: 0,
            max_streams: u32::MAX,
        }
    }

    fn begin(&mut self) {
        self.frame(frame::SETTINGS, 0, 0, &[]);
        self.frame(frame::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    }

    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let preface = self.preface.len().min(bytes.len());
        let (ours, bytes) = bytes.split_at(preface);
        let Some(left) = self.preface.strip_prefix(ours) else {
            return Err(io::Error::other("a client without the preface of HTTP/2"));
        };
        self.preface = left;
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// The next thing that happened. What concerns the connection alone is answered here.
    pub fn next(&mut self) -> io::Result<Option<Event>> {
        while let Some((head, rest)) = self.input[self.read..].split_first_chunk::<FRAME_HEAD>() {
            let [a, b, c, kind, flags, stream @ ..] = *head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_FRAME {
                return Err(io::Error::other(format!("a frame of {length} bytes")));
            }
            if rest.len() < length {
                break;
            }
            let at = self.read + FRAME_HEAD;
            self.read = at + length;
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            if let Some(event) = self.take(kind, flags, stream, at)? {
                return Ok(Some(event));
            }
        }
        self.input.drain(..self.read);
        self.read = 0;
        Ok(None)
    }

    /// A frame whose payload begins at `at`, and ends where the next frame begins.
    fn take(&mut self, kind: u8, flags: u8, stream: u32, at: usize) -> io::Result<Option<Event>> {
        let payload = &self.input[at..self.read];
        let ends = flags & flag::END_STREAM != 0;
        match kind {
            frame::DATA if flags & flag::PADDED == 0 => {
                let length = payload.len();
                self.receive(length as u32);
                Ok(Some(Event::Data { stream, length, ends }))
            }
            frame::HEADERS if flags & (flag::PADDED | flag::END_HEADERS) == flag::END_HEADERS => {
                let skipped = if flags & flag::PRIORITY == 0 { 0 } else { 5 };
                let block = payload.get(skipped..).ok_or(io::ErrorKind::InvalidData)?;
                let head = self.decoder.decode(block)?;
                Ok(Some(Event::Head { stream, head, ends }))
            }
            frame::RST_STREAM => Ok(Some(Event::Reset { stream, code: number(payload, 0)? })),
            frame::GOAWAY => Ok(Some(Event::GoAway { code: number(payload, 4)? })),
            frame::SETTINGS if flags & flag::ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = number(setting, 2)?;
                    match u16::from_be_bytes([setting[0], setting[1]]) {
                        setting::MAX_CONCURRENT_STREAMS => self.max_streams = value,
                        setting::HEADER_TABLE_SIZE if value < hpack::TABLE => self.encoder.use_no_table(),
                        setting::INITIAL_WINDOW_SIZE if value < 1024 => {
                            return Err(io::Error::other(format!("a window of {value} bytes")));
                        }
                        _ => {}
                    }
                }
                self.frame(frame::SETTINGS, flag::ACK, 0, &[]);
                Ok(None)
            }
            frame::PING if flags & flag::ACK == 0 => {
                let payload: [u8; 8] = payload.try_into().map_err(io::Error::other)?;
                self.frame(frame::PING, flag::ACK, 0, &payload);
                Ok(None)
            }
            frame::WINDOW_UPDATE => {
                // That of a stream is of no interest: no message is as long as its window.
                if stream == 0 {
                    self.window += i64::from(number(payload, 0)?);
                }
                Ok(None)
            }
            frame::SETTINGS | frame::PING | frame::PRIORITY => Ok(None),
            // Padding and blocks in several frames, which nobody has a reason to send here.
            _ => Err(io::Error::other(format!("a frame of kind {kind} with flags {flags:#x}"))),
        }
    }

    /// Gives the other side back the window that it used, now and then.
    fn receive(&mut self, length: u32) {
        self.taken += length;
        if self.taken >= WINDOW / 2 {
            let taken = std::mem::take(&mut self.taken);
            self.frame(frame::WINDOW_UPDATE, 0, 0, &taken.to_be_bytes());
        }
    }

    /// How many streams the other side takes at once, as far as is known.
    pub fn max_streams(&self) -> usize {
        self.max_streams as usize
    }

    /// Whether the other side takes so much data.
    pub fn has_window(&self, length: usize) -> bool {
        self.window >= length as i64
    }

    pub fn send_head(&mut self, stream: u32, fields: &[Field], ends: bool) {
        let at = self.output.len();
        self.output.extend_from_slice(&[0; FRAME_HEAD]);
        self.encoder.encode(fields, &mut self.output);
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        let head = frame_head(self.output.len() - at - FRAME_HEAD, frame::HEADERS, flags, stream);
        self.output[at..at + FRAME_HEAD].copy_from_slice(&head);
    }

    pub fn send_data(&mut self, stream: u32, data: &[u8], ends: bool) {
        self.window -= data.len() as i64;
        self.frame(frame::DATA, if ends { flag::END_STREAM } else { 0 }, stream, data);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.output.extend_from_slice(&frame_head(payload.len(), kind, flags, stream));
        self.output.extend_from_slice(payload);
    }

    /// What is to be sent, to be taken from its beginning as it is.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }
}

fn frame_head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEAD] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    [a, b, c, kind, flags, s, t, u, v]
}

fn number(payload: &[u8], at: usize) -> io::Result<u32> {
    let bytes = payload.get(at..).and_then(<[u8]>::first_chunk);
    Ok(u32::from_be_bytes(*bytes.ok_or(io::ErrorKind::InvalidData)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FIELD: Field = Field { name: "te", value: "trailers", known: Known::Nothing };

    fn exchange(from: &mut Session, to: &mut Session, piece: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for bytes in std::mem::take(from.output()).chunks(piece) {
            to.feed(bytes).unwrap();
            while let Some(event) = to.next().unwrap() {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn frames_are_whole_wherever_they_are_cut() {
        for piece in [1, 2, 7, 10_000] {
            let (mut client, mut server) = (Session::client(), Session::server());
            client.send_head(1, &[FIELD], false);
            client.send_data(1, b"hello", true);
            let events = exchange(&mut client, &mut server, piece);
            let head = Event::Head { stream: 1, head: Head::default(), ends: false };
            assert_eq!(events, [head, Event::Data { stream: 1, length: 5, ends: true }]);
        }
    }

    #[test]
    fn window_that_was_used_is_given_back() {
        let (mut client, mut server) = (Session::client(), Session::server());
        exchange(&mut server, &mut client, 10_000);
        let whole = DEFAULT_WINDOW + i64::from(WINDOW);
        assert_eq!(client.window, whole);
        let data = [0; MAX_FRAME];
        for _ in 0..WINDOW as usize / 2 / MAX_FRAME {
            assert!(client.window <= whole);
            client.send_data(1, &data, false);
            exchange(&mut client, &mut server, usize::MAX);
        }
        assert_eq!(client.window, whole - i64::from(WINDOW / 2));
        exchange(&mut server, &mut client, 10_000);
        assert_eq!(client.window, whole);
    }

    #[test]
    fn what_is_not_http_2_is_an_error() {
        assert!(Session::server().feed(b"GET / HTTP/1.1\r\n").is_err());
        let mut client = Session::client();
        client.feed(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
        assert!(client.next().is_err());
    }
}
