//! Where a body ends: one rule for what is read and one for what is written (RFC 9112, 6).

use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::Malformed;
use super::head::persists;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body. What is said of its length is that of another response, as to HEAD.
    None,
    Length(u64),
    Chunked,
    /// The end of the connection. Of responses alone.
    UntilClose,
}

/// What is read of a message: its body, and whether another message may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub framing: Framing,
    pub persists: bool,
}

/// The body of a request that is read. The fields of the request say the same afterwards, once.
pub fn of_request<B>(request: &mut Request<B>) -> Result<Read, Malformed> {
    let version = request.version();
    // As of most, nothing is said of either.
    if version == Version::HTTP_11 && !request.headers().keys().any(is_of_framing) {
        return Ok(Read { framing: Framing::None, persists: true });
    }
    let persists = persists(version, request.headers());
    let headers = request.headers_mut();
    // In requests a list of equal lengths is refused, although a recipient may make it one: no client sends it.
    let length = length(headers, false)?;
    if is_chunked(version, headers)? {
        let contradicts = length.is_some();
        headers.remove(CONTENT_LENGTH);
        // Others may see its end elsewhere, and another request after it (RFC 9112, 6.1).
        return Ok(Read { framing: Framing::Chunked, persists: persists && !contradicts });
    }
    set_length(headers, length);
    Ok(Read { framing: length.map_or(Framing::None, Framing::Length), persists })
}

fn is_of_framing(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding")
}

/// The body of a response to a request of `method` that is read.
pub fn of_response<B>(method: &Method, response: &mut Response<B>) -> Result<Read, Malformed> {
    let (version, status) = (response.version(), response.status());
    let persists = persists(version, response.headers());
    let headers = response.headers_mut();
    if !may_have_content(method, status) {
        // Those of the response to a GET, if they can be read.
        let length =
            length(headers, true).ok().flatten().filter(|_| !headers.contains_key(TRANSFER_ENCODING));
        let described = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        set_length(headers, length.filter(|_| described));
        return Ok(Read { framing: Framing::None, persists });
    }
    let length = length(headers, true);
    if is_chunked(version, headers)? {
        let contradicts = headers.remove(CONTENT_LENGTH).is_some();
        return Ok(Read { framing: Framing::Chunked, persists: persists && !contradicts });
    }
    let length = length?;
    set_length(headers, length);
    Ok(match length {
        Some(length) => Read { framing: Framing::Length(length), persists },
        None => Read { framing: Framing::UntilClose, persists: false },
    })
}

/// How the body of a request is written. `declared`: the length that its fields say.
pub fn to_write_request<B: Body>(declared: Option<u64>, body: &B) -> Framing {
    if body.is_end_stream() {
        return declared.map_or(Framing::None, |_| Framing::Length(0));
    }
    // In chunks, whatever the method.
    body.size_hint().exact().or(declared).map_or(Framing::Chunked, Framing::Length)
}

/// How the body of a response to a request of `method` and `version` is written.
pub fn to_write_response<B: Body>(
    method: &Method,
    version: Version,
    status: StatusCode,
    declared: Option<u64>,
    body: &B,
) -> Framing {
    if !may_have_content(method, status) {
        return Framing::None;
    }
    if body.is_end_stream() {
        return Framing::Length(0);
    }
    match body.size_hint().exact().or(declared) {
        Some(length) => Framing::Length(length),
        None if version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// Whether a response may have a body.
pub fn may_have_content(method: &Method, status: StatusCode) -> bool {
    let without = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *method == Method::HEAD
        || *method == Method::CONNECT && status.is_success();
    !without
}

/// The one length that the fields say. `list`: equal ones may be a list in one field.
pub fn length(headers: &HeaderMap, list: bool) -> Result<Option<u64>, Malformed> {
    let mut one = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let value = value.as_bytes();
        let parts = value.split(|byte| list && *byte == b',');
        for part in parts {
            let length = number(part.trim_ascii()).ok_or(Malformed::Length)?;
            if one.is_some_and(|one| one != length) {
                return Err(Malformed::Length);
            }
            one = Some(length);
        }
    }
    Ok(one)
}

fn number(digits: &[u8]) -> Option<u64> {
    // Of 19 digits, so that no sum of lengths overflows.
    let fits = matches!(digits.len(), 1..=19) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| fits)?.parse().ok()
}

fn set_length(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        // As most are: nothing to change.
        Some(length) if headers.get(CONTENT_LENGTH).is_some_and(|one| is_canonical(one, length)) => {
            if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
                headers.insert(CONTENT_LENGTH, length.into());
            }
        }
        Some(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {
            headers.remove(CONTENT_LENGTH);
        }
    }
}

fn is_canonical(value: &HeaderValue, length: u64) -> bool {
    let digits = value.as_bytes();
    number(digits) == Some(length) && (digits.len() == 1 || digits[0] != b'0')
}

/// Whether the body comes in chunks, and in nothing but chunks.
fn is_chunked(version: Version, headers: &HeaderMap) -> Result<bool, Malformed> {
    let mut codings = 0;
    let mut chunked = 0;
    let mut last_is_chunked = false;
    for value in headers.get_all(TRANSFER_ENCODING) {
        for coding in value.as_bytes().split(|byte| *byte == b',') {
            last_is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            codings += 1;
            chunked += usize::from(last_is_chunked);
        }
    }
    match codings {
        0 => Ok(false),
        _ if version != Version::HTTP_11 => Err(Malformed::CodingInHttp10),
        1 if last_is_chunked => Ok(true),
        _ if last_is_chunked && chunked == 1 => Err(Malformed::Coding),
        _ => Err(Malformed::NotChunked),
    }
}

#[cfg(test)]
mod tests;
