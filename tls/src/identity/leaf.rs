//! The leaf: certificate chain and private key, validated the way a peer would.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;

use super::algorithms::Algorithms;
use super::certificate::{Certificate, LEAF, parse_certificate};
use super::chain::{Chain, Roles, check_chain};
use super::policy::Policy;
use super::rejection::Rejection;
use super::trust::Trust;
use crate::credential::LeafParts;
use crate::credential::pem::{self, Section};
use crate::digest::sha256_hex;
use crate::names::Names;

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
        let [end_entity, intermediates @ ..] = chain.as_slice() else { return Err(no_certificate()) };
        let facts = parse_certificate(end_entity, LEAF)?;
        if let Some(found) = &facts.unsupported_key {
            return Err(Rejection::UnsupportedKey { found: found.clone() });
        }
        let signing = any_supported_type(&private_key(&key)?).map_err(|_| Rejection::MalformedKey)?;
        let certified = CertifiedKey::new(chain.clone(), signing);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Rejection::KeyMismatch,
            error => Rejection::MalformedCertificate { what: LEAF.into(), cause: error.to_string() },
        })?;
        check_dates(LEAF, facts.not_before, facts.not_after, &facts.serial, now)?;
        check_names(&facts.names, policy)?;
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

fn no_certificate() -> Rejection {
    Rejection::MalformedPem { what: "the certificate file", cause: "it holds no certificate".into() }
}

/// Certificates in order and the one private key.
fn split(parts: &LeafParts) -> Result<(Vec<CertificateDer<'static>>, Section), Rejection> {
    let mut sections = Vec::new();
    let mut read = |part: &crate::credential::Part, what| -> Result<(), Rejection> {
        let bytes = part.as_ref().map_err(|error| Rejection::from(error.clone()))?;
        sections.extend(pem::sections(bytes).map_err(|error| Rejection::from_pem(what, error))?);
        Ok(())
    };
    match parts {
        LeafParts::Pair { certificate, key } => {
            read(certificate, "the certificate file")?;
            read(key, "the key file")?;
        }
        LeafParts::Bundle(bundle) => read(bundle, "the credential bundle")?,
    }
    let mut chain = Vec::new();
    let mut keys = Vec::new();
    for section in sections {
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => chain.push(CertificateDer::from(section.der.to_vec())),
            "ENCRYPTED PRIVATE KEY" => return Err(Rejection::EncryptedKey),
            label if label.ends_with("PRIVATE KEY") => keys.push(section),
            // EC PARAMETERS and the like.
            _ => {}
        }
    }
    // Of a certificate file that is a key file, the number of keys would be reported.
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let count = keys.len();
    match keys.pop() {
        Some(key) if count == 1 => Ok((chain, key)),
        Some(_) => Err(Rejection::MalformedPem {
            what: "the key file",
            cause: format!("it holds {count} private keys, not one"),
        }),
        None => {
            Err(Rejection::MalformedPem { what: "the key file", cause: "it holds no private key".into() })
        }
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

fn check_names(names: &Names, policy: &Policy) -> Result<(), Rejection> {
    if names.is_empty() {
        return Err(Rejection::NameMissing {
            wanted: "a subject alternative name".into(),
            carries: names.to_string(),
        });
    }
    match policy.expected_names.iter().find(|pattern| !pattern.matches(names)) {
        Some(missing) => {
            Err(Rejection::NameMissing { wanted: missing.to_string(), carries: names.to_string() })
        }
        None => Ok(()),
    }
}
