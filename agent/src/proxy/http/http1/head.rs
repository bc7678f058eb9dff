//! The head of a message: its first line and header fields. What a field says of the framing is read here once; the
//! fields of the parsed head say the same, in one form, or nothing.

use bytes::Bytes;
use httparse::{EMPTY_HEADER, Status};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Extensions;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::target;
use super::{MAX_FIELDS, Malformed};
use crate::proxy::http::list;

/// Most messages have fewer fields, and need no room for all that may be.
const FEW_FIELDS: usize = 32;
/// What is added to a request on its way: four fields that say who asks, and the hops.
const ADDED_TO_REQUEST: usize = 5;
/// The date.
const ADDED_TO_RESPONSE: usize = 1;

/// What `Connection` and the version say of the time after a message.
pub fn persists(version: Version, headers: &HeaderMap) -> bool {
    let says = |option| list::contains(headers, &CONNECTION, option);
    match version {
        Version::HTTP_11 => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
}

/// Of a request that cannot be read, so far as it matters to the answer: one to HEAD has no content.
pub fn method(head: &[u8]) -> Method {
    if head.starts_with(b"HEAD ") { Method::HEAD } else { Method::GET }
}

/// A request from its head, which ends with an empty line.
pub fn request(head: &Bytes) -> Result<Request<()>, Malformed> {
    let (line, fields) = split_line(head);
    let (method, target, version) = request_line(line)?;
    let (uri, raw) = target::parse(&method, head.slice_ref(target))?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = parse_fields(head, fields, ADDED_TO_REQUEST, Malformed::Field)?;
    if let Some(raw) = raw {
        request.extensions_mut().insert(raw);
    }
    Ok(request)
}

/// A response from its head.
pub fn response(head: &Bytes) -> Result<Response<()>, Malformed> {
    let (line, fields) = split_line(head);
    let (version, status, reason) = status_line(line)?;
    let mut response = Response::new(());
    *response.version_mut() = version;
    *response.status_mut() = status;
    if status.canonical_reason().map(str::as_bytes) != Some(reason) {
        keep_reason(response.extensions_mut(), head.slice_ref(reason));
    }
    *response.headers_mut() = parse_fields(head, fields, ADDED_TO_RESPONSE, Malformed::Field)?;
    Ok(response)
}

fn keep_reason(extensions: &mut Extensions, reason: Bytes) {
    if let Ok(reason) = ReasonPhrase::try_from(reason) {
        extensions.insert(reason);
    }
}

/// Whether these bytes may begin a request, or are one line of a head that does. So that what speaks another protocol is
/// answered at once, and not when it has filled a head.
pub fn may_begin_request(bytes: &[u8]) -> Result<(), Malformed> {
    match memchr::memchr(b'\n', bytes) {
        Some(_) => request_line(split_line(bytes).0).map(|_| ()),
        None => match bytes.split(|byte| *byte == b' ').next() {
            Some(method) if !method.iter().all(|byte| is_token(*byte)) => Err(Malformed::FirstLine),
            _ => Ok(()),
        },
    }
}

/// The same of a response.
pub fn may_begin_response(bytes: &[u8]) -> Result<(), Malformed> {
    const BEGIN: &[u8] = b"HTTP/1.";
    match bytes.len() < BEGIN.len() {
        true if BEGIN.starts_with(bytes) => Ok(()),
        false if bytes.starts_with(BEGIN) => Ok(()),
        _ => Err(Malformed::FirstLine),
    }
}

/// The trailer fields of a body, with the empty line that ends them.
pub fn trailers(bytes: Bytes) -> Result<HeaderMap, Malformed> {
    parse_fields(&bytes, &bytes, 0, Malformed::Trailer)
}

/// The first line without its end, and what follows.
fn split_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    let (line, fields) = head.split_at(end);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), fields)
}

fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), Malformed> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::FirstLine);
    };
    let method = Method::from_bytes(method).map_err(|_| Malformed::FirstLine)?;
    let version = version.strip_prefix(b"HTTP/").ok_or(Malformed::FirstLine)?;
    Ok((method, target, version_number(version)?))
}

fn status_line(line: &[u8]) -> Result<(Version, StatusCode, &[u8]), Malformed> {
    let rest = line.strip_prefix(b"HTTP/").ok_or(Malformed::FirstLine)?;
    let (version, rest) = rest.split_at_checked(3).ok_or(Malformed::FirstLine)?;
    let rest = rest.strip_prefix(b" ").ok_or(Malformed::FirstLine)?;
    let (status, reason) = rest.split_at_checked(3).ok_or(Malformed::FirstLine)?;
    let status = StatusCode::from_bytes(status).map_err(|_| Malformed::FirstLine)?;
    // Some servers leave the space away where there is no reason.
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] => reason,
        _ => return Err(Malformed::FirstLine),
    };
    Ok((version_number(version)?, status, reason))
}

/// A later minor version is read as the latest that is known (RFC 9110, 2.5).
fn version_number(version: &[u8]) -> Result<Version, Malformed> {
    match version {
        b"1.0" => Ok(Version::HTTP_10),
        [b'1', b'.', b'1'..=b'9'] => Ok(Version::HTTP_11),
        [b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Malformed::Version),
        _ => Err(Malformed::FirstLine),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `fields` is a part of `head`, whose memory the values share. `added`: so many more will be added. `wrong`: what is wrong
/// if they cannot be read.
fn parse_fields(head: &Bytes, fields: &[u8], added: usize, wrong: Malformed) -> Result<HeaderMap, Malformed> {
    let mut few = [EMPTY_HEADER; FEW_FIELDS];
    let mut many;
    let parsed = match httparse::parse_headers(fields, &mut few) {
        Err(httparse::Error::TooManyHeaders) => {
            many = vec![EMPTY_HEADER; MAX_FIELDS];
            httparse::parse_headers(fields, &mut many)
        }
        parsed => parsed,
    };
    let parsed = match parsed {
        Ok(Status::Complete((_, parsed))) => parsed,
        Ok(Status::Partial) => return Err(wrong),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyFields),
        Err(_) => return Err(wrong),
    };
    let capacity = parsed.len() + added;
    let mut headers = HeaderMap::try_with_capacity(capacity).map_err(|_| Malformed::TooManyFields)?;
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| wrong)?;
        headers.try_append(name, value).map_err(|_| Malformed::TooManyFields)?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
