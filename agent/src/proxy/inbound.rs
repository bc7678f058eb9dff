//! Inbound: from a client's TLS connection to the app, by bytes or by HTTP requests.

pub mod app_connections;
mod app_pool;
mod bytes;
pub mod forwarded;
mod http;
mod identity_header;
mod introduced;
pub mod proxy_protocol;
mod route;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hotcert_log::Allowed;
use tokio::net::TcpStream;
use tracing::{debug, warn};

pub use forwarded::TrustedClients;
pub use http::strict_transport_security;
pub use route::{InboundRoute, InboundRouteError};

use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::handshake::{self, Accepted};
use crate::connection::memory::ConnectionMemory;
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::{Protocol, Side};
use crate::proxy::access_log::ObservedRoute;
use crate::proxy::app_endpoint::Target;
use crate::proxy::authorization::{AllowList, RouteLabels};
use crate::proxy::context::ProxyContext;
use crate::proxy::route_protocol::RouteProtocol;
use app_pool::AppPools;
use bytes::Bytes;
use forwarded::Forwarded;
use hotcert_tls::{Acceptor, HandshakeError, HandshakeFailure, Peer};

/// One inbound listener's path to the app.
pub struct Inbound {
    context: Arc<ProxyContext>,
    acceptor: Acceptor,
    listen: SocketAddr,
    target: Target,
    proxy_v2: bool,
    protocol: RouteProtocol,
    allow: AllowList,
    app_pools: Arc<AppPools>,
    observed: Arc<ObservedRoute>,
}

/// What is left to do for a client after its handshake.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Inbound {
    /// Must be called on a runtime, which then reaps idle connections to the app.
    pub fn new(context: Arc<ProxyContext>, route: InboundRoute, allow: AllowList) -> Arc<Self> {
        let InboundRoute { protocol, listen, target, proxy_v2 } = route;
        let observed = context.observe(Side::Inbound, listen.to_string(), Some(target.to_string()));
        let (timeouts, requests) = (context.timeouts, context.requests.clone());
        let app_pools = AppPools::new(target.clone(), protocol == RouteProtocol::H2c, timeouts, requests);
        if protocol.is_http() {
            tokio::spawn(Arc::clone(&app_pools).reap_idle());
        }
        let alpn: Vec<&str> = match &protocol {
            RouteProtocol::Tcp { alpn } => alpn.iter().map(String::as_str).collect(),
            RouteProtocol::Http | RouteProtocol::H2c => vec!["h2", "http/1.1"],
        };
        let acceptor = context.identities.acceptor(&alpn).handshake_timeout(context.timeouts.handshake);
        Arc::new(Self { context, acceptor, listen, target, proxy_v2, protocol, allow, app_pools, observed })
    }

    /// Serves one client connection, from its handshake to its end. An idle connection holds the state of what
    /// it does and not room for all that it has done and might do: the handshake is in a box that is freed when
    /// it is over, and what follows is in another.
    pub async fn serve(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        if let Some(serving) = Box::pin(self.accept(socket, from)).await {
            serving.await;
        }
    }

    /// Makes the handshake, within the limits. Returns what is left to do for the client.
    async fn accept(self: Arc<Self>, socket: TcpStream, from: SocketAddr) -> Option<Serving> {
        // Also when no place is free: who it is decides whether another gives way.
        match handshake::accept(socket, from, &self.acceptor).await {
            Ok(Accepted::SelfCheck) => self.count(HandshakeResult::SelfCheck),
            Ok(Accepted::Client(client)) => return self.serve_accepted(client, from),
            Err(error) => {
                self.count(HandshakeResult::Failed(error.failure()));
                self.log_failed_handshake(from, &error);
            }
        }
        None
    }

    /// Serves a client after its handshake.
    fn serve_accepted(self: Arc<Self>, client: handshake::Client, from: SocketAddr) -> Option<Serving> {
        let handshake::Client { mut stream, snapshot, peer } = client;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let http = self.protocol.is_http();
        let protocol = match (http, h2) {
            (false, _) => Protocol::Tcp,
            (true, false) => Protocol::Http1,
            (true, true) => Protocol::Http2,
        };
        let allowed = match &peer {
            Some(peer) => self.allow.admits(&peer.names),
            None => self.allow.0.is_empty(),
        };
        self.count(if allowed { HandshakeResult::Ok } else { HandshakeResult::NotAllowed });
        if !allowed {
            self.context.not_allowed.get_or_create(&RouteLabels::of(self.listen)).inc();
            self.log_not_allowed(from, peer.as_deref());
            if !http {
                // There is no way to tell it so.
                self.observed.connection(from).not_allowed(peer.as_ref(), &snapshot);
                return None;
            }
        }
        let context = &self.context;
        let connection = context.tracker.admit(protocol, &snapshot, peer.clone(), from.ip(), allowed)?;
        let connection = Arc::new(connection);
        let introduction = self.introduction(&stream, &snapshot, peer.as_deref(), from);
        let share = context.memory.of_peer(connection.holder());
        stream.get_mut().0.set_share(Arc::clone(&share));
        let stream =
            Box::new(TrackedStream::new(stream, Arc::clone(&connection), context.inbound_bytes.clone()));
        if http {
            let own = &snapshot.identity.leaf;
            let forwarded = Forwarded::new(own, peer.as_deref(), from.ip(), &context.trusted_clients);
            let memory = ConnectionMemory::new(share);
            let client = http::Client {
                context: Arc::clone(context),
                app: Arc::new(
                    self.app_pools
                        .pool(context.app_connections.share(connection.holder()), Arc::clone(&memory)),
                ),
                connection,
                from,
                route: Arc::clone(&self.observed),
                forwarded,
                allowed,
                continuation: Arc::default(),
                memory,
            };
            Some(http::serve(client, stream, protocol))
        } else {
            let client = Bytes { stream, connection, from, share, introduction };
            Some(Box::pin(self.relay(client)))
        }
    }

    fn count(&self, result: HandshakeResult) {
        self.context.handshakes.count(HandshakeSide::Inbound, result);
    }

    fn log_failed_handshake(&self, from: SocketAddr, error: &HandshakeError) {
        let failure = error.failure();
        let is_of_interest = failure.is_refusal() || failure == HandshakeFailure::Throttled;
        match is_of_interest.then(|| self.context.log_limiter.allow(failure.as_str())).flatten() {
            Some(Allowed { suppressed }) => warn!(suppressed, %from, %error, "client refused"),
            None => debug!(%from, %error, "inbound handshake failed"),
        }
    }

    fn log_not_allowed(&self, from: SocketAddr, peer: Option<&Peer>) {
        let subject = format!("{} {}", self.listen, peer.map_or("", |peer| &peer.sha256));
        if let Some(Allowed { suppressed }) = self.context.log_limiter.allow(&subject) {
            let names = peer.map_or_else(|| "no certificate".into(), |peer| peer.names.to_string());
            warn!(
                suppressed, %from, route = %self.listen, names,
                "client refused: its certificate is verified, but not on the allow list"
            );
        }
    }
}
