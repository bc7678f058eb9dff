//! Outbound HTTP: a forward proxy that turns `http://payments.shop.svc:8443/…` into mTLS, or a fixed HTTP
//! route. A server that cannot be reached or trusted is a 502 that names the reason.

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
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::warn;

use super::dial::DialError;
use super::pool::{Outgoing, Pool, PooledClient};
use super::route::Upstream;
use crate::connection::error_chain::with_causes;
use crate::connection::tracker::Side;
use crate::proxy::context::ProxyContext;
use crate::proxy::http::{MAX_HEAD_BYTES, ProxyBody, error_response, frame_body, remove_hop_headers};
use crate::proxy::log_limiter::Allowed;
use crate::proxy::request_error::RequestError;

/// Forwards the app's requests to servers over mTLS.
pub struct HttpForwarder {
    context: Arc<ProxyContext>,
    pool: Pool,
}

impl HttpForwarder {
    /// To `upstream`, or without one to the server that each request names.
    pub fn new(context: Arc<ProxyContext>, upstream: Option<Upstream>) -> Self {
        Self { pool: Pool::new(Arc::clone(&context), upstream), context }
    }

    pub async fn serve(self: Arc<Self>, app: TcpStream, _from: SocketAddr) {
        let _open = self.context.outbound_connections.open();
        let service = service_fn(move |request| Arc::clone(&self).request(request));
        let serving = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(app), service);
        // An error means that the app closed its connection.
        let _ = serving.await;
    }

    async fn request(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ProxyBody<Incoming>>, Infallible> {
        let response = self.forward(request).await.unwrap_or_else(|error| {
            if let RequestError::BadGateway(reason) = &error
                && let Some(Allowed { suppressed }) = self.context.log_limiter.allow(reason)
            {
                warn!(suppressed, reason, "outbound request answered with 502");
            }
            error_response(&error)
        });
        self.context.requests.count(Side::Outbound, response.status());
        Ok(response)
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<ProxyBody<Incoming>>, RequestError> {
        let (mut head, body) = request.into_parts();
        self.rewrite_request(&mut head)?;
        frame_body(&mut head.headers, !body.is_end_stream());
        let client = self.pool.client().ok_or(RequestError::NoIdentity)?;
        let server = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut response = send(&client, head, body)
            .await
            .map_err(|error| RequestError::BadGateway(describe(&server, &error)))?;
        remove_hop_headers(response.headers_mut());
        response.headers_mut().remove(PROXY_AUTHENTICATE);
        Ok(response.map(Either::Left))
    }

    /// Turns the app's request into the server's.
    fn rewrite_request(&self, head: &mut request::Parts) -> Result<(), RequestError> {
        if head.method == Method::CONNECT {
            return Err(RequestError::ConnectThroughProxy);
        }
        let authority = match self.pool.fixed() {
            Some(upstream) => upstream.authority().parse::<Authority>().ok(),
            None if head.uri.scheme() == Some(&Scheme::HTTP) => head.uri.authority().cloned(),
            None => None,
        };
        let authority = authority.ok_or(RequestError::NotForProxy)?;
        if authority.as_str().contains('@') {
            return Err(RequestError::UserInformation);
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build();
        head.uri = uri.map_err(|_| RequestError::InvalidUrl)?;
        head.version = Version::HTTP_11;
        remove_hop_headers(&mut head.headers);
        for name in [HOST, EXPECT, PROXY_AUTHORIZATION] {
            // The client sets Host from the URL; this proxy answers 100-continue.
            head.headers.remove(name);
        }
        Ok(())
    }
}

/// Sends a request. One that can be repeated is sent once more if its connection was closed under it.
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

/// The error of the dial, or that of the HTTP client.
fn describe(server: &str, error: &legacy::Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<DialError>() {
            return error.to_string();
        }
        cause = error.source();
    }
    format!("no valid response from {server}: {}", with_causes(error))
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

#[cfg(test)]
mod tests;
