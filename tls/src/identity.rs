//! The identity that a credential holds, parsed and validated: a value of these types is usable, and what is
//! not usable is a `Rejection`. No I/O, and the time is an argument.
//!
//! Leaf and trust are validated apart: a removed root must go even when the leaf beside the new bundle is
//! rejected.

mod algorithms;
mod certificate;
mod chain;
mod explain;
pub(crate) mod key_kind;
mod leaf;
mod policy;
mod rejection;
mod revocation;
mod sections;
mod trust;
mod verdict;

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

pub use algorithms::Algorithms;
pub use chain::Roles;
pub use leaf::Leaf;
pub use policy::Policy;
pub use rejection::{Rejection, RejectionReason};
pub use revocation::{RevocationList, RevocationLists};
pub use trust::{Root, Trust};
pub(crate) use verdict::VerdictWindow;

use crate::credential::Credential;
use crate::event::CredentialPart;
use leaf::Grounds;
use sections::Sections;

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
    /// All that was found to be wrong, each once, in the order in which it has to be put right: the bundle, by which the
    /// leaf is judged, before the leaf.
    pub faults: Vec<Fault>,
}

/// Something that is wrong with a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The part that is refused for it.
    pub part: CredentialPart,
    /// What is wrong, and what to do.
    pub rejection: Rejection,
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
        let (mut faults, mut roots) = (Vec::new(), None);
        let trust = match Trust::parse(credential, policy, served_trust, now) {
            Ok((trust, revocation)) => {
                faults.extend(revocation);
                Ok(trust.map(Arc::new))
            }
            Err(unusable) => {
                roots = unusable.roots;
                faults.push(unusable.first.clone());
                faults.extend(unusable.further);
                Err(unusable.first)
            }
        };
        let mut faults: Vec<_> =
            faults.into_iter().map(|rejection| Fault { part: CredentialPart::Trust, rejection }).collect();
        let leaf_trust = match &trust {
            Ok(trust) => Some(trust.as_deref()),
            Err(_) => served_trust.map(AsRef::as_ref).or(roots.as_ref()).map(Some),
        };
        let leaf = Leaf::parse(&credential.leaf, &Grounds { trust: leaf_trust, policy, now });
        let found = leaf.as_ref().err().cloned().unwrap_or_default();
        let leaf = match (&trust, served_trust, found.first()) {
            (Err(rejection), None, _) | (_, _, Some(rejection)) => Err(rejection.clone()),
            _ => leaf.map(Arc::new).map_err(|_| Rejection::MalformedKey),
        };
        for rejection in found {
            // A directory that is missing is missing once.
            if !faults.iter().any(|fault| fault.rejection == rejection) {
                faults.push(Fault { part: CredentialPart::Leaf, rejection });
            }
        }
        Validation { leaf, trust, faults }
    }
}

impl Validation {
    /// What is wrong with the revocation lists beside a bundle that is taken. The last good ones stay in force.
    pub fn revocation(&self) -> Option<&Rejection> {
        self.trust.as_ref().ok()?;
        let fault = self.faults.iter().find(|fault| fault.part == CredentialPart::Trust)?;
        Some(&fault.rejection)
    }

    /// Refuses the leaf for what only a handshake shows.
    pub fn refuse_leaf(&mut self, rejection: Rejection) {
        self.faults.push(Fault { part: CredentialPart::Leaf, rejection: rejection.clone() });
        self.leaf = Err(rejection);
    }

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

/// The certificates of a PEM file, in order, by the rules of [`Identity::parse`]: none is passed over. `what` names the
/// file in a rejection.
pub fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, Rejection> {
    Ok(Sections::read(pem, what)?.certificates)
}

/// The one private key of a PEM file in DER, in whichever of its forms, if it can be used. `what` names the file in a
/// rejection.
pub fn private_key(pem: &[u8], what: &'static str) -> Result<Zeroizing<Vec<u8>>, Rejection> {
    leaf::usable_key(Sections::read(pem, what)?.keys, what)
}

#[cfg(test)]
mod tests;
