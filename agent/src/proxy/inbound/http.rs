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
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::warn;

use super::{Inbound, identity_header};
use crate::connection::tracker::{CloseStage, Connection, InFlight, Protocol, Side};
use crate::proxy::http::{
    MAX_HEAD_BYTES, NotifyOnEnd, ProxyBody, answer, drive, frame_body, remove_hop_headers,
};
use crate::proxy::inbound::app_pool::{AppPool, PooledConnection};
use crate::tls::error_chain::with_causes;

/// Requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 100;
/// What a client may send ahead of the app on one stream; twice that on all together.
const STREAM_WINDOW: u32 = 256 * 1024;

type ProxyResponse = Response<ProxyBody<NotifyOnEnd<(PooledConnection, InFlight)>>>;

/// One client connection.
struct Client {
    inbound: Arc<Inbound>,
    app: Arc<AppPool>,
    connection: Arc<Connection>,
    identity: Option<HeaderValue>,
    admitted: bool,
}

/// Serves one client connection to its end.
pub fn serve<S>(
    inbound: Arc<Inbound>,
    stream: S,
    connection: Arc<Connection>,
    kind: Protocol,
    identity: Option<HeaderValue>,
    admitted: bool,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = Arc::new(inbound.apps.app());
    let client = Arc::new(Client { inbound, app, connection: Arc::clone(&connection), identity, admitted });
    let service = service_fn(move |request| Arc::clone(&client).request(request));
    let io = TokioIo::new(stream);
    if kind == Protocol::Http2 {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_send_buf_size(MAX_HEAD_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(2 * STREAM_WINDOW)
            .serve_connection(io, service);
        Box::pin(drive(Box::pin(serving), connection))
    } else {
        // The sweeper keeps the time for heads, without a timer per request.
        let serving = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(io, service);
        Box::pin(drive(Box::pin(serving), connection))
    }
}

impl Client {
    async fn request(self: Arc<Self>, request: Request<Incoming>) -> Result<ProxyResponse, Infallible> {
        let in_flight = self.connection.request();
        let version = request.version();
        let mut response = self.forward(request, in_flight).await;
        if version < Version::HTTP_2 && self.connection.close_stage() >= CloseStage::LastRequest {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.inbound.context.requests.count(Side::Inbound, response.status());
        Ok(response)
    }

    async fn forward(&self, mut request: Request<Incoming>, in_flight: InFlight) -> ProxyResponse {
        if !self.admitted {
            self.connection.end_after_this();
            return answer(StatusCode::FORBIDDEN, "your certificate is verified, but not on the allow list");
        }
        if request.method() == Method::CONNECT {
            return answer(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served");
        }
        if request.headers().get_all(HOST).iter().count() > 1 {
            return answer(StatusCode::BAD_REQUEST, "there is more than one Host");
        }
        self.rewrite_request(&mut request);
        match self.app.send(request).await {
            Ok((response, lease)) => {
                let mut response = response.map(|body| {
                    let guarded = NotifyOnEnd::new(body, (lease, in_flight), |(lease, _)| lease.give_back());
                    ProxyBody::Left(guarded)
                });
                remove_hop_headers(response.headers_mut());
                response
            }
            Err(error) => {
                let reason = with_causes(&error);
                if let Some(left_out) = self.inbound.context.log_limiter.allow(&reason) {
                    warn!(left_out, reason, "inbound request answered with 502");
                }
                answer(StatusCode::BAD_GATEWAY, &reason)
            }
        }
    }

    /// From the client's request to the app's.
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
        // Expect is answered by this server when the body is asked for. Only announced trailers are
        // passed on, and an app that folds them into the headers would believe a claim among them.
        for name in [EXPECT, TRAILER] {
            headers.remove(name);
        }
        identity_header::remove_claims(headers);
        if let Some(identity) = &self.identity {
            headers.insert(identity_header::NAME, identity.clone());
        }
    }
}

/// HTTP/2 may send a cookie in several fields; HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}
