//! A certificate authority: one root that signs leaves directly.
//!
//! A request is validated whole, names and dates, and answered with a certificate and a key of its own. Every certificate made here is X.509 version 3, has a random serial, UTC dates
//! in whole seconds, and **lies within the dates of the root that signed it**. Private keys are
//! wiped when dropped and appear neither in `Debug` nor in an error.

mod error;
mod import;
mod key;
mod name_constraints;

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub use error::AuthorityError;

use crate::api::algorithm::Algorithm;
use crate::api::leaf_request::{LeafRequest, NameError, SpiffeProblem, Usage, validate_common_name};
use crate::api::permitted_names::PermittedNames;
use crate::digest::sha256_hex;

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
    /// Domains that DNS names of its leaves have to be in. Empty: all are permitted.
    pub permitted_dns_domains: Vec<String>,
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
    permitted: PermittedNames,
}

impl Authority {
    /// Makes a key and a self-signed root that may sign leaves, but no further authority.
    pub fn create(request: &AuthorityRequest, now: SystemTime) -> Result<Self, AuthorityError> {
        let mut params = params(&request.common_name)?;
        params.not_before = date(now.checked_sub(BACKDATE))?;
        params.not_after = not_after(now, request.lifetime)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let domains = &request.permitted_dns_domains;
        let permitted_subtrees: Vec<_> = domains.iter().cloned().map(GeneralSubtree::DnsName).collect();
        params.name_constraints = (!domains.is_empty())
            .then(|| rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });

        let key = key::generate(request.algorithm)?;
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
            permitted: PermittedNames::within(domains),
        })
    }

    /// Signs a new leaf with a new key.
    ///
    /// Its not-before is [`BACKDATE`] before `now`, its not-after `lifetime` after; both are cut to
    /// the authority's own dates, so a leaf may live shorter than asked for: see
    /// [`Leaf::not_after`]. Outside the authority's dates nothing is issued at all.
    pub fn issue(&self, request: &LeafRequest, now: SystemTime) -> Result<Leaf, AuthorityError> {
        let mut params = params(&request.common_name)?;
        request.validate()?;
        if let Some(name) = request.dns_names.iter().find(|name| !self.permitted.permits(name)) {
            let (name, permitted) = (name.clone(), self.permitted.clone());
            return Err(AuthorityError::NotPermitted { name, root: self.sha256(), permitted });
        }
        params.subject_alt_names = subject_alt_names(request)?;
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
        params.key_usages = key::leaf_key_usages(request.algorithm);
        params.extended_key_usages = match request.usage {
            Usage::ServerAndClient => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::ClientOnly => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };

        let key = key::generate(request.algorithm)?;
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
    validate_common_name(common_name)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(random_serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The names of a request that was validated, as rcgen takes them.
fn subject_alt_names(request: &LeafRequest) -> Result<Vec<SanType>, NameError> {
    const NOT_ASCII: &str = "is not ASCII: write it as punycode";
    let mut names: Vec<SanType> = request.ip_addresses.iter().copied().map(SanType::IpAddress).collect();
    for name in &request.dns_names {
        let invalid = |_| NameError::DnsName { name: name.clone(), problem: NOT_ASCII };
        names.push(SanType::DnsName(name.as_str().try_into().map_err(invalid)?));
    }
    if let Some(id) = &request.spiffe_id {
        let invalid = |_| NameError::SpiffeId { id: id.clone(), problem: SpiffeProblem::NotAscii };
        names.push(SanType::URI(id.as_str().try_into().map_err(invalid)?));
    }
    Ok(names)
}

fn serial(params: &CertificateParams) -> String {
    params.serial_number.as_ref().map(|serial| hex::encode(serial.as_ref())).unwrap_or_default()
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
        return Err(AuthorityError::LifetimeTooShort);
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
