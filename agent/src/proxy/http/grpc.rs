//! gRPC, as far as the agent must know it: a call that the agent itself answers gets its answer in the form that
//! gRPC libraries read, which is a response without a body whose headers carry the status.

use std::fmt::Write as _;

use hyper::Version;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

const MEDIA_TYPE: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status codes of gRPC that the agent itself answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcStatus {
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Whether a request is a gRPC call, which only HTTP/2 carries.
pub fn is_call(version: Version, headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    version == Version::HTTP_2
        && media_type
            .and_then(|value| value.strip_prefix(MEDIA_TYPE))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// The headers of an answer to a call that consists of them alone.
pub fn trailers_only(status: GrpcStatus, message: &str) -> HeaderMap {
    let mut headers = trailers(status, message);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers
}

/// The end of a call whose response has begun.
pub fn trailers(status: GrpcStatus, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(u16::from(status as u8)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        trailers.insert(MESSAGE, message);
    }
    trailers
}

/// The code with which a call ended.
pub fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get(STATUS)?.to_str().ok()?.parse().ok()
}

fn percent_encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_call_is_told_by_version_and_media_type() {
        let is_call = |version, value| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            super::is_call(version, &headers)
        };
        for value in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_call(Version::HTTP_2, value) && !is_call(Version::HTTP_11, value), "{value}");
        }
        assert!(!is_call(Version::HTTP_2, "application/grpc-web") && !is_call(Version::HTTP_2, "text/plain"));
        assert!(!super::is_call(Version::HTTP_2, &HeaderMap::new()));
    }

    #[test]
    fn message_is_encoded() {
        let headers = trailers_only(GrpcStatus::Unavailable, "100 % of \u{e4}\n");
        assert_eq!(headers["grpc-status"], "14");
        assert_eq!(headers["grpc-message"], "100 %25 of %C3%A4%0A");
    }
}
