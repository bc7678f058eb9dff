//! The body of a request, read from its connection while it is wanted.

use std::task::{Context, Poll, ready};

use hyper::HeaderMap;
use hyper::header::EXPECT;
use tokio::io::AsyncRead;

use super::chunked::Part;
use super::decode::Decoder;
use super::framing::Framing;
use super::incoming::{Incoming, Sender, Wish, incoming};
use super::input::Input;
use super::{Error, Malformed};
use crate::proxy::http::content::Content;

/// More of a body that nobody wants is not discarded for the sake of the next request.
const DISCARDED_BYTES: u64 = 256 * 1024;

pub struct Feed {
    decoder: Decoder,
    to: To,
    /// The client waits for a 100 before it sends the body.
    pub awaits_continue: bool,
    /// The agent has said a 100, so that the app's is one too many.
    pub said_continue: bool,
    discarded: u64,
}

enum To {
    /// All of it was taken, or there is none.
    Ended,
    Taker(Sender),
    /// It is read to its end and dropped.
    Nobody,
}

/// Why a request did not come whole.
pub enum Broken {
    Malformed(Malformed),
    /// The client has gone.
    Gone,
}

/// What became of a look at the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// A piece was given to who asked for it in this task, which is to look for it.
    Given,
    /// A piece was given to another task, which may want the next one already.
    Passed,
    /// Something has to happen elsewhere first.
    Waiting,
    /// A 100 is due, without which the client may not go on.
    Continue,
}

impl Feed {
    /// For a request with a body of this framing.
    pub fn new(framing: Framing, awaits_continue: bool) -> (Self, Content) {
        let decoder = Decoder::new(framing);
        let (to, content) = if decoder.is_done() {
            (To::Ended, Content::Own(None))
        } else {
            let (sender, incoming): (Sender, Incoming) = incoming(decoder.left());
            (To::Taker(sender), Content::Http1Request(incoming))
        };
        let awaits_continue = awaits_continue && !decoder.is_done();
        (Self { decoder, to, awaits_continue, said_continue: false, discarded: 0 }, content)
    }

    pub fn ended() -> Self {
        Self {
            decoder: Decoder::Done,
            to: To::Ended,
            awaits_continue: false,
            said_continue: false,
            discarded: 0,
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.to, To::Ended)
    }

    /// Nobody gets the rest of it.
    pub fn give_up(&mut self) {
        if !self.is_ended() {
            self.to = To::Nobody;
        }
    }

    /// Whether so much of the body may be to come that the connection is not used again.
    pub fn is_too_much(&self) -> bool {
        // Who waits for a 100 may send the body or not, when another answer comes first.
        !self.is_ended()
            && (self.awaits_continue
                || matches!(self.to, To::Nobody)
                    && (self.discarded > DISCARDED_BYTES
                        || self.decoder.left().is_some_and(|left| left > DISCARDED_BYTES)))
    }

    /// Gives a piece if one is wanted and has come. When all was taken, looks whether the client has gone; an orderly end
    /// of its stream does not say so, as it may wait for its answer.
    pub fn poll<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        stream: &mut S,
        discard: bool,
    ) -> Result<Fed, Broken> {
        match &self.to {
            To::Ended => {
                if input.bytes.is_empty()
                    && !input.ended
                    && let Poll::Ready(read) = input.poll_read(cx, stream)
                    && (read.is_err() || input.cut)
                {
                    return Err(Broken::Gone);
                }
                return Ok(Fed::Waiting);
            }
            To::Taker(sender) => match sender.wish(cx) {
                Wish::Piece => {}
                Wish::Nothing => return Ok(Fed::Waiting),
                Wish::Dropped => self.to = To::Nobody,
            },
            To::Nobody => {}
        }
        match &self.to {
            To::Nobody if discard => self.poll_discard(cx, input, stream),
            To::Nobody => Ok(Fed::Waiting),
            _ => self.poll_piece(cx, input, stream),
        }
    }

    fn poll_piece<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        stream: &mut S,
    ) -> Result<Fed, Broken> {
        if self.awaits_continue && input.bytes.is_empty() {
            return Ok(Fed::Continue);
        }
        let part = match self.poll_part(cx, input, stream) {
            Poll::Ready(part) => part,
            Poll::Pending => return Ok(Fed::Waiting),
        };
        let To::Taker(sender) = &mut self.to else { return Ok(Fed::Waiting) };
        match part {
            Ok(part) => {
                self.awaits_continue = false;
                let last = self.decoder.is_done();
                let same = sender.give(cx, part, last);
                if last {
                    self.to = To::Ended;
                }
                Ok(if same { Fed::Given } else { Fed::Passed })
            }
            Err(error) => {
                let broken = match error {
                    Error::Malformed(reason) => Broken::Malformed(reason),
                    _ => Broken::Gone,
                };
                sender.fail(cx, error);
                Err(broken)
            }
        }
    }

    fn poll_discard<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        stream: &mut S,
    ) -> Result<Fed, Broken> {
        while !self.decoder.is_done() && self.discarded <= DISCARDED_BYTES {
            match self.poll_part(cx, input, stream) {
                Poll::Ready(Ok(Part::Data(data))) => self.discarded += data.len() as u64,
                Poll::Ready(Ok(Part::End(_))) => break,
                Poll::Ready(Err(Error::Malformed(reason))) => return Err(Broken::Malformed(reason)),
                Poll::Ready(Err(_)) => return Err(Broken::Gone),
                Poll::Pending => return Ok(Fed::Waiting),
            }
        }
        if self.decoder.is_done() {
            self.to = To::Ended;
        }
        Ok(Fed::Waiting)
    }

    fn poll_part<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        stream: &mut S,
    ) -> Poll<Result<Part, Error>> {
        poll_part(cx, &mut self.decoder, input, stream)
    }
}

/// The next part of a body, read when it has not been read yet.
pub fn poll_part<S: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    decoder: &mut Decoder,
    input: &mut Input,
    stream: &mut S,
) -> Poll<Result<Part, Error>> {
    loop {
        if let Some(part) = decoder.next(&mut input.bytes)? {
            return Poll::Ready(Ok(part));
        }
        if !input.ended {
            ready!(input.poll_read(cx, stream)).map_err(Error::Io)?;
        }
        if input.ended {
            // Without its last word a TLS stream may have been cut by anybody on the way.
            let is_whole = !input.cut && decoder.end();
            return Poll::Ready(if is_whole { Ok(Part::End(None)) } else { Err(Error::Ended) });
        }
    }
}

/// Whether this request asks for a 100 before its body.
pub fn expects_continue(headers: &HeaderMap) -> bool {
    let expected = headers.get(EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
