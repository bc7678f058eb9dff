//! Outbound HTTP: a forward proxy that turns `http://payments.shop.svc:8443/…` into mTLS, or a fixed HTTP
//! route. A server that cannot be reached or trusted is a 502 that names the reason, or the same as gRPC.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::{EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use hyper::http::request;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connect;
use super::destination::Destinations;
use super::pool::Servers;
use super::route::{DEFAULT_PORT, OutboundRouteError, Upstream};
use crate::connection::memory::{ConnectionMemory, Share, Upload};
use crate::connection::tracked_stream::{ByteCounters, TrackedStream};
use crate::connection::tracker::{Connection, InFlight, Protocol, Side};
use crate::proxy::access_log::{ObservedRoute, RequestRecord};
use crate::proxy::context::ProxyContext;
use crate::proxy::http::content::Content;
use crate::proxy::http::exchange;
use crate::proxy::http::first_bytes::{FirstBytes, read_first_bytes};
use crate::proxy::http::headers::remove_hop_headers;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::request_body::RequestBody;
use crate::proxy::http::response_body::ProxyBody;
use crate::proxy::http::serve::{self, Continuation};
use crate::proxy::http::upgrade::Upgrade;
use crate::proxy::http::upgraded::OnUpgrade;
use crate::proxy::http::{Dialect, answer, pass_on, refuse};
use crate::proxy::http::{authority, hops, request_check};
use crate::proxy::request_error::RequestError;

/// Who sends what comes from loopback.
const THE_APP: &str = "the app";

/// Forwards the app's requests to servers over mTLS.
#[derive(Clone)]
pub struct HttpForwarder {
    pub(super) context: Arc<ProxyContext>,
    pub(super) servers: Arc<Servers>,
    /// The server of a fixed route. `None`: the server that each request names.
    pub(super) fixed: Option<Upstream>,
    memory: Arc<Share>,
    observed: Arc<ObservedRoute>,
}

/// One connection of the app.
struct App {
    forwarder: HttpForwarder,
    connection: Arc<Connection>,
    continuation: Arc<Continuation>,
    memory: Arc<ConnectionMemory>,
}

impl HttpForwarder {
    /// For the app's connections to `listen`, to `upstream`, or without one to the server that each request names. Must
    /// be called on a runtime, which then reaps idle connections.
    pub fn new(
        context: Arc<ProxyContext>,
        listen: SocketAddr,
        upstream: Option<Upstream>,
        destinations: Destinations,
    ) -> Self {
        let memory = Arc::clone(&context.app_memory);
        let to = upstream.as_ref().map(Upstream::authority);
        let observed = context.observe(Side::Outbound, listen.to_string(), to);
        let servers = Servers::new(Arc::clone(&context), destinations);
        Self { servers, context, fixed: upstream, memory, observed }
    }

    pub async fn serve(self, app: TcpStream, from: SocketAddr) {
        let connection = Arc::new(self.context.tracker.open_plain());
        // Bytes are counted where they are encrypted.
        let app = TrackedStream::new(app, Arc::clone(&connection), ByteCounters::uncounted());
        // An error means that the app closed its connection.
        let Ok((begins, mut app)) = read_first_bytes(app).await else { return };
        match begins {
            FirstBytes::Tls => connect::refuse_tls(&self.context, &mut app, from, None).await,
            begins => {
                let http2 = begins == FirstBytes::Http2;
                connection.speaks(protocol(http2));
                self.serve_http(app, http2, connection).await;
            }
        }
    }

    /// Serves HTTP in plain text. Boxed, because a request may be a CONNECT whose tunnel is served like this again.
    /// `connection`: the one that it comes on.
    pub(super) fn serve_http<S>(
        self,
        stream: S,
        http2: bool,
        connection: Arc<Connection>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let continuation = Arc::new(Continuation::default());
        let (context, observed) = (Arc::clone(&self.context), Arc::clone(&self.observed));
        let refuse = move |malformed| {
            observed.malformed(None, malformed);
            refuse(&context, Side::Outbound, malformed, &THE_APP)
        };
        let memory = ConnectionMemory::new(Arc::clone(&self.memory));
        let tracked = Some(Arc::clone(&connection));
        let app =
            Arc::new(App { forwarder: self, connection, continuation: Arc::clone(&continuation), memory });
        serve::serve(stream, http2, tracked, continuation, refuse, move |request, interim| {
            Arc::clone(&app).request(request, interim)
        })
    }
}

