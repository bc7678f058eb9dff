//! A message that is written: its head, and its body by its framing.

use std::io::Write as _;

use bytes::Buf;
use hyper::ext::ReasonPhrase;
use hyper::header::{HOST, HeaderMap, HeaderName, TE, TRAILER, UPGRADE};
use hyper::http::response;
use hyper::{Request, StatusCode};

use super::framing::Framing;
use super::output::Output;
use super::target::RawTarget;

/// What a head takes as a rule, so that its buffer grows but once.
const USUAL_HEAD_BYTES: usize = 512;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is said of the connection in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: it goes on.
    Implicit,
    /// To a client of HTTP/1.0 that asked for it.
    KeepAlive,
    Close,
    /// The protocol in `Upgrade` follows, or is asked for.
    Upgrade,
}

pub fn request_head<B>(out: &mut Vec<u8>, request: &Request<B>, framing: Framing, connection: Connection) {
    out.reserve(USUAL_HEAD_BYTES);
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    match request.extensions().get::<RawTarget>() {
        Some(RawTarget(target)) => out.extend_from_slice(target),
        None => {
            out.extend_from_slice(request.uri().path_and_query().map_or("/", |path| path.as_str()).as_bytes())
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(out, request.headers());
    end_of_head(out, request.headers(), framing, connection);
}

/// `framing`: of the body that is written. `declared`: the length of a body that there is not.
pub fn response_head(
    out: &mut Vec<u8>,
    head: &response::Parts,
    framing: Framing,
    declared: Option<u64>,
    connection: Connection,
) {
    out.reserve(USUAL_HEAD_BYTES);
    status_line(out, head.status, head.extensions.get::<ReasonPhrase>());
    fields(out, &head.headers);
    if framing == Framing::None
        && let Some(length) = declared
    {
        content_length(out, length);
    }
    end_of_head(out, &head.headers, framing, connection);
}

/// An interim response, which has nothing after its head.
pub fn interim_head(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    status_line(out, status, None);
    fields(out, headers);
    out.extend_from_slice(b"\r\n");
}

/// With the version of this agent, whatever the client's is (RFC 9112, 2.3).
fn status_line(out: &mut Vec<u8>, status: StatusCode, reason: Option<&ReasonPhrase>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match reason {
        Some(reason) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// All but those that say of this connection how the message ends.
fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if !is_of_connection(name) {
            field(out, name, value.as_bytes());
        }
    }
}

fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding" | "upgrade")
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn end_of_head(out: &mut Vec<u8>, headers: &HeaderMap, framing: Framing, connection: Connection) {
    match framing {
        Framing::Length(length) => content_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    match connection {
        Connection::Implicit => {}
        Connection::KeepAlive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Connection::Close => out.extend_from_slice(b"connection: close\r\n"),
        Connection::Upgrade => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            for protocol in headers.get_all(UPGRADE) {
                field(out, &UPGRADE, protocol.as_bytes());
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    // Into memory, which does not fail.
    let _ = write!(out, "{number}");
}

/// A body is written by its framing.
pub struct Encoder {
    framing: Framing,
    ended: bool,
}

/// A body is not as long as it was said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not as long as Content-Length says")]
pub struct WrongLength;

impl Encoder {
    pub fn new(framing: Framing) -> Self {
        Self { framing, ended: matches!(framing, Framing::None | Framing::Length(0)) }
    }

    /// `last`: nothing comes after it, and no trailers.
    pub fn data<D: Buf>(&mut self, data: D, last: bool, out: &mut Output<D>) -> Result<(), WrongLength> {
        let count = data.remaining() as u64;
        match &mut self.framing {
            Framing::None => {}
            Framing::Length(left) => {
                *left = left.checked_sub(count).ok_or(WrongLength)?;
                self.ended = *left == 0;
                if last && !self.ended {
                    return Err(WrongLength);
                }
                out.push(data, b"");
            }
            Framing::UntilClose => {
                out.push(data, b"");
                self.ended = last;
            }
            Framing::Chunked => {
                // One without data would be the last.
                if count > 0 {
                    let _ = write!(out.buffer(), "{count:x}\r\n");
                    out.push(data, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                } else if last {
                    out.buffer().extend_from_slice(LAST_CHUNK);
                }
                self.ended = last;
            }
        }
        Ok(())
    }

    /// The end of the body. Trailers are for chunks alone.
    pub fn end<D: Buf>(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Output<D>,
    ) -> Result<(), WrongLength> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        match (self.framing, trailers) {
            (Framing::Length(_), _) => Err(WrongLength),
            (Framing::Chunked, Some(trailers)) => {
                let out = out.buffer();
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|(name, _)| may_be_trailer(name)) {
                    field(out, name, value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            (Framing::Chunked, None) => {
                out.buffer().extend_from_slice(LAST_CHUNK);
                Ok(())
            }
            (Framing::None | Framing::UntilClose, _) => Ok(()),
        }
    }
}

/// Those that say how a message is read come before it (RFC 9110, 6.5.1).
fn may_be_trailer(name: &HeaderName) -> bool {
    !is_of_connection(name) && ![HOST, TE, TRAILER].contains(name)
}

#[cfg(test)]
mod tests;
