//! The load client: a peer of the services with its own identity from the same authority, read from where the control
//! plane publishes it.
//!
//! Everything that the demo measures goes through a handshake made here, by a TLS stack that shares no state with the
//! agents. A server's leaf is recorded before it is verified, so a leaf that this client rejects is recorded too.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::RwLock;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use zeroize::Zeroizing;

use crate::leaf_tracker::{Fingerprint, LeafTracker, fingerprint};

/// For a TCP connection and the handshake on it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a service for clients: its agent's inbound port.
#[derive(Clone, Debug)]
pub struct ServiceAddress {
    pub address: SocketAddr,
    pub name: String,
}

/// A finished handshake.
pub struct Handshake {
    pub stream: TlsStream<TcpStream>,
    pub leaf: Fingerprint,
    /// When the handshake was done.
    pub at: Instant,
}

/// A TLS identity and the roots it trusts.
#[derive(Clone)]
pub struct Credentials {
    tls: Arc<ClientConfig>,
}

/// Dials with the current credentials, which are replaced as certificates rotate.
pub struct Client {
    current: RwLock<Credentials>,
}

/// Why the client has no credentials; an error of the demo itself.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read {}: {source}; check that it was published", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the client's own certificate is unusable: {0}")]
    Tls(#[from] Error),
    #[error("the credentials published for the client are not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the client cannot use the published roots: {0}")]
    Roots(#[from] tokio_rustls::rustls::client::VerifierBuilderError),
}

impl Credentials {
    /// Reads the credentials that are published in this directory.
    pub fn read(volume: &Path, leaf_tracker: &Arc<LeafTracker>) -> Result<Self, CredentialsError> {
        let read = |name: &str| {
            let path = volume.join(name);
            std::fs::read(&path).map(Zeroizing::new).map_err(|source| CredentialsError::Read { path, source })
        };
        Self::new(&read("tls.crt")?, &read("tls.key")?, &read("ca.crt")?, leaf_tracker)
    }

    /// All PEM.
    fn new(
        certificate: &[u8],
        key: &[u8],
        bundle: &[u8],
        leaf_tracker: &Arc<LeafTracker>,
    ) -> Result<Self, CredentialsError> {
        let provider = Arc::new(default_provider());
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle) {
            store.add(root?)?;
        }
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build()?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Recorder {
                inner,
                leaf_tracker: leaf_tracker.clone(),
            }))
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
        // A resumed session would show no certificate.
        tls.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Connects and completes a TLS handshake, offering these protocols (ALPN).
    pub async fn dial(&self, service_address: &ServiceAddress, protocols: &[&[u8]]) -> io::Result<Handshake> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(service_address.name.clone()).map_err(io::Error::other)?;
        let connect = async {
            let tcp = TcpStream::connect(service_address.address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
        };
        let stream = timeout(DIAL_TIMEOUT, connect)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within 10 s"))??;
        let at = Instant::now();
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.map(|leaf| fingerprint(leaf)).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Handshake { stream, leaf, at })
    }
}

impl Client {
    pub fn new(credentials: Credentials) -> Self {
        Self { current: RwLock::new(credentials) }
    }

    /// New connections use these credentials from here on. Returns when no handshake with the earlier ones is in
    /// progress.
    pub async fn replace(&self, credentials: Credentials) {
        *self.current.write().await = credentials;
    }

    pub async fn dial(&self, service_address: &ServiceAddress, protocols: &[&[u8]]) -> io::Result<Handshake> {
        let credentials = self.current.read().await;
        credentials.dial(service_address, protocols).await
    }
}

/// Records the leaf, then verifies it as rustls does.
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
    leaf_tracker: Arc<LeafTracker>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.leaf_tracker.record(fingerprint(end_entity));
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
