//! What a request must be before it is passed on, in whichever version it came and whoever sent it.

use hyper::header::{CONTENT_LENGTH, HeaderName};
use hyper::{Method, Request, Version};

use super::authority;
use super::http1::Malformed;
use crate::proxy::request_error::RequestError;

/// Whether a request other than CONNECT says in one way what it is for, and how long it is.
pub fn check<B>(request: &Request<B>) -> Result<(), RequestError> {
    // Those of HTTP/1 are made one when they are read.
    let mut lengths = request.headers().get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(RequestError::RepeatedLength);
        }
        if length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
            return Err(RequestError::Malformed(Malformed::Length));
        }
    }
    // The library that reads HTTP/2 takes a sign for a part of a name that is none.
    if request.version() == Version::HTTP_2 && request.headers().keys().any(is_quoted) {
        return Err(RequestError::Malformed(Malformed::Field));
    }
    // The library that reads HTTP/2 takes a path that is missing for an empty one.
    if request.version() == Version::HTTP_2 && request.uri().path().is_empty() {
        return Err(RequestError::Malformed(Malformed::Target));
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if target.starts_with('?') || target == "*" && request.method() != Method::OPTIONS {
        return Err(RequestError::Malformed(Malformed::Target));
    }
    authority::check(request)
}

fn is_quoted(name: &HeaderName) -> bool {
    name.as_str().contains('"')
}
