//! The agent's own answer to a request that has no other, in the form that its client reads.

use std::fmt::Display;

use hotcert_log::Allowed;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode, Version};
use tracing::warn;

use super::http1::Malformed;
use super::response_body::ProxyBody;
use super::{ascii, grpc, proxy_status};
use crate::connection::tracker::Side;
use crate::proxy::context::ProxyContext;
use crate::proxy::request_error::RequestError;

/// Names the reason of an error response of the agent's own, as its body does.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-hotcert-error");
/// In bytes; the body has all of it.
const MAX_ERROR_HEADER: usize = 1024;

/// How the client of a request wants to be told of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Http1,
    Http2,
    Grpc,
}

impl Dialect {
    /// As a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }

    pub fn of(version: Version, headers: &HeaderMap) -> Self {
        match version {
            Version::HTTP_2 if grpc::is_call(version, headers) => Self::Grpc,
            Version::HTTP_2 => Self::Http2,
            _ => Self::Http1,
        }
    }

    /// The agent's own answer, or the reset of the request.
    fn answer(self, error: &RequestError) -> Result<Response<ProxyBody>, h2::Error> {
        match (self, error) {
            (Self::Http2 | Self::Grpc, RequestError::Reset(_, reason)) => Err((*reason).into()),
            (Self::Grpc, error) => Ok(grpc_response(error)),
            (_, error) => Ok(error_response(error)),
        }
    }
}

/// The answer to a request that has no response, and its record in metrics and log. `from`: who sent it.
pub fn answer(
    context: &ProxyContext,
    side: Side,
    dialect: Dialect,
    error: &RequestError,
    from: &dyn Display,
) -> Result<Response<ProxyBody>, h2::Error> {
    // What a gRPC call is told in a response of 200 is counted as what it stands for.
    context.requests.count_refused(side, error.status(), error.reason());
    if error.is_of_the_other_side() {
        let reason = error.to_string();
        // What one client has used up says nothing of another.
        let client = error.retry_after_seconds().map(|_| from.to_string());
        if let Some(Allowed { suppressed }) = context.log_limiter.allow(&(&reason, client)) {
            warn!(suppressed, reason, side = side.as_str(), %from, "request answered by the agent");
        }
    } else if error.status() == StatusCode::BAD_REQUEST && !matches!(error, RequestError::BrokenOff(_)) {
        log_bad_request(context, side, from, error);
    }
    dialect.answer(error)
}

/// The answer to an HTTP/1 request that cannot be read, and its record in metrics and log, which has none of its bytes.
pub fn refuse(
    context: &ProxyContext,
    side: Side,
    malformed: Malformed,
    from: &dyn Display,
) -> Response<ProxyBody> {
    let error = RequestError::Malformed(malformed);
    context.requests.count_refused(side, error.status(), error.reason());
    log_bad_request(context, side, from, &error);
    error_response(&error)
}

/// Who sends what is no proper request is for its operator to know, and not for each request.
fn log_bad_request(context: &ProxyContext, side: Side, from: &dyn Display, error: &RequestError) {
    let (reason, from) = (error.reason(), from.to_string());
    if let Some(Allowed { suppressed }) = context.log_limiter.allow(&(reason, &from)) {
        let status = error.status().as_u16();
        warn!(suppressed, reason, side = side.as_str(), from, status, %error, "invalid request refused");
    }
}

fn grpc_response(error: &RequestError) -> Response<ProxyBody> {
    let line = one_line(error);
    let mut response = Response::new(ProxyBody::empty());
    *response.headers_mut() = grpc::trailers_only(error.grpc_status(), &format!("hotcert-agent: {line}"));
    add_proxy_status(response.headers_mut(), error, &line);
    response
}

/// In one line of text.
fn error_response(error: &RequestError) -> Response<ProxyBody> {
    let line = one_line(error);
    let text = format!("hotcert-agent: {line}\n");
    let length = text.len();
    let mut response = Response::new(ProxyBody::own(text));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Also where the text is not sent, as to a HEAD.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(value) = HeaderValue::from_str(&ascii::line(&line, MAX_ERROR_HEADER)) {
        headers.insert(ERROR_HEADER, value);
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    add_proxy_status(headers, error, &line);
    response
}

fn add_proxy_status(headers: &mut HeaderMap, error: &RequestError, details: &str) {
    proxy_status::append(headers, error.proxy_error(), error.next_hop(), details);
}

fn one_line(error: &RequestError) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http::proxy_status::ErrorType;

    #[test]
    fn an_error_is_in_the_fields_whatever_is_in_its_text() {
        for error in [
            RequestError::NotForProxy,
            RequestError::ConnectAddress("„Größe“".into()),
            RequestError::BadGateway {
                error: ErrorType::ConnectionRefused,
                next_hop: "a.test:1".into(),
                message: "x".repeat(100_000),
            },
        ] {
            let response = error_response(&error);
            let field = response.headers()[ERROR_HEADER].to_str().unwrap_or_default();
            assert!(!field.is_empty() && field.len() <= MAX_ERROR_HEADER, "{field}");
            let status = response.headers()[proxy_status::NAME].to_str().unwrap_or_default();
            assert!(status.contains(error.proxy_error().as_str()), "{status}");
            let status = grpc_response(&error).headers()[proxy_status::NAME].clone();
            assert!(status.to_str().unwrap_or_default().starts_with("hotcert-agent; error="), "{status:?}");
        }
    }
}
