//! Verified connections: bytes, the peer, and the end of the trust under which they were made.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use crate::peer::Peer;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// A connection that a client made, after its handshake.
#[derive(Debug)]
pub struct ServerStream<IO> {
    tls: server::TlsStream<IO>,
    snapshot: Arc<Snapshot>,
    peer: Option<Arc<Peer>>,
    shared: Arc<Shared>,
}

/// A connection to a server, after its handshake.
#[derive(Debug)]
pub struct ClientStream<IO> {
    tls: client::TlsStream<IO>,
    snapshot: Arc<Snapshot>,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
}

impl<IO> ServerStream<IO> {
    pub(crate) fn new(
        tls: server::TlsStream<IO>,
        snapshot: Arc<Snapshot>,
        peer: Option<Arc<Peer>>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { tls, snapshot, peer, shared }
    }

    /// The client, verified. `None` if client certificates are not required.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Completes when the client would no longer be accepted, because the root that verified it was removed from
    /// the trust bundle, or because its certificate is revoked: at once if that was before the call. Never completes for a client without a certificate.
    /// The server should then end the connection.
    ///
    /// The stream and this future keep the identity current. If the reload ends by itself
    /// ([`Identities::ended`](crate::Identities::ended)), no removal is noticed any more.
    pub fn untrusted(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<IO> {
        let (peer, snapshot) = (self.peer.clone(), Arc::clone(&self.snapshot));
        let shared = Arc::clone(&self.shared);
        async move {
            match peer {
                Some(peer) => until_untrusted(&shared, snapshot, |now| now.trusts_client(&peer)).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Acknowledges the client's last flight at once, over a TCP socket. In TLS 1.3 nothing is sent after it that
    /// would carry the acknowledgement, because there are no session tickets, and the kernel delays one of its own by
    /// 40 ms: for so long a client that leaves Nagle's algorithm on keeps its first request. One system call.
    pub fn acknowledge(&self) -> io::Result<()>
    where
        IO: AsFd,
    {
        rustix::net::sockopt::set_tcp_quickack(self.io(), true).map_err(io::Error::from)
    }

    /// The stream of tokio-rustls, the snapshot, and the client.
    pub fn into_parts(self) -> (server::TlsStream<IO>, Arc<Snapshot>, Option<Arc<Peer>>) {
        (self.tls, self.snapshot, self.peer)
    }
}

impl<IO> ClientStream<IO> {
    pub(crate) fn new(
        tls: client::TlsStream<IO>,
        snapshot: Arc<Snapshot>,
        peer: Arc<Peer>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { tls, snapshot, peer, shared }
    }

    /// The server, verified.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Completes when the server would no longer be accepted, because the root that verified it was removed from
    /// the trust bundle, or because its certificate is revoked: at once if that was before the call. The client should then end the connection.
    ///
    /// The stream and this future keep the identity current, as those of [`ServerStream::untrusted`].
    pub fn untrusted(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<IO> {
        let (peer, snapshot) = (Arc::clone(&self.peer), Arc::clone(&self.snapshot));
        let shared = Arc::clone(&self.shared);
        async move { until_untrusted(&shared, snapshot, |now| now.trusts_server(&peer)).await }
    }

    /// Completes when a newer generation than that of this connection is current: at once if it is already. A
    /// pool should then open a new connection for the next request.
    pub fn superseded(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<IO> {
        let (generation, shared) = (self.snapshot.generation, Arc::clone(&self.shared));
        async move {
            let mut snapshots = shared.snapshots.clone();
            while snapshots.load().is_none_or(|current| current.generation <= generation) {
                if snapshots.changed().await.is_none() {
                    std::future::pending().await
                }
            }
        }
    }

    /// The stream of tokio-rustls, the snapshot, and the server.
    pub fn into_parts(self) -> (client::TlsStream<IO>, Arc<Snapshot>, Arc<Peer>) {
        (self.tls, self.snapshot, self.peer)
    }
}

/// Compares each new snapshot that lost a root, or has other revocation lists, with the one before.
async fn until_untrusted(shared: &Shared, mut before: Arc<Snapshot>, is_trusted: impl Fn(&Snapshot) -> bool) {
    let mut snapshots = shared.snapshots.clone();
    loop {
        if let Some(current) = snapshots.load().filter(|current| current.generation > before.generation) {
            if current.trusts_less_than(&before) && !is_trusted(&current) {
                return;
            }
            before = current;
        }
        if snapshots.changed().await.is_none() {
            // The reload has ended by itself, which `Identities::ended` reports.
            std::future::pending().await
        }
    }
}

macro_rules! impl_stream {
    ($stream:ident) => {
        impl<IO> $stream<IO> {
            /// The snapshot under which the handshake was made.
            pub fn snapshot(&self) -> &Arc<Snapshot> {
                &self.snapshot
            }

            /// The protocol that was negotiated by ALPN.
            pub fn alpn_protocol(&self) -> Option<&[u8]> {
                self.tls.get_ref().1.alpn_protocol()
            }

            /// The state of the TLS connection, as rustls has it.
            pub fn connection(&self) -> &rustls::CommonState {
                self.tls.get_ref().1
            }

            /// The connection beneath TLS.
            pub fn io(&self) -> &IO {
                self.tls.get_ref().0
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<IO> {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                out: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().tls).poll_read(cx, out)
            }
        }

        impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<IO> {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().tls).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().tls).poll_write_vectored(cx, bytes)
            }

            fn is_write_vectored(&self) -> bool {
                self.tls.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().tls).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
            }
        }
    };
}

impl_stream!(ServerStream);
impl_stream!(ClientStream);

#[cfg(test)]
mod tests;
