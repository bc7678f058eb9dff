//! The client outside: a peer of the services with an identity of its own from the same authority. It
//! reads it where the control plane publishes it.
//!
//! Everything that the demo measures goes through a handshake made here, by a TLS stack that shares
//! no state with the agents. A leaf is recorded as soon as it is shown, before it is judged, so one
//! that this client refuses is seen all the same.

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

use crate::sightings::{Fingerprint, Sightings, fingerprint};

/// For a TCP connection and the handshake on it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a service is reached from outside: its agent's inbound port.
#[derive(Clone, Debug)]
pub struct Front {
    pub address: SocketAddr,
    pub name: String,
}

/// A finished handshake.
pub struct Dialled {
    pub stream: TlsStream<TcpStream>,
    pub leaf: Fingerprint,
    /// When the handshake was done.
    pub at: Instant,
}

/// An identity and the roots it trusts.
#[derive(Clone)]
pub struct Passport {
    tls: Arc<ClientConfig>,
}

/// The passport in use, replaced as certificates rotate.
pub struct Outside {
    current: RwLock<Passport>,
}

/// Why a passport could not be made; a fault of the demo itself.
#[derive(Debug, thiserror::Error)]
pub enum PassportError {
    #[error("cannot read {}: {source}; was it published?", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the outside client's own certificate is unusable: {0}")]
    Tls(#[from] Error),
    #[error("what is published for the outside client is no PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the outside client cannot trust the roots: {0}")]
    Roots(#[from] tokio_rustls::rustls::client::VerifierBuilderError),
}

impl Passport {
    /// What is published in this directory.
    pub fn read(volume: &Path, sightings: &Arc<Sightings>) -> Result<Self, PassportError> {
        let read = |name: &str| {
            let path = volume.join(name);
            std::fs::read(&path).map(Zeroizing::new).map_err(|source| PassportError::Read { path, source })
        };
        Self::new(&read("tls.crt")?, &read("tls.key")?, &read("ca.crt")?, sightings)
    }

    /// All PEM.
    fn new(
        certificate: &[u8],
        key: &[u8],
        bundle: &[u8],
        sightings: &Arc<Sightings>,
    ) -> Result<Self, PassportError> {
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
            .with_custom_certificate_verifier(Arc::new(Recorder { inner, sightings: sightings.clone() }))
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
        // A resumed session would show no certificate.
        tls.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Connects and shakes hands, offering these protocols (ALPN).
    pub async fn dial(&self, front: &Front, protocols: &[&[u8]]) -> io::Result<Dialled> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(front.name.clone()).map_err(io::Error::other)?;
        let connect = async {
            let tcp = TcpStream::connect(front.address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
        };
        let stream = timeout(DIAL_TIMEOUT, connect)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no handshake within 10 s"))??;
        let at = Instant::now();
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.map(|leaf| fingerprint(leaf)).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Dialled { stream, leaf, at })
    }
}

impl Outside {
    pub fn new(passport: Passport) -> Self {
        Self { current: RwLock::new(passport) }
    }

    /// From here on new connections use this passport; returns when no handshake with an earlier
    /// one is under way.
    pub async fn replace(&self, passport: Passport) {
        *self.current.write().await = passport;
    }

    pub async fn dial(&self, front: &Front, protocols: &[&[u8]]) -> io::Result<Dialled> {
        let passport = self.current.read().await;
        passport.dial(front, protocols).await
    }
}

/// Judges as rustls does, and records first.
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
    sightings: Arc<Sightings>,
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
        self.sightings.saw(fingerprint(end_entity));
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
