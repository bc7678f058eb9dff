//! The chain from the leaf to a root of the bundle, verified for each role the way a peer's TLS library does,
//! with a rejection for each way it can fail.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::{Certificate, LEAF, parse_certificate};
use super::policy::Policy;
use super::rejection::Rejection;
use super::trust::Trust;
use crate::chain_limits::{ChainLimit, ChainLimits};
use crate::crypto::provider;

/// What peers would accept the leaf for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roles {
    /// As the certificate of a server.
    pub server: bool,
    /// As the certificate of a client.
    pub client: bool,
}

impl Roles {
    /// `server`, `client`, both or neither.
    pub fn labels(self) -> Vec<&'static str> {
        let roles = [(self.server, "server"), (self.client, "client")];
        roles.into_iter().filter_map(|(is, role)| is.then_some(role)).collect()
    }
}

pub(super) struct Chain {
    pub roles: Roles,
    /// From when it is valid: the latest of its certificates counts, but not the root, whose dates not every peer
    /// checks.
    pub verified_from: SystemTime,
    /// When the first of its certificates expires, root included; the leaf's own where nothing
    /// could be verified.
    pub verified_until: SystemTime,
}

/// The time in which a verified path is valid, without the leaf.
#[derive(Default)]
struct Validity {
    from: Option<SystemTime>,
    until: Option<SystemTime>,
}

/// Verifies the chain once per role. A role whose usage the chain lacks is left out; a chain that lacks both, or
/// fails otherwise, is rejected.
pub(super) fn check_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'static>],
    facts: &Certificate,
    trust: Option<&Trust>,
    policy: &Policy,
    now: SystemTime,
) -> Result<Chain, Rejection> {
    // A peer with this bundle refuses what is beyond the limits: it is not to be served.
    let limits = trust.map_or(ChainLimits::NO_ROOTS, |trust| ChainLimits::under(&trust.store));
    let verify = |usage: KeyUsage| {
        let verify = || verify_chain(end_entity, intermediates, trust, usage, now);
        limits.verify(end_entity, intermediates, verify).map_err(too_costly)
    };
    let (mut verified_from, mut verified_until) = (facts.not_before, facts.not_after);
    let mut allows = |result: Result<Validity, webpki::Error>| match result {
        Ok(Validity { from, until }) => {
            verified_from = from.map_or(verified_from, |from| verified_from.max(from));
            verified_until = until.map_or(verified_until, |until| verified_until.min(until));
            Ok(true)
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => Ok(false),
        // The root of a public certificate is not in the bundle, and no peer verifies with the bundle.
        Err(webpki::Error::UnknownIssuer) if policy.public_server => Ok(facts.usage.eku_server),
        Err(error) => Err(explain(error, intermediates, facts)),
    };
    let server = allows(verify(KeyUsage::server_auth())?)?;
    // As a client the leaf is always verified by the bundle: without a trusted chain there is no mTLS.
    let client = match verify(KeyUsage::client_auth())? {
        Err(webpki::Error::UnknownIssuer) if policy.public_server => false,
        result => allows(result)?,
    };
    // webpki ignores the key usage; OpenSSL does not.
    let roles = Roles {
        server: server && facts.usage.key_usage_server,
        client: client && facts.usage.key_usage_client,
    };
    match (roles.server || roles.client, server || client) {
        (true, _) => Ok(Chain { roles, verified_from, verified_until }),
        (false, true) => Err(Rejection::KeyUsageMissing),
        (false, false) => Err(Rejection::UsageMissing {
            wanted: "serverAuth or clientAuth",
            allowed: "neither of them".into(),
        }),
    }
}

/// When the chain is valid, if it is now.
fn verify_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'static>],
    trust: Option<&Trust>,
    usage: KeyUsage,
    now: SystemTime,
) -> Result<Validity, webpki::Error> {
    let certificate = EndEntityCert::try_from(end_entity)?;
    let anchors = trust.map_or(&[][..], |trust| trust.store.roots.as_slice());
    let algorithms = provider().signature_verification_algorithms.all;
    let path = certificate.verify_for_usage(
        algorithms,
        anchors,
        intermediates,
        unix_time(now),
        usage,
        None,
        None,
    )?;
    let root = trust.and_then(|trust| trust.anchored_until(path.anchor()));
    let mut validity = Validity { from: None, until: root };
    for certificate in path.intermediate_certificates() {
        if let Ok(certificate) = parse_certificate(&certificate.der(), "an intermediate") {
            validity.from = validity.from.max(Some(certificate.not_before));
            validity.until = [validity.until, Some(certificate.not_after)].into_iter().flatten().min();
        }
    }
    Ok(validity)
}

fn too_costly(limit: ChainLimit) -> Rejection {
    Rejection::ChainTooCostly { cause: limit.to_string() }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
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
            Rejection::MalformedCertificate { what: LEAF.into(), cause: "it is a CA certificate".into() }
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
            Rejection::MalformedCertificate { what: LEAF.into(), cause: error.to_string() }
        }
        error => untrusted(error.to_string()),
    }
}

/// There are intermediates, and the leaf's issuer is not one of them.
fn issuer_is_absent(intermediates: &[CertificateDer<'static>], facts: &Certificate) -> bool {
    let is_issuer = |der: &CertificateDer<'static>| {
        parse_certificate(der, "an intermediate").is_ok_and(|certificate| certificate.subject == facts.issuer)
    };
    !intermediates.is_empty() && !intermediates.iter().any(is_issuer)
}
