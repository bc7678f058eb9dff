//! The chain from the leaf to a root of the bundle, verified for each role the way a peer's TLS library does,
//! with a rejection for each way it can fail.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::certificate::{Certificate, parse_certificate};
use super::explain::Explain;
use super::policy::Policy;
use super::rejection::Rejection;
use super::trust::Trust;
use crate::chain_verifier::{ChainError, ChainVerifier, PathFault, Purpose};

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
    let verify = |purpose| verify_chain(end_entity, intermediates, trust, purpose, now);
    let (mut verified_from, mut verified_until) = (facts.not_before, facts.not_after);
    let mut lacks_key_usage = false;
    let mut allows = |result: Result<Validity, ChainError>| match result {
        Ok(Validity { from, until }) => {
            verified_from = from.map_or(verified_from, |from| verified_from.max(from));
            verified_until = until.map_or(verified_until, |until| verified_until.min(until));
            Ok(true)
        }
        Err(
            ChainError::Webpki(webpki::Error::RequiredEkuNotFoundContext(_))
            | ChainError::Rule(PathFault::RootUsage { .. }),
        ) => Ok(false),
        Err(ChainError::Rule(PathFault::LeafUsage)) => {
            lacks_key_usage = true;
            Ok(false)
        }
        // The root of a public certificate is not in the bundle, and no peer verifies with the bundle.
        Err(ChainError::Webpki(webpki::Error::UnknownIssuer)) if policy.public_server => {
            Ok(facts.usable_by_server)
        }
        Err(error) => Err(Explain { end_entity, intermediates, facts, trust }.rejection(error)),
    };
    let server = allows(verify(Purpose::Server))?;
    // As a client the leaf is always verified by the bundle: without a trusted chain there is no mTLS.
    let client = match verify(Purpose::Client) {
        Err(ChainError::Webpki(webpki::Error::UnknownIssuer)) if policy.public_server => false,
        result => allows(result)?,
    };
    match (server || client, lacks_key_usage) {
        (true, _) => Ok(Chain { roles: Roles { server, client }, verified_from, verified_until }),
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
    purpose: Purpose,
    now: SystemTime,
) -> Result<Validity, ChainError> {
    let no_roots = ChainVerifier::new([], None);
    let verifier = trust.map_or(&no_roots, |trust| &trust.verifier);
    let certificate = EndEntityCert::try_from(end_entity)?;
    let path = verifier.verify(&certificate, (end_entity, intermediates), purpose, unix_time(now))?;
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

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
