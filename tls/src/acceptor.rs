//! The server's side: a handshake under the snapshot of its moment, within a deadline and the limits of what strangers
//! may cost, to a verified peer.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{Acceptor as HelloAcceptor, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config_cache::ConfigCache;
use crate::fair_limiter::{Activity, Source};
use crate::handshake::HandshakeError;
use crate::handshake_limiter::HandshakeLimiter;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::stream::ServerStream;
use crate::turns::in_turns;

/// How long a handshake may take unless the acceptor is told otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the socket of a refused client stays open, so that the alert arrives.
const ALERT_DELIVERY: Duration = Duration::from_millis(500);
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// Accepts TLS connections with the identity that is current at each ClientHello. Cheap to clone.
///
/// All acceptors of an identity share what handshakes may cost: so many are under way at once
/// ([`ReloaderBuilder::max_handshakes`](crate::ReloaderBuilder::max_handshakes)), and the clients of one source that
/// fail too often are turned away. A source is an IPv4 address, or an IPv6 network of 64 bits, which one host can have
/// to itself.
///
/// ```no_run
/// # async fn run(identities: hotcert_tls::Identities, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let acceptor = identities.acceptor(["h2", "http/1.1"]);
/// loop {
///     let (socket, from) = listener.accept().await?;
///     let acceptor = acceptor.clone();
///     tokio::spawn(async move {
///         match acceptor.accept_from(socket, from.ip()).await {
///             Ok(stream) => { /* serve it */ }
///             Err(error) => eprintln!("{from}: {error}"),
///         }
///     });
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
    alpn: Arc<[Vec<u8>]>,
    mutual: bool,
    handshake_timeout: Duration,
    limiter: HandshakeLimiter,
    configs: ConfigCache<ServerConfig>,
}

impl Acceptor {
    pub(crate) fn new(shared: Arc<Shared>, alpn: Vec<Vec<u8>>) -> Self {
        Self {
            limiter: shared.handshakes.clone(),
            shared,
            alpn: alpn.into(),
            mutual: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            configs: ConfigCache::default(),
        }
    }

    /// How long a handshake may take, 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Requires client certificates here, whatever the builder was told for the others.
    #[must_use]
    pub fn require_client_certificate(mut self) -> Self {
        self.mutual = true;
        self.configs = ConfigCache::default();
        self
    }

    /// Limits of its own for this acceptor and its clones, which it does not share with other acceptors: so many
    /// handshakes under way at once, at least one, and budgets for the sources. `usize::MAX` is for a program that
    /// bounds its connections itself, from before the handshake.
    #[must_use]
    pub fn max_handshakes(mut self, places: usize) -> Self {
        self.limiter = HandshakeLimiter::new(places);
        self
    }

    /// Makes the handshake on a connection that was accepted from `source`. A client whose certificate is refused gets
    /// the alert that says why; without an identity the connection is closed.
    ///
    /// At the limit a new handshake evicts the one that has waited longest for its client, of the source that has most
    /// under way: [`HandshakeError::Evicted`]. So silent clients cannot keep others out, and a source alone may use all
    /// places. Each handshake is charged to its source until it succeeds. A source with 500 that are under way or have
    /// failed is turned away before a byte is read, as long as clients of another have been served:
    /// [`HandshakeError::Throttled`]; 100 are forgiven each second.
    pub async fn accept_from<IO>(&self, io: IO, source: IpAddr) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_from_with(io, source, |_, config| config).await
    }

    /// As [`Acceptor::accept_from`]; `select` may replace the configuration by one that it makes of it, for what the
    /// ClientHello says.
    pub async fn accept_from_with<IO, F>(
        &self,
        io: IO,
        source: IpAddr,
        select: F,
    ) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&ClientHello<'_>, Arc<ServerConfig>) -> Arc<ServerConfig>,
    {
        self.within_limits(source.into(), io, select).await
    }

    /// As [`Acceptor::accept_from`], for what has no address, such as a Unix socket. All clients without an address
    /// share the places as those of one source do, and none is turned away for what others have failed.
    pub async fn accept<IO>(&self, io: IO) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_with(io, |_, config| config).await
    }

    /// As [`Acceptor::accept_from_with`], for what has no address.
    pub async fn accept_with<IO, F>(&self, io: IO, select: F) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&ClientHello<'_>, Arc<ServerConfig>) -> Arc<ServerConfig>,
    {
        self.within_limits(Source::Unknown, io, select).await
    }

    /// The current snapshot and the configuration that this acceptor makes of it, for those who bring their own
    /// handshake. `None` if there is no identity that can be used for it.
    pub fn current(&self) -> Option<(Arc<Snapshot>, Arc<ServerConfig>)> {
        let snapshot = self.shared.snapshots.load()?;
        let config = self.config(&snapshot)?;
        Some((snapshot, config))
    }

    fn config(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<ServerConfig>> {
        self.configs.get(snapshot, || {
            let alpn: Vec<_> = self.alpn.iter().map(Vec::as_slice).collect();
            match self.mutual {
                true => snapshot.mutual_server_config(&alpn),
                false => snapshot.server_config(&alpn),
            }
        })
    }

    async fn within_limits<IO, F>(
        &self,
        source: Source,
        io: IO,
        select: F,
    ) -> Result<ServerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&ClientHello<'_>, Arc<ServerConfig>) -> Arc<ServerConfig>,
    {
        let timeout = self.handshake_timeout;
        let handshake = |activity| async move {
            // Boxed, because it is large and a connection that lives on should not carry its size.
            let handshake = Box::pin(self.handshake(activity, io, select));
            let timed = tokio::time::timeout(timeout, handshake).await;
            timed.unwrap_or(Err(HandshakeError::TimedOut(timeout)))
        };
        let (tls, snapshot) = self.limiter.run(source, handshake).await?;
        let peer = match tls.get_ref().1.peer_certificates() {
            Some(chain) => Some(self.shared.peers.intern(chain).ok_or(HandshakeError::UnreadablePeer)?),
            None => None,
        };
        Ok(ServerStream::new(tls, snapshot, peer, Arc::clone(&self.shared)))
    }

    async fn handshake<IO, F>(
        &self,
        activity: Activity,
        io: IO,
        select: F,
    ) -> Result<(TlsStream<IO>, Arc<Snapshot>), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&ClientHello<'_>, Arc<ServerConfig>) -> Arc<ServerConfig>,
    {
        let hello = LazyConfigAcceptor::new(HelloAcceptor::default(), io)
            .await
            .map_err(HandshakeError::WithClient)?;
        // Loaded as late as possible: a client whose ClientHello comes after a swap gets the new leaf, however
        // early it connected.
        let snapshot = self.shared.snapshots.load().ok_or(HandshakeError::NoIdentity)?;
        let config = self.config(&snapshot).ok_or(HandshakeError::UnusableIdentity)?;
        let config = select(&hello.client_hello(), config);
        match in_turns(&activity, hello.into_stream(config).into_fallible()).await {
            Ok(stream) => Ok((stream, snapshot)),
            Err((error, io)) => {
                let _ = tokio::time::timeout(ALERT_DELIVERY, deliver_alert(io)).await;
                Err(HandshakeError::WithClient(error))
            }
        }
    }
}

/// Closing a socket that has unread bytes resets the connection and discards the alert: a client that has sent
/// its request already would not learn why it was refused. So what it sends is read first.
async fn deliver_alert<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) -> io::Result<()> {
    io.shutdown().await?;
    let mut unread = io.take(MAX_DISCARDED_BYTES);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests;
