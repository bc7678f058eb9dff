//! Facts of certificates: what a look keeps of PEM, so that no key has to be kept with it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hotcert_agent::tls::hex::{hex, sha256_hex};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::authority::Authority;
use crate::pki::keyring::{Keyring, RootId};
use crate::planner::observed::{Fingerprint, KeyringView, Leaf, ResourceVersion, Root};

impl Leaf {
    /// Of the first certificate in this PEM; `None` if there is none that can be read.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let moment = |at: x509_parser::time::ASN1Time| SystemTime::from(at.to_datetime());
        Some(Self {
            sha256: sha256_hex(&der),
            serial: hex(certificate.raw_serial()).trim_start_matches("00").to_owned(),
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

impl KeyringView {
    pub fn of(keyring: &Keyring, stamp: ResourceVersion) -> Self {
        let facts = |authority: &Authority| Root {
            serial: authority.serial().to_owned(),
            not_before: authority.not_before(),
            not_after: authority.not_after(),
        };
        let roots = keyring.roots.iter().map(|(id, authority)| (id.clone(), facts(authority))).collect();
        Self { stamp, state: keyring.state.clone(), roots }
    }
}

/// The roots of a bundle, each by its digest.
pub fn roots(bundle: &[u8]) -> BTreeSet<RootId> {
    let certificates = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok);
    certificates.map(|der| RootId(sha256_hex(&der))).collect()
}
