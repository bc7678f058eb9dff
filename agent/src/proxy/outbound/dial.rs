//! One mTLS connection to a server, under one snapshot, within deadlines, in the tracker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::route::Upstream;
use crate::connection::buffered_stream::BufferedStream;
use crate::connection::handshake::failure::{Remote, classify, describe};
use crate::connection::handshake::peer_chain;
use crate::connection::handshake::result::{HandshakeResult, HandshakeSide};
use crate::connection::tracked_stream::TrackedStream;
use crate::connection::tracker::{Protocol, Side};
use crate::proxy::context::ProxyContext;
use crate::tls::config::ExpectedServer;
use crate::tls::snapshot::Snapshot;

pub type ServerStream = TrackedStream<TlsStream<BufferedStream>>;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(
        "this pod's certificate cannot be used as a client certificate: it lacks the extended key usage clientAuth, or there is no trust bundle"
    )]
    NoClientIdentity,
    #[error("{upstream} cannot be reached: {cause}")]
    Unreachable { upstream: Upstream, cause: io::Error },
    #[error("{upstream} did not answer within {}", format_duration(*after))]
    TimedOut { upstream: Upstream, after: Duration },
    #[error("TLS handshake with {upstream} failed: {cause}")]
    Handshake { upstream: Upstream, cause: String },
    #[error("{0}")]
    BadAddress(String),
    #[error("this agent has as many open connections as --max-connections allows")]
    Full,
}

impl DialError {
    /// The kind of failure, by which log messages are limited.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoClientIdentity => "no_client_identity",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::Handshake { .. } => "handshake",
            Self::BadAddress(_) => "bad_address",
            Self::Full => "limit",
        }
    }
}

pub async fn dial(
    context: &ProxyContext,
    snapshot: &Snapshot,
    upstream: &Upstream,
    protocol: Protocol,
) -> Result<ServerStream, DialError> {
    let alpn: &[&[u8]] = if protocol == Protocol::Tcp { &[] } else { &[b"http/1.1"] };
    let config = snapshot.configs.outbound(&upstream.expected, alpn).ok_or(DialError::NoClientIdentity)?;
    if context.tracker.is_full() {
        context.tracker.count_rejected();
        return Err(DialError::Full);
    }
    let after = context.timeouts.connect;
    let connect = TcpStream::connect((upstream.host.as_str(), upstream.port));
    let socket = match tokio::time::timeout(after, connect).await {
        Ok(result) => result.map_err(|cause| DialError::Unreachable { upstream: upstream.clone(), cause })?,
        Err(_) => return Err(DialError::TimedOut { upstream: upstream.clone(), after }),
    };
    let _ = socket.set_nodelay(true);
    let after = context.timeouts.handshake;
    let handshake = TlsConnector::from(config).connect(server_name(upstream), BufferedStream::new(socket));
    let stream = match tokio::time::timeout(after, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let result = classify(&error);
            context.handshakes.count(HandshakeSide::Outbound, result);
            let mut cause = describe(&error, Remote::Server);
            if result == HandshakeResult::WrongName {
                cause = format!("{cause}; {}", where_name_is_set(upstream));
            }
            return Err(DialError::Handshake { upstream: upstream.clone(), cause });
        }
        Err(_) => {
            context.handshakes.count(HandshakeSide::Outbound, HandshakeResult::Timeout);
            return Err(DialError::TimedOut { upstream: upstream.clone(), after });
        }
    };
    context.handshakes.count(HandshakeSide::Outbound, HandshakeResult::Ok);
    let peer = context.peers.intern(peer_chain(stream.get_ref().1)).ok_or_else(|| DialError::Handshake {
        upstream: upstream.clone(),
        cause: "the server's certificate cannot be parsed".into(),
    })?;
    let connection =
        context.tracker.open(Side::Outbound, protocol, snapshot, Some(peer)).ok_or(DialError::Full)?;
    Ok(TrackedStream::new(stream, Arc::new(connection), context.outbound_bytes.clone()))
}

/// Where to state the name that the server must show.
fn where_name_is_set(upstream: &Upstream) -> String {
    let route = "--outbound (annotation hotcert.dev/outbound)";
    if upstream.expected.to_string() == upstream.host {
        format!("the host is the expected name; to expect another, write HOST:PORT#SAN in a route of {route}")
    } else {
        format!("the expected name is the one after # in {route}")
    }
}

/// The SNI: the name by which the server is reached.
fn server_name(upstream: &Upstream) -> ServerName<'static> {
    ServerName::try_from(upstream.host.clone()).unwrap_or_else(|_| match &upstream.expected {
        ExpectedServer::Name(name) => name.clone(),
        ExpectedServer::Spiffe(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
    })
}
