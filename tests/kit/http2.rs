//! A client of HTTP/2 (RFC 9113) that sends what it is told, right or wrong, one request at a time, and reads what comes
//! to the letter. It shares no code with the agent.

pub mod hpack;

use std::io::{Read, Write};

use crate::http1::{Fault, Fields, ResponseHead, Source};

/// A name and a value, in whatever bytes.
pub type Field = (Vec<u8>, Vec<u8>);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// No header table, no push, and windows that no answer of the tests fills.
const OUR_SETTINGS: [(u16, u32); 3] = [(1, 0), (2, 0), (4, 1 << 26)];
const FRAME: usize = 16_384;

/// What is sent on a stream after its first HEADERS.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Data(Vec<u8>),
    Trailers(Vec<Field>),
    /// Waits until an interim answer, or the answer, has come.
    Wait,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub interim: Vec<(u16, Fields)>,
    pub head: Option<ResponseHead>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Why it did not end as it should.
    pub fault: Option<Fault>,
    ended: bool,
}

pub struct Connection<S> {
    source: Source<S>,
    next_stream: u32,
    /// Of the connection, and what a stream begins with.
    window: i64,
    initial_window: i64,
    stream_window: i64,
    /// The other side takes no more requests.
    pub going_away: bool,
}

impl<S: Read + Write> Connection<S> {
    pub fn open(mut stream: S) -> Result<Self, Fault> {
        let settings: Vec<u8> = OUR_SETTINGS
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let mut first = PREFACE.to_vec();
        first.extend(frame(SETTINGS, 0, 0, &settings));
        first.extend(frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
        stream.write_all(&first).map_err(|_| Fault::Reset)?;
        Ok(Self {
            source: Source::new(stream),
            next_stream: 1,
            window: 65_535,
            initial_window: 65_535,
            stream_window: 0,
            going_away: false,
        })
    }

    pub fn stream(&mut self) -> &mut S {
        self.source.stream()
    }

    /// Sends a request and reads its answer. Without parts, the request ends with its fields.
    pub fn exchange(&mut self, fields: &[Field], parts: &[Part]) -> Answer {
        let mut answer = Answer::default();
        if let Err(fault) = self.run(fields, parts, &mut answer) {
            answer.fault.get_or_insert(fault);
        }
        answer
    }

    fn run(&mut self, fields: &[Field], parts: &[Part], answer: &mut Answer) -> Result<(), Fault> {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.stream_window = self.initial_window;
        self.headers(stream, fields, parts.is_empty())?;
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            match part {
                Part::Data(data) => self.data(stream, data, last, answer)?,
                Part::Trailers(trailers) => self.headers(stream, trailers, true)?,
                Part::Wait => {
                    // Some never ask for it, and then it is sent nevertheless.
                    if let Err(fault) = self.wait(stream, answer) {
                        answer.fault = Some(fault.clone());
                        if fault != Fault::Timeout {
                            return Err(fault);
                        }
                    }
                }
            }
            if answer.ended {
                return Ok(());
            }
        }
        while !answer.ended {
            self.read_frame(stream, answer)?;
        }
        Ok(())
    }

    fn wait(&mut self, stream: u32, answer: &mut Answer) -> Result<(), Fault> {
        while answer.interim.is_empty() && answer.head.is_none() && !answer.ended {
            self.read_frame(stream, answer)?;
        }
        // Whoever was answered at once has no use for the rest.
        if answer.head.is_some() {
            while !answer.ended {
                self.read_frame(stream, answer)?;
            }
            self.send(&frame(RESET, 0, stream, &8u32.to_be_bytes()))?;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let stream = self.source.stream();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|_| Fault::Reset)
    }

    fn headers(&mut self, stream: u32, fields: &[Field], last: bool) -> Result<(), Fault> {
        let block = hpack::encode(fields);
        let mut pieces = block.chunks(FRAME).peekable();
        let (mut kind, mut flags) = (HEADERS, if last { END_STREAM } else { 0 });
        let mut frames = Vec::new();
        while let Some(piece) = pieces.next() {
            flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
            frames.extend(frame(kind, flags, stream, piece));
            (kind, flags) = (CONTINUATION, 0);
        }
        self.send(&frames)
    }

