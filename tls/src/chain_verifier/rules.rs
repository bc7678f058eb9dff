//! The rules of RFC 5280 for a path that webpki does not check: whether each issuer may sign certificates, and what the
//! root's own certificate says, of which webpki keeps the name, the key and the constraints on names alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use webpki::VerifiedPath;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::Purpose;
use super::revocation::UnknownStatus;

/// What the certificate of a root allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootRules {
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
    /// The most intermediates below it.
    path_length: Option<u32>,
    server: bool,
    client: bool,
    /// Its key usage allows it to sign revocation lists.
    pub signs_lists: bool,
    /// It has constraints on names that are not supported, so that webpki refuses every such name.
    pub unsupported_constraints: bool,
}

/// A rule that a path violates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathFault {
    #[error(
        "the key usage of the intermediate {subject} has no keyCertSign, so it may not issue certificates"
    )]
    NoCertSign { subject: String },
    #[error("an intermediate cannot be parsed")]
    Malformed,
    #[error("the root {root} allows {allowed} intermediates below it, and the chain has {found}")]
    PathLength { root: String, allowed: u32, found: u32 },
    #[error("the extended key usage of the root {root} does not include {wanted}")]
    RootUsage { root: String, wanted: &'static str },
    #[error("the root {root} is valid only from {}", format_rfc3339_seconds(*.not_before))]
    RootNotYetValid { root: String, not_before: SystemTime },
    #[error("the root {root} expired at {}", format_rfc3339_seconds(*.not_after))]
    RootExpired { root: String, not_after: SystemTime },
    #[error("the certificate of {subject} is revoked")]
    Revoked { subject: String },
    #[error("whether the certificate is revoked cannot be told: {0}")]
    RevocationUnknown(UnknownStatus),
}

impl RootRules {
    pub fn of(certificate: &X509Certificate<'_>, not_before: SystemTime, not_after: SystemTime) -> Self {
        let constraints = certificate.basic_constraints().ok().flatten();
        let (server, client) = match certificate.extended_key_usage() {
            Ok(None) => (true, true),
            Ok(Some(usage)) => {
                let usage = usage.value;
                (usage.server_auth || usage.any, usage.client_auth || usage.any)
            }
            Err(_) => (false, false),
        };
        Self {
            subject: certificate.subject().to_string(),
            not_before,
            not_after,
            path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
            server,
            client,
            signs_lists: may_sign_lists(certificate),
            unsupported_constraints: has_unsupported_constraints(certificate),
        }
    }

    fn check(&self, intermediates: u32, purpose: Purpose, at: SystemTime) -> Result<(), PathFault> {
        let root = || self.subject.clone();
        let (allowed, wanted) = match purpose {
            Purpose::Server => (self.server, "serverAuth"),
            Purpose::Client => (self.client, "clientAuth"),
        };
        if at < self.not_before {
            return Err(PathFault::RootNotYetValid { root: root(), not_before: self.not_before });
        }
        if at >= self.not_after {
            return Err(PathFault::RootExpired { root: root(), not_after: self.not_after });
        }
        if !allowed {
            return Err(PathFault::RootUsage { root: root(), wanted });
        }
        match self.path_length {
            Some(allowed) if intermediates > allowed => {
                Err(PathFault::PathLength { root: root(), allowed, found: intermediates })
            }
            _ => Ok(()),
        }
    }
}

/// Whether it constrains URIs or directory names.
pub(crate) fn has_unsupported_constraints(certificate: &X509Certificate<'_>) -> bool {
    let Ok(Some(constraints)) = certificate.name_constraints() else { return false };
    let subtrees = [&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees];
    subtrees
        .into_iter()
        .flatten()
        .flatten()
        .any(|subtree| matches!(subtree.base, GeneralName::URI(_) | GeneralName::DirectoryName(_)))
}

/// Whether the certificate may sign others, as far as its key usage says.
pub(crate) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether the certificate may sign revocation lists, as far as its key usage says.
pub(crate) fn may_sign_lists(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.crl_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Checks a path that webpki has found.
pub(super) fn check(
    path: &VerifiedPath<'_>,
    root: &RootRules,
    purpose: Purpose,
    at: UnixTime,
) -> Result<(), PathFault> {
    // Those that are issued by themselves, such as one that certifies a new key under the old, do not count.
    let mut counted = 0;
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PathFault::Malformed)?;
        if !may_sign(&certificate) {
            return Err(PathFault::NoCertSign { subject: certificate.subject().to_string() });
        }
        counted += u32::from(certificate.subject().as_raw() != certificate.issuer().as_raw());
    }
    let at = UNIX_EPOCH + Duration::from_secs(at.as_secs());
    root.check(counted, purpose, at)
}
