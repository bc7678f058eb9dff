//! The inbound handshake: from an accepted socket to a verified peer, under one snapshot, within one deadline.
//! A connection of the agent to its own listener is recognised by its ALPN, and answered without the app.

pub mod result;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use hotcert_tls::{Acceptor, HandshakeError, Peer, SELF_CHECK_ALPN, Snapshot, answer_self_check};
use rustls::ProtocolVersion;
use rustls::server::ClientHello;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection::buffered_stream::BufferedStream;

/// Who is at the other end. It is taken apart at once, and not kept.
#[allow(clippy::large_enum_variant)]
pub enum Accepted {
    Client(Client),
    /// This agent, which checks what its own listener serves.
    SelfCheck,
}

/// A client whose handshake is complete, and whose certificate was verified if one is required.
pub struct Client {
    pub stream: TlsStream<BufferedStream>,
    pub snapshot: Arc<Snapshot>,
    /// `None` when client certificates are not asked for.
    pub peer: Option<Arc<Peer>>,
}

pub async fn accept(
    socket: TcpStream,
    from: SocketAddr,
    acceptor: &Acceptor,
) -> Result<Accepted, HandshakeError> {
    let from_here = socket.local_addr().is_ok_and(|own| own.ip().to_canonical() == from.ip());
    let offered = AtomicBool::new(false);
    let select = |hello: &ClientHello<'_>, config| {
        let named = hello.alpn().is_some_and(|mut names| names.any(|name| name == SELF_CHECK_ALPN));
        offered.store(named, Relaxed);
        answer_self_check(hello, config)
    };
    match acceptor.accept_from_with(BufferedStream::new(socket), from.ip(), select).await {
        Ok(stream) if stream.alpn_protocol() == Some(SELF_CHECK_ALPN) => Ok(Accepted::SelfCheck),
        Ok(stream) => {
            // Of TLS 1.2 the server says the last word. An error means that the client has gone, which the next read
            // tells.
            if stream.connection().protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                let _ = stream.acknowledge();
            }
            let (stream, snapshot, peer) = stream.into_parts();
            Ok(Accepted::Client(Client { stream, snapshot, peer }))
        }
        // It has seen what is served when it is refused for want of a client certificate, as every agent is whose leaf
        // is a server's alone. Others who offer the protocol are clients that fail.
        Err(_) if from_here && offered.load(Relaxed) => Ok(Accepted::SelfCheck),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
