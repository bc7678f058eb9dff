//! The inbound handshake: from an accepted socket to a verified peer, under one snapshot, within
//! one deadline.

pub mod failure;
pub mod result;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use rustls::{CommonState, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::buffered_stream::BufferedStream;
use crate::tls::config::{Configs, SELF_CHECK_ALPN, with_self_check};
use crate::tls::peer::{Peer, Peers};
use crate::tls::snapshot::{Current, Snapshot};
use failure::{Remote, describe};
use result::HandshakeResult;

/// How long the socket of a refused client stays open, so that the alert arrives.
const ALERT_DELIVERY: Duration = Duration::from_millis(500);
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// A client whose handshake is complete, and whose certificate was verified if one is required.
pub struct Accepted {
    pub stream: TlsStream<BufferedStream>,
    pub snapshot: Arc<Snapshot>,
    /// `None` when client certificates are not asked for.
    pub peer: Option<Arc<Peer>>,
    /// The client is this agent, which checks what its own listener serves.
    pub self_check: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("handshake failed: it was not complete within {}", format_duration(*.0))]
    TimedOut(Duration),
    #[error("handshake failed: there is no identity to serve yet")]
    NoIdentity,
    #[error("handshake failed: the client's certificate cannot be parsed")]
    UnreadablePeer,
    #[error("handshake failed: {}", describe(.0, Remote::Client))]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    /// The client speaks TLS and was refused for what it presented or accepts, so that its operator will
    /// ask for the reason.
    pub fn is_refusal(&self) -> bool {
        self.outcome().is_refusal()
    }

    /// The metric label.
    pub fn result(&self) -> &'static str {
        self.outcome().as_str()
    }

    pub fn outcome(&self) -> HandshakeResult {
        match self {
            Self::TimedOut(_) => HandshakeResult::Timeout,
            Self::NoIdentity => HandshakeResult::NoIdentity,
            Self::UnreadablePeer => HandshakeResult::Malformed,
            Self::Failed(error) => failure::classify(error),
        }
    }
}

/// Selects a listener's configuration among those of a snapshot.
pub type SelectConfig = fn(&Configs) -> Option<&Arc<ServerConfig>>;

pub async fn accept(
    socket: TcpStream,
    current: &Current,
    select: SelectConfig,
    peers: &Peers,
    deadline: Duration,
) -> Result<Accepted, HandshakeError> {
    // Boxed, because it is large and a connection that lives on should not carry its size.
    let handshake = Box::pin(handshake(socket, current, select));
    let (stream, snapshot, self_check) = match tokio::time::timeout(deadline, handshake).await {
        Ok(result) => result?,
        Err(_) => return Err(HandshakeError::TimedOut(deadline)),
    };
    let peer = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Some(peers.intern(chain).ok_or(HandshakeError::UnreadablePeer)?),
        None => None,
    };
    Ok(Accepted { stream, snapshot, peer, self_check })
}

async fn handshake(
    socket: TcpStream,
    current: &Current,
    select: SelectConfig,
) -> Result<(TlsStream<BufferedStream>, Arc<Snapshot>, bool), HandshakeError> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), BufferedStream::new(socket)).await?;
    // Loaded as late as possible: a client whose ClientHello comes after a swap gets the new leaf,
    // however early it connected.
    let snapshot = current.load().ok_or(HandshakeError::NoIdentity)?;
    let config = select(&snapshot.configs).ok_or(HandshakeError::NoIdentity)?;
    let self_check =
        hello.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == SELF_CHECK_ALPN));
    let config = if self_check { with_self_check(config) } else { Arc::clone(config) };
    match hello.into_stream(config).into_fallible().await {
        Ok(stream) => Ok((stream, snapshot, self_check)),
        Err((error, socket)) => {
            let _ = tokio::time::timeout(ALERT_DELIVERY, deliver_alert(socket)).await;
            Err(error.into())
        }
    }
}

/// Closing a socket that has unread bytes resets the connection and discards the alert: a client that has
/// sent its request already would not learn why it was refused. So what it sends is read first.
async fn deliver_alert(mut socket: BufferedStream) -> io::Result<()> {
    socket.shutdown().await?;
    let mut unread = socket.take(MAX_DISCARDED_BYTES);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.map(drop)
}

/// The chain that the peer presented, leaf first.
pub fn peer_chain(connection: &CommonState) -> &[CertificateDer<'static>] {
    connection.peer_certificates().unwrap_or_default()
}

#[cfg(test)]
mod tests;
