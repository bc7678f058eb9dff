//! The client's side: a connection to one expected server, under the snapshot of its moment.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::ExpectedPeer;
use crate::config_cache::ConfigCache;
use crate::handshake::HandshakeError;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::stream::ClientStream;

/// How long a handshake may take unless the connector is told otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to one expected server with the identity that is current at each handshake. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
    expected: Arc<ExpectedPeer>,
    alpn: Arc<[Vec<u8>]>,
    handshake_timeout: Duration,
    configs: ConfigCache<ClientConfig>,
}

impl Connector {
    pub(crate) fn new(shared: Arc<Shared>, expected: ExpectedPeer) -> Self {
        Self {
            shared,
            expected: Arc::new(expected),
            alpn: Arc::default(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            configs: ConfigCache::default(),
        }
    }

    /// The protocols to offer, such as `["h2", "http/1.1"]`; none by default.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self.configs = ConfigCache::default();
        self
    }

    /// How long a handshake may take, 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Makes the handshake on a connection to `host`, the name or address by which the server is reached: a name
    /// is sent as SNI, and an address is not. The certificate is held against the expected peer, which may have
    /// another name.
    pub async fn connect<IO>(&self, host: &str, io: IO) -> Result<ClientStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let snapshot = self.shared.snapshots.load().ok_or(HandshakeError::NoIdentity)?;
        self.connect_under(&snapshot, host, io).await
    }

    /// As [`Connector::connect`], under a snapshot that was loaded before; for a pool of connections that belongs
    /// to one generation.
    pub async fn connect_under<IO>(
        &self,
        snapshot: &Arc<Snapshot>,
        host: &str,
        io: IO,
    ) -> Result<ClientStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config(snapshot).ok_or(HandshakeError::UnusableIdentity)?;
        // Boxed, because it is large and a connection that lives on should not carry its size.
        let handshake = Box::pin(TlsConnector::from(config).connect(self.server_name(host), io));
        let tls = match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(result) => result.map_err(HandshakeError::WithServer)?,
            Err(_) => return Err(HandshakeError::TimedOut(self.handshake_timeout)),
        };
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = self.shared.peers.intern(chain).ok_or(HandshakeError::UnreadablePeer)?;
        Ok(ClientStream::new(tls, Arc::clone(snapshot), peer, Arc::clone(&self.shared)))
    }

    /// The current snapshot and the configuration that this connector makes of it, for those who bring their own
    /// handshake. `None` if there is no identity that can be a client.
    pub fn current(&self) -> Option<(Arc<Snapshot>, Arc<ClientConfig>)> {
        let snapshot = self.shared.snapshots.load()?;
        let config = self.config(&snapshot)?;
        Some((snapshot, config))
    }

    /// The configuration that this connector makes of `snapshot`, made once as long as that is the one asked for.
    /// `None` if it cannot be a client: the leaf lacks clientAuth, or there is no trust bundle.
    pub fn config(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<ClientConfig>> {
        self.configs.get(snapshot, || {
            let alpn: Vec<_> = self.alpn.iter().map(Vec::as_slice).collect();
            snapshot.client_config(&self.expected, &alpn)
        })
    }

    fn server_name(&self, host: &str) -> ServerName<'static> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(host.to_owned()).unwrap_or_else(|_| match &*self.expected {
            ExpectedPeer::Name(name) => name.clone(),
            // No SNI is sent for an address.
            ExpectedPeer::Spiffe(_) | ExpectedPeer::Any(_) => {
                ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into())
            }
        })
    }
}

#[cfg(test)]
mod tests;
