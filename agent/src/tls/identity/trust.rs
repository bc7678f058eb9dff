//! Trust: the roots that peers are judged by. Never empty: an empty bundle is a `Rejection`, so
//! that a publisher's mistake cannot allow into a service that trusts nobody, or everybody.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::Rejection;
use super::certificate::{Certificate, parse_certificate};
use crate::tls::credential::pem;
use crate::tls::credential::{Part, PartError};
use crate::tls::hex::sha256_hex;

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
    /// What verifiers know of it. Two certificates of one root may have the same.
    pub anchor: TrustAnchor<'static>,
}

impl Trust {
    /// Reads every certificate of the bundle; sections that are no certificate are passed over, one
    /// malformed certificate refuses the whole. A root that has expired is as good as removed.
    /// `optional`: a missing bundle is none.
    pub(super) fn parse(part: &Part, optional: bool, now: SystemTime) -> Result<Option<Self>, Rejection> {
        let bytes = match part {
            Err(PartError::Missing { .. }) if optional => return Ok(None),
            Err(error) => return Err(error.clone().into()),
            Ok(bytes) => bytes,
        };
        let sections =
            pem::sections(bytes).map_err(|error| Rejection::from_pem("the trust bundle", error))?;
        let mut roots = Vec::new();
        let mut expired: Option<SystemTime> = None;
        let mut store = RootCertStore::empty();
        for (index, section) in sections.iter().filter(|section| is_certificate(&section.label)).enumerate() {
            let what = format!("certificate {} of the trust bundle", index + 1);
            let der = CertificateDer::from(section.der.to_vec());
            let Certificate { subject, not_before, not_after, may_issue, .. } =
                parse_certificate(&der, &what)?;
            if !may_issue {
                // As a trust anchor it could issue all the same.
                let cause = "it is not a CA certificate, which a root must be".into();
                return Err(Rejection::MalformedCertificate { what, cause });
            }
            if now >= not_after {
                expired = expired.max(Some(not_after));
                continue;
            }
            let sha256 = sha256_hex(&der);
            store
                .add(der)
                .map_err(|error| Rejection::MalformedCertificate { what, cause: error.to_string() })?;
            let anchor = store.roots.last().cloned();
            roots.extend(anchor.map(|anchor| Root { sha256, subject, not_before, not_after, anchor }));
        }
        if roots.is_empty() {
            return Err(match expired {
                Some(not_after) => {
                    Rejection::Expired { what: "every root of the trust bundle".into(), not_after }
                }
                None => Rejection::EmptyBundle,
            });
        }
        roots.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        roots.dedup_by(|a, b| a.sha256 == b.sha256);
        let digests: Vec<_> = roots.iter().map(|root| root.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        Ok(Some(Self { store: Arc::new(store), roots, sha256 }))
    }

    /// Until when a chain that ended in `anchor` has a root: the same key may be in several.
    pub(super) fn anchored_until(&self, anchor: &TrustAnchor<'_>) -> Option<SystemTime> {
        let is_it = |root: &&Root| {
            root.anchor.subject.as_ref() == anchor.subject.as_ref()
                && root.anchor.subject_public_key_info.as_ref() == anchor.subject_public_key_info.as_ref()
        };
        self.roots.iter().filter(is_it).map(|root| root.not_after).max()
    }

    /// When the first of the roots expires, and so is to be left out.
    pub fn first_expiry(&self) -> Option<SystemTime> {
        self.roots.iter().map(|root| root.not_after).min()
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
