//! One mTLS connection to a server, under one snapshot, within deadlines, in the tracker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::destination::{Destinations, Refusal};
use super::route::Upstream;
use crate::connection::buffered_stream::BufferedStream;
use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::{Connection, Protocol, Side};
use crate::proxy::context::ProxyContext;
use hotcert_tls::{HandshakeError, HandshakeFailure, Snapshot};

pub type ServerStream = TrackedStream<TlsStream<BufferedStream>>;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(
        "this pod's certificate cannot be used as a client certificate: it lacks the extended key usage clientAuth, or there is no trust bundle"
    )]
    NoClientIdentity,
    #[error("{upstream} cannot be reached: {cause}")]
    Unreachable { upstream: Upstream, cause: io::Error },
    #[error("{upstream} is not connected to: {cause}")]
    Refused { upstream: Upstream, cause: Refusal },
    #[error("{upstream} did not answer within {}", format_duration(*after))]
    TimedOut { upstream: Upstream, after: Duration },
    #[error("TLS handshake with {upstream} failed: {cause}")]
    Handshake { upstream: Upstream, cause: String },
    #[error("this agent has as many open connections to servers as --max-connections allows")]
    Full,
}

impl DialError {
    fn handshake(upstream: &Upstream, error: &HandshakeError) -> Self {
        match error {
            HandshakeError::NoIdentity | HandshakeError::UnusableIdentity => Self::NoClientIdentity,
            HandshakeError::TimedOut(after) => Self::TimedOut { upstream: upstream.clone(), after: *after },
            error if error.failure() == HandshakeFailure::WrongName => Self::Handshake {
                upstream: upstream.clone(),
                cause: format!("{}; {}", error.cause(), where_name_is_set(upstream)),
            },
            error => Self::Handshake { upstream: upstream.clone(), cause: error.cause() },
        }
    }

    /// The kind of failure, by which log messages are limited.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoClientIdentity => "no_client_identity",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::TimedOut { .. } => "timeout",
            Self::Handshake { .. } => "handshake",
            Self::Full => "limit",
        }
    }

    /// Whether the server was not reached, which says something about the network.
    pub fn is_of_the_network(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. } | Self::TimedOut { .. })
    }
}

/// What a connection is for, and so what is offered to the server by ALPN.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Bytes of a protocol that one of these names, if any.
    Bytes(&'a [String]),
    /// HTTP requests, in the version that the server prefers.
    Requests,
    /// An upgrade of HTTP/1.1.
    Http1,
}

/// A connection to a server.
pub struct Dialed {
    pub stream: ServerStream,
    pub connection: Arc<Connection>,
    pub http2: bool,
}

pub async fn dial(
    context: &ProxyContext,
    snapshot: &Arc<Snapshot>,
    upstream: &Upstream,
    destinations: &Destinations,
    purpose: Purpose<'_>,
) -> Result<Dialed, DialError> {
    let alpn: Vec<&str> = match purpose {
        Purpose::Bytes(alpn) => alpn.iter().map(String::as_str).collect(),
        Purpose::Requests => vec!["h2", "http/1.1"],
        Purpose::Http1 => vec!["http/1.1"],
    };
    let connector = context
        .identities
        .connector(upstream.expected.clone())
        .alpn(alpn)
        .handshake_timeout(context.timeouts.handshake);
    connector.config(snapshot).ok_or(DialError::NoClientIdentity)?;
    if context.tracker.is_full(Side::Outbound) {
        context.tracker.count_rejected(Side::Outbound);
        return Err(DialError::Full);
    }
    let after = context.timeouts.connect;
    let socket = match tokio::time::timeout(after, connect(upstream, destinations)).await {
        Ok(result) => result?,
        Err(_) => return Err(DialError::TimedOut { upstream: upstream.clone(), after }),
    };
    let _ = socket.set_nodelay(true);
    let handshake =
        connector.connect_under(snapshot, upstream.server_name(), BufferedStream::new(socket)).await;
    let result = handshake
        .as_ref()
        .map_or_else(|error| HandshakeResult::Failed(error.failure()), |_| HandshakeResult::Ok);
    context.handshakes.count(HandshakeSide::Outbound, result);
    let (stream, _, peer) = handshake.map_err(|error| DialError::handshake(upstream, &error))?.into_parts();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let protocol = match purpose {
        Purpose::Bytes(_) => Protocol::Tcp,
        _ if http2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let connection =
        context.tracker.open(Side::Outbound, protocol, snapshot, Some(peer)).ok_or(DialError::Full)?;
    let connection = Arc::new(connection);
    let stream = TrackedStream::new(stream, Arc::clone(&connection), context.outbound_bytes.clone());
    Ok(Dialed { stream, connection, http2: http2 && protocol == Protocol::Http2 })
}

/// Connects to the first address of the server that may be connected to and accepts.
async fn connect(upstream: &Upstream, destinations: &Destinations) -> Result<TcpStream, DialError> {
    let unreachable = |cause| DialError::Unreachable { upstream: upstream.clone(), cause };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((upstream.host.as_str(), upstream.port))
        .await
        .map_err(unreachable)?
        .collect();
    let mut last = None;
    for address in addresses {
        if let Err(cause) = destinations.check(&upstream.host, address) {
            last.get_or_insert(DialError::Refused { upstream: upstream.clone(), cause });
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(cause) => last = Some(unreachable(cause)),
        }
    }
    Err(last.unwrap_or_else(|| unreachable(io::Error::other("its name has no address"))))
}

/// Where to state the name that the server must show.
fn where_name_is_set(upstream: &Upstream) -> String {
    let route = "--outbound (annotation hotcert.dev/outbound)";
    if upstream.expected.to_string() == upstream.host {
        format!(
            "the host is the expected name; to expect another, write HOST:PORT#dns:NAME or HOST:PORT#spiffe://DOMAIN/PATH in a route of {route}"
        )
    } else {
        format!("what is expected is written after # in {route}")
    }
}
