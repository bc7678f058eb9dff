//! How every client speaks TLS: 1.3 with one cipher suite and one group, so that all terminators do the same
//! work, a client certificate, and no look at the server's.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WantsClientCert};
use tokio_rustls::rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme,
};

use crate::pki::Pair;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    X25519,
    X25519MlKem768,
}

#[derive(Clone)]
pub struct Dialer {
    /// `None` to speak plainly.
    config: Option<Arc<ClientConfig>>,
}

impl Dialer {
    pub fn new(client: &Pair, group: Group) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(client.cert.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
        Self::with(group, |builder| builder.with_client_auth_cert(chain, key))
    }

    /// Without a certificate of its own.
    pub fn anonymous(group: Group) -> anyhow::Result<Self> {
        Self::with(group, |builder| Ok(builder.with_no_client_auth()))
    }

    fn with(
        group: Group,
        identify: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> Result<ClientConfig, Error>,
    ) -> anyhow::Result<Self> {
        let group: &dyn SupportedKxGroup = match group {
            Group::X25519 => kx_group::X25519,
            Group::X25519MlKem768 => kx_group::X25519MLKEM768,
        };
        let provider = CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![group],
            ..default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut config = identify(builder)?;
        config.resumption = Resumption::disabled();
        Ok(Self { config: Some(Arc::new(config)) })
    }

    /// Offers HTTP/2 and nothing else.
    pub fn http2(self) -> Self {
        let config = self.config.map(|config| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = vec![b"h2".into()];
            Arc::new(config)
        });
        Self { config }
    }

    /// For a stream that is not driven by hand. `None` to speak plainly.
    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.clone()
    }

    pub fn plain() -> Self {
        Self { config: None }
    }

    pub fn tls(&self) -> Result<Option<ClientConnection>, Error> {
        let Some(config) = &self.config else { return Ok(None) };
        let name = ServerName::try_from("localhost").map_err(|error| Error::General(error.to_string()))?;
        ClientConnection::new(Arc::clone(config), name).map(Some)
    }
}

/// What a terminator pays for is its own work. A load that checked certificates would be the slower side.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
