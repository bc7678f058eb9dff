//! Outbound HTTP: a forward proxy that turns `http://payments.shop.svc:8443/…` into mTLS, or a
//! fixed route that speaks HTTP. What cannot be reached or trusted is a 502 that says why.

use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{Either, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::header::{EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use hyper::http::request;
use hyper::http::uri::{Authority, Scheme};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::warn;

use super::dial::DialError;
use super::pool::{Outgoing, Pool, PooledClient};
use super::route::Upstream;
use crate::connection::tracker::Side;
use crate::proxy::context::ProxyContext;
use crate::proxy::http::{MAX_HEAD_BYTES, ProxyBody, answer, frame_body, remove_hop_headers};
use crate::tls::error_chain::with_causes;

/// Passes requests on to servers over mTLS.
pub struct Forwarding {
    context: Arc<ProxyContext>,
    pool: Pool,
}

impl Forwarding {
    /// To `upstream`, or without one to whichever server a request names.
    pub fn new(context: Arc<ProxyContext>, upstream: Option<Upstream>) -> Self {
        Self { pool: Pool::new(Arc::clone(&context), upstream), context }
    }

    pub async fn connection(self: Arc<Self>, app: TcpStream, _from: SocketAddr) {
        let _open = self.context.outbound_apps.enter();
        let service = service_fn(move |request| Arc::clone(&self).request(request));
        let serving = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(app), service);
        // An error is the app's hanging up.
        let _ = serving.await;
    }

    async fn request(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ProxyBody<Incoming>>, Infallible> {
        let response = self.forward(request).await.unwrap_or_else(|refusal| {
            if refusal.status == StatusCode::BAD_GATEWAY
                && let Some(left_out) = self.context.log_limiter.allow(&refusal.reason)
            {
                warn!(left_out, reason = refusal.reason, "outbound request answered with 502");
            }
            answer(refusal.status, &refusal.reason)
        });
        self.context.requests.count(Side::Outbound, response.status());
        Ok(response)
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<ProxyBody<Incoming>>, Refusal> {
        let (mut head, body) = request.into_parts();
        self.rewrite_request(&mut head)?;
        frame_body(&mut head.headers, !body.is_end_stream());
        let client = self.pool.client().ok_or_else(|| Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: "there is no identity to speak with yet".into(),
        })?;
        let server = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut response = send(&client, head, body)
            .await
            .map_err(|error| Refusal { status: StatusCode::BAD_GATEWAY, reason: explain(&server, &error) })?;
        remove_hop_headers(response.headers_mut());
        response.headers_mut().remove(PROXY_AUTHENTICATE);
        Ok(response.map(Either::Left))
    }

    /// From the app's request to the server's.
    fn rewrite_request(&self, head: &mut request::Parts) -> Result<(), Refusal> {
        let refuse = |status, reason: &str| Err(Refusal { status, reason: reason.into() });
        if head.method == Method::CONNECT {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "CONNECT is not served: ask for http://HOST:PORT/…, and the agent makes it mTLS",
            );
        }
        let authority = match self.pool.fixed() {
            Some(upstream) => upstream.authority().parse::<Authority>().ok(),
            None if head.uri.scheme() == Some(&Scheme::HTTP) => head.uri.authority().cloned(),
            None => None,
        };
        let Some(authority) = authority else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "this is an HTTP proxy: ask for http://HOST:PORT/…, for example with http_proxy set to this address",
            );
        };
        if authority.as_str().contains('@') {
            return refuse(StatusCode::BAD_REQUEST, "user information in the URL is not passed on");
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build();
        head.uri = uri.or_else(|_| {
            refuse(StatusCode::BAD_REQUEST, "the URL cannot be passed on").map(|()| Uri::default())
        })?;
        head.version = Version::HTTP_11;
        remove_hop_headers(&mut head.headers);
        for name in [HOST, EXPECT, PROXY_AUTHORIZATION] {
            // The host is set from the URL; 100-continue is answered by this proxy.
            head.headers.remove(name);
        }
        Ok(())
    }
}

struct Refusal {
    status: StatusCode,
    reason: String,
}

/// Sends; a request that can be repeated is, once, if the connection it went out on was closed
/// under it.
async fn send(
    client: &PooledClient,
    head: request::Parts,
    body: Incoming,
) -> Result<Response<Incoming>, legacy::Error> {
    if !(body.is_end_stream() && head.method.is_idempotent()) {
        return client.request(Request::from_parts(head, Either::Left(body))).await;
    }
    let bodiless = |head| Request::from_parts(head, Outgoing::Right(Empty::new()));
    match client.request(bodiless(head.clone())).await {
        Err(error) if !error.is_connect() && was_closed(&error) => client.request(bodiless(head)).await,
        result => result,
    }
}

/// Our own words where the failure is ours to explain, the library's where it is not.
fn explain(server: &str, error: &legacy::Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<DialError>() {
            return error.to_string();
        }
        cause = error.source();
    }
    format!("{server} gave no proper answer: {}", with_causes(error))
}

fn was_closed(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        {
            return true;
        }
        cause = error.source();
    }
    false
}
