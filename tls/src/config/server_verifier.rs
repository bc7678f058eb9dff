//! The server that a connection expects, and the verifier that checks it during the handshake, before a byte of
//! the app is sent.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::chain_verifier::{ChainVerifier, Purpose};
use crate::crypto::algorithms;
use crate::identity::Leaf;
use crate::names::Names;
use crate::san_pattern::SanPattern;

/// The server that a client expects, by a name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpectedPeer {
    /// A DNS name or an IP address, matched as HTTPS clients do.
    Name(ServerName<'static>),
    /// A SPIFFE ID, matched whole.
    Spiffe(String),
}

/// The text is neither a server name nor a SPIFFE ID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a server name: write a DNS name, an IP address or spiffe://DOMAIN/PATH")]
pub struct ExpectedPeerError(String);

impl ExpectedPeer {
    /// The server that has this SPIFFE ID, such as `spiffe://shop/ns/shop/sa/ledger`.
    pub fn spiffe(id: &str) -> Result<Self, ExpectedPeerError> {
        match id.parse() {
            Ok(Self::Spiffe(id)) => Ok(Self::Spiffe(id)),
            _ => Err(ExpectedPeerError(id.to_owned())),
        }
    }

    /// The server whose certificate is valid for this DNS name or IP address, as HTTPS clients have it.
    pub fn name(name: &str) -> Result<Self, ExpectedPeerError> {
        match name.parse() {
            Ok(Self::Name(name)) => Ok(Self::Name(name)),
            _ => Err(ExpectedPeerError(name.to_owned())),
        }
    }
}

impl FromStr for ExpectedPeer {
    type Err = ExpectedPeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ExpectedPeerError(text.to_owned());
        if text.starts_with("spiffe://") {
            let plain = text.parse::<SanPattern>().is_ok() && !text.contains('*');
            return if plain { Ok(Self::Spiffe(text.to_owned())) } else { Err(refuse()) };
        }
        ServerName::try_from(text.to_owned()).map(Self::Name).map_err(|_| refuse())
    }
}

impl fmt::Display for ExpectedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.to_str()),
            Self::Spiffe(id) => f.write_str(id),
        }
    }
}

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
#[error("the server's certificate is for {}, not for {expected}", as_expected(shown))]
pub(crate) struct WrongServer {
    shown: Names,
    expected: ExpectedPeer,
}

/// The names as a route expects them.
fn as_expected(shown: &Names) -> String {
    let ips = shown.ips.iter().map(ToString::to_string);
    let names: Vec<_> = shown.uris.iter().chain(&shown.dns).cloned().chain(ips).collect();
    if names.is_empty() { "no name (no subject alternative name)".into() } else { names.join(", ") }
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

fn verify_name(end_entity: &CertificateDer<'_>, expected: &ExpectedPeer) -> Result<(), Error> {
    let (_, certificate) = X509Certificate::from_der(end_entity)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let shown = Names::of(&certificate);
    let matches = match expected {
        ExpectedPeer::Name(name) => {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name).is_ok()
        }
        ExpectedPeer::Spiffe(id) => shown.spiffe_id() == Some(id),
    };
    if matches {
        return Ok(());
    }
    let wrong = WrongServer { shown, expected: expected.clone() };
    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong)))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn server_names_are_parsed_by_their_form() {
        assert!(matches!("a.b".parse::<ExpectedPeer>().unwrap(), ExpectedPeer::Name(ServerName::DnsName(_))));
        assert!(matches!(
            "10.0.0.1".parse::<ExpectedPeer>().unwrap(),
            ExpectedPeer::Name(ServerName::IpAddress(_))
        ));
        assert_eq!("spiffe://d/a".parse(), Ok(ExpectedPeer::Spiffe("spiffe://d/a".into())));
        for bad in ["", "a b", "spiffe://", "spiffe://d/*"] {
            assert_eq!(bad.parse::<ExpectedPeer>(), Err(ExpectedPeerError(bad.into())));
        }
    }
}
