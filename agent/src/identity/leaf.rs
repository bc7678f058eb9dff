//! The leaf: certificate chain and private key, judged the way a peer would judge them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, UnixTime,
};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::{Policy, Rejection, Trust};
use crate::crypto::provider;
use crate::hex::{hex, sha256_hex};
use crate::material::Credential;
use crate::names::Names;
use crate::pem::{self, Section};

const WHAT: &str = "the leaf";

/// A leaf certificate with its key and intermediates that was usable when it was parsed.
pub struct Leaf {
    pub certified: Arc<CertifiedKey>,
    pub serial: String,
    /// Hex SHA-256 of the leaf's DER.
    pub sha256: String,
    pub subject: String,
    pub issuer: String,
    pub names: Names,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub roles: Roles,
}

/// What peers would accept the leaf for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub server: bool,
    pub client: bool,
}

impl Leaf {
    pub(super) fn parse(
        credential: &Credential,
        trust: Option<&Trust>,
        policy: &Policy,
        now: SystemTime,
    ) -> Result<Self, Rejection> {
        let (chain, key) = split(credential)?;
        let [end_entity, intermediates @ ..] = chain.as_slice() else {
            return Err(Rejection::MalformedPem {
                what: "the certificate file",
                cause: "it holds no certificate".into(),
            });
        };
        let facts = parse_certificate(end_entity, WHAT)?;
        check_key_size(end_entity)?;
        let signing = any_supported_type(&private_key(&key)?).map_err(|_| Rejection::MalformedKey)?;
        let certified = CertifiedKey::new(chain.clone(), signing);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Rejection::KeyMismatch,
            error => Rejection::MalformedCertificate { what: WHAT.into(), cause: error.to_string() },
        })?;
        check_dates(WHAT, facts.not_before, facts.not_after, &facts.serial, now)?;
        check_names(&facts.names, policy)?;
        let roles = check_chain(end_entity, intermediates, &facts, trust, policy, now)?;
        if policy.serves && !roles.server {
            return Err(Rejection::UsageMissing { wanted: "serverAuth", allowed: "clientAuth only".into() });
        }
        let Certificate { serial, subject, issuer, names, not_before, not_after, .. } = facts;
        let sha256 = sha256_hex(end_entity);
        Ok(Self {
            certified: Arc::new(certified),
            serial,
            sha256,
            subject,
            issuer,
            names,
            not_before,
            not_after,
            roles,
        })
    }

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

