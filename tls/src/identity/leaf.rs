//! The leaf: certificate chain and private key, validated the way a peer would.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::algorithms::Algorithms;
use super::certificate::{Certificate, LEAF, parse_certificate};
use super::chain::{Chain, Roles, check_chain};
use super::key_kind;
use super::policy::Policy;
use super::rejection::Rejection;
use super::sections::Sections;
use super::trust::Trust;
use crate::chain_verifier::in_words;
use crate::credential::LeafParts;
use crate::credential::pem::{self, Format, PemError, Section};
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

/// What a leaf is judged by besides itself.
pub(super) struct Grounds<'a> {
    /// The bundle, or that there is none. `None` if it cannot be used, so that chains cannot be judged.
    pub trust: Option<Option<&'a Trust>>,
    pub policy: &'a Policy,
    pub now: SystemTime,
}

impl Leaf {
    /// The errors are all that is wrong, what has to be put right first first. There is none if nothing is wrong but
    /// that there is no bundle to judge by.
    pub(super) fn parse(parts: &LeafParts, grounds: &Grounds<'_>) -> Result<Self, Vec<Rejection>> {
        let Grounds { trust, policy, now } = *grounds;
        let mut faults = Vec::new();
        let (chain, key) = split(parts, &mut faults);
        let facts = chain.first().map(|end_entity| parse_certificate(end_entity, LEAF));
        let unsupported = facts.as_ref().and_then(|facts| facts.as_ref().ok()?.unsupported_key.clone());
        let key = match (unsupported, key) {
            // Why the key cannot be read is the same in other words.
            (Some(found), _) => Err(Rejection::UnsupportedKey { found }),
            (None, Some(key)) => key,
            (None, None) => return Err(faults),
        };
        let key = key.map_err(|fault| faults.push(fault)).ok();
        let ([end_entity, intermediates @ ..], Some(facts)) = (chain.as_slice(), facts) else {
            return Err(faults);
        };
        let facts = match facts {
            Ok(facts) => facts,
            Err(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
        if !facts.is_v3 {
            faults.push(Rejection::MalformedCertificate {
                what: LEAF.into(),
                cause: in_words(&webpki::Error::UnsupportedCertVersion).into(),
            });
            return Err(faults);
        }
        let certified = key.map(|key| CertifiedKey::new(chain.clone(), key));
        // Of a certificate that it cannot read, the verification below says why.
        if let Some(Err(rustls::Error::InconsistentKeys(_))) =
            certified.as_ref().map(CertifiedKey::keys_match)
        {
            faults.push(Rejection::KeyMismatch);
        }
        faults.extend(check_dates(LEAF, facts.not_before, facts.not_after, &facts.serial, now).err());
        faults.extend(check_names(end_entity, &facts.names, policy).err());
        // What else is wrong with a chain shows at a time at which the leaf is valid.
        let at = now.min(facts.not_after - Duration::from_secs(1)).max(facts.not_before);
        let chain = trust.map(|trust| check_chain(end_entity, intermediates, &facts, trust, policy, at));
        let chain = match chain {
            Some(Ok(chain)) => chain,
            Some(Err(fault)) => {
                faults.push(fault);
                return Err(faults);
            }
            None => return Err(faults),
        };
        if policy.serves && !chain.roles.server {
            faults.push(Rejection::UsageMissing { wanted: "serverAuth", allowed: "clientAuth only".into() });
        }
        match certified {
            Some(certified) if faults.is_empty() => Ok(Self::new(certified, facts, chain)),
            _ => Err(faults),
        }
    }

    fn new(certified: CertifiedKey, facts: Certificate, chain: Chain) -> Self {
        let Chain { roles, verified_from, verified_until } = chain;
        let Certificate { serial, subject, issuer, names, algorithms, not_before, not_after, .. } = facts;
        Self {
            sha256: sha256_hex(&certified.cert[0]),
            certified: Arc::new(certified),
            serial,
            subject,
            issuer,
            names,
            algorithms,
            not_before,
            not_after,
            usable_from: verified_from.max(not_before),
            usable_until: verified_until.min(not_after),
            roles,
        }
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

type Key = Result<Arc<dyn SigningKey>, Rejection>;

/// Certificates with the leaf first, and its signing key. `None` if the file with the key cannot be read.
fn split(parts: &LeafParts, faults: &mut Vec<Rejection>) -> (Vec<CertificateDer<'static>>, Option<Key>) {
    let files = match parts {
        LeafParts::Pair { certificate, key } => {
            vec![(certificate, "the certificate file"), (key, "the key file")]
        }
        LeafParts::Bundle(bundle) => vec![(bundle, "the credential bundle")],
    };
    let (first, last) = (files[0].1, files[files.len() - 1].1);
    let (mut certificates, mut keys, mut no_certificate, mut has_key_file) = (vec![], vec![], None, false);
    for (part, what) in files {
        let bytes = part.as_ref().map_err(|error| Rejection::from(error.clone()));
        match bytes.and_then(|bytes| Sections::read(bytes, what)) {
            Ok(mut sections) => {
                if what == first {
                    no_certificate = Some(sections.no_certificate(what));
                }
                has_key_file |= what == last;
                certificates.append(&mut sections.certificates);
                keys.extend(sections.keys.into_iter().map(|section| (what, section)));
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(no_certificate.filter(|_| certificates.is_empty()));
    let key = (has_key_file || !keys.is_empty()).then(|| one_key(&keys, last));
    let public_key = key.as_ref().and_then(|key| key.as_ref().ok()?.public_key());
    (in_order(certificates, public_key.as_ref()), key)
}

/// The one key of the sections, which may stand in several files. That of the last file counts.
fn one_key(sections: &[(&'static str, Section)], key_file: &'static str) -> Key {
    let malformed = |what, cause: String| Err(Rejection::MalformedPem { what, cause });
    let mut found: Option<(&'static str, Arc<dyn SigningKey>)> = None;
    for (what, section) in sections.iter().rev() {
        let key = signing_key(section, what)?;
        match &found {
            None => found = Some((what, key)),
            Some((_, first)) if first.public_key() == key.public_key() => {}
            Some((file, _)) if file == what => {
                return malformed(
                    what,
                    "it holds different private keys: leave that of the leaf alone".into(),
                );
            }
            Some((file, _)) => {
                return malformed(what, format!("it holds another private key than {file}: remove it"));
            }
        }
    }
    match found {
        Some((_, key)) => Ok(key),
        None => malformed(key_file, "it holds no private key: publish the leaf's".into()),
    }
}

/// The DER of the one key of these sections.
pub(super) fn usable_key(
    sections: Vec<Section>,
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, Rejection> {
    let mut sections: Vec<_> = sections.into_iter().map(|section| (what, section)).collect();
    one_key(&sections, what)?;
    Ok(sections.pop().map(|(_, section)| section.der).unwrap_or_default())
}

/// The chain in the order that peers want it in: the leaf, of which this is the public key, and each certificate followed
/// by its issuer, once. What belongs to nothing stays behind. Without its key, the leaf is the first that is no
/// authority's.
fn in_order(
    mut rest: Vec<CertificateDer<'static>>,
    public_key: Option<&SubjectPublicKeyInfoDer<'_>>,
) -> Vec<CertificateDer<'static>> {
    let find = |is_leaf: &dyn Fn(&X509Certificate<'_>) -> bool| {
        let parse = |der| X509Certificate::from_der(der).ok();
        rest.iter().position(|der| parse(der).is_some_and(|(_, certificate)| is_leaf(&certificate)))
    };
    let has_key = |leaf: &X509Certificate<'_>| Some(leaf.public_key().raw) == public_key.map(AsRef::as_ref);
    let first = (!rest.is_empty()).then_some(0);
    let mut next = find(&has_key).or_else(|| find(&|leaf| !leaf.is_ca())).or(first);
    let mut chain = Vec::with_capacity(rest.len());
    while let Some(index) = next {
        let certificate = rest.remove(index);
        rest.retain(|other| *other != certificate);
        next = rest.iter().position(|der| is_issuer(der, &certificate));
        chain.push(certificate);
    }
    for certificate in rest {
        if !chain.contains(&certificate) {
            chain.push(certificate);
        }
    }
    chain
}

/// By their names.
fn is_issuer(issuer: &CertificateDer<'_>, of: &CertificateDer<'_>) -> bool {
    let parse = |der| parse_certificate(der, "a certificate of the chain").ok();
    parse(of).zip(parse(issuer)).is_some_and(|(of, issuer)| of.issuer == issuer.subject)
}

/// Borrows the wiped-on-drop bytes: no second copy of the key is made. What is in a section counts, and not what it is
/// called.
fn signing_key(section: &Section, what: &'static str) -> Key {
    let der = section.der.as_slice();
    let wrong_format = |format| Err(Rejection::from_pem(what, PemError::WrongFormat(format)));
    match (section.label.as_str(), Format::of_der(der)) {
        (pem::ENCRYPTED, _) | (_, Some(Format::DerEncryptedKey)) => {
            return Err(Rejection::EncryptedKey { what });
        }
        ("OPENSSH PRIVATE KEY", _) => return wrong_format(Format::OpenSsh),
        ("DSA PRIVATE KEY", _) => return Err(Rejection::UnsupportedKey { found: "DSA".into() }),
        _ => {}
    }
    let key = PrivateKeyDer::try_from(der).map_err(|_| Rejection::MalformedKey)?;
    any_supported_type(&key).map_err(|_| match key_kind::named_in(der) {
        Some(kind) => Rejection::UnsupportedKey { found: kind.into() },
        None => Rejection::MalformedKey,
    })
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
    // An address is none, also if a certificate has it among its DNS names.
    let (Ok(name @ ServerName::DnsName(_)), Ok(leaf)) =
        (ServerName::try_from(name), EndEntityCert::try_from(leaf))
    else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}
