//! Facts of certificates: what is kept of PEM that was read, so that no key has to be kept with it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::digest::sha256_hex;
use crate::pki::authority::Authority;
use crate::pki::keyring::RootId;
use crate::pki::pem::certificate_pem;

/// A certificate that is not a root.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Hex, of the DER.
    pub sha256: String,
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A root certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A digest over a private key among other things: told apart from others, never shown, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint(pub [u8; 32]);

impl Leaf {
    /// Of the first certificate in this PEM; `None` if there is none that can be read.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let der = certificates(pem).next()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let moment = |at: x509_parser::time::ASN1Time| SystemTime::from(at.to_datetime());
        Some(Self {
            sha256: sha256_hex(&der),
            serial: hex::encode(certificate.raw_serial()).trim_start_matches("00").to_owned(),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
        })
    }
}

impl Fingerprint {
    /// Over certificate and key as they stand.
    pub fn of(certificate: &[u8], key: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((certificate.len() as u64).to_be_bytes());
        hash.update(certificate);
        hash.update(key);
        Self(hash.finalize().into())
    }
}

impl Root {
    pub fn of(root: &Authority) -> Self {
        Self { serial: root.serial().to_owned(), not_before: root.not_before(), not_after: root.not_after() }
    }

    /// As a certificate like others.
    pub fn leaf(&self, id: &RootId) -> Leaf {
        Leaf {
            sha256: id.0.clone(),
            serial: self.serial.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

/// When a certificate begins to be valid; `None` if it cannot be read.
pub fn not_before(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(SystemTime::from(certificate.validity().not_before.to_datetime()))
}

/// The roots of a bundle, each by its digest.
pub fn roots(bundle: &[u8]) -> BTreeSet<RootId> {
    certificates(bundle).map(|der| RootId(sha256_hex(&der))).collect()
}

/// The roots of a bundle as PEM, each by its digest.
pub fn root_pems(bundle: &[u8]) -> impl Iterator<Item = (RootId, String)> {
    certificates(bundle).map(|der| (RootId(sha256_hex(&der)), certificate_pem(&der)))
}

/// As an agent reads them. Of what an agent refuses, those that any reader finds.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    let found = hotcert_tls::identity::certificates(pem, "the certificates");
    found.unwrap_or_else(|_| CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()).into_iter()
}

/// It covers a key: not even the digest is shown.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}