/// Certificates in order and the one private key.
fn split(credential: &Credential) -> Result<(Vec<CertificateDer<'static>>, Section), Rejection> {
    let mut sections = Vec::new();
    let mut read = |part: &crate::material::Part, what| -> Result<(), Rejection> {
        let bytes = part.as_ref().map_err(|error| Rejection::from(error.clone()))?;
        sections.extend(pem::sections(bytes).map_err(|error| Rejection::from_pem(what, error))?);
        Ok(())
    };
    match credential {
        Credential::Pair { certificate, key } => {
            read(certificate, "the certificate file")?;
            read(key, "the key file")?;
        }
        Credential::Bundle(bundle) => read(bundle, "the credential bundle")?,
    }
    let mut chain = Vec::new();
    let mut keys = Vec::new();
    for section in sections {
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => chain.push(CertificateDer::from(section.der.to_vec())),
            "ENCRYPTED PRIVATE KEY" => {
                return Err(Rejection::UnsupportedKey { found: "encrypted with a passphrase".into() });
            }
            label if label.ends_with("PRIVATE KEY") => keys.push(section),
            // EC PARAMETERS and the like.
            _ => {}
        }
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

/// What is read off a certificate, leaf or root.
pub(super) struct Certificate {
    pub serial: String,
    pub subject: String,
    pub issuer: String,
    pub names: Names,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// DER contents of subject and subjectPublicKeyInfo.
    pub key: (Vec<u8>, Vec<u8>),
}

pub(super) fn parse_certificate(der: &CertificateDer<'_>, what: &str) -> Result<Certificate, Rejection> {
    let malformed = |cause: String| Rejection::MalformedCertificate { what: what.into(), cause };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| malformed("it is not DER of a certificate".into()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let validity = certificate.validity();
    Ok(Certificate {
        serial: hex(certificate.raw_serial()).trim_start_matches("00").to_owned(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: Names::of(&certificate),
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
        key: (certificate.subject().as_raw().to_vec(), certificate.public_key().raw.to_vec()),
    })
}

fn system_time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}

fn check_key_size(der: &CertificateDer<'_>) -> Result<(), Rejection> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Err(Rejection::MalformedKey);
    };
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if !(2048..=4096).contains(&key.key_size()) => {
            Err(Rejection::UnsupportedKey { found: format!("RSA of {} bits", key.key_size()) })
        }
        _ => Ok(()),
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

/// Verifies the chain once per role. A role whose usage the chain lacks is left out; both lacking,
/// or anything else wrong, is a rejection.
fn check_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'static>],
    facts: &Certificate,
    trust: Option<&Trust>,
    policy: &Policy,
    now: SystemTime,
) -> Result<Roles, Rejection> {
    let verify = |usage: KeyUsage| verify_chain(end_entity, intermediates, trust, usage, now);
    let judge = |result: Result<(), webpki::Error>| match result {
        Ok(()) => Ok(true),
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => Ok(false),
        // A public certificate's root is not ours to know, and no peer of ours will judge it.
        Err(webpki::Error::UnknownIssuer) if policy.public_server => Ok(has_usage(end_entity, true)),
        Err(error) => Err(explain(error, intermediates, facts)),
    };
    let server = judge(verify(KeyUsage::server_auth()))?;
    // As a client the leaf is always judged by the bundle: without a trusted chain there is no mTLS.
    let client = match verify(KeyUsage::client_auth()) {
        Err(webpki::Error::UnknownIssuer) if policy.public_server => false,
        result => judge(result)?,
    };
    if !server && !client {
        let allowed = "neither serverAuth nor clientAuth".into();
        return Err(Rejection::UsageMissing { wanted: "serverAuth or clientAuth", allowed });
    }
    Ok(Roles { server, client })
}

fn verify_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'static>],
    trust: Option<&Trust>,
    usage: KeyUsage,
    now: SystemTime,
) -> Result<(), webpki::Error> {
    let certificate = EndEntityCert::try_from(end_entity)?;
    let anchors = trust.map_or(&[][..], |trust| trust.store.roots.as_slice());
    let algorithms = provider().signature_verification_algorithms.all;
    let time = unix_time(now);
    let path = certificate.verify_for_usage(algorithms, anchors, intermediates, time, usage, None, None)?;
    // webpki does not look at an anchor's dates; OpenSSL and Go do.
    match trust.and_then(|trust| trust.root_of(path.anchor())) {
        Some(root) if now >= root.not_after => {
            Err(webpki::Error::CertExpired { time, not_after: unix_time(root.not_after) })
        }
        _ => Ok(()),
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The usage as the leaf alone states it; used where no chain can be verified.
fn has_usage(der: &CertificateDer<'_>, server: bool) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if server => usage.value.server_auth || usage.value.any,
        Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn explain(
    error: webpki::Error,
    intermediates: &[CertificateDer<'static>],
    facts: &Certificate,
) -> Rejection {
    use webpki::Error as E;
    let untrusted = |cause: String| Rejection::UntrustedByOwnBundle { issuer: facts.issuer.clone(), cause };
    match error {
        E::CertExpired { not_after, .. } => Rejection::Expired {
            what: "a certificate of its chain".into(),
            not_after: UNIX_EPOCH + Duration::from_secs(not_after.as_secs()),
        },
        E::CertNotValidYet { not_before, .. } => Rejection::NotYetValid {
            what: "a certificate of its chain".into(),
            not_before: UNIX_EPOCH + Duration::from_secs(not_before.as_secs()),
            serial: facts.serial.clone(),
        },
        E::CaUsedAsEndEntity => {
            Rejection::MalformedCertificate { what: WHAT.into(), cause: "it is a CA certificate".into() }
        }
        E::UnknownIssuer if issuer_is_absent(intermediates, facts) => Rejection::ChainBroken {
            cause: format!("none of the {} intermediates is {}", intermediates.len(), facts.issuer),
        },
        E::UnknownIssuer => untrusted("no root of the bundle issued it".into()),
        E::InvalidSignatureForPublicKey if !intermediates.is_empty() => {
            Rejection::ChainBroken { cause: "a signature does not verify".into() }
        }
        E::EndEntityUsedAsCa => {
            Rejection::ChainBroken { cause: "an intermediate is not a CA certificate".into() }
        }
        E::InvalidSignatureForPublicKey => {
            untrusted("the signature does not verify under the root of that name".into())
        }
        E::NameConstraintViolation => untrusted("a name lies outside the constraints of its issuer".into()),
        E::BadDer
        | E::BadDerTime
        | E::TrailingData(_)
        | E::UnsupportedCertVersion
        | E::UnsupportedCriticalExtension
        | E::InvalidCertValidity => {
            Rejection::MalformedCertificate { what: WHAT.into(), cause: error.to_string() }
        }
        error => untrusted(error.to_string()),
    }
}

/// There are intermediates, but the leaf's issuer is not one of them.
fn issuer_is_absent(intermediates: &[CertificateDer<'static>], facts: &Certificate) -> bool {
    let is_issuer = |der: &CertificateDer<'static>| {
        parse_certificate(der, "an intermediate").is_ok_and(|certificate| certificate.subject == facts.issuer)
    };
    !intermediates.is_empty() && !intermediates.iter().any(is_issuer)
}
