//! What a stream of bytes or fields asks for, by RFC 9112 and RFC 9113: each request, and how much a recipient may make
//! of what is not to the letter. A proxy may refuse more; it may not forward anything else.

use crate::http1::{Fields, is_token};
use crate::http2::Part;

use super::input::Http2Request;

/// A request that a recipient may see.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub method: String,
    pub target: Vec<u8>,
    pub minor: u8,
    pub fields: Fields,
    pub body: Vec<u8>,
    /// To the letter, so that it may be refused for its meaning alone.
    pub strict: bool,
    /// It has to be refused, though it is clear where it ends.
    pub refuse: bool,
    /// Its body does not end.
    pub truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    /// In the middle of a request.
    Truncated,
    /// Nobody knows what follows.
    Malformed,
    /// The connection has to end after the last request, whatever follows.
    Closes,
    /// What follows is for the host that a forward proxy was asked for.
    Tunnel,
}

#[derive(Debug)]
pub struct Reference {
    pub requests: Vec<Sent>,
    pub end: End,
}

impl Reference {
    /// All of it is to the letter.
    pub fn is_strict(&self) -> bool {
        matches!(self.end, End::Clean | End::Closes)
            && self.requests.iter().all(|sent| sent.strict && !sent.refuse)
    }
}

/// As a forward proxy reads it, if it is one.
pub fn http1(stream: &[u8], is_proxy: bool) -> Reference {
    let mut rest = Rest { bytes: stream, at: 0, strict: true, is_proxy };
    let mut requests = Vec::new();
    let end = loop {
        rest.strict = true;
        match rest.request(&mut requests) {
            Ok(true) => {}
            Ok(false) => break End::Closes,
            Err(end) => break end,
        }
    };
    Reference { requests, end }
}

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
    /// So far nothing was to be forgiven.
    strict: bool,
    is_proxy: bool,
}

