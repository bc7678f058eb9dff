//! An authority's roots, which of them signs, which are trusted, and how far a rollover has come: one
//! value, written as one, so that a crash leaves either the step before or the step after.
//!
//! ```text
//!            trusted      signs
//! Steady     {from}       from        a rollover begins: a new root, `to`
//! Distributing {from, to} from        until every pod accepts clients under `to`
//! Reissuing  {from, to}   to          until every pod shows a leaf under `to`
//! Retiring   {to}         to          until every pod refuses clients under `from`
//! Steady     {to}         to          the old root's key is gone
//! ```
//!
//! [`State`] decides nothing: the planner says when a step is due. It makes sure that each step leads to a valid
//! state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::api::object_name::ObjectName;
use crate::pki::authority::Authority;
use crate::pki::ledger::{Ledger, LedgerChange, LedgerEntry};
pub use crate::pki::root_id::RootId;

/// What is kept of an authority besides its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub stage: Stage,
    /// The last request of each verb that was answered, so that none is taken twice.
    #[serde(default)]
    pub handled_requests: BTreeMap<String, HandledRequest>,
    /// The newest last.
    #[serde(default)]
    pub rollover_history: Vec<RolloverRecord>,
    /// The Secrets that its roots were published in; stored beside the state. `None`: the keyring was written by
    /// a version of hotcert that keeps no ledger, so that it has to be made from what is there.
    #[serde(skip)]
    pub ledger: Option<Arc<Ledger>>,
    /// A root that was seen in use and that this keyring does not know: the keyring is older than what is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_root: Option<UnknownRoot>,
    /// When a person decided that the keyring counts all the same.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub accepted_at: Option<SystemTime>,
    /// Roots that are gone and that the history does not have: removed by force in a rollover, replaced longer ago
    /// than is remembered, or unknown and accepted by a person.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub past_roots: BTreeSet<RootId>,
}

/// A root that is not in the keyring, and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownRoot {
    /// `None`: it signed the leaf that was seen, and is not known itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootId>,
    /// NAMESPACE/NAME of the pod or the certificate.
    pub seen_at: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    Steady(RootId),
    Rolling(Rollover),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollover {
    pub from: RootId,
    pub to: RootId,
    pub phase: Phase,
    #[serde(with = "humantime_serde")]
    pub started_at: SystemTime,
    /// When this phase was entered.
    #[serde(with = "humantime_serde")]
    pub phase_started_at: SystemTime,
    pub reason: String,
    /// `from` is compromised: it is removed at once, even if peers are cut off.
    #[serde(default)]
    pub forced: bool,
    /// Back to the root that was in force before.
    #[serde(default)]
    pub reversed: bool,
    /// `to` had begun to go: a pod that is seen to trust it may be about to take a bundle without it.
    #[serde(default)]
    pub redistributing: bool,
    #[serde(default)]
    pub overrides: Vec<Override>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Distributing,
    Reissuing,
    Retiring,
}

/// A pod, certificate or namespace that a person let the rollover go on without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// NAMESPACE/POD, NAMESPACE/CERTIFICATE or NAMESPACE/*.
    pub pod: String,
    /// Of a pod. Otherwise the same as the name, which is no uid.
    pub uid: String,
    pub reason: String,
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequest {
    pub id: String,
    pub outcome: String,
    #[serde(with = "humantime_serde")]
    pub handled_at: SystemTime,
}

/// A rollover that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloverRecord {
    pub rollover: Rollover,
    #[serde(with = "humantime_serde")]
    pub ended_at: SystemTime,
}

/// How many are remembered.
const MAX_ROLLOVER_HISTORY: usize = 10;

impl State {
    pub fn steady(root: RootId) -> Self {
        Self {
            stage: Stage::Steady(root),
            handled_requests: BTreeMap::new(),
            rollover_history: Vec::new(),
            ledger: Some(Arc::default()),
            unknown_root: None,
            accepted_at: None,
            past_roots: BTreeSet::new(),
        }
    }

    /// Whether the root is this authority's: now, or before a rollover that is remembered.
    pub fn knows(&self, root: &RootId) -> bool {
        let mut past = self.rollover_history.iter().map(|past| &past.rollover);
        self.needed().contains(&root)
            || self.past_roots.contains(root)
            || past.any(|past| past.from == *root || past.to == *root)
    }

    pub fn change_ledger(&mut self, change: &LedgerChange) {
        let ledger = self.ledger.get_or_insert_default();
        Arc::make_mut(ledger).apply(change);
    }

