//! One mTLS connection to a server, under one snapshot, within deadlines, in the tracker.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use humantime::format_duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::addresses::Addresses;
use super::destination::{Destinations, Refusal};
use super::route::Upstream;
use crate::connection::buffered_stream::BufferedStream;
use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::socket;
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::{Connection, Protocol, Side};
use crate::proxy::context::ProxyContext;
use crate::proxy::http::proxy_status::ErrorType;
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
    Handshake { upstream: Upstream, failure: HandshakeFailure, cause: String },
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
                failure: HandshakeFailure::WrongName,
                cause: format!("{}; {}", error.cause(), where_name_is_set(upstream)),
            },
            error => {
                Self::Handshake { upstream: upstream.clone(), failure: error.failure(), cause: error.cause() }
            }
        }
    }

    /// The kind of failure, for metrics, and for the log, whose messages are limited by it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoClientIdentity => "no_client_identity",
            Self::Unreachable { cause, .. } => match cause.kind() {
                io::ErrorKind::ConnectionRefused => "refused",
                io::ErrorKind::TimedOut => "timeout",
                // The resolver's errors are none of the system.
                _ if cause.raw_os_error().is_none() => "dns",
                _ => "unreachable",
            },
            Self::Refused { .. } => "denied",
            Self::TimedOut { .. } => "timeout",
            Self::Handshake { .. } => "tls",
            Self::Full => "limit",
        }
    }

    /// For `Proxy-Status`.
    pub fn proxy_error(&self) -> ErrorType {
        match self {
            Self::NoClientIdentity => ErrorType::ProxyConfigurationError,
            Self::Unreachable { cause, .. } => ErrorType::of_connecting(cause),
            Self::Refused { .. } => ErrorType::DestinationIpProhibited,
            Self::TimedOut { .. } => ErrorType::ConnectionTimeout,
            Self::Handshake { failure, .. } => match failure {
                HandshakeFailure::NoCertificate
                | HandshakeFailure::Expired
                | HandshakeFailure::Untrusted
                | HandshakeFailure::WrongName
                | HandshakeFailure::ChainTooCostly
                | HandshakeFailure::BadCertificate => ErrorType::TlsCertificateError,
                HandshakeFailure::RefusedByPeer | HandshakeFailure::Alert => ErrorType::TlsAlertReceived,
                HandshakeFailure::Closed => ErrorType::ConnectionTerminated,
                _ => ErrorType::TlsProtocolError,
            },
            Self::Full => ErrorType::ConnectionLimitReached,
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
        context.tracker.reject_outbound();
        return Err(DialError::Full);
    }
    // However many addresses there are.
    let end = Instant::now() + context.timeouts.connect + context.timeouts.handshake;
    destinations
        .check_host(&upstream.host)
        .map_err(|cause| DialError::Refused { upstream: upstream.clone(), cause })?;
    let mut addresses = addresses(context, upstream, destinations).await?;
    let (stream, peer) = loop {
        let (socket, address) = connect(context, upstream, &mut addresses).await?;
        let stream = BufferedStream::to_server(socket);
        let handshake = connector.connect_under(snapshot, upstream.server_name(), stream);
        let error = match handshake_within(context, &addresses, handshake).await {
            Ok(stream) => {
                context.handshakes.count(HandshakeSide::Outbound, HandshakeResult::Ok);
                let (mut stream, _, peer) = stream.into_parts();
                stream.get_mut().0.set_share(Arc::clone(&context.app_memory));
                break (stream, peer);
            }
            Err(error) => error,
        };
        context.handshakes.count(HandshakeSide::Outbound, HandshakeResult::Failed(error.failure()));
        // A server that refuses, or is refused, has an answer that another address does not change.
        let is_of_the_network =
            matches!(error.failure(), HandshakeFailure::Closed | HandshakeFailure::Timeout);
        if is_of_the_network {
            context.failed_addresses.record(address);
        }
        if !is_of_the_network || addresses.is_empty() || Instant::now() >= end {
            return Err(DialError::handshake(upstream, &error));
        }
        debug!(%upstream, %address, %error, "trying the next address of a server");
    };
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

/// The addresses of the server that may be connected to.
async fn addresses<'a>(
    context: &'a ProxyContext,
    upstream: &Upstream,
    destinations: &Destinations,
) -> Result<Addresses<'a>, DialError> {
    let after = context.timeouts.connect;
    let resolving = tokio::net::lookup_host((upstream.host.as_str(), upstream.port));
    let resolved = timeout(after, resolving)
        .await
        .map_err(|_| DialError::TimedOut { upstream: upstream.clone(), after })?
        .map_err(|cause| DialError::Unreachable { upstream: upstream.clone(), cause })?;
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in resolved {
        match destinations.check(&upstream.host, address) {
            Ok(()) => allowed.push(address),
            Err(cause) => refused = refused.or(Some(cause)),
        }
    }
    match refused {
        Some(cause) if allowed.is_empty() => Err(DialError::Refused { upstream: upstream.clone(), cause }),
        _ => Ok(Addresses::new(allowed, &context.failed_addresses)),
    }
}

/// Connects to the first address that accepts, within the time for connecting.
async fn connect(
    context: &ProxyContext,
    upstream: &Upstream,
    addresses: &mut Addresses<'_>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let after = context.timeouts.connect;
    let connected = addresses.connect(after).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::TimedOut => DialError::TimedOut { upstream: upstream.clone(), after },
        _ => DialError::Unreachable { upstream: upstream.clone(), cause },
    })?;
    let _ = socket::configure(&connected.0);
    Ok(connected)
}

/// While another address is left, a server that accepts and says nothing has no more time than one that does not accept.
async fn handshake_within<T>(
    context: &ProxyContext,
    addresses: &Addresses<'_>,
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    if addresses.is_empty() {
        return handshake.await;
    }
    let within = context.timeouts.connect.min(context.timeouts.handshake);
    timeout(within, handshake).await.unwrap_or(Err(HandshakeError::TimedOut(within)))
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