impl Rest<'_> {
    /// A line, whose CR may be missing (RFC 9112, 2.2).
    fn line(&mut self) -> Result<Vec<u8>, End> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(End::Truncated)?;
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r");
        self.strict &= line.is_some();
        Ok(line.unwrap_or(&rest[..end]).to_vec())
    }

    /// Whether another request may follow.
    fn request(&mut self, requests: &mut Vec<Sent>) -> Result<bool, End> {
        while self.bytes[self.at..].starts_with(b"\r\n") || self.bytes[self.at..].starts_with(b"\n") {
            self.line()?;
            self.strict = false;
        }
        if self.at == self.bytes.len() {
            return Err(End::Clean);
        }
        let (method, target, minor) = self.request_line()?;
        let fields = self.fields()?;
        let mut sent = Sent { method, target, minor, fields, ..Sent::default() };
        sent.refuse = !names_one_host(&sent);
        if sent.method == "CONNECT" {
            // A host and a port (RFC 9112, 3.2.3).
            let is_authority = sent.target.contains(&b':') && !sent.target.contains(&b'/');
            if self.is_proxy && is_authority {
                return Err(End::Tunnel);
            }
            sent.refuse = true;
        }
        let framing = self.framing(&sent)?;
        let result = match framing {
            Framing::Length(length) => self.length(length, &mut sent.body),
            Framing::Chunked { .. } => self.chunks(&mut sent.body),
        };
        sent.strict = self.strict;
        // Of a body that is malformed the beginning may be on its way.
        sent.truncated = result.is_err();
        let members = crate::http1::members(&sent.fields, "connection");
        let closes = members.iter().any(|member| member == "close")
            || sent.minor == 0 && !members.iter().any(|member| member == "keep-alive")
            || matches!(framing, Framing::Chunked { closes: true });
        requests.push(sent);
        result.map(|()| !closes)
    }

    fn request_line(&mut self) -> Result<(String, Vec<u8>, u8), End> {
        let line = self.line()?;
        let single: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // Some go by words (RFC 9112, 3).
        let words: Vec<&[u8]> =
            line.split(|byte| b" \t\x0b\x0c\r".contains(byte)).filter(|word| !word.is_empty()).collect();
        self.strict &= single == words;
        let [method, target, version] = words[..] else { return Err(End::Malformed) };
        let minor = match version {
            b"HTTP/1.0" => 0,
            b"HTTP/1.1" => 1,
            // One that is not known yet is served as the highest that is (RFC 9110, 2.5).
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
                self.strict = false;
                1
            }
            _ => return Err(End::Malformed),
        };
        if !is_token(method) || target.iter().any(|byte| *byte < b'!' || *byte == 0x7f) {
            return Err(End::Malformed);
        }
        Ok((String::from_utf8_lossy(method).into_owned(), target.to_vec(), minor))
    }

    fn fields(&mut self) -> Result<Fields, End> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            // A bare CR is a space or an error (RFC 9112, 2.2), and so is a NUL (RFC 9110, 5.5).
            self.strict &= !line.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f);
            let line: Vec<u8> =
                line.into_iter().map(|byte| if matches!(byte, b'\r' | 0) { b' ' } else { byte }).collect();
            if line[0] == b' ' || line[0] == b'\t' {
                // A folded line (RFC 9112, 5.2).
                self.strict = false;
                let Some((_, value)) = fields.last_mut() else { return Err(End::Malformed) };
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
                *value = value.trim_ascii().to_vec();
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(End::Malformed)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if !is_token(name) {
                return Err(End::Malformed);
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
    }

    fn framing(&mut self, sent: &Sent) -> Result<Framing, End> {
        let all = |name: &str| {
            let values =
                sent.fields.iter().filter(|(is, _)| is == name).map(|(_, value)| value.to_ascii_lowercase());
            values.collect::<Vec<_>>()
        };
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        let members = |values: &[Vec<u8>]| {
            let members = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
            members.map(|member| member.trim_ascii().to_vec()).collect::<Vec<_>>()
        };
        if !codings.is_empty() {
            let mut codings = members(&codings);
            let count = codings.len();
            codings.retain(|coding| !coding.is_empty());
            self.strict &= codings.len() == count;
            if codings != [b"chunked".to_vec()] {
                return Err(End::Malformed);
            }
            let closes = !lengths.is_empty() || sent.minor == 0;
            self.strict &= !closes;
            return Ok(Framing::Chunked { closes });
        }
        let lengths = members(&lengths);
        let Some(first) = lengths.first() else { return Ok(Framing::Length(0)) };
        let is_length = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
        if !is_length || lengths.iter().any(|length| length != first) {
            return Err(End::Malformed);
        }
        self.strict &= lengths.len() == 1;
        let length = String::from_utf8_lossy(first).parse().map_err(|_| End::Malformed)?;
        Ok(Framing::Length(length))
    }

    fn length(&mut self, length: u64, into: &mut Vec<u8>) -> Result<(), End> {
        let rest = &self.bytes[self.at..];
        let some = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        into.extend_from_slice(&rest[..some]);
        self.at += some;
        if (some as u64) < length { Err(End::Truncated) } else { Ok(()) }
    }

    /// The lines of chunks are forgiven nothing.
    fn chunks(&mut self, into: &mut Vec<u8>) -> Result<(), End> {
        loop {
            let rest = &self.bytes[self.at..];
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or(End::Truncated)?;
            let line = rest[..end].strip_suffix(b"\r").ok_or(End::Malformed)?;
            self.at += end + 1;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (size, extension) = line.split_at(digits);
            let is_extension = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
            self.strict &= is_extension;
            let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
            if size.is_empty()
                || !(is_extension || extension.trim_ascii().is_empty())
                || !extension.iter().all(is_text)
            {
                return Err(End::Malformed);
            }
            let size = u64::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|_| End::Malformed)?;
            if size == 0 {
                return self.fields().map(drop);
            }
            self.length(size, into)?;
            match &self.bytes[self.at..] {
                [b'\r', b'\n', ..] => self.at += 2,
                [] | [b'\r'] => return Err(End::Truncated),
                _ => return Err(End::Malformed),
            }
        }
    }
}

enum Framing {
    Length(u64),
    Chunked { closes: bool },
}

/// RFC 9112, 3.2.
fn names_one_host(sent: &Sent) -> bool {
    let hosts: Vec<_> = crate::http1::values(&sent.fields, "host").collect();
    match &hosts[..] {
        [] => sent.minor == 0,
        [host] => host.iter().all(|byte| byte.is_ascii_graphic() && !b",/\\@#?<>\"".contains(byte)),
        _ => false,
    }
}

