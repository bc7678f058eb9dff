//! Trust: the roots that peers are verified by. Never empty: an empty bundle is a `Rejection`, so that a
//! publisher's mistake cannot become a service that trusts no peer, or every peer.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds as date;
use rustls::RootCertStore;
use rustls::pki_types::TrustAnchor;

use super::certificate::{Certificate, parse_certificate};
use super::policy::Policy;
use super::rejection::Rejection;
use super::revocation::{Reading, RevocationLists};
use super::sections::Sections;
use crate::chain_verifier::{ChainVerifier, RootRules};
use crate::credential::{Credential, PartError};
use crate::digest::sha256_hex;

/// The roots that peers are verified by. Never empty.
#[derive(Clone)]
#[non_exhaustive]
pub struct Trust {
    /// The roots, as rustls uses them.
    pub store: Arc<RootCertStore>,
    /// Sorted by digest, without duplicates: the order in the file has no meaning.
    pub roots: Vec<Root>,
    /// Hex SHA-256 over the sorted digests of the roots: equal for equal sets of roots.
    pub sha256: String,
    /// The certificates of the bundle that no peer is trusted by, each with the reason. They do not stand in the way of
    /// the roots beside them, of which one may have to be removed.
    pub passed_over: Vec<String>,
    /// What the authorities have withdrawn, where they publish it.
    pub revocation: Option<Arc<RevocationLists>>,
    /// Verifies chains under these roots.
    pub(crate) verifier: ChainVerifier,
}

/// One root of a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Root {
    /// Hex SHA-256 of the certificate's DER.
    pub sha256: String,
    /// RFC 4514 text of the subject.
    pub subject: String,
    /// The start of its validity.
    pub not_before: SystemTime,
    /// The end of its validity.
    pub not_after: SystemTime,
    /// What verifiers use of it. Two certificates of one root may have the same.
    pub anchor: TrustAnchor<'static>,
    /// What its certificate says besides.
    pub(crate) rules: RootRules,
}

impl Trust {
    /// Parses every certificate of the bundle. One malformed certificate rejects
    /// the whole, and an expired root counts as removed beside others. Revocation lists only go forwards from those that
    /// are `served`; what is wrong with them does not hold up a change of the roots, and is returned beside.
    pub(super) fn parse(
        credential: &Credential,
        policy: &Policy,
        served: Option<&Arc<Self>>,
        now: SystemTime,
    ) -> Result<(Option<Self>, Option<Rejection>), Rejection> {
        let bytes = match &credential.trust {
            Err(PartError::Missing { .. }) if policy.public_server => return Ok((None, None)),
            Err(error) => return Err(error.clone().into()),
            Ok(bytes) => bytes,
        };
        let sections = Sections::read(bytes, "the trust bundle")?;
        let (mut roots, mut passed_over) = (Vec::new(), Vec::new());
        for (index, der) in sections.certificates.into_iter().enumerate() {
            let what = format!("certificate {} of the trust bundle", index + 1);
            let Certificate { subject, not_before, not_after, cannot_issue, rules, .. } =
                parse_certificate(&der, &what)?;
            if let Some(why) = cannot_issue {
                // A trust anchor could issue whatever its certificate says.
                passed_over.push(format!("{what} ({subject}) {why}"));
                continue;
            }
            let sha256 = sha256_hex(&der);
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|error| Rejection::MalformedCertificate { what, cause: error.to_string() })?
                .to_owned();
            roots.push(Root { sha256, subject, not_before, not_after, anchor, rules });
        }
        if roots.is_empty() {
            return Err(match passed_over.pop() {
                Some(last) => Rejection::NoRoot { last },
                None => Rejection::EmptyBundle,
            });
        }
        roots.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        roots.dedup_by(|a, b| a.sha256 == b.sha256);
        passed_over.extend(roots.iter().filter_map(|root| out_of_date(root, now)));
        // With nothing but expired roots nobody is trusted, which their rules see to.
        if roots.iter().any(|root| now < root.not_after) {
            roots.retain(|root| now < root.not_after);
        }
        let digests: Vec<_> = roots.iter().map(|root| root.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        let served = served.map(AsRef::as_ref);
        let Reading { lists: revocation, rejection } =
            RevocationLists::read(&credential.revocation, &roots, policy, served, now);
        if let (Some(rejection), None) = (&rejection, served) {
            return Err(rejection.clone());
        }
        let verifier = ChainVerifier::new(&roots, revocation.clone());
        let store = RootCertStore { roots: roots.iter().map(|root| root.anchor.clone()).collect() };
        let trust = Self { store: Arc::new(store), roots, sha256, passed_over, revocation, verifier };
        Ok((Some(trust), rejection))
    }

    /// Until when a chain that ends in `anchor` has a root: several certificates may have the same key.
    pub(super) fn anchored_until(&self, anchor: &TrustAnchor<'_>) -> Option<SystemTime> {
        let is_anchor = |root: &&Root| {
            root.anchor.subject.as_ref() == anchor.subject.as_ref()
                && root.anchor.subject_public_key_info.as_ref() == anchor.subject_public_key_info.as_ref()
        };
        self.roots.iter().filter(is_anchor).map(|root| root.not_after).max()
    }

    /// When the first of the roots expires.
    pub fn first_expiry(&self) -> Option<SystemTime> {
        self.roots.iter().map(|root| root.not_after).min()
    }

    /// Whether a root of `before` is missing here.
    pub fn lost_a_root_of(&self, before: &Self) -> bool {
        before.roots.iter().any(|root| !self.roots.iter().any(|other| other.sha256 == root.sha256))
    }
}

fn out_of_date(root: &Root, now: SystemTime) -> Option<String> {
    let Root { subject, not_before, not_after, .. } = root;
    match () {
        () if now >= *not_after => Some(format!(
            "the root {subject} expired at {}, so no peer is trusted by it: remove it, or set the clock of this machine",
            date(*not_after)
        )),
        () if now < *not_before => Some(format!(
            "the root {subject} is valid only from {}, and no peer is trusted by it before",
            date(*not_before)
        )),
        () => None,
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots).finish_non_exhaustive()
    }
}
