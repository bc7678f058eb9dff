//! One authority as the rest of the planner sees it: what was decided about its keyring, and what blocks
//! its rollover. Filled by [`rollover`](super::rollover), read by the certificates, the status and the
//! notifications.

use std::fmt;
use std::time::SystemTime;

use super::observed::{Authority, KeyringView, Pod};
use crate::api::object_name::ObjectName;
use crate::api::settings::AuthoritySettings;
use crate::pki::keyring::{Phase, Rollover, RootId};
use crate::planner::moves::Moves;

/// What was decided about an authority.
#[derive(Debug)]
pub struct AuthorityPlan<'a> {
    pub authority: &'a Authority,
    pub settings: &'a Result<AuthoritySettings, Vec<String>>,
    pub keyring: Option<&'a KeyringView>,
    /// How many certificates name it.
    pub certificates: usize,
    /// When the root is due to be replaced.
    pub rollover_due: Option<SystemTime>,
    /// What blocks the next step of the rollover.
    pub blockers: Vec<Blocker>,
    /// Why nothing can be signed, or the root cannot be replaced.
    pub problem: Option<String>,
    /// The first root is created in this round.
    pub creating_root: bool,
    /// Why nothing is issued or published under it until a person decides.
    pub suspended: Option<String>,
    /// Certificates that come from another authority or a manager, and how far each has come.
    pub moves: Moves,
}

/// A pod, certificate or namespace that blocks the next step of a rollover, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocker {
    /// NAMESPACE/NAME of a pod or a certificate, or NAMESPACE/*: by this name a person overrides it.
    pub name: String,
    /// Of a pod. Otherwise the same as the name.
    pub uid: String,
    pub reason: String,
    /// It is not known to trust the new root: no leaf under that root may be published.
    pub trust_unproven: bool,
}

/// After the name of a namespace in [`Blocker::name`].
const EVERYTHING: &str = "/*";

/// The name by which a person overrides everything in a namespace.
pub fn everything_in(namespace: &str) -> String {
    format!("{namespace}{EVERYTHING}")
}

impl AuthorityPlan<'_> {
    /// Whether a leaf under this root may be published now: every pod is known to trust it.
    pub fn may_publish_under(&self, root: &RootId) -> bool {
        let Some(keyring) = self.keyring else { return false };
        match keyring.state.rollover() {
            Some(rollover) if rollover.phase == Phase::Distributing => *root == rollover.from,
            Some(rollover) if rollover.phase == Phase::Reissuing && *root == rollover.to => {
                !self.blockers.iter().any(|blocker| blocker.trust_unproven)
            }
            _ => keyring.state.trusted().contains(&root),
        }
    }

    pub fn rollover(&self) -> Option<&Rollover> {
        self.keyring.and_then(|keyring| keyring.state.rollover())
    }
}

impl Blocker {
    /// Its pods or Secrets were not listed, so any of them may block the step.
    pub fn namespace(namespace: &str, reason: String) -> Self {
        let name = everything_in(namespace);
        Self { uid: name.clone(), name, reason, trust_unproven: true }
    }

    pub fn certificate(name: &ObjectName, reason: String, trust_unproven: bool) -> Self {
        let name = name.to_string();
        Self { uid: name.clone(), name, reason, trust_unproven }
    }

    pub fn pod(namespace: &str, pod: &Pod, reason: String, trust_unproven: bool) -> Self {
        let name = format!("{namespace}/{}", pod.name);
        Self { name, uid: pod.uid.clone(), reason, trust_unproven }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.strip_suffix(EVERYTHING) {
            Some(namespace) => write!(f, "namespace {namespace}: {}", self.reason),
            None => write!(f, "{}: {}", self.name, self.reason),
        }
    }
}
