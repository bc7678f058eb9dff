//! The fields of one certificate, leaf or root, parsed before anything is verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Version;

use super::algorithms::Algorithms;
use super::explain::UNDERSTOOD;
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
    /// It is of X.509 version 3: all others have no extensions, and so no names.
    pub is_v3: bool,
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
        is_v3: certificate.version() == X509Version::V3,
        usable_by_server: usable_by_server(&certificate),
        algorithms: Algorithms::of(&certificate),
        cannot_issue: cannot_issue(&certificate),
        rules: RootRules::of(&certificate, not_before, not_after),
        unsupported_key: key_kind::unsupported(certificate.public_key()),
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
        Ok(Some(usage)) => usage.value.server_auth,
        Ok(None) => true,
        Err(_) => false,
    };
    extended && rules::may_shake_hands(certificate, Purpose::Server)
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
    let fault = rules::constraints_fault(certificate).map(str::to_owned);
    if let Some(fault) =
        fault.or_else(|| rules::form_fault(certificate)).or_else(|| unknown_critical(certificate))
    {
        return Some(format!("{fault}, so no certificate under it is accepted: issue it again without"));
    }
    let key = key_kind::unusable(certificate.public_key())?;
    Some(format!(
        "has a key that no signature is verified with ({key}), so no certificate under it is accepted: issue it again with \
         another"
    ))
}

/// A critical extension that peers do not know in a root. What they know there is more than what is understood in a
/// chain: policies begin below the root.
fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    const POLICIES: [&str; 4] = ["2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"];
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let mut oids = critical.map(|extension| extension.oid.to_id_string());
    oids.find_map(|oid| {
        let is_known = UNDERSTOOD.contains(&oid.as_str()) || POLICIES.contains(&oid.as_str());
        (!is_known).then(|| format!("has the critical extension {oid}, which peers do not know"))
    })
}
