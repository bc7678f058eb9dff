//! Identity: what `Credential` is once it has been judged. A value of these types is usable; what
//! is not usable is a `Rejection`. No I/O, and the time is an argument.
//!
//! Leaf and trust are judged apart: a removed root must go even when the leaf beside the new
//! bundle is no good.

mod certificate;
mod chain;
pub mod leaf;
mod rejection;
pub mod trust;

use std::sync::Arc;
use std::time::SystemTime;

pub use chain::Roles;
pub use leaf::Leaf;
pub use rejection::{Rejection, RejectionReason};
pub use trust::Trust;

use crate::tls::credential::Credential;
use crate::tls::san_pattern::SanPattern;

/// What this agent needs an identity for; decides which shortcomings matter.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The leaf is a public server certificate (`--client-auth none`): its root need not be in the
    /// bundle, and a bundle need not exist.
    pub public_server: bool,
    /// There are inbound listeners, so the leaf must do as a server certificate.
    pub serves: bool,
    /// Names of which the leaf must carry each.
    pub expected_names: Vec<SanPattern>,
}

/// The one current identity: a leaf with its key, and the roots that peers are judged by.
#[derive(Clone, Debug)]
pub struct Identity {
    pub leaf: Arc<Leaf>,
    /// Absent only for a public server certificate: then there is no mTLS in either direction.
    pub trust: Option<Arc<Trust>>,
}

/// The judgement of one candidate, part by part.
#[derive(Debug)]
pub struct Validation {
    pub leaf: Result<Arc<Leaf>, Rejection>,
    /// `Ok(None)` where a bundle is neither there nor needed.
    pub trust: Result<Option<Arc<Trust>>, Rejection>,
}

impl Identity {
    /// Judges a candidate the way a peer would at `now`. The leaf is verified against the bundle
    /// beside it; if that bundle is refused, against `in_force`, the trust served today.
    pub fn parse(
        credential: &Credential,
        policy: &Policy,
        in_force: Option<&Arc<Trust>>,
        now: SystemTime,
    ) -> Validation {
        let trust =
            Trust::parse(&credential.trust, policy.public_server, now).map(|trust| trust.map(Arc::new));
        let judged_by = match &trust {
            Ok(trust) => trust.as_ref(),
            Err(_) => in_force,
        };
        let leaf = match (&trust, judged_by) {
            (Err(rejection), None) => Err(rejection.clone()),
            _ => Leaf::parse(&credential.leaf, judged_by.map(AsRef::as_ref), policy, now).map(Arc::new),
        };
        Validation { leaf, trust }
    }
}

impl Validation {
    /// What to serve from now on: each part that is good, each other part as it was served before.
    /// `None` when there is nothing to serve at all.
    pub fn merge(&self, served: Option<&Identity>) -> Option<Identity> {
        let leaf = match (&self.leaf, served) {
            (Ok(leaf), _) => Arc::clone(leaf),
            (Err(_), Some(served)) => Arc::clone(&served.leaf),
            (Err(_), None) => return None,
        };
        let trust = match (&self.trust, served) {
            (Ok(trust), _) => trust.clone(),
            (Err(_), Some(served)) => served.trust.clone(),
            (Err(_), None) => return None,
        };
        Some(Identity { leaf, trust })
    }
}

impl Identity {
    pub fn same_as(&self, other: &Identity) -> bool {
        let digest = |identity: &Identity| identity.trust.as_ref().map(|trust| trust.sha256.clone());
        self.leaf.same_as(&other.leaf) && digest(self) == digest(other)
    }
}

#[cfg(test)]
mod tests;
