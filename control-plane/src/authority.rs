//! A certificate authority: one root that signs leaves directly.
//!
//! A request goes in, is judged whole ([`names`] and the dates) and comes out as a certificate with
//! a key of its own. Every certificate made here is X.509 version 3, has a random serial, UTC dates
//! in whole seconds, and **lies within the dates of the root that signed it**. Private keys are
//! wiped when dropped and appear neither in `Debug` nor in an error.

mod key;
mod names;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hotcert_agent::hex::{hex, sha256_hex};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

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
#[derive(Clone, Debug, Default)]
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
    params: CertificateParams,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
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
    #[error("{algorithm} key could not be made or used: {source}")]
    Key { algorithm: Algorithm, source: rcgen::Error },
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
        Ok(Self { key, params, certificate_pem: certificate.pem(), certificate_der: certificate.into() })
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
        if moment < self.params.not_before {
            return Err(AuthorityError::AuthorityNotYetValid { not_before: self.params.not_before });
        }
        if moment >= self.params.not_after {
            return Err(AuthorityError::AuthorityExpired { not_after: self.params.not_after });
        }
        params.not_before = date(now.checked_sub(BACKDATE))?.max(self.params.not_before);
        params.not_after = not_after(now, request.lifetime)?.min(self.params.not_after);
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
        let issuer = Issuer::from_params(&self.params, &*self.key);
        let certificate = params
            .signed_by(&*key, &issuer)
            .map_err(|source| AuthorityError::Key { algorithm: request.algorithm, source })?;
        Ok(Leaf {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.into(),
            key_pem: key::pem(&key),
            serial: params.serial_number.as_ref().map(|serial| hex(serial.as_ref())).unwrap_or_default(),
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

    pub fn not_after(&self) -> SystemTime {
        self.params.not_after.into()
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
            .field("not_after", &self.params.not_after)
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
