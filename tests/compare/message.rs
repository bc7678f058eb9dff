//! An HTTP/1.1 message as it comes in pieces: a head with a length, and that many bytes. As much of HTTP
//! as the load and the service behind it speak with each other.

use std::io;

pub static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

const MAX_HEAD: usize = 16 * 1024;

/// A request or an answer, whichever the other side sends, and the next one after it.
#[derive(Default)]
pub struct Message {
    /// Of a head that has not come whole.
    head: Vec<u8>,
    /// Of the body, while in it.
    left: Option<u64>,
    path: String,
}

impl Message {
    /// Takes more of what came; how many messages are whole by it.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        let mut whole = 0;
        while !rest.is_empty() {
            let left = match self.left {
                Some(left) => left,
                None => match self.begin(&mut rest)? {
                    Some(length) => length,
                    None => return Ok(whole),
                },
            };
            let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            rest = &rest[taken..];
            let left = left - taken as u64;
            self.left = (left > 0).then_some(left);
            whole += usize::from(left == 0);
        }
        Ok(whole)
    }

    /// Of the last request.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes a head off `rest`: the length of the body, if the head is whole.
    fn begin(&mut self, rest: &mut &[u8]) -> io::Result<Option<u64>> {
        let before = self.head.len();
        self.head.extend_from_slice(&rest[..rest.len().min(MAX_HEAD)]);
        let Some((size, length)) = self.parse()? else {
            if self.head.len() >= MAX_HEAD {
                return Err(io::Error::other("a head without an end"));
            }
            *rest = &[];
            return Ok(None);
        };
        self.head.clear();
        *rest = &rest[size - before..];
        Ok(Some(length))
    }

    /// The size of the head and of the body.
    fn parse(&mut self) -> io::Result<Option<(usize, u64)>> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let (size, fields) = if self.head.starts_with(b"HTTP/") {
            let mut answer = httparse::Response::new(&mut fields);
            let httparse::Status::Complete(size) = answer.parse(&self.head).map_err(io::Error::other)? else {
                return Ok(None);
            };
            if answer.code != Some(200) {
                return Err(io::Error::other(format!("answered {:?}", answer.code)));
            }
            (size, answer.headers)
        } else {
            let mut request = httparse::Request::new(&mut fields);
            let httparse::Status::Complete(size) = request.parse(&self.head).map_err(io::Error::other)?
            else {
                return Ok(None);
            };
            self.path.clear();
            self.path.push_str(request.path.unwrap_or_default());
            (size, request.headers)
        };
        let length = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let length = match length {
            Some(field) => std::str::from_utf8(field.value).ok().and_then(|value| value.parse().ok()),
            None if self.head.starts_with(b"HTTP/") => None,
            None => Some(0),
        };
        let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
        Ok(Some((size, length)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_whole_wherever_they_are_cut() {
        let two =
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for cut in 0..=two.len() {
            let mut message = Message::default();
            let (first, second) = two.split_at(cut);
            assert_eq!(message.feed(first).unwrap() + message.feed(second).unwrap(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_good_answer_is_an_error() {
        for bad in [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "\x16\x03\x01\r\n\r\n",
        ] {
            assert!(Message::default().feed(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