impl App {
    async fn request(
        self: Arc<Self>,
        request: Request<Content>,
        mut interim: Interim,
    ) -> Result<Response<ProxyBody>, h2::Error> {
        let in_flight = self.connection.begin_request();
        let dialect = Dialect::of(request.version(), request.headers());
        let context = &self.forwarder.context;
        let mut record = self.forwarder.observed.request(&request, dialect);
        let mut response = match self.forward(request, dialect, in_flight, &mut interim, &mut record).await {
            Ok(response) => {
                context.requests.count(Side::Outbound, response.status());
                response
            }
            Err(error) => {
                record.refused(&error);
                answer(context, Side::Outbound, dialect, &error, &THE_APP)?
            }
        };
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
        let upgrade = Upgrade::take(&mut request);
        if upgrade.is_none() && request.method() == Method::CONNECT {
            return self.connect(request, record);
        }
        let upstream = self.upstream(request.uri())?;
        if let Err(error) = request_check::check(&request) {
            let (head, body) = request.into_parts();
            RequestBody::discard_refused(&head.headers, body).await;
            return Err(error);
        }
        let (mut head, body) = request.into_parts();
        record.upstream(|| upstream.authority());
        rewrite_request(&mut head, &upstream)?;
        let upload = Upload::of(&body);
        let memory = match self.memory.admit(upload).await {
            Ok(memory) => memory,
            Err(error) => {
                RequestBody::discard_refused(&head.headers, body).await;
                return Err(error.into());
            }
        };
        let server = self.forwarder.servers.server(upstream).ok_or(RequestError::NoIdentity)?;
        let (response, lease) = match upgrade {
            None => {
                let body = RequestBody::new(body, Some(&in_flight), |_| ())
                    .counted(record.transferred())
                    .with_memory(memory.upload(upload));
                let request = Box::new(Request::from_parts(head, body));
                exchange::send(&server, request, dialect == Dialect::Grpc, interim).await?
            }
            Some(upgrade) => {
                let http1 = upgrade.is_http1();
                let switching = exchange::switch(&server, Request::from_parts(head, ()), upgrade, interim);
                match Box::pin(switching).await? {
                    (response, Err(lease)) => (response, lease),
                    (response, Ok(tunnel)) => {
                        let mut record = record.upgraded(&response);
                        let tunnel = tunnel.run(record.counter(), Arc::clone(self.memory.share()));
                        self.go_on(http1, async move {
                            if tunnel.await.is_err() {
                                record.broke_off();
                            }
                            drop(record);
                        });
                        return Ok(response.map(|_| ProxyBody::empty()));
                    }
                }
            }
        };
        record.sent_over(lease.tracked());
        let mut response = pass_on(response, lease, Some(in_flight), memory, dialect);
        response.headers_mut().remove(PROXY_AUTHENTICATE);
        Ok(response)
    }

    /// Opens a tunnel in which the app sends in plain text what the server gets over mTLS.
    fn connect(
        &self,
        mut request: Request<Content>,
        record: &mut RequestRecord,
    ) -> Result<Response<ProxyBody>, RequestError> {
        if self.forwarder.fixed.is_some() {
            return Err(RequestError::Connect);
        }
        let authority = request.uri().authority().ok_or(RequestError::ConnectWithoutPort)?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or(RequestError::ConnectWithoutPort)?;
        check_host(authority)?;
        let upstream = Upstream::named(authority.host(), port)
            .map_err(|error: OutboundRouteError| RequestError::ConnectAddress(error.to_string()))?;
        let http1 = request.version() < Version::HTTP_2;
        let app = OnUpgrade::of_request(&mut request);
        let forwarder = self.forwarder.clone();
        let connection = Arc::clone(&self.connection);
        let serve_http = move |upstream, stream, http2| {
            // With a tunnel in one of its streams a connection goes on with HTTP/2.
            if http1 {
                connection.speaks(protocol(http2));
            }
            HttpForwarder { fixed: Some(upstream), ..forwarder }.serve_http(stream, http2, connection)
        };
        let destinations = self.forwarder.servers.destinations().clone();
        let context = Arc::clone(&self.forwarder.context);
        let response = Response::new(ProxyBody::empty());
        record.upstream(|| upstream.authority());
        let record = record.upgraded(&response);
        self.go_on(http1, connect::serve_tunnel(context, app, upstream, destinations, record, serve_http));
        Ok(response)
    }

    /// What the app's connection, or one stream of it, goes on with.
    fn go_on(&self, http1: bool, next: impl Future<Output = ()> + Send + 'static) {
        if http1 {
            self.connection.speaks(Protocol::Tcp);
            self.continuation.set(next);
        } else {
            self.forwarder.context.outbound_tasks.spawn(next);
        }
    }

    /// The server that a request is for.
    fn upstream(&self, uri: &Uri) -> Result<Upstream, RequestError> {
        if let Some(upstream) = &self.forwarder.fixed {
            return Ok(upstream.clone());
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(RequestError::NotForProxy);
        }
        let authority = uri.authority().ok_or(RequestError::NotForProxy)?;
        check_host(authority)?;
        Upstream::named(authority.host(), authority.port_u16().unwrap_or(DEFAULT_PORT))
            .map_err(|_| RequestError::InvalidHost)
    }
}

fn protocol(http2: bool) -> Protocol {
    if http2 { Protocol::Http2 } else { Protocol::Http1 }
}

/// Turns the app's request into the server's.
fn rewrite_request(head: &mut request::Parts, upstream: &Upstream) -> Result<(), RequestError> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = upstream.authority().parse::<Authority>().map_err(|_| RequestError::InvalidUrl)?;
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build();
    head.uri = uri.map_err(|_| RequestError::InvalidUrl)?;
    remove_hop_headers(&mut head.headers);
    if head.version == Version::HTTP_10 {
        // It is not for such a request (RFC 9110, 10.1.1).
        head.headers.remove(EXPECT);
    }
    for name in [HOST, PROXY_AUTHORIZATION] {
        // The authority says the host.
        head.headers.remove(name);
    }
    Ok(hops::count(&mut head.headers)?)
}

/// Whether a request to the forward proxy names a host.
fn check_host(authority: &Authority) -> Result<(), RequestError> {
    match authority.as_str() {
        text if text.contains('@') => Err(RequestError::UserInformation),
        text if !authority::is_valid(text.as_bytes()) => Err(RequestError::InvalidHost),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
