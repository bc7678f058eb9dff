//! One authority as the rest of the planner sees it: what its plan is made from, what was decided about its
//! keyring, and what blocks its rollover. Filled by [`rollover`](super::rollover), read by the certificates, the
//! status and the notifications.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::dependent::DependentCertificate;
use super::observed::{Authority, KeyringState, KeyringView, Pod};
use super::plan::Plan;
use super::pods::PodsBySecret;
use crate::api::object_name::ObjectName;
use crate::api::settings::AuthoritySettings;
use crate::pki::keyring::{Phase, Rollover, RootId, State};
use crate::pki::x509_facts::Root;
use crate::planner::moves::Moves;

/// What the plan of one authority is made from.
pub struct AuthorityState<'a> {
    pub name: &'a str,
    pub authority: &'a Authority,
    pub settings: &'a Result<AuthoritySettings, Vec<String>>,
    /// The certificates that name it.
    pub dependents: &'a [DependentCertificate<'a>],
    /// The pods that mount its Secrets, and what else was observed.
    pub pods: &'a PodsBySecret<'a>,
    pub now: SystemTime,
}

/// What was decided about an authority.
#[derive(Debug)]
pub struct AuthorityPlan<'a> {
    /// What follows: a transition, probes, notifications, and when it is planned again.
    pub effects: Plan,
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
    /// Secrets in its ledger that none of its certificates publishes any more.
    pub has_leftovers: bool,
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

impl<'a> AuthorityPlan<'a> {
    /// One that has nothing to do, and waits for nothing but time. `problem`: of what was decided last.
    pub fn quiet(
        authority: &'a Authority,
        settings: &'a Result<AuthoritySettings, Vec<String>>,
        problem: Option<String>,
    ) -> Self {
        let keyring = match &authority.keyring {
            KeyringState::Present(keyring) => Some(keyring),
            _ => None,
        };
        Self {
            effects: Plan::default(),
            authority,
            settings,
            keyring,
            certificates: 0,
            rollover_due: None,
            blockers: Vec::new(),
            problem,
            creating_root: false,
            suspended: None,
            moves: Moves::default(),
            has_leftovers: false,
        }
    }

    /// Whether [`Self::quiet`] makes what certificates read of it, while nothing touches it.
    pub fn is_quiet(&self) -> bool {
        !self.is_waiting() && self.effects.is_settled() && self.effects.retain_pods.is_empty()
    }

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

    /// For something that the index does not notice.
    pub fn is_waiting(&self) -> bool {
        self.concerns_all_certificates()
            || self.has_leftovers
            || self.creating_root
            || self.suspended.is_some()
    }

    /// While it rolls over, or certificates come to it from elsewhere, what holds for one certificate depends on
    /// the others.
    pub fn concerns_all_certificates(&self) -> bool {
        self.rollover().is_some() || !self.moves.is_empty()
    }

    /// The new root is being published, and no leaf under it yet.
    pub fn is_distributing(&self) -> bool {
        self.rollover().is_some_and(|rollover| rollover.phase == Phase::Distributing)
    }

    pub fn rollover(&self) -> Option<&Rollover> {
        self.keyring.and_then(|keyring| keyring.state.rollover())
    }
}

/// What the plans of certificates read of the plan of their authority.
#[derive(Debug, PartialEq)]
pub struct VisibleAuthority {
    settings: Result<AuthoritySettings, Vec<String>>,
    /// Without its ledger, of which each certificate sees its own entry.
    keyring: Option<(State, BTreeMap<RootId, Root>)>,
    suspended: Option<String>,
    problem: Option<String>,
    creating_root: bool,
    deleting: bool,
    pub concerns_all: bool,
}

impl VisibleAuthority {
    pub fn of(plan: &AuthorityPlan<'_>) -> Self {
        let keyring = plan.keyring.map(|keyring| {
            let state = State { ledger: None, ..keyring.state.clone() };
            (state, keyring.roots.clone())
        });
        Self {
            settings: plan.settings.clone(),
            keyring,
            suspended: plan.suspended.clone(),
            problem: plan.problem.clone(),
            creating_root: plan.creating_root,
            deleting: plan.authority.deleting,
            concerns_all: plan.concerns_all_certificates(),
        }
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
