//! The fields of one certificate, leaf or root, parsed before anything is verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use super::algorithms::Algorithms;
use super::rejection::Rejection;

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
    pub usage: Usage,
    pub algorithms: Algorithms,
    /// It is a CA certificate, or of X.509 v1, which has no field for that.
    pub may_issue: bool,
    /// The kind of the public key, if it is not supported.
    pub unsupported_key: Option<String>,
}

/// What the key may be used for. An absent extension allows everything.
pub(super) struct Usage {
    /// The extended key usage allows a server.
    pub eku_server: bool,
    /// The key usage allows a server, by OpenSSL's rule.
    pub key_usage_server: bool,
    /// The key usage allows a client.
    pub key_usage_client: bool,
}

impl Usage {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let eku_server = match certificate.extended_key_usage() {
            Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
            Ok(None) => true,
            Err(_) => false,
        };
        let (key_usage_server, key_usage_client) = match certificate.key_usage() {
            Ok(Some(usage)) => {
                let signs = usage.value.digital_signature() || usage.value.key_agreement();
                (signs || usage.value.key_encipherment(), signs)
            }
            Ok(None) => (true, true),
            Err(_) => (false, false),
        };
        Self { eku_server, key_usage_server, key_usage_client }
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
        serial: hex::encode(certificate.raw_serial()).trim_start_matches("00").to_owned(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: Names::of(&certificate),
        not_before: system_time(validity.not_before.timestamp()),
        not_after: system_time(validity.not_after.timestamp()),
        usage: Usage::of(&certificate),
        algorithms: Algorithms::of(&certificate),
        may_issue: certificate.is_ca() || certificate.version() == X509Version::V1,
        unsupported_key: unsupported_key(&certificate),
    })
}

fn system_time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => UNIX_EPOCH,
    }
}

fn unsupported_key(certificate: &X509Certificate<'_>) -> Option<String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if (2048..=4096).contains(&key.key_size()) => None,
        Ok(PublicKey::RSA(key)) => Some(format!("RSA of {} bits", key.key_size())),
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => None,
        Ok(PublicKey::EC(point)) => Some(format!("on a curve of {} bits", point.key_size())),
        Ok(PublicKey::DSA(_)) => Some("DSA".into()),
        // Ed25519 is not known to the parser; whether it can sign is found out with the private key.
        _ => None,
    }
}
