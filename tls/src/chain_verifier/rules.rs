//! The rules of RFC 5280 for a path that webpki does not check: whether each issuer may sign certificates, whether each
//! certificate names the one above it as its issuer, and what the root's own certificate says, of which webpki keeps the
//! name, the key and the constraints on names alone.

mod form;
mod issuer;
mod unsupported_names;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use webpki::VerifiedPath;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::Purpose;
use super::revocation::UnknownStatus;
use crate::identity::key_kind;
pub(crate) use form::form_fault;
use issuer::IssuerIds;
pub(crate) use unsupported_names::UnsupportedNames;

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
    ids: IssuerIds,
    /// Its key usage allows it to sign revocation lists.
    pub signs_lists: bool,
    /// The names that its constraints are on and that are not supported.
    pub unsupported_names: UnsupportedNames,
}

/// A rule that a path violates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathFault {
    #[error(
        "the key usage of the intermediate {subject} has no keyCertSign, so it may not issue certificates"
    )]
    NoCertSign { subject: String },
    #[error("a certificate of the chain cannot be parsed")]
    Malformed,
    #[error(
        "the key usage of the leaf has no digitalSignature, without which its key cannot be used for TLS"
    )]
    LeafKeyUsage,
    #[error(
        "the key of the leaf is {found}: P-256, P-384, Ed25519 and RSA of 2048 to 4096 bits are supported"
    )]
    LeafKey { found: String },
    #[error("the key of the intermediate {subject} is {found}")]
    IssuerKey { subject: String, found: String },
    #[error("the leaf has constraints on names, which authorities alone have")]
    LeafConstraints,
    #[error("{subject} {why}")]
    Form { subject: String, why: String },
    #[error(
        "{subject} bears the name of its issuer and does not name the issuer's key, so peers take it for a self-signed certificate"
    )]
    SelfIssued { subject: String },
    #[error(
        "the authority key identifier of {subject} is not that of its issuer {issuer}, by which peers find the issuer"
    )]
    OtherIssuer { subject: String, issuer: String },
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
                // Neither OpenSSL nor webpki takes any usage for one of these.
                (usage.server_auth, usage.client_auth)
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
            ids: IssuerIds::of(certificate),
            signs_lists: may_sign_lists(certificate),
            unsupported_names: UnsupportedNames::constrained_by(certificate),
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

/// Whether the certificate may sign others, as far as its key usage says.
pub(crate) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Why constraints on names are not as RFC 5280 has them, as the rest of a sentence: some peers refuse what is under
/// them, and others make different things of it.
pub(crate) fn constraints_fault(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let constraints = match certificate.name_constraints() {
        Ok(None) => return None,
        Err(_) => return Some("has constraints on names that cannot be read"),
        Ok(Some(constraints)) => constraints.value,
    };
    let subtrees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    let subtrees: Vec<_> = subtrees.into_iter().flatten().collect();
    if subtrees.is_empty() || subtrees.iter().any(|subtrees| subtrees.is_empty()) {
        return Some("has constraints on names that are empty");
    }
    subtrees.into_iter().flatten().find_map(|subtree| match subtree.base {
        GeneralName::DNSName(name) if name.starts_with('.') => {
            Some("has a constraint on DNS names that begins with a dot, which is for URIs alone")
        }
        GeneralName::DNSName(name) if name.ends_with('.') => {
            Some("has a constraint on DNS names that ends in a dot, which some peers cannot read")
        }
        GeneralName::DNSName(name) if !name.is_ascii() => Some("has a constraint on DNS names not in ASCII"),
        GeneralName::IPAddress(network) if !is_network(network) => {
            Some("has a constraint on IP addresses that is no network")
        }
        _ => None,
    })
}

/// An address and as many bytes of a mask, whose ones come first.
fn is_network(bytes: &[u8]) -> bool {
    let (_, mask) = bytes.split_at(bytes.len() / 2);
    let bits = mask.iter().flat_map(|byte| (0..8).map(move |bit| byte << bit & 0x80 != 0));
    matches!(bytes.len(), 8 | 32) && bits.is_sorted_by(|before, after| before >= after)
}

/// Whether the key of the leaf may be used for TLS, by OpenSSL's rule, which knows Netscape's kinds of certificates, too.
pub(crate) fn may_shake_hands(leaf: &X509Certificate<'_>, purpose: Purpose) -> bool {
    let netscape = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::NSCertType(kind) => Some(kind),
        _ => None,
    });
    if netscape.is_some_and(|kind| match purpose {
        Purpose::Server => !kind.ssl_server(),
        Purpose::Client => !kind.ssl_client(),
    }) {
        return false;
    }
    match (leaf.key_usage(), purpose) {
        (Ok(None), _) => true,
        (Ok(Some(usage)), purpose) => {
            let usage = usage.value;
            let signs = usage.digital_signature() || usage.key_agreement();
            signs || purpose == Purpose::Server && usage.key_encipherment()
        }
        (Err(_), _) => false,
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
    let ders: Vec<_> = std::iter::once(path.end_entity().der())
        .chain(path.intermediate_certificates().map(|intermediate| intermediate.der()))
        .collect();
    let parsed = ders.iter().map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate));
    let certificates: Vec<_> = parsed.collect::<Result<_, _>>().map_err(|_| PathFault::Malformed)?;
    let (leaf, intermediates) = certificates.split_first().ok_or(PathFault::Malformed)?;
    if !may_shake_hands(leaf, purpose) {
        return Err(PathFault::LeafKeyUsage);
    }
    if let Some(found) = key_kind::unsupported(leaf.public_key()) {
        return Err(PathFault::LeafKey { found });
    }
    if !matches!(leaf.name_constraints(), Ok(None)) {
        return Err(PathFault::LeafConstraints);
    }
    // Those that are issued by themselves, such as one that certifies a new key under the old, do not count.
    let mut counted = 0;
    for intermediate in intermediates {
        let subject = || intermediate.subject().to_string();
        if !may_sign(intermediate) {
            return Err(PathFault::NoCertSign { subject: subject() });
        }
        if let Some(found) = key_kind::unusable(intermediate.public_key()) {
            return Err(PathFault::IssuerKey { subject: subject(), found });
        }
        if let Some(why) = constraints_fault(intermediate) {
            return Err(PathFault::Form { subject: subject(), why: why.into() });
        }
        counted += u32::from(intermediate.subject().as_raw() != intermediate.issuer().as_raw());
    }
    let issuers = intermediates.iter().map(IssuerIds::of).chain([root.ids.clone()]);
    for (certificate, issuer) in certificates.iter().zip(issuers) {
        let subject = || certificate.subject().to_string();
        if let Some(why) = form_fault(certificate) {
            return Err(PathFault::Form { subject: subject(), why });
        }
        if !issuer.issued(certificate) {
            return Err(PathFault::OtherIssuer {
                subject: subject(),
                issuer: certificate.issuer().to_string(),
            });
        }
        if IssuerIds::of(certificate).looks_self_signed(certificate) {
            return Err(PathFault::SelfIssued { subject: subject() });
        }
    }
    let at = UNIX_EPOCH + Duration::from_secs(at.as_secs());
    root.check(counted, purpose, at)
}
