//! The TLS configurations of the clients that probe pods. Like those of `hotcert-tls` they resume no session: a
//! stored one would prove nothing. TLS 1.3 only.

use std::sync::{Arc, LazyLock};

use hotcert_tls::{Identity, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Presents the leaf, and accepts any server that the trust bundle verifies, whatever its name; or any server at all,
/// to see what one has that it does not verify. In TLS 1.3 the
/// server's answer to the client certificate is encrypted and comes after the server has proved its own, so that it
/// cannot be forged on the way.
pub fn presenting(identity: &Identity, accepts_any: bool) -> Result<Arc<ClientConfig>, Error> {
    let accepted = match &identity.trust {
        _ if accepts_any => Accepted::Any,
        trust => Accepted::TrustedBy(trust.clone()),
    };
    let leaf = SingleCertAndKey::from(Arc::clone(&identity.leaf.certified));
    let mut config = accepting(accepted)?.with_client_cert_resolver(Arc::new(leaf));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For a pod whose leaf the control plane did not issue, and which therefore does not trust it: presents no
/// certificate and accepts any, and shows only which leaf the server has the key of. In TLS 1.3 a client completes
/// the handshake before the server verifies it.
pub fn anonymous() -> Result<Arc<ClientConfig>, Error> {
    let mut config = accepting(Accepted::Any)?.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn accepting(accepted: Accepted) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    Ok(ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(accepted))))
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Which servers are accepted. In any case the handshake proves that the server has the key of its leaf.
#[derive(Debug)]
enum Accepted {
    Any,
    /// Without a trust bundle, none.
    TrustedBy(Option<Arc<Trust>>),
}

#[derive(Debug)]
struct Verifier(Accepted);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // Pods are dialled by their addresses, which are in no certificate.
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.0 {
            Accepted::Any => {}
            // Within the limits of a chain: a pod may present what it likes.
            Accepted::TrustedBy(Some(trust)) => trust.verify_server(end_entity, intermediates, now)?,
            Accepted::TrustedBy(None) => {
                return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
