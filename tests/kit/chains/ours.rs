//! hotcert's own verdicts: what `hotcert-agent check` says of an identity, and what a handshake says of a peer.

use std::sync::Arc;

use hotcert_tls::credential::{Credential, LeafParts, PartError};
use hotcert_tls::identity::{Identity, Policy, Trust, Validation};
use hotcert_tls::{ClientAuth, ExpectedPeer, trial_handshake};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::{Case, Role, Verdict, pem};
use crate::pki::HOUR;

/// The bundle of a case, read as an agent reads it.
pub struct Ours {
    validation: Validation,
}

impl Ours {
    pub fn of(case: &Case) -> Self {
        let policy = Policy {
            serves: case.role == Role::Server,
            expected_names: expected_names(case),
            ..Policy::default()
        };
        Self { validation: Identity::parse(&credential(case), &policy, None, case.at) }
    }

    /// Whether an agent would serve it. `None` without a key.
    pub fn check(&self, case: &Case) -> Option<Verdict> {
        case.key.as_ref()?;
        let failed =
            |rejection: &hotcert_tls::Rejection| Err(format!("{}: {rejection}", rejection.reason().as_str()));
        let checked = match (&self.validation.trust, &self.validation.leaf, self.validation.merge(None)) {
            (Err(rejection), ..) | (_, Err(rejection), _) => failed(rejection),
            // The chain has another certificate for the key.
            (_, Ok(leaf), _) if leaf.certificate().as_ref() != case.leaf => Err("another_leaf".into()),
            (_, Ok(leaf), _) if case.role == Role::Client && !leaf.roles.client => {
                Err("usage_missing: not usable as a client".into())
            }
            // It takes place today.
            (..) if case.at.elapsed().unwrap_or_else(|early| early.duration()) > HOUR => Ok(()),
            (.., Some(identity)) => match trial_handshake(&identity, ClientAuth::Require, case.at) {
                Ok(()) => Ok(()),
                Err(rejection) => failed(&rejection),
            },
            (.., None) => Err("no identity".into()),
        };
        Some(checked)
    }

    /// Whether an agent with this bundle would take it as a peer, by its chain.
    pub fn chain(&self, case: &Case) -> Verdict {
        let trust = self.trust()?;
        let leaf = CertificateDer::from(case.leaf.as_slice());
        let intermediates: Vec<_> =
            case.intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let verified = match case.role {
            Role::Server => trust.verify_server(&leaf, &intermediates, case.unix_time()),
            Role::Client => trust.verify_client(&leaf, &intermediates, case.unix_time()),
        };
        verified.map_err(|error| error.to_string())
    }

    /// The same, with the name that it is called by.
    pub fn peer(&self, case: &Case) -> Verdict {
        self.chain(case)?;
        match case.name.as_deref().map(ExpectedPeer::name) {
            Some(Ok(expected)) => expected
                .verify_name(&CertificateDer::from(case.leaf.as_slice()))
                .map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        }
    }

    fn trust(&self) -> Result<&Arc<Trust>, String> {
        let trust = self.validation.trust.as_ref().map_err(|rejection| rejection.to_string())?;
        trust.as_ref().ok_or_else(|| "no trust bundle".into())
    }
}

/// DNS names alone can be expected of one's own leaf.
fn expected_names(case: &Case) -> Vec<hotcert_tls::SanPattern> {
    let name = case.name.iter().filter(|name| name.parse::<std::net::IpAddr>().is_err());
    name.filter_map(|name| format!("dns:{name}").parse().ok()).collect()
}

fn credential(case: &Case) -> Credential {
    let chain = pem("CERTIFICATE", std::iter::once(&case.leaf).chain(&case.intermediates));
    let key = case.key.clone().unwrap_or_default();
    let roots = pem("CERTIFICATE", &case.roots);
    let mut credential = Credential::pem(chain.into_bytes(), key.into_bytes(), roots.into_bytes());
    if case.key.is_none() {
        let missing = || Err(PartError::Missing { file: "tls.key".into() });
        credential.leaf = LeafParts::Pair { certificate: missing(), key: missing() };
    }
    if !case.lists.is_empty() {
        credential.revocation = Ok(pem("X509 CRL", &case.lists).into_bytes().into());
    }
    credential
}
