//! The leaf: certificate chain and private key, validated the way a peer would.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, ServerName,
};
use rustls::sign::{CertifiedKey, SigningKey};
use webpki::EndEntityCert;

use super::algorithms::Algorithms;
use super::certificate::{Certificate, LEAF, parse_certificate};
use super::chain::{Chain, Roles, check_chain};
use super::key_kind;
use super::policy::Policy;
use super::rejection::Rejection;
use super::sections::Sections;
use super::trust::Trust;
use crate::credential::pem::Section;
use crate::credential::{LeafParts, Part};
use crate::digest::sha256_hex;
use crate::names::Names;
use crate::san_pattern::SanPattern;

/// A leaf certificate with its key and intermediates that was usable when it was parsed.
#[non_exhaustive]
pub struct Leaf {
    /// The chain and the signing key, as rustls uses them.
    pub certified: Arc<CertifiedKey>,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Hex SHA-256 of the leaf's DER.
    pub sha256: String,
    /// RFC 4514 text of the subject.
    pub subject: String,
    /// RFC 4514 text of the issuer.
    pub issuer: String,
    /// The subject alternative names.
    pub names: Names,
    /// What it was signed by, and the kind of its key.
    pub algorithms: Algorithms,
    /// The start of the leaf's own validity.
    pub not_before: SystemTime,
    /// The end of the leaf's own validity.
    pub not_after: SystemTime,
    /// From when all certificates between leaf and root are valid: before that peers refuse it, as they do when this
    /// machine's clock was set back since it was published.
    pub usable_from: SystemTime,
    /// When the first certificate between leaf and root expires: from then on peers refuse it.
    pub usable_until: SystemTime,
    /// What peers accept it for.
    pub roles: Roles,
}

