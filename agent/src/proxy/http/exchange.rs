//! A request and its response over a connection of a pool: which connection, what is tried again, and what switches
//! to bytes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::{Request, Response, StatusCode};

use super::client::{ClientError, SendError};
use super::content::Content;
use super::http1::client::Returned;
use super::http1::{self, RawTarget};
use super::interim::Interim;
use super::pool::{HttpConnection, Lease, Needs, Pool};
use super::request_body::RequestBody;
use super::response_timeout::ResponseDeadline;
use super::upgrade::{Tunnel, Upgrade};
use crate::proxy::request_error::RequestError;

/// How often a request is sent again after it was refused without a look.
const MAX_REFUSALS: usize = 2;

/// An extension of the response to a request that was sent more than once.
#[derive(Clone, Copy, Debug)]
pub struct Retried;

/// The app, or a server: where requests go.
pub trait Origin: Sync {
    fn pool(&self) -> &Arc<Pool>;

    /// Connections of an older generation take no more requests.
    fn generation(&self) -> u64;

    /// A connection that was idle for longer is not used again.
    fn fresh(&self) -> Duration;

    /// Whether it is spoken to in HTTP/2 alone.
    fn is_http2_only(&self) -> bool;

    /// How long a response may take to begin.
    fn response_timeout(&self) -> Option<Duration>;

    /// A request is sent again, for this reason.
    fn count_retry(&self, reason: Retry);

    fn connect(&self, needs: Needs) -> impl Future<Output = Result<HttpConnection, RequestError>> + Send;

    /// What the client is told when a connection fails.
    fn failed(&self, error: &ClientError) -> RequestError;

    /// What the client is told when a gRPC call would have to go over HTTP/1.1.
    fn grpc_needs_http2(&self) -> RequestError;

    /// What it is called in messages.
    fn name(&self) -> String;
}

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Its connection had been closed, and nothing of it was sent.
    Unsent,
    /// The other side said that it has not looked at it.
    Refused,
    /// Its connection, which had served others before, was closed under it. It has no body and may be repeated, as RFC
    /// 9110, section 9.2.2, has it.
    Closed,
}

impl Retry {
    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Refused => "refused",
            Self::Closed => "closed",
        }
    }
}

/// Sends a request. `grpc`: it needs HTTP/2. What comes before the response goes to `interim`.
pub async fn send<O: Origin>(
    origin: &O,
    mut request: Box<Request<RequestBody>>,
    grpc: bool,
    interim: &mut Interim,
) -> Result<(Response<Content>, Lease), RequestError> {
    let mut repeatable = request.body().is_end_stream() && request.method().is_idempotent();
    let mut refusals = 0;
    let mut is_retried = false;
    // HTTP/2 would have it percent-encoded.
    let has_raw_target = request.extensions().get::<RawTarget>().is_some() && !origin.is_http2_only();
    let mut needs = match (grpc, has_raw_target) {
        (true, _) => Needs::Http2,
        (false, true) => Needs::Http1,
        (false, false) => Needs::Any,
    };
    loop {
        let (mut lease, new) = match lend(origin, needs).await {
            Err(_) if needs == Needs::Http1 => {
                needs = Needs::Any;
                continue;
            }
            Ok((lease, _)) if grpc && matches!(lease, Lease::Http1 { .. }) => {
                lease.release();
                Box::pin(request.into_body().discard()).await;
                return Err(origin.grpc_needs_http2());
            }
            Ok(lent) => lent,
            Err(error) => {
                Box::pin(request.into_body().discard()).await;
                return Err(error);
            }
        };
        let sent = match origin.response_timeout() {
            None => lease.send(request, interim).await,
            Some(within) => {
                let deadline = ResponseDeadline::new(within, &mut request);
                let response = Box::pin(deadline.wait(lease.send(request, interim))).await;
                response.ok_or_else(|| RequestError::ResponseTimeout { name: origin.name(), within })?
            }
        };
        let SendError { error, request: returned } = match sent {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(RequestError::SwitchedUnasked(origin.name()));
            }
            Ok(mut response) => {
                if is_retried {
                    response.extensions_mut().insert(Retried);
                }
                return Ok((response, lease));
            }
            Err(error) => error,
        };
        is_retried = true;
        let is_refused = error.is_unprocessed();
        // A refusal has a reason, so that it is not tried for long.
        refusals += usize::from(new || error.is_refused());
        // An idle connection may be closed at any time; what happens on a new one is the answer.
        let may_repeat = repeatable && !new && error.was_closed();
        let (again, reason) = match returned {
            Returned::Unsent(unsent) if is_refused && refusals <= MAX_REFUSALS => (unsent, Retry::Refused),
            Returned::Unsent(unsent) if !is_refused && !new => (unsent, Retry::Unsent),
            Returned::Unsent(request) | Returned::Sent(request) if may_repeat => {
                repeatable = false;
                (request, Retry::Closed)
            }
            _ => return Err(failed(origin, &error)),
        };
        origin.count_retry(reason);
        request = again;
    }
}

