//! The fields of one certificate, leaf or root, parsed before anything is verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use super::algorithms::Algorithms;
use super::key_kind;
use super::rejection::Rejection;
use crate::chain_verifier::Purpose;
use crate::chain_verifier::rules::{self, RootRules};
use crate::names::Names;

/// The name of the leaf in rejections.
pub(super) const LEAF: &str = "the leaf";

pub(super) struct Certificate {
    pub serial: String,
    pub subject: String,
    pub issuer: String,
    pub names: Names,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Its usages allow a server. Absent ones allow everything.
    pub usable_by_server: bool,
    pub algorithms: Algorithms,
    /// Why no certificate under it would be accepted, as the rest of a sentence. One of X.509 v1 has no field that says
    /// that it is an authority's.
    pub cannot_issue: Option<String>,
    /// What it allows as a root.
    pub rules: RootRules,
    /// The kind of the public key, if it is not supported.
    pub unsupported_key: Option<String>,
}

pub(super) fn parse_certificate(der: &CertificateDer<'_>, what: &str) -> Result<Certificate, Rejection> {
    let malformed = |cause: String| Rejection::MalformedCertificate { what: what.into(), cause };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| malformed("it is not DER of a certificate".into()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let validity = certificate.validity();
    let not_before = system_time(validity.not_before.timestamp());
    let not_after = system_time(validity.not_after.timestamp());
    Ok(Certificate {
        serial: hex::encode(certificate.raw_serial()).trim_start_matches("00").to_owned(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: Names::of(&certificate),
        not_before,
        not_after,
        usable_by_server: usable_by_server(&certificate),
        algorithms: Algorithms::of(&certificate),
        cannot_issue: cannot_issue(&certificate),
        rules: RootRules::of(&certificate, not_before, not_after),
        unsupported_key: unsupported_key(&certificate),
    })
}

pub(super) fn system_time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}

fn usable_by_server(certificate: &X509Certificate<'_>) -> bool {
    let extended = match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    };
    extended && rules::may_authenticate(certificate, Purpose::Server)
}

fn cannot_issue(certificate: &X509Certificate<'_>) -> Option<String> {
    if !certificate.is_ca() && certificate.version() != X509Version::V1 {
        return Some(
            "is not a CA certificate, so no peer is trusted by it: remove it, or publish its issuer in its place".into(),
        );
    }
    if !rules::may_sign(certificate) {
        return Some(
            "has a key usage without keyCertSign, so no certificate under it is accepted: issue it again with that usage"
                .into(),
        );
    }
    let key = unusable_issuer_key(certificate)?;
    Some(format!(
        "has a key that no signature is verified with ({key}), so no certificate under it is accepted: issue it again with \
         another"
    ))
}

/// What no signature is verified with. More is taken of issuers than of leaves.
pub(super) fn unusable_issuer_key(certificate: &X509Certificate<'_>) -> Option<String> {
    let public_key = certificate.public_key();
    match public_key.parsed() {
        Ok(PublicKey::RSA(key)) => wrong_rsa(&key, 8192),
        _ => key_kind::named_in(public_key.raw).filter(|kind| *kind != key_kind::P521).map(Into::into),
    }
}

fn unsupported_key(certificate: &X509Certificate<'_>) -> Option<String> {
    let public_key = certificate.public_key();
    match (public_key.parsed(), key_kind::named_in(public_key.raw)) {
        (_, Some(kind)) => Some(kind.into()),
        (Ok(PublicKey::RSA(key)), None) => wrong_rsa(&key, 4096),
        (Ok(PublicKey::EC(point)), None) if !matches!(point.key_size(), 256 | 384) => {
            Some("on a curve that is not supported".into())
        }
        (Ok(PublicKey::EC(_)), None) if !has_named_curve(public_key) => {
            Some("on a curve that is written out in place of its name".into())
        }
        (Ok(PublicKey::DSA(_)), None) => Some("DSA".into()),
        // Ed25519 is not known to the parser; whether it can sign is found out with the private key.
        _ => None,
    }
}

fn has_named_curve(key: &SubjectPublicKeyInfo<'_>) -> bool {
    key.algorithm.parameters.as_ref().is_some_and(|parameters| parameters.as_oid().is_ok())
}

fn wrong_rsa(key: &RSAPublicKey<'_>, most: usize) -> Option<String> {
    let which = match rsa_bits(key) {
        2048.. if rsa_bits(key) <= most => return None,
        ..2048 => "short",
        _ => "long",
    };
    Some(format!("RSA of {} bits, which is too {which}", rsa_bits(key)))
}

/// The parser counts whole bytes.
fn rsa_bits(key: &RSAPublicKey<'_>) -> usize {
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let first = key.modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    8 * (key.modulus.len() - zeros) - first
}