    /// These Secrets lose the roots that their pods trusted before at once.
    pub fn override_moves(&mut self, secrets: impl Iterator<Item = ObjectName>) {
        let record: BTreeMap<_, _> = secrets.map(|secret| (secret, LedgerEntry::overridden())).collect();
        if !record.is_empty() {
            self.change_ledger(&LedgerChange { record, remove: BTreeSet::new() });
        }
    }

    /// A person goes on with this keyring, although pods trust a root that it does not know.
    pub fn disregard_unknown_root(&mut self, now: SystemTime) -> bool {
        let Some(unknown) = self.unknown_root.take() else { return false };
        self.past_roots.extend(unknown.root);
        self.accepted_at = Some(now);
        true
    }

    /// Its root came of a rollover, or is about to go in one.
    pub fn has_rolled_over(&self) -> bool {
        self.rollover().is_some() || !self.rollover_history.is_empty()
    }

    /// The root that signs.
    pub fn signing(&self) -> &RootId {
        match &self.stage {
            Stage::Steady(root) => root,
            Stage::Rolling(rollover) => rollover.signing(),
        }
    }

    /// The roots of the bundle.
    pub fn trusted(&self) -> Vec<&RootId> {
        match &self.stage {
            Stage::Steady(root) => vec![root],
            Stage::Rolling(Rollover { phase: Phase::Retiring, to, .. }) => vec![to],
            Stage::Rolling(Rollover { from, to, .. }) => vec![from, to],
        }
    }

    /// Every root that is still needed, for signing, for trust or for a proof.
    pub fn needed(&self) -> Vec<&RootId> {
        match &self.stage {
            Stage::Steady(root) => vec![root],
            Stage::Rolling(Rollover { from, to, .. }) => vec![from, to],
        }
    }

    pub fn rollover(&self) -> Option<&Rollover> {
        match &self.stage {
            Stage::Steady(_) => None,
            Stage::Rolling(rollover) => Some(rollover),
        }
    }

    pub fn is_handled(&self, verb: &str, id: &str) -> bool {
        self.handled_requests.get(verb).is_some_and(|request| request.id == id)
    }

    pub fn record_handled(
        &mut self,
        verb: &str,
        id: &str,
        outcome: impl Into<String>,
        handled_at: SystemTime,
    ) {
        self.handled_requests.insert(
            verb.to_owned(),
            HandledRequest { id: id.to_owned(), outcome: outcome.into(), handled_at },
        );
    }

    /// Steady → Distributing. `false`, and nothing done, in a rollover.
    pub fn begin(&mut self, to: RootId, reason: String, now: SystemTime) -> bool {
        let Stage::Steady(from) = &self.stage else { return false };
        let from = from.clone();
        self.stage = Stage::Rolling(Rollover {
            from,
            to,
            phase: Phase::Distributing,
            started_at: now,
            phase_started_at: now,
            reason,
            forced: false,
            reversed: false,
            redistributing: false,
            overrides: Vec::new(),
        });
        true
    }

    /// To the next phase, out of this one.
    pub fn advance(&mut self, out_of: Phase, now: SystemTime) -> bool {
        let Stage::Rolling(rollover) = &mut self.stage else { return false };
        if rollover.phase != out_of {
            return false;
        }
        rollover.phase_started_at = now;
        match out_of {
            Phase::Distributing => rollover.phase = Phase::Reissuing,
            Phase::Reissuing => rollover.phase = Phase::Retiring,
            Phase::Retiring => {
                let ended = RolloverRecord { rollover: rollover.clone(), ended_at: now };
                self.stage = Stage::Steady(ended.rollover.to.clone());
                self.rollover_history.push(ended);
                let many = self.rollover_history.len().saturating_sub(MAX_ROLLOVER_HISTORY);
                let forgotten = self.rollover_history.drain(..many);
                self.past_roots.extend(forgotten.map(|past| past.rollover.from));
            }
        }
        true
    }

