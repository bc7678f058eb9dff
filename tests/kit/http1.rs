//! HTTP/1.1 as RFC 9112 has it and nothing beside: how the tests read what programs send. It shares no code with the
//! agent, and what is not to the letter is a [`Fault`].

use std::io::{ErrorKind, Read};

/// Names are in lower case, in the order in which they came.
pub type Fields = Vec<(String, Vec<u8>)>;

const MAX_LINE: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Between messages.
    #[error("closed")]
    Closed,
    #[error("closed within a message")]
    Truncated,
    #[error("reset")]
    Reset,
    #[error("nothing came in time")]
    Timeout,
    #[error("malformed: {0}")]
    Malformed(String),
}

/// What ends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    Close,
}

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: String,
    pub target: Vec<u8>,
    /// The minor version: 0 or 1.
    pub minor: u8,
    pub fields: Fields,
    pub framing: Framing,
}

#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: u16,
    pub minor: u8,
    pub fields: Fields,
    pub framing: Framing,
}

/// A connection, and what was read of it and not yet taken.
pub struct Source<R> {
    read: R,
    buffer: Vec<u8>,
    at: usize,
    /// What was taken since it was last asked for, if it ever is.
    raw: Option<Vec<u8>>,
}

impl<R: Read> Source<R> {
    pub fn new(read: R) -> Self {
        Self { read, buffer: Vec::new(), at: 0, raw: None }
    }

    pub fn stream(&mut self) -> &mut R {
        &mut self.read
    }

    /// Whether all that was read has been taken.
    pub fn is_empty(&self) -> bool {
        self.at == self.buffer.len()
    }

    /// Keeps what is taken from now on.
    pub fn keep_raw(mut self) -> Self {
        self.raw = Some(Vec::new());
        self
    }

    /// What was taken since this was last called, as it came.
    pub fn raw(&mut self) -> Vec<u8> {
        self.raw.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What was read and not taken.
    pub fn rest_of_buffer(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads more; how much, which is nothing at the end.
    fn fill(&mut self) -> Result<usize, Fault> {
        if self.is_empty() {
            self.buffer.clear();
            self.at = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + (1 << 14), 0);
        let result = loop {
            match self.read.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(length + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(read) => Ok(read),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Fault::Timeout),
                // TLS that was not ended by an alert.
                ErrorKind::UnexpectedEof => Ok(0),
                _ => Err(Fault::Reset),
            },
        }
    }

    fn more(&mut self) -> Result<(), Fault> {
        if self.fill()? == 0 { Err(Fault::Truncated) } else { Ok(()) }
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..end].to_vec();
                self.raw.iter_mut().for_each(|raw| raw.extend_from_slice(&rest[..=end]));
                self.at += end + 1;
                let Some(line) = line.strip_suffix(b"\r") else {
                    return Err(malformed("a line that ends with LF alone", &line));
                };
                return Ok(line.to_vec());
            }
            if rest.len() > MAX_LINE {
                return Err(malformed("a line that does not end", &rest[..40]));
            }
            self.more()?;
        }
    }

    /// `Closed` if nothing comes any more.
    fn first_line(&mut self) -> Result<Vec<u8>, Fault> {
        if self.is_empty() && self.fill()? == 0 {
            return Err(Fault::Closed);
        }
        self.line()
    }

    fn fields(&mut self) -> Result<Fields, Fault> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(field(&line)?);
        }
    }

    pub fn request_head(&mut self) -> Result<RequestHead, Fault> {
        let line = self.first_line()?;
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts[..] else { return Err(malformed("a request line", &line)) };
        let minor = minor(version).ok_or_else(|| malformed("a version", version))?;
        let is_target = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if !is_token(method) || !is_target {
            return Err(malformed("a request line", &line));
        }
        let fields = self.fields()?;
        let framing = request_framing(&fields)?;
        let method = String::from_utf8_lossy(method).into_owned();
        Ok(RequestHead { method, target: target.to_vec(), minor, fields, framing })
    }

    /// The head of an answer to a request of this method.
    pub fn response_head(&mut self, method: &str) -> Result<ResponseHead, Fault> {
        let line = self.first_line()?;
        let (version, rest) = line.split_at_checked(9).ok_or_else(|| malformed("a status line", &line))?;
        let minor =
            version.strip_suffix(b" ").and_then(minor).ok_or_else(|| malformed("a version", version))?;
        let status = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let (Some(status), None | Some(b' ')) = (status, rest.get(3)) else {
            return Err(malformed("a status line", &line));
        };
        if !rest[3..].iter().all(|byte| is_value(*byte)) {
            return Err(malformed("a reason phrase", &line));
        }
        let status: u16 = String::from_utf8_lossy(status).parse().unwrap();
        let fields = self.fields()?;
        let framing = response_framing(method, status, &fields)?;
        Ok(ResponseHead { status, minor, fields, framing })
    }

    /// The body, and the trailers after it. Of a body that does not end as it should, what came of it with the fault.
    pub fn body(&mut self, framing: Framing) -> (Vec<u8>, Fields, Option<Fault>) {
        let mut body = Vec::new();
        let result = match framing {
            Framing::None => Ok(Fields::new()),
            Framing::Length(length) => self.take(length, &mut body).map(|()| Fields::new()),
            Framing::Chunked => self.chunks(&mut body),
            Framing::Close => self.rest(&mut body).map(|()| Fields::new()),
        };
        match result {
            Ok(trailers) => (body, trailers, None),
            Err(fault) => (body, Fields::new(), Some(fault)),
        }
    }

    fn take(&mut self, mut length: u64, into: &mut Vec<u8>) -> Result<(), Fault> {
        while length > 0 {
            if self.is_empty() {
                self.more()?;
            }
            let some = (self.buffer.len() - self.at).min(usize::try_from(length).unwrap_or(usize::MAX));
            let taken = &self.buffer[self.at..self.at + some];
            into.extend_from_slice(taken);
            self.raw.iter_mut().for_each(|raw| raw.extend_from_slice(taken));
            self.at += some;
            length -= some as u64;
        }
        Ok(())
    }

    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        self.take(length as u64, &mut bytes).map(|()| bytes)
    }

    fn rest(&mut self, into: &mut Vec<u8>) -> Result<(), Fault> {
        loop {
            into.extend_from_slice(&self.buffer[self.at..]);
            self.at = self.buffer.len();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    fn chunks(&mut self, into: &mut Vec<u8>) -> Result<Fields, Fault> {
        loop {
            let line = self.line()?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (size, extensions) = line.split_at(digits);
            let is_extension = extensions.is_empty() || extensions.trim_ascii_start().starts_with(b";");
            if size.is_empty() || size.len() > 15 || !is_extension || !line.iter().all(|byte| is_value(*byte))
            {
                return Err(malformed("a chunk size", &line));
            }
            let size = u64::from_str_radix(&String::from_utf8_lossy(size), 16).unwrap();
            if size == 0 {
                return self.fields();
            }
            self.take(size, into)?;
            let mut end = Vec::new();
            self.take(2, &mut end)?;
            if end != b"\r\n" {
                return Err(malformed("the end of a chunk", &end));
            }
        }
    }
}

fn malformed(what: &str, bytes: &[u8]) -> Fault {
    Fault::Malformed(format!("{what}: {}", bytes[..bytes.len().min(200)].escape_ascii()))
}

fn minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn is_value(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), Fault> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or_else(|| malformed("a field without a colon", line))?);
    let value = value[1..].trim_ascii();
    if !is_token(name) || !value.iter().all(|byte| is_value(*byte)) {
        return Err(malformed("a field", line));
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

pub fn values<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |(is, _)| is == name).map(|(_, value)| &value[..])
}