    /// Sends what the windows take, and reads while they take nothing.
    fn data(&mut self, stream: u32, data: &[u8], last: bool, answer: &mut Answer) -> Result<(), Fault> {
        if data.is_empty() {
            return self.send(&frame(DATA, u8::from(last), stream, b""));
        }
        let mut rest = data;
        while !rest.is_empty() && !answer.ended {
            let room = self.window.min(self.stream_window).clamp(0, FRAME as i64) as usize;
            if room == 0 {
                self.read_frame(stream, answer)?;
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            rest = later;
            self.window -= now.len() as i64;
            self.stream_window -= now.len() as i64;
            self.send(&frame(DATA, u8::from(last && rest.is_empty()), stream, now))?;
        }
        Ok(())
    }

    fn read_frame(&mut self, of: u32, answer: &mut Answer) -> Result<(), Fault> {
        let head = self.source.exactly(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        let payload = self.source.exactly(length)?;
        let number =
            |at: usize| payload.get(at..at + 4).map_or(0, |b| u32::from_be_bytes(b.try_into().unwrap()));
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6).filter(|setting| setting[..2] == [0, 4]) {
                    let window = i64::from(u32::from_be_bytes(setting[2..].try_into().unwrap()));
                    self.stream_window += window - self.initial_window;
                    self.initial_window = window;
                }
                self.send(&frame(SETTINGS, ACK, 0, b""))?;
            }
            PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload))?,
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(0)),
            WINDOW_UPDATE if stream == of => self.stream_window += i64::from(number(0)),
            GO_AWAY => {
                self.going_away = true;
                if number(0) < of {
                    let code = number(4);
                    answer.ended = true;
                    answer.fault = Some(Fault::Malformed(format!("sent away with code {code}")));
                }
            }
            RESET if stream == of => {
                // The answer may have said that the rest of the request is of no use.
                if !answer.ended {
                    answer.fault = Some(Fault::Malformed(format!("reset with code {}", number(0))));
                }
                answer.ended = true;
            }
            DATA if stream == of => {
                let data = unpadded(flags, &payload)?;
                if answer.head.is_none() {
                    return Err(Fault::Malformed("DATA before HEADERS".into()));
                }
                answer.body.extend_from_slice(data);
                answer.ended |= flags & END_STREAM != 0;
                if length > 0 {
                    let more = (length as u32).to_be_bytes();
                    self.send(
                        &[frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, of, &more)].concat(),
                    )?;
                }
            }
            HEADERS => self.read_headers(flags, &payload, stream == of, answer)?,
            _ => {}
        }
        Ok(())
    }

    fn read_headers(
        &mut self,
        flags: u8,
        payload: &[u8],
        ours: bool,
        answer: &mut Answer,
    ) -> Result<(), Fault> {
        let mut block = unpadded(flags, payload)?.to_vec();
        let mut end = flags & END_HEADERS != 0;
        while !end {
            let head = self.source.exactly(9)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            block.extend(self.source.exactly(length)?);
            end = head[4] & END_HEADERS != 0;
        }
        if !ours {
            return Ok(());
        }
        let fields = hpack::decode(&block).ok_or_else(|| Fault::Malformed("a header block".into()))?;
        answer.ended |= flags & END_STREAM != 0;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_named = |name: &[u8]| !name.is_empty() && !name.iter().any(u8::is_ascii_uppercase);
        if let Some((name, _)) = fields.iter().find(|(name, _)| !is_named(name)) {
            return Err(Fault::Malformed(format!("the name {:?}", text(name))));
        }
        let (pseudo, fields): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name[0] == b':');
        let fields: Fields = fields.into_iter().map(|(name, value)| (text(&name), value)).collect();
        for name in ["connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"] {
            if fields.iter().any(|(is, _)| is == name) {
                return Err(Fault::Malformed(format!("{name} in HTTP/2")));
            }
        }
        if answer.head.is_some() {
            answer.trailers = fields;
            return Ok(());
        }
        let status = match &pseudo[..] {
            [(name, status)] if name == b":status" => text(status).parse().ok(),
            _ => None,
        };
        let status: u16 = status.ok_or_else(|| Fault::Malformed("no status".into()))?;
        if status < 200 {
            answer.interim.push((status, fields));
        } else {
            let framing = crate::http1::Framing::None;
            answer.head = Some(ResponseHead { status, minor: 2, fields, framing });
        }
        Ok(())
    }
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], Fault> {
    const PADDED: u8 = 8;
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let padding = payload.first().map(|length| usize::from(*length));
    let inner = padding.and_then(|padding| payload.get(1..payload.len().checked_sub(padding)?));
    inner.ok_or_else(|| Fault::Malformed("padding".into()))
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
