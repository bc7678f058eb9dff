//! The inbound handshake: from an accepted socket to a verified peer, under one snapshot, within one deadline.
//! A connection of the agent to its own listener is recognised by its ALPN, and answered without the app.

pub mod result;

use std::net::SocketAddr;
use std::sync::Arc;

use hotcert_tls::{Acceptor, HandshakeError, Peer, SELF_CHECK_ALPN, Snapshot, answer_self_check};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection::buffered_stream::BufferedStream;

/// A client whose handshake is complete, and whose certificate was verified if one is required.
pub struct Accepted {
    pub stream: TlsStream<BufferedStream>,
    pub snapshot: Arc<Snapshot>,
    /// `None` when client certificates are not asked for.
    pub peer: Option<Arc<Peer>>,
    /// The client is this agent, which checks what its own listener serves.
    pub self_check: bool,
}

pub async fn accept(
    socket: TcpStream,
    from: SocketAddr,
    acceptor: &Acceptor,
) -> Result<Accepted, HandshakeError> {
    let socket = BufferedStream::new(socket);
    let stream = acceptor.accept_from_with(socket, from.ip(), answer_self_check).await?;
    let self_check = stream.alpn_protocol() == Some(SELF_CHECK_ALPN);
    let (stream, snapshot, peer) = stream.into_parts();
    Ok(Accepted { stream, snapshot, peer, self_check })
}

#[cfg(test)]
mod tests;