/// The members of a list such as that of `Connection`, in lower case.
pub fn members(fields: &Fields, name: &str) -> Vec<String> {
    let members = values(fields, name).flat_map(|value| value.split(|byte| *byte == b','));
    let members = members.map(|member| String::from_utf8_lossy(member.trim_ascii()).to_ascii_lowercase());
    members.filter(|member| !member.is_empty()).collect()
}

/// The same length several times is that length (RFC 9110, 8.6).
fn length(fields: &Fields) -> Result<Option<u64>, Fault> {
    let lengths = values(fields, "content-length").flat_map(|value| value.split(|byte| *byte == b','));
    let mut lengths = lengths.map(<[u8]>::trim_ascii);
    let Some(first) = lengths.next() else { return Ok(None) };
    let is_length = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    let length = is_length.then(|| String::from_utf8_lossy(first).parse::<u64>().ok()).flatten();
    let length = length.ok_or_else(|| malformed("a length", first))?;
    if lengths.any(|other| other != first) {
        return Err(malformed("lengths that differ, the first", first));
    }
    Ok(Some(length))
}

/// A request says once where it ends.
fn request_framing(fields: &Fields) -> Result<Framing, Fault> {
    let length = length(fields)?;
    if values(fields, "content-length").count() > 1
        || values(fields, "content-length").any(|value| value.contains(&b','))
    {
        return Err(malformed("more than one length", b""));
    }
    let codings = members(fields, "transfer-encoding");
    match (length, &codings[..]) {
        (None, []) => Ok(Framing::None),
        (Some(length), []) => Ok(Framing::Length(length)),
        (None, [coding]) if coding == "chunked" => Ok(Framing::Chunked),
        (Some(_), _) => Err(malformed("a length and a transfer coding", b"")),
        _ => Err(malformed("transfer codings", codings.join(", ").as_bytes())),
    }
}

/// As RFC 9112, 6.3 has recipients read what should not be sent: a transfer coding overrides a length.
fn response_framing(method: &str, status: u16, fields: &Fields) -> Result<Framing, Fault> {
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    let codings = members(fields, "transfer-encoding");
    match &codings[..] {
        [] => Ok(length(fields)?.map_or(Framing::Close, Framing::Length)),
        [.., last] if last == "chunked" => Ok(Framing::Chunked),
        _ => Ok(Framing::Close),
    }
}
