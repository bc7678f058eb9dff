//! The identity that a credential holds, parsed and validated: a value of these types is usable, and what is
//! not usable is a `Rejection`. No I/O, and the time is an argument.
//!
//! Leaf and trust are validated apart: a removed root must go even when the leaf beside the new bundle is
//! rejected.

mod algorithms;
mod certificate;
mod chain;
mod explain;
mod key_kind;
mod leaf;
mod policy;
mod rejection;
mod revocation;
mod sections;
mod trust;
mod verdict;

use std::sync::Arc;
use std::time::SystemTime;

pub use algorithms::Algorithms;
pub use chain::Roles;
pub use leaf::Leaf;
pub use policy::Policy;
pub use rejection::{Rejection, RejectionReason};
pub use revocation::{RevocationList, RevocationLists};
pub use trust::{Root, Trust};
pub(crate) use verdict::VerdictWindow;

use crate::credential::Credential;

/// The one current identity: a leaf with its key, and the roots that peers are verified by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What this side presents.
    pub leaf: Arc<Leaf>,
    /// What the other side is verified by. Absent only for a public server certificate: then there is no mTLS in
    /// either direction.
    pub trust: Option<Arc<Trust>>,
}

/// The result of validating one candidate, part by part.
#[derive(Debug)]
#[non_exhaustive]
pub struct Validation {
    /// The leaf, or what is wrong with it.
    pub leaf: Result<Arc<Leaf>, Rejection>,
    /// The trust bundle, or what is wrong with it. `Ok(None)` if there is none and none is needed.
    pub trust: Result<Option<Arc<Trust>>, Rejection>,
    /// What is wrong with the revocation lists beside a bundle that is taken. The last good ones stay in force.
    pub revocation: Option<Rejection>,
}

impl Identity {
    /// Validates a candidate the way a peer would at `now`. The leaf is verified against the bundle beside
    /// it; if that bundle is rejected, against `served_trust`.
    pub fn parse(
        credential: &Credential,
        policy: &Policy,
        served_trust: Option<&Arc<Trust>>,
        now: SystemTime,
    ) -> Validation {
        let (trust, revocation) = match Trust::parse(credential, policy, served_trust, now) {
            Ok((trust, revocation)) => (Ok(trust.map(Arc::new)), revocation),
            Err(rejection) => (Err(rejection), None),
        };
        let leaf_trust = match &trust {
            Ok(trust) => trust.as_ref(),
            Err(_) => served_trust,
        };
        let leaf = match (&trust, leaf_trust) {
            (Err(rejection), None) => Err(rejection.clone()),
            _ => Leaf::parse(&credential.leaf, leaf_trust.map(AsRef::as_ref), policy, now).map(Arc::new),
        };
        Validation { leaf, trust, revocation }
    }
}

impl Validation {
    /// The identity to serve from now on: each valid part, and each other part as it is served already.
    /// `None` if a part is missing from both.
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
    /// Same leaf, chain and roots, and the same said about the bundle.
    pub fn same_as(&self, other: &Identity) -> bool {
        fn roots(identity: &Identity) -> Option<(&str, &[String])> {
            let trust = identity.trust.as_ref()?;
            Some((&trust.sha256, &trust.passed_over))
        }
        fn lists(identity: &Identity) -> Option<(&str, &[String])> {
            let lists = identity.trust.as_ref()?.revocation.as_ref()?;
            Some((&lists.sha256, &lists.notices))
        }
        self.leaf.same_as(&other.leaf) && roots(self) == roots(other) && lists(self) == lists(other)
    }
}

#[cfg(test)]
mod tests;