    /// Back to the old root. Before the new one signs, only trust in that has to go; while both are
    /// trusted, the old one's leaves come back at once; once the old one has begun to go, it is first made
    /// known again. So in [`Phase::Reissuing`] every pod has been known to trust both.
    pub fn reverse(&mut self, reason: String, now: SystemTime) -> bool {
        let Stage::Rolling(rollover) = &mut self.stage else { return false };
        if rollover.forced {
            return false;
        }
        std::mem::swap(&mut rollover.from, &mut rollover.to);
        rollover.phase = match rollover.phase {
            Phase::Distributing => Phase::Retiring,
            Phase::Reissuing => Phase::Reissuing,
            Phase::Retiring => Phase::Distributing,
        };
        rollover.reversed = !rollover.reversed;
        rollover.redistributing = rollover.phase == Phase::Distributing;
        // Later than what was made and seen before, also by a clock that was set back.
        let started_at = now.max(rollover.phase_started_at);
        (rollover.started_at, rollover.phase_started_at, rollover.reason) = (started_at, started_at, reason);
        true
    }

    /// Lets the rollover go on without these.
    pub fn add_overrides(&mut self, pods: impl IntoIterator<Item = Override>) -> bool {
        let Stage::Rolling(rollover) = &mut self.stage else { return false };
        for pod in pods {
            if !rollover.is_overridden(&pod.uid) {
                rollover.overrides.push(pod);
            }
        }
        true
    }

    /// What signs after this root is taken out: the other root of a rollover. `None`: it takes a new one,
    /// since there is no other, or that was itself taken out before.
    pub fn survivor(&self, root: &RootId) -> Option<&RootId> {
        let rollover = self.rollover()?;
        if *root == rollover.from {
            Some(&rollover.to)
        } else {
            (*root == rollover.to && !rollover.forced).then_some(&rollover.from)
        }
    }

    /// Takes `root` out at once. What is left signs: its [`State::survivor`], or else `new`.
    pub fn remove(&mut self, root: &RootId, new: Option<RootId>, reason: String, now: SystemTime) -> bool {
        if !self.needed().contains(&root) {
            return false;
        }
        let overrides = self.rollover().map_or_else(Vec::new, |rollover| rollover.overrides.clone());
        let to = self.survivor(root).cloned().or(new);
        let Some(to) = to else { return false };
        let replaced: Vec<_> = self.needed().into_iter().filter(|other| *other != root).cloned().collect();
        self.past_roots.extend(replaced.into_iter().filter(|other| *other != to));
        self.stage = Stage::Rolling(Rollover {
            from: root.clone(),
            to,
            phase: Phase::Retiring,
            started_at: now,
            phase_started_at: now,
            reason,
            forced: true,
            reversed: false,
            redistributing: false,
            overrides,
        });
        true
    }
}

impl Rollover {
    pub fn signing(&self) -> &RootId {
        match self.phase {
            Phase::Distributing => &self.from,
            Phase::Reissuing | Phase::Retiring => &self.to,
        }
    }

    pub fn is_redistributing(&self) -> bool {
        self.redistributing && self.phase == Phase::Distributing
    }

    pub fn is_overridden(&self, uid: &str) -> bool {
        self.overrides.iter().any(|pod| pod.uid == uid)
    }
}

/// The state and the roots with their keys. Keys are wiped when dropped.
#[derive(Debug)]
pub struct Keyring {
    pub state: State,
    pub roots: BTreeMap<RootId, Authority>,
}

impl Keyring {
    pub fn new(root: Authority) -> Self {
        let id = RootId::of(&root);
        Self { state: State::steady(id.clone()), roots: BTreeMap::from([(id, root)]) }
    }

    /// The root that signs.
    pub fn signing(&self) -> Option<&Authority> {
        self.roots.get(self.state.signing())
    }

    /// PEM of the trusted roots.
    pub fn bundle(&self) -> String {
        let trusted = self.state.trusted();
        trusted.into_iter().filter_map(|id| self.roots.get(id)).map(Authority::certificate_pem).collect()
    }

    /// Adds a root that a step brings in.
    pub fn add(&mut self, root: Authority) -> RootId {
        let id = RootId::of(&root);
        self.roots.insert(id.clone(), root);
        id
    }

    /// Drops the keys of roots that nothing needs any more.
    pub fn tidy(&mut self) {
        let needed = self.state.needed();
        self.roots.retain(|id, _| needed.contains(&id));
    }
}

impl fmt::Display for UnknownRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen_at = &self.seen_at;
        match &self.root {
            Some(root) => write!(f, "{seen_at} has the root {root}, which the keyring does not know"),
            None => {
                write!(f, "{seen_at} shows a newer leaf, signed by a root that the keyring does not know")
            }
        }
    }
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distributing => "Distributing",
            Self::Reissuing => "Reissuing",
            Self::Retiring => "Retiring",
        }
    }
}

#[cfg(test)]
mod tests;
