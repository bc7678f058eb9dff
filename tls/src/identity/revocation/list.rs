//! One revocation list: whose it is, what it withdraws, and for how long it counts.

use std::cmp::Ordering;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use webpki::BorrowedCertRevocationList;
use x509_parser::asn1_rs::Any;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::scope::Scope;
use crate::crypto::algorithms;
use crate::digest::sha256_hex;
use crate::identity::certificate::system_time;
use crate::identity::rejection::Rejection;
use crate::identity::trust::Root;

/// The critical extension that is understood: which certificates the list is about.
const UNDERSTOOD: [&str; 1] = ["2.5.29.28"];

/// What one authority has withdrawn.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevocationList {
    /// RFC 4514 text of the issuer.
    pub issuer: String,
    /// The number of the list, which only grows, in hexadecimal.
    pub number: Option<String>,
    /// When it was made.
    pub this_update: SystemTime,
    /// When the next one was promised, which is the end of this one.
    pub next_update: SystemTime,
    /// How long after that it is still used.
    pub grace: Duration,
    /// How many certificates it withdraws.
    pub revoked: usize,
    /// As certificates name it: the content of the DER.
    pub(crate) issuer_name: Vec<u8>,
    pub(crate) scope: Option<Scope>,
    /// Hex SHA-256 of its DER.
    pub(crate) sha256: String,
    /// Sorted; the content of the DER.
    serials: Vec<Box<[u8]>>,
    /// Of the authority's key, by which those of one name are told apart.
    key_id: Option<Vec<u8>>,
    /// The public key that has signed it, once that is known: the content of the DER.
    signer: OnceLock<Vec<u8>>,
    /// Absent when it is known.
    signed: Option<Signed>,
}

#[derive(Debug)]
struct Signed {
    message: Vec<u8>,
    /// Content of the DER.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl RevocationList {
    /// `number`: of the list in its file.
    pub(super) fn parse(
        der: &[u8],
        number: usize,
        roots: &[Root],
        grace: Duration,
    ) -> Result<Self, Rejection> {
        let malformed = |cause: &str| super::malformed(format!("list {number} {cause}"));
        let (rest, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|_| malformed("is not DER of a revocation list: publish it again"))?;
        if !rest.is_empty() {
            return Err(malformed(&format!("is followed by {} bytes: publish it again", rest.len())));
        }
        let next_update = parsed.next_update().ok_or_else(|| {
            malformed(
                "does not say when the next one comes, so it would never be out of date: have it issued with nextUpdate",
            )
        })?;
        let checked = BorrowedCertRevocationList::from_der(der).map_err(|error| explain(&error, &parsed))?;
        let mut serials = Vec::with_capacity(parsed.iter_revoked_certificates().count());
        for entry in &checked {
            let entry = entry.map_err(|error| explain(&error, &parsed))?;
            serials.push(entry.serial_number.into());
        }
        serials.sort_unstable();
        if let Some(cause) = critical(&parsed) {
            return Err(unsupported(&parsed, cause));
        }
        // Also in the lists of authorities that never said so, the number is what an older one is known by.
        let number = parsed.crl_number().map(|number| number.to_str_radix(16)).ok_or_else(|| {
            unsupported(
                &parsed,
                "has no number, by which an older one would be known; have it issued with cRLNumber",
            )
        })?;
        let scope = Scope::of(&parsed).map_err(|cause| unsupported(&parsed, cause))?;
        let unreadable = || malformed("cannot be read: publish it again");
        let mut list = Self {
            issuer: parsed.issuer().to_string(),
            number: Some(number),
            this_update: system_time(parsed.last_update().timestamp()),
            next_update: system_time(next_update.timestamp()),
            grace,
            revoked: serials.len(),
            issuer_name: content(parsed.issuer().as_raw()).ok_or_else(unreadable)?.to_vec(),
            scope,
            sha256: sha256_hex(der),
            serials,
            key_id: key_id(&parsed),
            signer: OnceLock::new(),
            signed: Some(Signed::read(der).ok_or_else(unreadable)?),
        };
        if list.roots_of_its_name(roots).any(|root| list.is_signed_by(&root.anchor.subject_public_key_info)) {
            list.signed = None;
        }
        Ok(list)
    }

    /// From when on nobody is trusted by it.
    pub fn usable_until(&self) -> SystemTime {
        self.next_update + self.grace
    }

