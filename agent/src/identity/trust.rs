//! Trust: the roots that peers are judged by. Never empty: an empty bundle is a `Rejection`, so
//! that a publisher's mistake cannot turn into a service that trusts nobody, or everybody.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::Rejection;
use super::certificate::{Certificate, parse_certificate};
use crate::hex::sha256_hex;
use crate::material::{Part, PartError};
use crate::pem;

#[derive(Clone)]
pub struct Trust {
    pub store: Arc<RootCertStore>,
    /// Sorted by digest, without doubles: the order in the file means nothing.
    pub roots: Vec<Root>,
    /// Hex SHA-256 over the sorted digests of the roots: equal for equal sets of roots.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Hex SHA-256 of the certificate's DER.
    pub sha256: String,
    pub subject: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// DER of subject and subjectPublicKeyInfo.
    pub(super) key: (Vec<u8>, Vec<u8>),
}

impl Trust {
    /// Reads every certificate of the bundle; sections that are no certificate are passed over, one
    /// malformed certificate refuses the whole. `optional`: a missing bundle is none.
    pub(super) fn parse(part: &Part, optional: bool) -> Result<Option<Self>, Rejection> {
        let bytes = match part {
            Err(PartError::Missing { .. }) if optional => return Ok(None),
            Err(error) => return Err(error.clone().into()),
            Ok(bytes) => bytes,
        };
        let sections =
            pem::sections(bytes).map_err(|error| Rejection::from_pem("the trust bundle", error))?;
        let mut roots = Vec::new();
        let mut store = RootCertStore::empty();
        for (index, section) in sections.iter().filter(|section| is_certificate(&section.label)).enumerate() {
            let what = format!("certificate {} of the trust bundle", index + 1);
            let der = CertificateDer::from(section.der.to_vec());
            let Certificate { subject, not_before, not_after, key, .. } = parse_certificate(&der, &what)?;
            let sha256 = sha256_hex(&der);
            store
                .add(der)
                .map_err(|error| Rejection::MalformedCertificate { what, cause: error.to_string() })?;
            roots.push(Root { sha256, subject, not_before, not_after, key });
        }
        if roots.is_empty() {
            return Err(Rejection::EmptyBundle);
        }
        roots.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        roots.dedup_by(|a, b| a.sha256 == b.sha256);
        let digests: Vec<_> = roots.iter().map(|root| root.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        Ok(Some(Self { store: Arc::new(store), roots, sha256 }))
    }

    /// The root that a verified chain ended in.
    pub(super) fn root_of(&self, anchor: &TrustAnchor<'_>) -> Option<&Root> {
        // An anchor holds the contents of both fields, a root the fields with their headers.
        self.roots.iter().find(|root| {
            root.key.0.ends_with(anchor.subject.as_ref())
                && root.key.1.ends_with(anchor.subject_public_key_info.as_ref())
        })
    }

    /// Whether some root of `before` is no longer among these.
    pub fn lost_a_root_of(&self, before: &Self) -> bool {
        before.roots.iter().any(|root| !self.roots.iter().any(|other| other.sha256 == root.sha256))
    }
}

fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots).finish_non_exhaustive()
    }
}
