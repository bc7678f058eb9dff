//! Trust: the roots that peers are verified by. Never empty: an empty bundle is a `Rejection`, so that a
//! publisher's mistake cannot become a service that trusts no peer, or every peer.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::certificate::{Certificate, parse_certificate};
use super::policy::Policy;
use super::rejection::Rejection;
use super::revocation::RevocationLists;
use super::sections::Sections;
use crate::chain_verifier::{ChainVerifier, RootRules, in_words};
use crate::credential::{Credential, PartError};
use crate::digest::sha256_hex;

const BUNDLE: &str = "the trust bundle";
/// Of so many certificates that are no roots a rejection speaks.
const MAX_NAMED: usize = 3;

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
    /// What should be mended: the certificates of the bundle that no peer is trusted by, or not everywhere, each with the
    /// reason. They do not stand in the way of the roots beside them, of which one may have to be removed.
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

/// A bundle that is refused.
pub(super) struct Unusable {
    pub first: Rejection,
    /// What else is wrong.
    pub further: Vec<Rejection>,
    /// The bundle but for its revocation lists, if nothing is wrong with the roots.
    pub roots: Option<Trust>,
}

impl From<Rejection> for Box<Unusable> {
    fn from(first: Rejection) -> Self {
        Self::new(Unusable { first, further: Vec::new(), roots: None })
    }
}

/// The certificates of a bundle.
struct Certificates {
    roots: Vec<Root>,
    passed_over: Vec<String>,
    /// What is wrong with those that cannot be read.
    faults: Vec<Rejection>,
}

impl Trust {
    /// Parses every certificate of the bundle. One malformed certificate rejects
    /// the whole, and an expired root counts as removed beside others. Revocation lists only go forwards from those that
    /// are `served`.
    pub(super) fn parse(
        credential: &Credential,
        policy: &Policy,
        served: Option<&Arc<Self>>,
        now: SystemTime,
    ) -> Result<Option<Self>, Box<Unusable>> {
        let bytes = match &credential.trust {
            Err(PartError::Missing { .. }) if policy.public_server => return Ok(None),
            Err(error) => return Err(Rejection::from(error.clone()).into()),
            Ok(bytes) => bytes,
        };
        let Certificates { mut roots, passed_over, mut faults } = read_roots(bytes)?;
        let roots_are_known = faults.is_empty();
        // With nothing but expired roots nobody is trusted, which their rules see to.
        if roots.iter().any(|root| now < root.not_after) {
            roots.retain(|root| now < root.not_after);
        }
        roots.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        roots.dedup_by(|a, b| a.sha256 == b.sha256);
        let digests: Vec<_> = roots.iter().map(|root| root.sha256.as_str()).collect();
        let sha256 = sha256_hex(digests.join("\n").as_bytes());
        let before = served.and_then(|served| served.revocation.as_deref());
        let revocation = RevocationLists::parse(&credential.revocation, before, policy.revocation_grace);
        let revocation = revocation.map_err(|fault| faults.push(fault)).ok().flatten();
        let verifier = ChainVerifier::new(&roots, revocation.clone());
        let store = RootCertStore { roots: roots.iter().map(|root| root.anchor.clone()).collect() };
        let trust = Self { store: Arc::new(store), roots, sha256, passed_over, revocation, verifier };
        let mut faults = faults.into_iter();
        match faults.next() {
            None => Ok(Some(trust)),
            Some(first) => {
                let roots = roots_are_known.then_some(trust);
                Err(Box::new(Unusable { first, further: faults.collect(), roots }))
            }
        }
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

fn read_roots(bytes: &[u8]) -> Result<Certificates, Rejection> {
    let sections = Sections::read(bytes, BUNDLE)?;
    let (mut roots, mut passed_over, mut faults) = (Vec::<Root>::new(), Vec::new(), Vec::new());
    let mut issuers = Vec::new();
    for (index, der) in sections.certificates.iter().enumerate() {
        let what = format!("certificate {} of the trust bundle", index + 1);
        match read_root(der, what) {
            Ok(Ok((root, issuer))) => {
                issuers.push((
                    format!("certificate {} of the trust bundle ({})", index + 1, root.subject),
                    issuer,
                ));
                roots.push(root);
            }
            Ok(Err(why)) => passed_over.push(why),
            Err(fault) => faults.push(fault),
        }
    }
    if roots.is_empty() && faults.is_empty() {
        passed_over.truncate(MAX_NAMED);
        return Err(match passed_over.is_empty() {
            true => Rejection::EmptyBundle,
            false => Rejection::NoRoot { last: passed_over.join("; ") },
        });
    }
    for (what, issuer) in issuers {
        if !roots.iter().any(|root| root.subject == issuer) {
            passed_over.push(format!(
                "{what} is an intermediate whose root {issuer} is not in the bundle: peers with OpenSSL trust nobody by it; \
                 add the root"
            ));
        }
    }
    if !sections.keys.is_empty() {
        passed_over.push(
            "the trust bundle holds a private key, which is not used: remove it, and replace what it belongs to".into(),
        );
    }
    if sections.has_request {
        passed_over.push(
            "the trust bundle holds a certificate request, which is not used: remove it, or publish the certificate".into(),
        );
    }
    Ok(Certificates { roots, passed_over, faults })
}

/// The root that a certificate is, with its issuer, or why no peer is trusted by it.
fn read_root(der: &CertificateDer<'_>, what: String) -> Result<Result<(Root, String), String>, Rejection> {
    let Certificate { subject, issuer, not_before, not_after, cannot_issue, rules, .. } =
        parse_certificate(der, &what)?;
    if let Some(why) = cannot_issue {
        // A trust anchor could issue whatever its certificate says.
        return Ok(Err(format!("{what} ({subject}) {why}")));
    }
    let anchor = webpki::anchor_from_trusted_cert(der)
        .map_err(|error| Rejection::MalformedCertificate { what, cause: in_words(&error).into() })?
        .to_owned();
    Ok(Ok((Root { sha256: sha256_hex(der), subject, not_before, not_after, anchor, rules }, issuer)))
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots).finish_non_exhaustive()
    }
}