    /// Whether it withdraws the certificate of this serial number, which is the content of the DER.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        self.serials.binary_search_by(|own| own.as_ref().cmp(serial)).is_ok()
    }

    /// Whether this key has signed it, computed once. `public_key`: content of the DER.
    pub(crate) fn is_signed_by(&self, public_key: &[u8]) -> bool {
        if let Some(signer) = self.signer.get() {
            return signer == public_key;
        }
        let verified = self.signed.as_ref().is_some_and(|signed| signed.verifies_under(public_key));
        if verified {
            // Another thread that was faster has set the same.
            let _ = self.signer.set(public_key.to_vec());
        }
        verified
    }

    /// Whether a root of the bundle has signed it.
    pub(crate) fn is_of_a_root(&self) -> bool {
        self.signed.is_none()
    }

    /// The key that has signed it, as far as is known.
    pub(super) fn signer(&self) -> Option<&[u8]> {
        self.signer.get().map(Vec::as_slice)
    }

    pub(super) fn roots_of_its_name<'a>(
        &self,
        roots: &'a [Root],
    ) -> impl Iterator<Item = &'a Root> + use<'a> {
        let name = self.issuer_name.clone();
        roots.iter().filter(move |root| root.anchor.subject.as_ref() == name)
    }

    /// Whether one follows the other: of one authority, about the same of its certificates.
    pub(super) fn succeeds(&self, before: &Self) -> bool {
        self.issuer_name == before.issuer_name
            && self.scope == before.scope
            && match (before.signer(), self.signer()) {
                (Some(signer), _) => self.is_signed_by(signer),
                (None, Some(signer)) => before.is_signed_by(signer),
                (None, None) => self.key_id == before.key_id,
            }
    }

    /// By their numbers, and then by when they were made.
    pub(super) fn age_order(&self, other: &Self) -> Ordering {
        let by_number = match (&self.number, &other.number) {
            (Some(own), Some(others)) => (own.len(), own).cmp(&(others.len(), others)),
            _ => Ordering::Equal,
        };
        by_number.then(self.this_update.cmp(&other.this_update))
    }
}

impl Signed {
    fn read(der: &[u8]) -> Option<Self> {
        let whole = content(der)?;
        let (after_message, _) = Any::from_der(whole).ok()?;
        let message = &whole[..whole.len() - after_message.len()];
        let (signature, algorithm) = Any::from_der(after_message).ok()?;
        Some(Self {
            message: message.to_vec(),
            algorithm: algorithm.as_bytes().to_vec(),
            signature: bits(signature)?.to_vec(),
        })
    }

    fn verifies_under(&self, public_key: &[u8]) -> bool {
        let Ok((key, algorithm)) = Any::from_der(public_key) else { return false };
        let Some(key) = bits(key) else { return false };
        algorithms().all.iter().any(|candidate| {
            candidate.signature_alg_id().as_ref() == self.algorithm
                && candidate.public_key_alg_id().as_ref() == algorithm.as_bytes()
                && candidate.verify_signature(key, &self.message, &self.signature).is_ok()
        })
    }
}

fn content(der: &[u8]) -> Option<&[u8]> {
    Any::from_der(der).ok().map(|(_, element)| element.as_bytes())
}

/// The content of a bit string of whole bytes.
fn bits(der: &[u8]) -> Option<&[u8]> {
    content(der)?.strip_prefix(&[0])
}

fn key_id(parsed: &CertificateRevocationList<'_>) -> Option<Vec<u8>> {
    parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}

fn unsupported(parsed: &CertificateRevocationList<'_>, cause: impl Into<String>) -> Rejection {
    Rejection::UnsupportedRevocationList { issuer: parsed.issuer().to_string(), cause: cause.into() }
}

/// Why webpki does not take it, by the name of what it is.
fn explain(error: &webpki::Error, parsed: &CertificateRevocationList<'_>) -> Rejection {
    use webpki::Error as E;
    let cause = match error {
        E::UnsupportedDeltaCrl => "is a delta list, of changes to another list".into(),
        E::UnsupportedIndirectCrl => "is an indirect list, of certificates of other authorities".into(),
        E::UnsupportedRevocationReasonsPartitioning => "is about some reasons of revocation only".into(),
        E::UnsupportedCrlIssuingDistributionPoint => "has an issuing distribution point without a URI".into(),
        E::UnsupportedCrlVersion | E::MalformedExtensions if parsed.extensions().is_empty() => {
            "is of version 1, without a number".into()
        }
        E::UnsupportedCriticalExtension => {
            critical(parsed).unwrap_or_else(|| "has a critical extension that is unknown".into())
        }
        error => format!("is refused by the verifier ({error})"),
    };
    unsupported(parsed, cause)
}

/// A critical extension of it that is not understood.
fn critical(parsed: &CertificateRevocationList<'_>) -> Option<String> {
    let unknown = |extensions: &[x509_parser::extensions::X509Extension<'_>]| {
        let critical = extensions.iter().filter(|extension| extension.critical);
        let mut unknown = critical.map(|extension| extension.oid.to_id_string());
        unknown.find(|oid| !UNDERSTOOD.contains(&oid.as_str()))
    };
    if let Some(oid) = unknown(parsed.extensions()) {
        return Some(format!("has the critical extension {oid}"));
    }
    let entry = parsed.iter_revoked_certificates().find_map(|entry| unknown(entry.extensions()));
    entry.map(|oid| format!("has an entry with the critical extension {oid}"))
}
