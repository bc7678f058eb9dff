//! Inbound HTTP: HTTP/1.1 or HTTP/2 from the client, the version of the route to the app, with the client's
//! identity in a header.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{EXPECT, HOST, HeaderValue, STRICT_TRANSPORT_SECURITY, TRAILER};
use hyper::http::request;
use hyper::{Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::app_pool::AppPool;
use super::forwarded::{self, Forwarded};
use crate::connection::memory::{ConnectionMemory, RequestMemory, Upload};
use crate::connection::tracked_stream::{ByteCounters, TrackedStream};
use crate::connection::tracker::{Connection, InFlight, Protocol, Side};
use crate::proxy::access_log::{ObservedRoute, RequestRecord};
use crate::proxy::context::ProxyContext;
use crate::proxy::http::content::Content;
use crate::proxy::http::exchange::{self, Origin as _};
use crate::proxy::http::headers::remove_hop_headers;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::request_body::RequestBody;
use crate::proxy::http::response_body::ProxyBody;
use crate::proxy::http::serve::{self, Continuation};
use crate::proxy::http::upgrade::Upgrade;
use crate::proxy::http::{Dialect, answer, pass_on, refuse};
use crate::proxy::http::{hops, request_check};
use crate::proxy::request_error::RequestError;

/// One client connection.
pub(super) struct Client {
    pub context: Arc<ProxyContext>,
    pub app: Arc<AppPool>,
    pub connection: Arc<Connection>,
    pub from: SocketAddr,
    pub route: Arc<ObservedRoute>,
    /// What the app is told of it.
    pub forwarded: Forwarded,
    pub allowed: bool,
    pub continuation: Arc<Continuation>,
    pub memory: Arc<ConnectionMemory>,
}

/// The value of the header that has browsers use HTTPS alone for so long.
pub fn strict_transport_security(duration: Duration) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("max-age={}", duration.as_secs())).ok()
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
    let (connection, continuation) = (Arc::clone(&client.connection), Arc::clone(&client.continuation));
    let client = Arc::new(client);
    let sender = Arc::clone(&client);
    let refuse = move |malformed| {
        sender.route.malformed(Some((&sender.connection, sender.from)), malformed);
        refuse(&sender.context, Side::Inbound, malformed, &sender.connection.peer_name())
    };
    let http2 = protocol == Protocol::Http2;
    serve::serve(stream, http2, Some(connection), continuation, refuse, move |request, interim| {
        Arc::clone(&client).request(request, interim)
    })
}

