//! The verifier of clients: that of webpki, within the limits of a chain.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::chain_limits::ChainLimits;
use crate::crypto::provider;

/// Accepts clients whose chain ends in one of `roots`.
pub(super) fn verifier(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let webpki = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider()))
        // The list of acceptable roots is of no use to peers, which have one certificate, and would show
        // every client which roots are trusted.
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    Ok(Arc::new(Verifier { webpki, limits: ChainLimits::under(roots) }))
}

#[derive(Debug)]
struct Verifier {
    webpki: Arc<dyn ClientCertVerifier>,
    limits: ChainLimits,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verify = || self.webpki.verify_client_cert(end_entity, intermediates, now);
        self.limits.verify(end_entity, intermediates, verify)?
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
