//! What is sent to a proxy, and how it is written down: a line of text, its bytes escaped as in Rust.

use crate::http2::{Field, Part};

/// Where the sink is, for a forward proxy; another name for the others.
pub const SINK: &str = "{sink}";

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Http1(Vec<u8>),
    Http2(Http2Request),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http2Request {
    pub fields: Vec<Field>,
    pub parts: Vec<Part>,
}

impl Input {
    /// A line of a corpus: `http1 BYTES` or `http2 NAME=VALUE … [DATA=BYTES] [TRAILERS NAME=VALUE …]`.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "http1" => unescape(rest).map(Self::Http1),
            "http2" => {
                let mut request = Http2Request::default();
                let mut trailers = None;
                for word in rest.split(' ').filter(|word| !word.is_empty()) {
                    if word == "TRAILERS" {
                        trailers = Some(Vec::new());
                        continue;
                    }
                    let (name, value) = word.split_once('=')?;
                    let value = unescape(value)?;
                    match (&mut trailers, name) {
                        (None, "DATA") => request.parts.push(Part::Data(value)),
                        (None, name) => request.fields.push((unescape(name)?, value)),
                        (Some(trailers), name) => trailers.push((unescape(name)?, value)),
                    }
                }
                request.parts.extend(trailers.map(Part::Trailers));
                Some(Self::Http2(request))
            }
            _ => None,
        }
    }

    pub fn line(&self) -> String {
        match self {
            Self::Http1(bytes) => format!("http1 {}", escape(bytes, false)),
            Self::Http2(request) => {
                let field =
                    |(name, value): &Field| format!(" {}={}", escape(name, true), escape(value, true));
                let mut line = String::from("http2");
                line.extend(request.fields.iter().map(field));
                for part in &request.parts {
                    match part {
                        Part::Data(data) => line += &format!(" DATA={}", escape(data, true)),
                        Part::Trailers(trailers) => {
                            line += " TRAILERS";
                            line.extend(trailers.iter().map(field));
                        }
                        Part::Wait => {}
                    }
                }
                line
            }
        }
    }

    /// With the name of the sink in place.
    pub fn to(&self, sink: &str) -> Self {
        let put = |bytes: &[u8]| replace(bytes, SINK.as_bytes(), sink.as_bytes());
        let field = |(name, value): &Field| (put(name), put(value));
        match self {
            Self::Http1(bytes) => Self::Http1(put(bytes)),
            Self::Http2(request) => {
                let fields = request.fields.iter().map(field).collect();
                Self::Http2(Http2Request { fields, parts: request.parts.clone() })
            }
        }
    }

    pub fn names_sink(&self) -> bool {
        let names = |bytes: &[u8]| bytes.windows(SINK.len()).any(|part| part == SINK.as_bytes());
        match self {
            Self::Http1(bytes) => names(bytes),
            Self::Http2(request) => request.fields.iter().any(|(_, value)| names(value)),
        }
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Of a word, spaces and `=` are escaped too.
fn escape(bytes: &[u8], word: bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' ' | b'=' if word => text += &format!("\\x{byte:02x}"),
            b'\'' | b'"' => text.push(char::from(*byte)),
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            _ => text += &byte.escape_ascii().to_string(),
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// The inputs of a corpus, with the number of each one's line.
pub fn corpus(text: &str) -> Vec<(usize, Input)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| {
            (at, Input::parse(line).unwrap_or_else(|| panic!("line {at} of the corpus: {line}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_what_was_sent() {
        for line in [
            "http1 GET / HTTP/1.1\\r\\nX: \\x00\\xff\\\\\"\\r\\n\\r\\n",
            "http2 :method=GET :path=/a\\x20b x\\x3d=\\r\\n DATA=\\xe2 TRAILERS x=1",
        ] {
            let input = Input::parse(line).unwrap();
            assert_eq!(Input::parse(&input.line()), Some(input));
        }
    }
}
