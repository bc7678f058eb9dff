//! One mTLS connection to a server, under one snapshot, within deadlines, in the tracker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::route::Upstream;
use crate::connection::buffered_stream::{Metered, ReadAhead};
use crate::connection::handshake::{chain_of, classify, explain_server};
use crate::connection::tracker::{Protocol, Side};
use crate::proxy::context::ProxyContext;
use crate::tls::config::ExpectedServer;
use crate::tls::snapshot::Snapshot;

pub type ServerStream = Metered<TlsStream<ReadAhead>>;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("this pod's identity cannot be used as a client: it lacks clientAuth or a trust bundle")]
    NoClientIdentity,
    #[error("{upstream} cannot be reached: {cause}")]
    Unreachable { upstream: Upstream, cause: io::Error },
    #[error("{upstream} did not answer within {after:?}")]
    TimedOut { upstream: Upstream, after: Duration },
    #[error("no TLS with {upstream}: {cause}")]
    Handshake { upstream: Upstream, cause: String },
    #[error("{0}")]
    BadAddress(String),
    #[error("this agent has as many connections open as it may")]
    Full,
}

impl DialError {
    /// One word for the kind of failure.
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
    kind: Protocol,
) -> Result<ServerStream, DialError> {
    let alpn: &[&[u8]] = if kind == Protocol::Tcp { &[] } else { &[b"http/1.1"] };
    let config = snapshot.configs.outbound(&upstream.expected, alpn).ok_or(DialError::NoClientIdentity)?;
    if context.tracker.is_full() {
        context.tracker.refuse();
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
    let handshake = TlsConnector::from(config).connect(server_name(upstream), ReadAhead::new(socket));
    let stream = match tokio::time::timeout(after, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            context.handshakes.count("outbound", classify(&error));
            return Err(DialError::Handshake { upstream: upstream.clone(), cause: explain_server(&error) });
        }
        Err(_) => {
            context.handshakes.count("outbound", "timeout");
            return Err(DialError::TimedOut { upstream: upstream.clone(), after });
        }
    };
    context.handshakes.count("outbound", "ok");
    let peer = context.peers.intern(chain_of(stream.get_ref().1)).ok_or_else(|| DialError::Handshake {
        upstream: upstream.clone(),
        cause: "its certificate cannot be parsed".into(),
    })?;
    let connection =
        context.tracker.open(Side::Outbound, kind, snapshot, Some(peer)).ok_or(DialError::Full)?;
    Ok(Metered::new(stream, Arc::new(connection), context.outbound_bytes.clone()))
}

/// What goes into the SNI: the name it is reached by.
fn server_name(upstream: &Upstream) -> ServerName<'static> {
    ServerName::try_from(upstream.host.clone()).unwrap_or_else(|_| match &upstream.expected {
        ExpectedServer::Name(name) => name.clone(),
        ExpectedServer::Spiffe(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
    })
}