impl Client {
    async fn request(
        self: Arc<Self>,
        request: Request<Content>,
        mut interim: Interim,
    ) -> Result<Response<ProxyBody>, h2::Error> {
        let in_flight = self.connection.begin_request();
        let dialect = Dialect::of(request.version(), request.headers());
        let mut record = self.route.request(&request, dialect);
        record.asked_by(&self.connection, self.from);
        let mut response = match self.forward(request, dialect, in_flight, &mut interim, &mut record).await {
            Ok(response) => {
                self.context.requests.count(Side::Inbound, response.status());
                response
            }
            Err(error) => {
                record.refused(&error);
                answer(&self.context, Side::Inbound, dialect, &error, &self.connection.peer_name())?
            }
        };
        if let Some(hsts) = &self.context.hsts {
            response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
        ProxyBody::observe(&mut response, record);
        Ok(response)
    }

    async fn forward(
        &self,
        mut request: Request<Content>,
        dialect: Dialect,
        in_flight: InFlight,
        interim: &mut Interim,
        record: &mut RequestRecord,
    ) -> Result<Response<ProxyBody>, RequestError> {
        let grpc = dialect == Dialect::Grpc;
        if let Err(error) = self.check(&request, grpc) {
            let (head, body) = request.into_parts();
            RequestBody::discard_refused(&head.headers, body).await;
            return Err(error);
        }
        let upload = Upload::of(request.body());
        let memory = match self.memory.admit(upload).await {
            Ok(memory) => memory,
            Err(error) => {
                let (head, body) = request.into_parts();
                RequestBody::discard_refused(&head.headers, body).await;
                return Err(error.into());
            }
        };
        let upgrade = Upgrade::take(&mut request);
        if upgrade.is_none() && request.method() == Method::CONNECT {
            // For a protocol that no header could name.
            let (head, body) = request.into_parts();
            RequestBody::discard_refused(&head.headers, body).await;
            return Err(RequestError::Connect);
        }
        let (mut head, body) = request.into_parts();
        if let Err(error) = self.rewrite_request(&mut head) {
            RequestBody::discard_refused(&head.headers, body).await;
            return Err(error);
        }
        self.app.list();
        if let Some(upgrade) = upgrade {
            // Boxed like all that is rare, so that it takes no room in each request.
            let request = Request::from_parts(head, ());
            return Box::pin(self.switch(request, upgrade, (in_flight, memory), interim, record)).await;
        }
        let body = RequestBody::new(body, Some(&in_flight), forwarded::remove_claims)
            .counted(record.transferred())
            .with_memory(memory.upload(upload));
        // Boxed once, as it is handed on several times.
        let request = Box::new(Request::from_parts(head, body));
        let (response, lease) = exchange::send(&*self.app, request, grpc, interim).await?;
        Ok(pass_on(response, lease, Some(in_flight), memory, dialect))
    }

    /// Whether the request may be sent to the app.
    fn check(&self, request: &Request<Content>, grpc: bool) -> Result<(), RequestError> {
        if !self.allowed {
            self.connection.close_after_this_request();
            return Err(RequestError::NotAllowed);
        }
        if grpc && !self.app.is_http2_only() {
            return Err(RequestError::GrpcToHttp1App);
        }
        if request.method() == Method::CONNECT && !Upgrade::is_extended_connect(request) {
            return Err(RequestError::Connect);
        }
        request_check::check(request)
    }

    /// Asks the app to switch to another protocol.
    async fn switch(
        &self,
        request: Request<()>,
        upgrade: Upgrade,
        (in_flight, memory): (InFlight, RequestMemory),
        interim: &mut Interim,
        record: &mut RequestRecord,
    ) -> Result<Response<ProxyBody>, RequestError> {
        let http1 = upgrade.is_http1();
        let (response, switched) = exchange::switch(&*self.app, request, upgrade, interim).await?;
        match switched {
            Err(lease) => {
                return Ok(pass_on(response, lease, Some(in_flight), memory, Dialect::Http2));
            }
            Ok(tunnel) if http1 => {
                self.connection.upgrade();
                let mut record = record.upgraded(&response);
                let tunnel = tunnel.run(record.counter(), Arc::clone(self.memory.share()));
                self.continuation.set(async move {
                    if tunnel.await.is_err() {
                        record.broke_off();
                    }
                    drop(record);
                });
            }
            Ok(tunnel) => {
                let tracked = self.connection.open_tunnel().ok_or(RequestError::Full)?;
                // The bytes are counted on the connection.
                let counters = ByteCounters::uncounted();
                let mut record = record.upgraded(&response);
                let counter = record.counter();
                let wrap = move |client| TrackedStream::new(counter(client), Arc::new(tracked), counters);
                let tunnel = tunnel.run(wrap, Arc::clone(self.memory.share()));
                self.context.inbound_tasks.spawn(async move {
                    if tunnel.await.is_err() {
                        record.broke_off();
                    }
                    drop(record);
                    // As long as there is a tunnel, its connection is not idle.
                    drop(in_flight);
                });
            }
        }
        Ok(response.map(|_| ProxyBody::empty()))
    }

    /// Turns the client's request into the app's.
    fn rewrite_request(&self, head: &mut request::Parts) -> Result<(), RequestError> {
        let headers = &mut head.headers;
        remove_hop_headers(headers);
        if head.version == Version::HTTP_10 {
            // It is not for such a request (RFC 9110, 10.1.1).
            headers.remove(EXPECT);
        }
        // An app that merges announced trailers into the headers would believe a forged identity among them.
        if headers.get_all(TRAILER).iter().any(forwarded::is_named_in) {
            headers.remove(TRAILER);
        }
        self.forwarded.write(head);
        if head.uri.authority().is_none() && !head.headers.contains_key(HOST) {
            // Which a request of HTTP/1.1 must have, and one of HTTP/1.0 or HTTP/2 need not.
            head.headers.insert(HOST, self.app.host().clone());
        }
        Ok(hops::count(&mut head.headers)?)
    }
}

#[cfg(test)]
mod tests;
