//! What inbound and outbound HTTP share: serving a connection in either version, connections to the app or to
//! servers in either version, and what is translated between them.

pub mod authority;
pub mod client;
pub mod content;
pub mod exchange;
pub mod first_bytes;
mod frame_limit;
pub mod grpc;
mod h2_stream;
pub mod headers;
pub mod hops;
pub mod http2_connection;
pub mod pool;
pub mod request_body;
pub mod response_body;
pub mod serve;
pub mod upgrade;

use std::fmt::Display;

use hotcert_log::Allowed;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode, Version};
use tracing::warn;

use crate::connection::memory::RequestMemory;
use crate::connection::tracker::{InFlight, Side};
use crate::proxy::context::{MALFORMED, ProxyContext};
use crate::proxy::request_error::RequestError;
use content::Content;
use headers::remove_hop_headers;
use pool::Lease;
use response_body::ProxyBody;

/// Longer request heads are refused, and no more is buffered for an HTTP peer that does not read.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Requests that one HTTP/2 connection may have in flight, whichever side makes it.
pub const MAX_STREAMS: usize = 100;
/// Requests that a client has reset before the agent saw them, at once; more closes its connection.
pub const MAX_UNSEEN_RESETS: usize = 20;
/// Streams of one connection that break the protocol, in all; more closes it.
pub const MAX_STREAM_ERRORS: usize = 1024;
/// What may be on its way on one HTTP/2 stream before the receiver reads it.
pub const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection, so that those that are not read do not stop the others. What a client sends
/// is buffered whatever becomes of its requests: how many of them wait is bounded by the memory budget.
pub const CONNECTION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;

/// Names the reason of an error response of the agent's own, as its body does.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-hotcert-error");

/// How the client of a request wants to be told of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Http1,
    Http2,
    Grpc,
}

impl Dialect {
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
            (Self::Grpc, error) => {
                let message = format!("hotcert-agent: {}", one_line(error));
                let mut response = Response::new(ProxyBody::empty());
                *response.headers_mut() = grpc::trailers_only(error.grpc_status(), &message);
                Ok(response)
            }
            (_, error) => Ok(error_response(error)),
        }
    }
}

/// The response of the app or the server, for the client. `in_flight` is held until its body has ended, and `memory`
/// until it has been sent.
pub fn pass_on(
    response: Response<Content>,
    lease: Lease,
    in_flight: Option<InFlight>,
    memory: RequestMemory,
    dialect: Dialect,
) -> Response<ProxyBody> {
    // Trailers cannot end what was promised a length.
    let grpc = dialect == Dialect::Grpc && !response.headers().contains_key(CONTENT_LENGTH);
    let mut response = response.map(|content| ProxyBody::passed_on(content, lease, in_flight, memory, grpc));
    remove_hop_headers(response.headers_mut());
    response
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
    } else if error.status() == StatusCode::BAD_REQUEST {
        log_bad_request(context, side, error.reason(), from, error);
    }
    dialect.answer(error)
}

/// Counts a request that could not be read, which the HTTP library answered, and logs it.
pub fn record_malformed(context: &ProxyContext, side: Side, from: &dyn Display) {
    context.requests.count_malformed(side);
    log_bad_request(context, side, MALFORMED, from, &"it is not a request of HTTP/1.1");
}

/// Who sends what is no proper request is for its operator to know, and not for each request.
fn log_bad_request(
    context: &ProxyContext,
    side: Side,
    reason: &'static str,
    from: &dyn Display,
    error: &dyn Display,
) {
    let from = from.to_string();
    if let Some(Allowed { suppressed }) = context.log_limiter.allow(&(reason, &from)) {
        warn!(suppressed, reason, side = side.as_str(), from, %error, "invalid request refused");
    }
}

/// The agent's own response, in one line of text.
fn error_response(error: &RequestError) -> Response<ProxyBody> {
    let line = one_line(error);
    let mut response = Response::new(ProxyBody::own(format!("hotcert-agent: {line}\n")));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(&line) {
        headers.insert(ERROR_HEADER, value);
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn one_line(error: &RequestError) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