/// `None` if its head is malformed (RFC 9113, 8.1.1). If what follows is, the head may be on its way.
pub fn http2(request: &Http2Request) -> Option<Sent> {
    let count = request.fields.iter().take_while(|(name, _)| name.starts_with(b":")).count();
    let (pseudo, regular) = request.fields.split_at(count);
    let one = |name: &str| {
        let mut values = pseudo.iter().filter(|(is, _)| is == name.as_bytes()).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    };
    let (method, scheme, path) = (one(":method")?, one(":scheme")?, one(":path")?);
    let (authority, protocol) = (one(":authority"), one(":protocol"));
    if count != 3 + usize::from(authority.is_some()) + usize::from(protocol.is_some()) {
        return None;
    }
    // A WebSocket in HTTP/2 (RFC 8441) is a GET in HTTP/1.1.
    let method: &[u8] = match (&method[..], protocol.map(Vec::as_slice)) {
        (b"CONNECT", Some(b"websocket")) => b"GET",
        (_, Some(_)) => return None,
        (method, None) => method,
    };
    // A fragment is no part of a target (RFC 9110, 7.1): what is before it may be forwarded.
    let path = match path.split(|byte| *byte == b'#').next() {
        Some([]) if !path.is_empty() => &b"/"[..],
        before => before.unwrap_or(path),
    };
    let is_path = path.starts_with(b"/") || method == b"OPTIONS" && path == b"*";
    let is_text = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    if !is_token(method)
        || !is_path
        || !is_text(path)
        || !(scheme.is_empty() || is_text(scheme))
        || !authority.is_none_or(|it| is_text(it))
    {
        return None;
    }
    let mut fields = fields(regular)?;
    let hosts: Vec<_> = crate::http1::values(&fields, "host").map(<[u8]>::to_vec).collect();
    if let Some(authority) = authority {
        // A port that is that of the scheme need not be said.
        let host = |host: &[u8]| host.strip_suffix(b":443").unwrap_or(host).to_ascii_lowercase();
        if hosts.iter().any(|other| host(other) != host(authority)) {
            return None;
        }
        fields.retain(|(name, _)| name != "host");
        fields.push(("host".into(), authority.clone()));
    }
    let method = String::from_utf8_lossy(method).into_owned();
    let mut sent = Sent { method, target: path.to_vec(), minor: 1, fields, strict: true, ..Sent::default() };
    sent.refuse = hosts.len() > 1 || !names_one_host(&sent) && (authority.is_some() || !hosts.is_empty());
    for (at, part) in request.parts.iter().enumerate() {
        match part {
            // Of a tunnel, which is none of the request.
            Part::Data(_) if protocol.is_some() => {}
            Part::Data(data) => sent.body.extend_from_slice(data),
            // Pseudo-fields in trailers are malformed too, but nothing comes of them in HTTP/1.
            Part::Trailers(trailers) => {
                let (pseudo, trailers): (Vec<_>, Vec<_>) = trailers
                    .iter()
                    .cloned()
                    .partition(|(name, _)| name.starts_with(b":") && is_token(&name[1..]));
                sent.strict &= pseudo.is_empty();
                sent.truncated |= self::fields(&trailers).is_none();
                // They end the stream, and what follows is an error of the connection.
                sent.strict &= at + 1 == request.parts.len();
                break;
            }
            Part::Wait => {}
        }
    }
    let length = sent.body.len() as u64;
    let is_length = |value: &[u8]| {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        is_number && String::from_utf8_lossy(value).parse() == Ok(length)
    };
    sent.truncated |= !crate::http1::values(&sent.fields, "content-length").all(is_length);
    sent.strict &= !sent.truncated;
    Some(sent)
}

/// Spaces around a value are malformed (RFC 9113, 8.2.1), but nothing comes of them in HTTP/1.
fn fields(fields: &[crate::http2::Field]) -> Option<Fields> {
    const OF_HTTP1: [&str; 5] =
        ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    let mut parsed = Fields::new();
    for (name, value) in fields {
        let text = String::from_utf8_lossy(name).into_owned();
        let is_name =
            is_token(name) && !name.iter().any(u8::is_ascii_uppercase) && !OF_HTTP1.contains(&&text[..]);
        let is_value = value.iter().all(|byte| !matches!(byte, 0 | b'\r' | b'\n'));
        if !is_name || !is_value || text == "te" && value != b"trailers" {
            return None;
        }
        parsed.push((text, value.trim_ascii().to_vec()));
    }
    Some(parsed)
}