/// Asks for an upgrade. Bytes flow in the returned tunnel once the client has the response.
pub async fn switch<O: Origin>(
    origin: &O,
    request: Request<()>,
    upgrade: Upgrade,
    interim: &mut Interim,
) -> Result<(Response<Content>, Result<Tunnel, Lease>), RequestError> {
    let mut needs = match upgrade.is_http1() && !origin.is_http2_only() {
        true => Needs::Http1,
        false => Needs::Any,
    };
    loop {
        let (mut lease, new) = lend(origin, needs).await?;
        let request = copy(&request);
        match lease {
            Lease::Http1 { .. } => {
                let (request, own_key) = upgrade.http1_request(request)?;
                match in_time(origin, lease.send(Box::new(request), interim)).await? {
                    Ok(response) => return upgrade.switched_http1(response, own_key, lease, &origin.name()),
                    Err(SendError { request: Returned::Unsent(_), .. }) if !new => {
                        origin.count_retry(Retry::Unsent)
                    }
                    Err(SendError { error, .. }) => return Err(failed(origin, &error)),
                }
            }
            Lease::Http2 { ref connection, .. } if connection.takes_extended_connect() => {
                let (request, key) = upgrade.extended_connect(request)?;
                match in_time(origin, connection.connect(request)).await? {
                    Ok((response, stream)) => return upgrade.switched_http2(response, stream, key, lease),
                    Err(_) if !new && connection.is_closed() => origin.count_retry(Retry::Unsent),
                    Err(SendError { error, .. }) => return Err(failed(origin, &error)),
                }
            }
            Lease::Http2 { .. } if origin.is_http2_only() => {
                return Err(RequestError::NoExtendedConnect(origin.name()));
            }
            Lease::Http2 { .. } => needs = Needs::Http1,
        }
    }
}

/// The response to a request without a body.
async fn in_time<O: Origin, F: Future>(origin: &O, response: F) -> Result<F::Output, RequestError> {
    let Some(within) = origin.response_timeout() else { return Ok(response.await) };
    let response = ResponseDeadline::without_body(within).wait(response).await;
    response.ok_or_else(|| RequestError::ResponseTimeout { name: origin.name(), within })
}

async fn lend<O: Origin>(origin: &O, needs: Needs) -> Result<(Lease, bool), RequestError> {
    origin.pool().lend(needs, origin.generation(), origin.fresh(), || Box::pin(origin.connect(needs))).await
}

fn failed<O: Origin>(origin: &O, error: &ClientError) -> RequestError {
    if let ClientError::Http1(http1::Error::Request(cause)) = error {
        return RequestError::BrokenOff(cause.to_string());
    }
    match error.reset() {
        Some(reason) => RequestError::Reset(origin.name(), reason),
        None => origin.failed(error),
    }
}

fn copy(request: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    if let Some(raw) = request.extensions().get::<RawTarget>() {
        copy.extensions_mut().insert(raw.clone());
    }
    copy
}
