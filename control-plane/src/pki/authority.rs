//! A certificate authority: one root that signs leaves directly.
//!
//! A request goes in, is judged whole ([`names`] and the dates) and comes out as a certificate with
//! a key of its own. Every certificate made here is X.509 version 3, has a random serial, UTC dates
//! in whole seconds, and **lies within the dates of the root that signed it**. Private keys are
//! wiped when dropped and appear neither in `Debug` nor in an error.

mod import;
mod key;
mod names;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hotcert_agent::tls::hex::{hex, sha256_hex};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use import::certificate_pem;
pub use key::Algorithm;

/// How far before the moment of issue a certificate's not-before lies, so that a peer whose clock
/// runs behind accepts it at once.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What a root is made from.
#[derive(Clone, Debug, Default)]
pub struct AuthorityRequest {
    /// The subject's common name, 1 to 64 characters.
    pub common_name: String,
    pub algorithm: Algorithm,
    /// From `now` to the not-after, at least a second.
    pub lifetime: Duration,
}

/// What a leaf may be used for: its extended key usages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    #[default]
    ServerAndClient,
    ServerOnly,
    ClientOnly,
}

/// What a leaf is made from. It needs at least one name: a DNS name, an address or a SPIFFE ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafRequest {
    /// The subject's common name, 1 to 64 characters; no peer checks it.
    pub common_name: String,
    /// Host names, the leftmost label may be `*`. No addresses, no trailing dot.
    pub dns_names: Vec<String>,
    /// For servers that clients know by address alone.
    pub ip_addresses: Vec<IpAddr>,
    /// `spiffe://trust-domain/path`.
    pub spiffe_id: Option<String>,
    pub algorithm: Algorithm,
    /// From `now` to the not-after, at least a second; cut at the authority's own not-after.
    pub lifetime: Duration,
    pub usage: Usage,
}

