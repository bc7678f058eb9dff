//! Inbound: from a client's TLS connection to the app, by bytes or by HTTP requests.

pub mod app_connections;
mod app_pool;
mod http;
pub mod identity_header;
mod introduced;
pub mod proxy_protocol;
mod route;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hotcert_log::Allowed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

pub use http::strict_transport_security;
pub use route::{InboundRoute, InboundRouteError};

use crate::connection::buffered_stream::BufferedStream;
use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::handshake::{self, Accepted};
use crate::connection::memory::ConnectionMemory;
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::{Connection, Protocol};
use crate::proxy::app_endpoint::{AppStream, Target};
use crate::proxy::authorization::{AllowList, RouteLabels};
use crate::proxy::context::ProxyContext;
use crate::proxy::relay::relay;
use crate::proxy::route_protocol::RouteProtocol;
use app_connections::AppPermit;
use app_pool::AppPools;
use hotcert_tls::{Acceptor, HandshakeError, HandshakeFailure, Peer, Snapshot};
use introduced::Introduced;

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
}

/// What is left to do for a client after its handshake.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Inbound {
    /// Must be called on a runtime, which then reaps idle connections to the app.
    pub fn new(context: Arc<ProxyContext>, route: InboundRoute, allow: AllowList) -> Arc<Self> {
        let InboundRoute { protocol, listen, target, proxy_v2 } = route;
        let app_pools =
            AppPools::new(target.clone(), protocol == RouteProtocol::H2c, context.timeouts.connect);
        if protocol.is_http() {
            tokio::spawn(Arc::clone(&app_pools).reap_idle());
        }
        let alpn: Vec<&str> = match &protocol {
            RouteProtocol::Tcp { alpn } => alpn.iter().map(String::as_str).collect(),
            RouteProtocol::Http | RouteProtocol::H2c => vec!["h2", "http/1.1"],
        };
        let acceptor = context.identities.acceptor(&alpn).handshake_timeout(context.timeouts.handshake);
        Arc::new(Self { context, acceptor, listen, target, proxy_v2, protocol, allow, app_pools })
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
        let context = &self.context;
        // Also when no place is free: who it is decides whether another gives way.
        let handshake = handshake::accept(socket, &self.acceptor);
        match context.handshake_limiter.handshake_from(from.ip(), handshake).await {
            Ok(accepted) if accepted.self_check => self.count(HandshakeResult::SelfCheck),
            Ok(accepted) => {
                self.count(HandshakeResult::Ok);
                return self.serve_accepted(accepted, from);
            }
            Err(error) => {
                self.count(HandshakeResult::Failed(error.failure()));
                self.log_failed_handshake(from, &error);
            }
        }
        None
    }

    /// Serves a client after its handshake.
    fn serve_accepted(self: Arc<Self>, accepted: Accepted, from: SocketAddr) -> Option<Serving> {
        let Accepted { stream, snapshot, peer, .. } = accepted;
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
        if !allowed {
            self.count(HandshakeResult::NotAllowed);
            self.context.not_allowed.get_or_create(&RouteLabels::of(self.listen)).inc();
            self.log_not_allowed(from, peer.as_deref());
            if !http {
                // There is no way to tell it so.
                return None;
            }
        }
        let context = &self.context;
        let connection = context.tracker.admit(protocol, &snapshot, peer.clone(), from.ip(), allowed)?;
        let connection = Arc::new(connection);
        let introduction =
            self.proxy_v2.then(|| self.introduction(&stream, &snapshot, peer.as_deref(), from));
        let stream =
            Box::new(TrackedStream::new(stream, Arc::clone(&connection), context.inbound_bytes.clone()));
        if http {
            let identity =
                peer.as_deref().and_then(|peer| identity_header::value(&snapshot.identity.leaf, peer));
            let memory = ConnectionMemory::new(context.memory.of_peer(peer.as_ref()));
            let client = http::Client {
                context: Arc::clone(context),
                app: Arc::new(
                    self.app_pools
                        .pool(context.app_connections.share(connection.holder()), Arc::clone(&memory)),
                ),
                connection,
                identity,
                allowed,
                continuation: Arc::default(),
                memory,
            };
            Some(http::serve(client, stream, protocol))
        } else {
            match introduction {
                None => Some(Box::pin(self.relay(connection, stream, from))),
                Some(header) => Some(Box::pin(self.relay_introduced(connection, stream, from, header))),
            }
        }
    }

    /// The header of PROXY protocol for this client.
    fn introduction(
        &self,
        stream: &TlsStream<BufferedStream>,
        snapshot: &Snapshot,
        peer: Option<&Peer>,
        from: SocketAddr,
    ) -> Box<[u8]> {
        let (socket, connection) = stream.get_ref();
        let to = socket.local_addr().unwrap_or(self.listen);
        let tls = proxy_protocol::Tls::of(connection, &snapshot.identity.leaf);
        proxy_protocol::Client { from, to, tls, peer: peer.map(Into::into) }.header()
    }

    async fn relay<S>(self: Arc<Self>, connection: Arc<Connection>, mut stream: S, from: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some((_permit, mut app)) = self.connect_app(&connection, from).await else { return };
        if let Err(error) = relay(&mut stream, &mut app).await {
            app.abort();
            debug!(%from, %error, "inbound connection ended early");
        }
    }

    async fn relay_introduced<S>(
        self: Arc<Self>,
        connection: Arc<Connection>,
        mut stream: S,
        from: SocketAddr,
        header: Box<[u8]>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some((_permit, app)) = self.connect_app(&connection, from).await else { return };
        let mut app = Introduced::begin(app, &header).await;
        drop(header);
        let result = match app.was_refused() {
            false => relay(&mut stream, &mut app).await,
            true => Ok(()),
        };
        if app.was_refused()
            && let Some(Allowed { suppressed }) = self.context.log_limiter.allow("app refused PROXY protocol")
        {
            warn!(
                suppressed, %from, target = %self.target,
                "the app closed the connection at its start, without a byte: it gets a header of PROXY protocol version 2 first, which it has to be told to expect; if it does not, remove #proxy-v2 from the route"
            );
        }
        if let Err(error) = result {
            app.abort();
            debug!(%from, %error, "inbound connection ended early");
        }
    }

    /// A connection to the app for bytes. If there is none, the client is closed, with a reason in the log.
    async fn connect_app(&self, connection: &Connection, from: SocketAddr) -> Option<(AppPermit, AppStream)> {
        let within = self.context.timeouts.connect;
        let Ok(permit) = self.context.app_connections.acquire_for_bytes(connection.holder(), within).await
        else {
            connection.turn_away();
            return None;
        };
        match self.target.connect(within).await {
            Ok(app) => Some((permit, app)),
            Err(error) => {
                if let Some(Allowed { suppressed }) = self.context.log_limiter.allow("app") {
                    warn!(suppressed, %from, %error, "inbound connection closed");
                }
                None
            }
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
