//! What is read off a certificate before it is trusted with anything.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use super::Rejection;
use crate::tls::hex::hex;
use crate::tls::names::Names;

/// How rejections call the leaf.
pub(super) const WHAT: &str = "the leaf";

/// What is read off a certificate, leaf or root.
pub(super) struct Certificate {
    pub serial: String,
    pub subject: String,
    pub issuer: String,
    pub names: Names,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub usage: Usage,
    /// It is a CA certificate, or so old in form (v1) that it cannot record.
    pub may_issue: bool,
    /// What is wrong with the public key, if it is not of a kind that is served.
    pub odd_key: Option<String>,
}

/// What the certificate says its key may be used for. Silence allows everything.
pub(super) struct Usage {
    /// The extended key usage allows a server.
    pub says_server: bool,
    /// The key usage does for a server, by OpenSSL's rule.
    pub key_serves: bool,
    /// The key usage does for a client.
    pub key_signs: bool,
}

impl Usage {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let says_server = match certificate.extended_key_usage() {
            Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
            Ok(None) => true,
            Err(_) => false,
        };
        let (key_serves, key_signs) = match certificate.key_usage() {
            Ok(Some(usage)) => {
                let signs = usage.value.digital_signature() || usage.value.key_agreement();
                (signs || usage.value.key_encipherment(), signs)
            }
            Ok(None) => (true, true),
            Err(_) => (false, false),
        };
        Self { says_server, key_serves, key_signs }
    }
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
        usage: Usage::of(&certificate),
        may_issue: certificate.is_ca() || certificate.version() == X509Version::V1,
        odd_key: odd_key(&certificate),
    })
}

fn system_time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}

fn odd_key(certificate: &X509Certificate<'_>) -> Option<String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if (2048..=4096).contains(&key.key_size()) => None,
        Ok(PublicKey::RSA(key)) => Some(format!("RSA of {} bits", key.key_size())),
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => None,
        Ok(PublicKey::EC(point)) => Some(format!("on a curve of {} bits", point.key_size())),
        Ok(PublicKey::DSA(_)) => Some("DSA".into()),
        // Ed25519 is among the unknown; what cannot be signed with is found out with the key.
        _ => None,
    }
}
