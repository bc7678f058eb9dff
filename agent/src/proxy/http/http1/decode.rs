//! A body that is read, by its framing.

use bytes::Bytes;

use super::Malformed;
use super::chunked::{Chunked, Part};
use super::framing::Framing;

pub enum Decoder {
    Length(u64),
    // Boxed: most bodies have a length.
    Chunked(Box<Chunked>),
    UntilClose,
    Done,
}

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(Chunked::new())),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// The next part of the body, or `None` when more input is needed. After the end there is no input that belongs to
    /// it.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Part>, Malformed> {
        Ok(match self {
            Self::Done => Some(Part::End(None)),
            Self::Length(_) | Self::UntilClose if input.is_empty() => None,
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Some(Part::Data(input.split_to(count)))
            }
            Self::Chunked(chunked) => {
                let part = chunked.next(input)?;
                if chunked.is_ended() {
                    *self = Self::Done;
                }
                part
            }
            Self::UntilClose => Some(Part::Data(input.split_to(input.len()))),
        })
    }

    /// The stream has ended: whether the body has ended with it as it should.
    pub fn end(&mut self) -> bool {
        let whole = self.is_done() || matches!(self, Self::UntilClose);
        if whole {
            *self = Self::Done;
        }
        whole
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How much is to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}
