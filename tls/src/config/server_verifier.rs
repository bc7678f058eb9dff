//! The verifier that checks during the handshake, before a byte of the app is sent, that the server is the expected one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::expected_peer::ExpectedPeer;
use crate::chain_verifier::{ChainVerifier, Purpose};
use crate::crypto::algorithms;
use crate::identity::Leaf;
use crate::names::Names;

/// Accepts the expected server.
pub(super) fn verifier(expected: ExpectedPeer, roots: ChainVerifier) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier(Accept::Expected { expected, roots }))
}

/// Accepts this one leaf and no other.
pub(super) fn only(leaf: &Leaf) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier(Accept::Leaf { leaf: leaf.certificate().clone(), roots: None }))
}

/// Accepts this one leaf and no other, if it is trusted.
pub(super) fn only_trusted(leaf: &Leaf, roots: ChainVerifier) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier(Accept::Leaf { leaf: leaf.certificate().clone(), roots: Some(roots) }))
}

/// The server's names do not include the expected one.
#[derive(Debug, thiserror::Error)]
#[error("the server's certificate is for {}, not for {}", as_expected(shown), expected.to_string().replace('+', " or "))]
pub(crate) struct WrongServer {
    shown: Names,
    expected: ExpectedPeer,
}

/// The names as a route expects them.
fn as_expected(shown: &Names) -> String {
    let ips = shown.ips.iter().map(ToString::to_string);
    let names: Vec<_> = shown.uris.iter().chain(&shown.dns).cloned().chain(ips).collect();
    let why = shown.no_spiffe_id().map(|why| format!(" ({why})")).unwrap_or_default();
    match names.is_empty() {
        true => "no name (no subject alternative name)".into(),
        false => names.join(", ") + &why,
    }
}

#[derive(Debug)]
enum Accept {
    Expected { expected: ExpectedPeer, roots: ChainVerifier },
    Leaf { leaf: CertificateDer<'static>, roots: Option<ChainVerifier> },
}

#[derive(Debug)]
struct Verifier(Accept);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // The expected name counts, which may differ from the name in the SNI.
        _sni: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.0 {
            Accept::Expected { expected, roots } => {
                roots.check(end_entity, intermediates, Purpose::Server, now)?;
                verify_name(end_entity, expected)?;
            }
            Accept::Leaf { leaf, .. } if leaf != end_entity => {
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
            Accept::Leaf { roots: None, .. } => {}
            Accept::Leaf { roots: Some(roots), .. } => {
                roots.check(end_entity, intermediates, Purpose::Server, now)?;
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
        verify_tls12_signature(message, certificate, signature, algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

pub(super) fn verify_name(end_entity: &CertificateDer<'_>, expected: &ExpectedPeer) -> Result<(), Error> {
    let (_, certificate) = X509Certificate::from_der(end_entity)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let shown = Names::of(&certificate);
    if expected.accepts(&ParsedCertificate::try_from(end_entity)?, &shown) {
        return Ok(());
    }
    let wrong = WrongServer { shown, expected: expected.clone() };
    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))))
}
