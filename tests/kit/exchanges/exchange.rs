//! What a client sends and what an app answers: a few requests on one connection, each with its response.

use std::fmt::Write as _;
use std::sync::LazyLock;

use crate::app::pattern;
use crate::http2::{Field as Http2Field, Part};

/// As it is spelled, and whatever stands behind the colon.
pub type Field = (String, Vec<u8>);

/// Longer than any body, wherever that begins.
static PATTERN: LazyLock<bytes::Bytes> = LazyLock::new(|| pattern(0, (1 << 20) + (1 << 16)));

/// Bytes that differ from those of other bodies.
fn body(from: usize, length: usize) -> Vec<u8> {
    let from = from % (1 << 16);
    PATTERN[from..from + length].to_vec()
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub index: u64,
    pub http2: bool,
    /// How many requests of the exchange come before these.
    pub first: usize,
    pub requests: Vec<Request>,
    /// All requests are sent before the first answer is read.
    pub pipelined: bool,
    /// The client ends its direction after the last request.
    pub half_close: bool,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub target: Vec<u8>,
    /// HTTP/1.`minor`, of which HTTP/2 knows nothing.
    pub minor: u8,
    pub host: Option<&'static str>,
    pub fields: Vec<Field>,
    pub framing: Framing,
    /// Of the body.
    pub length: usize,
    pub trailers: Vec<Field>,
    /// The body is sent when it was asked for.
    pub expects: bool,
    pub response: Response,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub interim: Vec<(u16, Vec<Field>)>,
    pub minor: u8,
    pub status: u16,
    pub reason: &'static [u8],
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub length: usize,
    pub trailers: Vec<Field>,
    /// Before the body of the request was read.
    pub early: bool,
    /// The app closes in the middle of the body.
    pub broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length,
    Chunked(Chunks),
    /// Of responses: the end of the connection.
    Close,
    /// Of responses: in chunks, beside a length that is not that of the body.
    ChunkedAndLength,
    /// Of responses: the same length twice.
    TwoLengths,
    /// Of responses: the same length twice in one field.
    ListedLengths,
}

/// How a body is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    pub size: usize,
    pub zeros: usize,
    pub upper: bool,
    pub extension: &'static str,
}

impl Chunks {
    pub const PLAIN: Self = Self { size: 4096, zeros: 0, upper: false, extension: "" };

    fn cut(self, body: &[u8], trailers: &[Field]) -> Vec<u8> {
        let mut cut = Vec::with_capacity(body.len() + 64);
        for chunk in body.chunks(self.size) {
            let hex = format!("{:x}", chunk.len());
            let hex = if self.upper { hex.to_uppercase() } else { hex };
            cut.extend(format!("{}{hex}{}\r\n", "0".repeat(self.zeros), self.extension).bytes());
            cut.extend_from_slice(chunk);
            cut.extend_from_slice(b"\r\n");
        }
        cut.extend(format!("{}0{}\r\n", "0".repeat(self.zeros), self.extension).bytes());
        put_fields(trailers, &mut cut);
        cut.extend_from_slice(b"\r\n");
        cut
    }
}

pub fn put_fields(fields: &[Field], out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// A name and a value as one is used to.
pub fn field(name: &str, value: impl AsRef<[u8]>) -> Field {
    (name.into(), [b" ", value.as_ref()].concat())
}

impl Exchange {
    /// Whether another request may follow on the connection: nobody ended it, and nothing of the last one is left unread.
    pub fn may_go_on(&self) -> bool {
        let says_close =
            |(name, value): &Field| name.eq_ignore_ascii_case("connection") && value.trim_ascii() == b"close";
        let goes_on = |last: &Request| !last.response.early && !last.fields.iter().any(says_close);
        !self.half_close && self.requests.last().is_some_and(goes_on)
    }

    /// The same requests, none of which knows of another.
    pub fn one_by_one(&self) -> Vec<Self> {
        let count = self.requests.len();
        let one = |(at, request): (usize, &Request)| Self {
            first: at,
            requests: vec![request.clone()],
            pipelined: false,
            half_close: self.half_close && at + 1 == count,
            ..*self
        };
        self.requests.iter().enumerate().map(one).collect()
    }
}

impl Request {
    pub fn body(&self) -> Vec<u8> {
        body(self.target.len(), self.length)
    }

    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} ", self.method).into_bytes();
        head.extend_from_slice(&self.target);
        head.extend(format!(" HTTP/1.{}\r\n", self.minor).bytes());
        let mut fields = self.fields.clone();
        if let Some(host) = self.host {
            fields.insert(fields.len() / 2, field("Host", host));
        }
        match self.framing {
            Framing::Length => fields.push(field("Content-Length", self.length.to_string())),
            Framing::Chunked(_) => fields.push(field("Transfer-Encoding", "chunked")),
            _ => {}
        }
        if self.expects {
            fields.push(field("Expect", "100-continue"));
        }
        put_fields(&fields, &mut head);
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The body as it is framed.
    pub fn content(&self) -> Vec<u8> {
        match self.framing {
            Framing::Chunked(chunks) => chunks.cut(&self.body(), &self.trailers),
            _ => self.body(),
        }
    }

    /// The same in HTTP/2.
    pub fn http2(&self, scheme: &str) -> (Vec<Http2Field>, Vec<Part>) {
        let text = |text: &str| text.as_bytes().to_vec();
        let mut fields = vec![
            (text(":method"), text(self.method)),
            (text(":scheme"), text(scheme)),
            (text(":path"), self.target.clone()),
        ];
        fields.extend(self.host.map(|host| (text(":authority"), text(host))));
        let lower =
            |(name, value): &Field| (name.to_ascii_lowercase().into_bytes(), value.trim_ascii().to_vec());
        fields.extend(self.fields.iter().map(lower));
        if self.framing == Framing::Length {
            fields.push((text("content-length"), self.length.to_string().into_bytes()));
        }
        let mut parts = Vec::new();
        if self.expects {
            fields.push((text("expect"), text("100-continue")));
            parts.push(Part::Wait);
        }
        if self.framing != Framing::None {
            parts.push(Part::Data(self.body()));
        }
        if !self.trailers.is_empty() {
            parts.push(Part::Trailers(self.trailers.iter().map(lower).collect()));
        }
        (fields, parts)
    }
}

