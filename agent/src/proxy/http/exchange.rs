//! A request and its response over a connection of a pool: which connection, what is tried again, and what switches
//! to bytes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::{Request, Response, StatusCode};

use super::client::{ClientError, SendError};
use super::content::Content;
use super::http1::RawTarget;
use super::interim::Interim;
use super::pool::{HttpConnection, Lease, Needs, Pool};
use super::request_body::RequestBody;
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

    /// Whether a request that has no body and may be repeated is sent again when its connection was closed.
    fn repeats(&self) -> bool;

    fn connect(&self, needs: Needs) -> impl Future<Output = Result<HttpConnection, RequestError>> + Send;

    /// What the client is told when a connection fails.
    fn failed(&self, error: &ClientError) -> RequestError;

    /// What the client is told when a gRPC call would have to go over HTTP/1.1.
    fn grpc_needs_http2(&self) -> RequestError;

    /// What it is called in messages.
    fn name(&self) -> String;
}

/// Sends a request. `grpc`: it needs HTTP/2. What comes before the response goes to `interim`.
pub async fn send<O: Origin>(
    origin: &O,
    mut request: Request<RequestBody>,
    grpc: bool,
    interim: &mut Interim,
) -> Result<(Response<Content>, Lease), RequestError> {
    let repeatable = origin.repeats() && request.body().is_end_stream() && request.method().is_idempotent();
    let mut spare = repeatable.then(|| copy(&request, RequestBody::empty()));
    let mut refusals = 0;
    let mut is_retried = false;
    loop {
        let needs = if grpc { Needs::Http2 } else { Needs::Any };
        let (mut lease, new) = match lend(origin, needs).await {
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
        let SendError { error, unsent } = match lease.send(request, interim).await {
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
        // A connection that was idle may have been closed at any time, and a refusal has a reason.
        refusals += usize::from(new || error.is_refused());
        request = match unsent.filter(|_| refusals <= MAX_REFUSALS) {
            Some(unsent) => unsent,
            None => match spare.take().filter(|_| error.was_closed()) {
                Some(spare) => spare,
                None => return Err(failed(origin, &error)),
            },
        };
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
        let request = copy(&request, ());
        match lease {
            Lease::Http1 { .. } => {
                let (request, own_key) = upgrade.http1_request(request)?;
                match lease.send(request, interim).await {
                    Ok(response) => return upgrade.switched_http1(response, own_key, lease, &origin.name()),
                    Err(SendError { unsent: Some(_), .. }) if !new => {}
                    Err(SendError { error, .. }) => return Err(failed(origin, &error)),
                }
            }
            Lease::Http2 { ref connection, .. } if connection.takes_extended_connect() => {
                let (request, key) = upgrade.extended_connect(request)?;
                match connection.connect(request).await {
                    Ok((response, stream)) => return upgrade.switched_http2(response, stream, key, lease),
                    Err(_) if !new && connection.is_closed() => {}
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

async fn lend<O: Origin>(origin: &O, needs: Needs) -> Result<(Lease, bool), RequestError> {
    origin.pool().lend(needs, origin.generation(), origin.fresh(), || Box::pin(origin.connect(needs))).await
}

fn failed<O: Origin>(origin: &O, error: &ClientError) -> RequestError {
    match error.reset() {
        Some(reason) => RequestError::Reset(origin.name(), reason),
        None => origin.failed(error),
    }
}

fn copy<A, B>(request: &Request<A>, body: B) -> Request<B> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    if let Some(raw) = request.extensions().get::<RawTarget>() {
        copy.extensions_mut().insert(raw.clone());
    }
    copy
}