/// A leaf and its private key.
#[derive(Clone)]
pub struct Leaf {
    pub certificate_pem: String,
    pub certificate_der: CertificateDer<'static>,
    /// PKCS#8.
    pub key_pem: Zeroizing<String>,
    /// 32 lower-case hex digits.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A root certificate and the key that signs under it.
pub struct Authority {
    key: Zeroizing<KeyPair>,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
    serial: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// Why nothing was issued, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("common name {name:?}: {problem}")]
    InvalidCommonName { name: String, problem: &'static str },
    #[error(
        "a leaf without a name: give at least one DNS name, address or SPIFFE ID, peers check nothing else"
    )]
    NoNames,
    #[error("DNS name {name:?}: {problem}")]
    InvalidDnsName { name: String, problem: &'static str },
    #[error("SPIFFE ID {id:?}: {problem}")]
    InvalidSpiffeId { id: String, problem: &'static str },
    #[error("algorithm {0:?} is not known: use p256, p384, ed25519, rsa2048, rsa3072 or rsa4096")]
    UnknownAlgorithm(String),
    #[error("a lifetime of {0:?} is too short: certificates count in whole seconds, give at least one")]
    LifetimeTooShort(Duration),
    #[error("dates do not fit a certificate (years 1970 to 9999): check the clock and the lifetime")]
    DateOutOfRange,
    #[error("the authority is not valid before {not_before}: check this machine's clock")]
    AuthorityNotYetValid { not_before: OffsetDateTime },
    #[error("the authority expired at {not_after}: replace it, nothing it signs would be accepted")]
    AuthorityExpired { not_after: OffsetDateTime },
    #[error("the system's random number generator failed: nothing can be issued on this machine")]
    NoRandomness,
    #[error("this root cannot be imported: {0}")]
    NotImported(String),
    #[error("{algorithm} key could not be made or used: {source}")]
    Key { algorithm: Algorithm, source: rcgen::Error },
}

impl LeafRequest {
    /// What is wrong with the names, before there is an authority to sign.
    pub fn check(&self) -> Result<(), AuthorityError> {
        names::common_name(&self.common_name)?;
        names::subject_alt_names(self).map(drop)
    }
}

impl Authority {
    /// Makes a key and a self-signed root that may sign leaves, but no further authority.
    pub fn create(request: &AuthorityRequest, now: SystemTime) -> Result<Self, AuthorityError> {
        let mut params = params(&request.common_name)?;
        params.not_before = date(now.checked_sub(BACKDATE))?;
        params.not_after = not_after(now, request.lifetime)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

        let key = request.algorithm.generate()?;
        let certificate = params
            .self_signed(&*key)
            .map_err(|source| AuthorityError::Key { algorithm: request.algorithm, source })?;
        Ok(Self {
            key,
            certificate_pem: certificate.pem(),
            certificate_der: certificate.into(),
            serial: serial(&params),
            not_before: params.not_before,
            not_after: params.not_after,
        })
    }

    /// A root that exists already, as PEM: its certificate and its key (unencrypted; PKCS#8, PKCS#1 or SEC1).
    pub fn import(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, AuthorityError> {
        import::root(certificate_pem, key_pem).map_err(AuthorityError::NotImported)
    }

    /// Signs a new leaf with a new key.
    ///
    /// Its not-before is [`BACKDATE`] before `now`, its not-after `lifetime` after; both are cut to
    /// the authority's own dates, so a leaf may live shorter than asked for: see
    /// [`Leaf::not_after`]. Outside the authority's dates nothing is issued at all.
    pub fn issue(&self, request: &LeafRequest, now: SystemTime) -> Result<Leaf, AuthorityError> {
        let mut params = params(&request.common_name)?;
        params.subject_alt_names = names::subject_alt_names(request)?;
        let moment = date(Some(now))?;
        if moment < self.not_before {
            return Err(AuthorityError::AuthorityNotYetValid { not_before: self.not_before });
        }
        if moment >= self.not_after {
            return Err(AuthorityError::AuthorityExpired { not_after: self.not_after });
        }
        params.not_before = date(now.checked_sub(BACKDATE))?.max(self.not_before);
        params.not_after = not_after(now, request.lifetime)?.min(self.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = request.algorithm.leaf_key_usages();
        params.extended_key_usages = match request.usage {
            Usage::ServerAndClient => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::ClientOnly => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };

        let key = request.algorithm.generate()?;
        let certificate = Issuer::from_ca_cert_der(&self.certificate_der, &*self.key)
            .and_then(|issuer| params.signed_by(&*key, &issuer))
            .map_err(|source| AuthorityError::Key { algorithm: request.algorithm, source })?;
        Ok(Leaf {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.into(),
            key_pem: key::pem(&key),
            serial: serial(&params),
            not_before: params.not_before.into(),
            not_after: params.not_after.into(),
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate_der
    }

    /// The fingerprint: SHA-256 over the certificate's DER, 64 lower-case hex digits.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.certificate_der)
    }

    pub fn not_before(&self) -> SystemTime {
        self.not_before.into()
    }

    pub fn not_after(&self) -> SystemTime {
        self.not_after.into()
    }

    /// Lower-case hex digits.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// PKCS#8.
    pub fn key_pem(&self) -> Zeroizing<String> {
        key::pem(&self.key)
    }
}

impl Leaf {
    /// The fingerprint: SHA-256 over the certificate's DER, 64 lower-case hex digits.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.certificate_der)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("sha256", &self.sha256())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What a root and a leaf have in common: subject, serial, key identifiers.
fn params(common_name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names::common_name(common_name)?);
    params.serial_number = Some(random_serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn serial(params: &CertificateParams) -> String {
    params.serial_number.as_ref().map(|serial| hex(serial.as_ref())).unwrap_or_default()
}

/// Sixteen random bytes of which the first two bits are fixed to 01: positive, and neither padded
/// nor shortened by DER, so that everyone prints the same digits.
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| AuthorityError::NoRandomness)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

fn not_after(now: SystemTime, lifetime: Duration) -> Result<OffsetDateTime, AuthorityError> {
    if lifetime < Duration::from_secs(1) {
        return Err(AuthorityError::LifetimeTooShort(lifetime));
    }
    date(now.checked_add(lifetime))
}

/// Cut to whole seconds, which is all that a certificate can say.
fn date(moment: Option<SystemTime>) -> Result<OffsetDateTime, AuthorityError> {
    moment
        .and_then(|moment| moment.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(AuthorityError::DateOutOfRange)
}

#[cfg(test)]
mod tests;
