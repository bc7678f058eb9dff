//! The chunked transfer coding (RFC 9112, 7.1), read. Lines end with CR LF here, and nothing else.

use bytes::{Buf as _, Bytes};
use hyper::HeaderMap;

use super::head;
use super::{MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, Malformed};

/// The largest size that fits.
const MAX_SIZE_DIGITS: u8 = 16;

pub struct Chunked {
    state: State,
    extension_bytes: usize,
    /// What was read of the trailer fields.
    trailers: Vec<u8>,
    /// The trailer fields, at the end.
    end: Option<HeaderMap>,
}

#[derive(Clone, Copy)]
enum State {
    /// The size so far, and its digits.
    Size(u64, u8),
    /// After the size, before its extensions or the end of its line.
    Space(u64),
    /// Up to the end of its line.
    Extension(u64),
    SizeLf(u64),
    /// So much of a chunk is left.
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    Done,
    Broken(Malformed),
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Data(Bytes),
    /// The end, with trailer fields or without.
    End(Option<HeaderMap>),
}

impl Chunked {
    pub fn new() -> Self {
        Self { state: State::Size(0, 0), extension_bytes: 0, trailers: Vec::new(), end: None }
    }

    /// The next part of the body, or `None` when all of `input` was taken and more of it is needed.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Part>, Malformed> {
        self.read_framing(input)?;
        match self.state {
            State::Done => Ok(Some(Part::End(self.end.take()))),
            State::Broken(reason) => Err(reason),
            State::Data(left) if !input.is_empty() => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - count as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                let data = input.split_to(count);
                // If the end has come with the last chunk, it is known as the last. What is wrong after it is said next.
                if let Err(reason) = self.read_framing(input) {
                    self.state = State::Broken(reason);
                }
                Ok(Some(Part::Data(data)))
            }
            _ => Ok(None),
        }
    }

    /// Whether nothing is left of the body, and there are no trailer fields.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Done) && self.end.is_none()
    }

    /// Takes what is not data.
    fn read_framing(&mut self, input: &mut Bytes) -> Result<(), Malformed> {
        while !input.is_empty() && !matches!(self.state, State::Data(_) | State::Done | State::Broken(_)) {
            match self.state {
                State::Trailers => self.read_trailers(input)?,
                _ => self.state = self.after(input.get_u8())?,
            }
        }
        Ok(())
    }

    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size(size, digits), byte) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Malformed::ChunkSize);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (State::Size(_, 0), _) => return Err(Malformed::ChunkSize),
            (State::Size(size, _) | State::Space(size) | State::Extension(size), b'\r') => {
                State::SizeLf(size)
            }
            // White space before the semicolon is an old habit of some servers.
            (State::Size(size, _), b' ' | b'\t') => State::Space(size),
            (State::Space(size), b' ' | b'\t') => {
                self.count_extension()?;
                State::Space(size)
            }
            (State::Size(size, _) | State::Space(size), b';') => State::Extension(size),
            (State::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension()?;
                State::Extension(size)
            }
            (State::SizeLf(0), b'\n') => State::Trailers,
            (State::SizeLf(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),
            (State::DataCr | State::DataLf, _) => return Err(Malformed::ChunkEnd),
            _ => return Err(Malformed::ChunkSize),
        })
    }

    fn count_extension(&mut self) -> Result<(), Malformed> {
        self.extension_bytes += 1;
        match self.extension_bytes > MAX_EXTENSION_BYTES {
            true => Err(Malformed::ExtensionsTooLong),
            false => Ok(()),
        }
    }

    /// Takes one line, or what there is of it.
    fn read_trailers(&mut self, input: &mut Bytes) -> Result<(), Malformed> {
        let count = memchr::memchr(b'\n', input).map_or(input.len(), |end| end + 1);
        if self.trailers.len() + count > MAX_TRAILER_BYTES {
            return Err(Malformed::TrailersTooLong);
        }
        self.trailers.extend_from_slice(&input.split_to(count));
        let lines = &self.trailers[..];
        if !lines.ends_with(b"\n") {
            return Ok(());
        }
        if !lines.ends_with(b"\r\n") {
            return Err(Malformed::Trailer);
        }
        if lines == b"\r\n" || lines.ends_with(b"\r\n\r\n") {
            self.state = State::Done;
            let lines = std::mem::take(&mut self.trailers);
            self.end = (lines.len() > 2).then(|| head::trailers(lines.into())).transpose()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
