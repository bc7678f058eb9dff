//! The inbound handshake: from an accepted socket to a verified peer, under one snapshot, within one deadline.
//! A connection of the agent to its own listener is recognised by its ALPN, and answered without the app.

pub mod result;

use std::sync::Arc;

use hotcert_tls::{Acceptor, HandshakeError, Peer, Snapshot};
use rustls::ServerConfig;
use rustls::server::ClientHello;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection::buffered_stream::BufferedStream;

/// ALPN of the agent's connection to its own listener.
pub const SELF_CHECK_ALPN: &[u8] = b"hotcert-self-check";

/// A client whose handshake is complete, and whose certificate was verified if one is required.
pub struct Accepted {
    pub stream: TlsStream<BufferedStream>,
    pub snapshot: Arc<Snapshot>,
    /// `None` when client certificates are not asked for.
    pub peer: Option<Arc<Peer>>,
    /// The client is this agent, which checks what its own listener serves.
    pub self_check: bool,
}

pub async fn accept(socket: TcpStream, acceptor: &Acceptor) -> Result<Accepted, HandshakeError> {
    let stream = acceptor.accept_with(BufferedStream::new(socket), for_self_check).await?;
    let self_check = stream.alpn_protocol() == Some(SELF_CHECK_ALPN);
    let (stream, snapshot, peer) = stream.into_parts();
    Ok(Accepted { stream, snapshot, peer, self_check })
}

/// `config`, or for a client that offers the self-check's ALPN the same with that and no other.
pub fn for_self_check(hello: &ClientHello<'_>, config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if !hello.alpn().is_some_and(|mut offered| offered.any(|name| name == SELF_CHECK_ALPN)) {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![SELF_CHECK_ALPN.to_vec()];
    Arc::new(config)
}

#[cfg(test)]
mod tests;
