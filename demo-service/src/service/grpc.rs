//! The same microservice over gRPC, on HTTP/2 without TLS: `Call` answers as `GET /` does, after a call of the
//! upstream. Beside it is gRPC's own health service. What protoc would generate from
//!
//! ```text
//! package hotcert.demo;
//! service Demo { rpc Call(CallRequest) returns (CallResponse); }
//! message CallRequest {}
//! message CallResponse { string service = 1; CallResponse upstream = 2; }
//! ```
//!
//! is written out here, so that no build needs protoc.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http2;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::server::{NamedService, UnaryService};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{Config, accept};

const CALL: &str = "/hotcert.demo.Demo/Call";
/// For a whole call of the upstream.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, prost::Message)]
pub struct CallRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CallResponse {
    /// Name of the service that answered.
    #[prost(string, tag = "1")]
    pub service: String,
    /// What its upstream answered, if it has one.
    #[prost(message, optional, boxed, tag = "2")]
    pub upstream: Option<Box<CallResponse>>,
}

/// Calls the service over any connection that carries gRPC.
#[derive(Clone)]
pub struct Client<T>(tonic::client::Grpc<T>);

impl<T> Client<T>
where
    T: GrpcService<Body>,
    T::ResponseBody: hyper::body::Body + Send + 'static,
    <T::ResponseBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// `origin`: scheme and authority of the requests.
    pub fn new(connection: T, origin: Uri) -> Self {
        Self(tonic::client::Grpc::with_origin(connection, origin))
    }

    pub async fn call(&mut self) -> Result<CallResponse, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let (request, path) = (tonic::Request::new(CallRequest {}), PathAndQuery::from_static(CALL));
        let response = self.0.unary(request, path, ProstCodec::default()).await;
        response.map(tonic::Response::into_inner)
    }
}

#[derive(Clone)]
struct Demo {
    name: Arc<str>,
    upstream: Option<(Uri, Client<Channel>)>,
}

impl Demo {
    fn new(config: Config) -> Self {
        let upstream = config.upstream.map(|url| {
            let channel = Endpoint::from(url.clone()).timeout(TIMEOUT).connect_lazy();
            (url.clone(), Client::new(channel, url))
        });
        Self { name: config.name.into(), upstream }
    }

    async fn respond(mut self) -> Result<tonic::Response<CallResponse>, Status> {
        let upstream = match &mut self.upstream {
            None => None,
            Some((url, client)) => {
                let response = client.call().await;
                let response = response.map_err(|status| {
                    Status::new(status.code(), format!("upstream {url}: {}", status.message()))
                })?;
                Some(Box::new(response))
            }
        };
        Ok(tonic::Response::new(CallResponse { service: self.name.to_string(), upstream }))
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl UnaryService<CallRequest> for Demo {
    type Response = CallResponse;
    type Future = BoxFuture<Result<tonic::Response<CallResponse>, Status>>;

    fn call(&mut self, _request: tonic::Request<CallRequest>) -> Self::Future {
        Box::pin(self.clone().respond())
    }
}

impl NamedService for Demo {
    const NAME: &'static str = "hotcert.demo.Demo";
}

impl Service<Request<Body>> for Demo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let demo = self.clone();
        Box::pin(async move {
            if request.uri().path() != CALL {
                let method = request.uri().path();
                return Ok(Status::unimplemented(format!("unknown method {method}")).into_http());
            }
            Ok(tonic::server::Grpc::new(ProstCodec::default()).unary(demo, request).await)
        })
    }
}

/// Serves until `shutdown` is done, then finishes the calls in flight.
pub(super) async fn serve(listener: TcpListener, config: Config, shutdown: impl Future<Output = ()>) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<Demo>().await;
    let service = TowerToHyperService::new(Routes::new(health).add_service(Demo::new(config)).prepare());
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new());
    accept(listener, shutdown, |stream| http.serve_connection(stream, service.clone())).await;
}

#[cfg(test)]
mod tests;