impl Leaf {
    pub(super) fn parse(
        parts: &LeafParts,
        trust: Option<&Trust>,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<Self, Rejection> {
        let (chain, key) = split(parts)?;
        let [end_entity, intermediates @ ..] = chain.as_slice() else { return Err(Rejection::MalformedKey) };
        let facts = parse_certificate(end_entity, LEAF)?;
        if let Some(found) = &facts.unsupported_key {
            return Err(Rejection::UnsupportedKey { found: found.clone() });
        }
        let certified = CertifiedKey::new(chain.clone(), key);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Rejection::KeyMismatch,
            error => Rejection::MalformedCertificate { what: LEAF.into(), cause: error.to_string() },
        })?;
        check_dates(LEAF, facts.not_before, facts.not_after, &facts.serial, now)?;
        check_names(end_entity, &facts.names, policy)?;
        let Chain { roles, verified_from, verified_until } =
            check_chain(end_entity, intermediates, &facts, trust, policy, now)?;
        if policy.serves && !roles.server {
            return Err(Rejection::UsageMissing { wanted: "serverAuth", allowed: "clientAuth only".into() });
        }
        let Certificate { serial, subject, issuer, names, algorithms, not_before, not_after, .. } = facts;
        let sha256 = sha256_hex(end_entity);
        Ok(Self {
            certified: Arc::new(certified),
            serial,
            sha256,
            subject,
            issuer,
            names,
            algorithms,
            not_before,
            not_after,
            usable_from: verified_from.max(not_before),
            usable_until: verified_until.min(not_after),
            roles,
        })
    }

    /// The leaf's DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }

    /// Same leaf and same intermediates (and so the same key).
    pub fn same_as(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("serial", &self.serial)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Certificates with the leaf first, and its signing key.
fn split(parts: &LeafParts) -> Result<(Vec<CertificateDer<'static>>, Arc<dyn SigningKey>), Rejection> {
    let read = |part: &Part, what| {
        let bytes = part.as_ref().map_err(|error| Rejection::from(error.clone()))?;
        Sections::read(bytes, what)
    };
    let (sections, certificate_file, key_file) = match parts {
        LeafParts::Pair { certificate, key } => {
            let mut sections = read(certificate, "the certificate file")?;
            sections.append(read(key, "the key file")?);
            (sections, "the certificate file", "the key file")
        }
        LeafParts::Bundle(bundle) => {
            let what = "the credential bundle";
            (read(bundle, what)?, what, what)
        }
    };
    // Of a certificate file that is a key file, the number of keys would be reported.
    if sections.certificates.is_empty() {
        return Err(sections.no_certificate(certificate_file));
    }
    let key = one_key(&sections.keys, key_file)?;
    Ok((leaf_first(sections.certificates, &*key), key))
}

/// The one key of the sections, which may stand there several times.
fn one_key(sections: &[Section], what: &'static str) -> Result<Arc<dyn SigningKey>, Rejection> {
    let malformed = |cause: String| Rejection::MalformedPem { what, cause };
    let mut keys = Vec::new();
    for section in sections {
        keys.push(any_supported_type(&private_key(section)?).map_err(|_| unreadable_key(section))?);
    }
    let count = keys.len();
    let key = keys.pop().ok_or_else(|| malformed("it holds no private key: publish the leaf's".into()))?;
    match keys.iter().all(|other| other.public_key() == key.public_key()) {
        true => Ok(key),
        false => {
            Err(malformed(format!("there are {count} different private keys: leave that of the leaf alone")))
        }
    }
}

/// The chain in the order that peers want it in: a leaf that stands behind its issuers is moved to the front, and each
/// certificate is followed by its issuer. What belongs to nothing stays behind.
fn leaf_first(mut rest: Vec<CertificateDer<'static>>, key: &dyn SigningKey) -> Vec<CertificateDer<'static>> {
    let is_leaf = |der: &CertificateDer<'static>| {
        let key = key.public_key();
        EndEntityCert::try_from(der).is_ok_and(|leaf| Some(leaf.subject_public_key_info()) == key)
    };
    let first = rest.iter().position(is_leaf).unwrap_or(0);
    if first == 0 {
        return rest;
    }
    let mut chain = vec![rest.remove(first)];
    while let Some(next) = chain.last().and_then(|last| rest.iter().position(|der| is_issuer(der, last))) {
        chain.push(rest.remove(next));
    }
    chain.append(&mut rest);
    chain
}

/// By their names.
fn is_issuer(issuer: &CertificateDer<'_>, of: &CertificateDer<'_>) -> bool {
    let parse = |der| parse_certificate(der, "a certificate of the chain").ok();
    parse(of).zip(parse(issuer)).is_some_and(|(of, issuer)| of.issuer == issuer.subject)
}

/// Why the key cannot be used for signing.
fn unreadable_key(section: &Section) -> Rejection {
    match key_kind::named_in(&section.der) {
        Some(kind) => Rejection::UnsupportedKey { found: kind.into() },
        None => Rejection::MalformedKey,
    }
}

/// Borrows the wiped-on-drop bytes: no second copy of the key is made.
fn private_key(section: &Section) -> Result<PrivateKeyDer<'_>, Rejection> {
    let der = section.der.as_slice();
    match section.label.as_str() {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der).into()),
        _ => Err(Rejection::MalformedKey),
    }
}

fn check_dates(
    what: &str,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: &str,
    now: SystemTime,
) -> Result<(), Rejection> {
    if now >= not_after {
        return Err(Rejection::Expired { what: what.into(), not_after });
    }
    if now < not_before {
        return Err(Rejection::NotYetValid { what: what.into(), not_before, serial: serial.into() });
    }
    Ok(())
}

fn check_names(leaf: &CertificateDer<'_>, names: &Names, policy: &Policy) -> Result<(), Rejection> {
    let missing = |wanted: String| Rejection::NameMissing { wanted, carries: names.to_string() };
    // Servers are dialled by a name; of a client its issuer is enough.
    if names.is_empty() && policy.serves {
        return Err(missing("one of these as subject alternative name (a common name is not one)".into()));
    }
    match policy.expected_names.iter().find(|pattern| !is_carried(pattern, leaf, names)) {
        Some(pattern) => Err(missing(pattern.to_string())),
        None => Ok(()),
    }
}

/// Whether a name of the leaf matches. A DNS name has to be one that clients take the leaf for: also by a wildcard, in
/// front of two labels at least.
fn is_carried(pattern: &SanPattern, leaf: &CertificateDer<'_>, names: &Names) -> bool {
    match pattern {
        SanPattern::Dns(name) if !name.starts_with("*.") => is_called(name, leaf),
        pattern => pattern.matches(names),
    }
}

fn is_called(name: &str, leaf: &CertificateDer<'_>) -> bool {
    let (Ok(name), Ok(leaf)) = (ServerName::try_from(name), EndEntityCert::try_from(leaf)) else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}
