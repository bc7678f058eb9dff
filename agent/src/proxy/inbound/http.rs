//! Inbound HTTP: HTTP/1.1 or HTTP/2 from the client, HTTP/1.1 to the app, with the client's
//! identity in a header.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, TRAILER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::warn;

use super::app_pool::{AppPool, PooledConnection};
use super::identity_header;
use crate::connection::error_chain::with_causes;
use crate::connection::tracker::{CloseStage, Connection, InFlight, Protocol, Side};
use crate::proxy::context::ProxyContext;
use crate::proxy::http::{
    MAX_HEAD_BYTES, NotifyOnEnd, ProxyBody, error_response, frame_body, remove_hop_headers,
    serve_until_closed,
};
use crate::proxy::log_limiter::Allowed;
use crate::proxy::request_error::RequestError;

/// Requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 100;
/// What a client may send on one stream before the app reads it; twice that on all streams together.
const STREAM_WINDOW: u32 = 256 * 1024;

type ProxyResponse = Response<ProxyBody<NotifyOnEnd<(PooledConnection, InFlight)>>>;

/// One client connection.
pub(super) struct Client {
    pub context: Arc<ProxyContext>,
    pub app: Arc<AppPool>,
    pub connection: Arc<Connection>,
    /// The value of the identity header, if the client has a certificate.
    pub identity: Option<HeaderValue>,
    pub allowed: bool,
}

/// Serves one client connection to its end.
pub(super) fn serve<S>(
    client: Client,
    stream: S,
    protocol: Protocol,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Arc::clone(&client.connection);
    let client = Arc::new(client);
    let service = service_fn(move |request| Arc::clone(&client).request(request));
    let io = TokioIo::new(stream);
    if protocol == Protocol::Http2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_send_buf_size(MAX_HEAD_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            .serve_connection(io, service);
        Box::pin(serve_until_closed(Box::pin(serving), connection))
    } else {
        // The reaper enforces the timeout of request heads, without a timer per request.
        let serving = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(io, service);
        Box::pin(serve_until_closed(Box::pin(serving), connection))
    }
}

impl Client {
    async fn request(self: Arc<Self>, request: Request<Incoming>) -> Result<ProxyResponse, Infallible> {
        let in_flight = self.connection.begin_request();
        let version = request.version();
        let mut response = self.forward(request, in_flight).await;
        if version < Version::HTTP_2 && self.connection.close_stage() >= CloseStage::LastRequest {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.context.requests.count(Side::Inbound, response.status());
        Ok(response)
    }

    async fn forward(&self, request: Request<Incoming>, in_flight: InFlight) -> ProxyResponse {
        match self.send(request).await {
            Ok((response, pooled)) => {
                let mut response = response.map(|body| {
                    let body = NotifyOnEnd::new(body, (pooled, in_flight), |(pooled, _)| pooled.release());
                    ProxyBody::Left(body)
                });
                remove_hop_headers(response.headers_mut());
                response
            }
            Err(error) => error_response(&error),
        }
    }

    async fn send(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, PooledConnection), RequestError> {
        if !self.allowed {
            self.connection.close_after_this_request();
            return Err(RequestError::NotAllowed);
        }
        if request.method() == Method::CONNECT {
            return Err(RequestError::Connect);
        }
        if request.headers().get_all(HOST).iter().count() > 1 {
            return Err(RequestError::DuplicateHost);
        }
        self.rewrite_request(&mut request);
        self.app.send(request).await.map_err(|error| {
            let reason = with_causes(&error);
            if let Some(Allowed { suppressed }) = self.context.log_limiter.allow(&reason) {
                warn!(suppressed, reason, "inbound request answered with 502");
            }
            RequestError::BadGateway(reason)
        })
    }

    /// Turns the client's request into the app's.
    fn rewrite_request(&self, request: &mut Request<Incoming>) {
        let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = path.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
        let has_body = !request.body().is_end_stream();
        let version = std::mem::replace(request.version_mut(), Version::HTTP_11);
        let headers = request.headers_mut();
        remove_hop_headers(headers);
        frame_body(headers, has_body);
        if let Some(authority) = authority {
            headers.insert(HOST, authority);
        }
        if version == Version::HTTP_2 {
            join_cookies(headers);
        }
        // This server answers Expect when the body is read. Only announced trailers are passed on, and an
        // app that merges them into the headers would believe a forged identity among them.
        for name in [EXPECT, TRAILER] {
            headers.remove(name);
        }
        identity_header::remove_forged(headers);
        if let Some(identity) = &self.identity {
            headers.insert(identity_header::NAME, identity.clone());
        }
    }
}

/// HTTP/2 may split a cookie into several fields; HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
