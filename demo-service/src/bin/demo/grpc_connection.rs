//! One connection of the load to the gRPC pair, and one call on it at a time.
//!
//! A gRPC client sends a call again that was never sent to the server; [`CallError::NotSent`] is that case.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use demo_service::service::grpc::{CallResponse, Client as GrpcClient};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::client::{Client, ServiceAddress};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub struct GrpcConnection {
    sender: http2::SendRequest<Body>,
    client: GrpcClient<Sender>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("closed before the call was sent: {0}")]
    NotSent(Status),
    #[error("{:?}: {}", .0.code(), with_causes(.0))]
    Status(Status),
    #[error("unexpected response: {0:?}")]
    Content(CallResponse),
    #[error("no response within {}", humantime::format_duration(CALL_TIMEOUT))]
    Timeout,
}

/// The message with the sources of the error: hyper's own does not include them.
fn with_causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl GrpcConnection {
    pub async fn open(client: &Client, service_address: &ServiceAddress) -> io::Result<Self> {
        let handshake = client.dial(service_address, &[b"h2"]).await?;
        if handshake.stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server did not agree on HTTP/2, which gRPC needs"));
        }
        let stream = TokioIo::new(handshake.stream);
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
        // Its error reaches the calls on it as well.
        tokio::spawn(async move { drop(driver.await) });
        let origin = format!("https://{}", service_address.name).parse::<Uri>().map_err(io::Error::other)?;
        let client = GrpcClient::new(Sender(sender.clone()), origin);
        Ok(Self { sender, client })
    }

    /// Whether another call may be sent: the server has not asked to close.
    pub async fn is_open(&mut self) -> bool {
        matches!(timeout(CALL_TIMEOUT, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Calls storefront; the response must come from it and, through it, from payments.
    pub async fn call(&mut self) -> Result<(), CallError> {
        let response = timeout(CALL_TIMEOUT, self.client.call()).await.map_err(|_| CallError::Timeout)??;
        let upstream = response.upstream.as_ref().map(|upstream| upstream.service.as_str());
        match (response.service.as_str(), upstream) {
            ("storefront", Some("payments")) => Ok(()),
            _ => Err(CallError::Content(response)),
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let cause = status.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        match cause.is_some_and(|error| error.is_canceled() || error.is_closed()) {
            true => Self::NotSent(status),
            false => Self::Status(status),
        }
    }
}

/// The connection, as tonic takes it.
#[derive(Clone)]
struct Sender(http2::SendRequest<Body>);

impl Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