impl Response {
    /// Whether it ends with the connection, on one of HTTP/1.`minor`.
    pub fn ends_connection(&self, minor: u8) -> bool {
        self.broken || self.framing(minor) == Framing::Close
    }

    /// A client of HTTP/1.0 is not sent chunks.
    fn framing(&self, minor: u8) -> Framing {
        match self.framing {
            Framing::Chunked(_) | Framing::ChunkedAndLength if minor == 0 => Framing::Close,
            framing => framing,
        }
    }

    /// As an answer to this method in HTTP/1.`minor`; `connection` is the value of that field.
    pub fn bytes(&self, method: &str, minor: u8, connection: Option<&str>) -> Vec<u8> {
        let framing = self.framing(minor);
        let mut head = format!("HTTP/1.{} {} ", self.minor, self.status).into_bytes();
        head.extend_from_slice(self.reason);
        head.extend_from_slice(b"\r\n");
        let mut fields = self.fields.clone();
        fields.extend(connection.map(|value| field("Connection", value)));
        let length = field("Content-Length", self.length.to_string());
        match framing {
            Framing::None | Framing::Close => {}
            Framing::Length => fields.push(length),
            Framing::Chunked(_) => fields.push(field("Transfer-Encoding", "chunked")),
            Framing::ChunkedAndLength => {
                fields.push(field("Content-Length", "2"));
                fields.push(field("Transfer-Encoding", "chunked"));
            }
            Framing::TwoLengths => fields.extend([length.clone(), length]),
            Framing::ListedLengths => {
                fields.push(field("Content-Length", format!("{0}, {0}", self.length)));
            }
        }
        put_fields(&fields, &mut head);
        head.extend_from_slice(b"\r\n");
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return head;
        }
        let body = body(usize::from(self.status), self.length);
        let mut content = match framing {
            Framing::Chunked(chunks) => chunks.cut(&body, &self.trailers),
            Framing::ChunkedAndLength => Chunks::PLAIN.cut(&body, &self.trailers),
            Framing::None => Vec::new(),
            _ => body,
        };
        if self.broken {
            content.truncate(content.len() / 2);
        }
        [head, content].concat()
    }
}

/// For people: what is sent and answered, without bodies.
impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how =
            [(self.http2, " in HTTP/2"), (self.pipelined, ", pipelined"), (self.half_close, ", then a FIN")];
        let how: String = how.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
        writeln!(f, "exchange {}{how}", self.index)?;
        for request in &self.requests {
            let response = &request.response;
            writeln!(f, "  > {}", short(&request.head()))?;
            writeln!(f, "    body of {} as {:?}", request.length, request.framing)?;
            if !request.trailers.is_empty() {
                writeln!(f, "    trailers {}", shown(&request.trailers))?;
            }
            for (status, fields) in &response.interim {
                writeln!(f, "  < {status} {}", shown(fields))?;
            }
            let head = response.bytes("HEAD", 1, None);
            writeln!(f, "  < {}", short(&head))?;
            writeln!(f, "    body of {} as {:?}", response.length, response.framing)?;
            if response.early || response.broken {
                writeln!(f, "    early: {}, broken off: {}", response.early, response.broken)?;
            }
            if !response.trailers.is_empty() {
                writeln!(f, "    trailers {}", shown(&response.trailers))?;
            }
        }
        Ok(())
    }
}

fn shown(fields: &[Field]) -> String {
    let mut shown = String::new();
    for (name, value) in fields {
        let _ = write!(shown, "{name}:{} ", short(value));
    }
    shown
}

fn short(bytes: &[u8]) -> String {
    match bytes.len() {
        0..1500 => bytes.escape_ascii().to_string(),
        length => format!("{}… ({length} bytes)", bytes[..1500].escape_ascii()),
    }
}
