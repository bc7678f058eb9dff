//! What the planner decides: the actions of one round, and what has to be read, probed and delivered
//! before the next. Data only; every other file of the planner adds to it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use super::observed::{FetchTrigger, Pod, ResourceVersion};
use crate::api::leaf_request::Usage;
use crate::api::notification::Event;
use crate::api::object_name::ObjectName;
use crate::api::request::RequestOutcome;
use crate::api::resource::{AuthorityStatus, CertificateStatus, ManagerRef};
use crate::api::settings::{AuthoritySettings, CertificateSettings};
use crate::outbox::DeliveryKey;
use crate::pki::keyring::{Phase, RootId, UnknownRoot};
use crate::pki::ledger::LedgerChange;
use crate::pki::x509_facts::Fingerprint;

/// Everything that follows from one observed state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Namespaces whose pods have to be listed before the next plan.
    pub list_pods: BTreeSet<String>,
    /// Namespaces whose pod list is kept, but need not be read again.
    pub retain_pods: BTreeSet<String>,
    pub probes: Vec<ProbeRequest>,
    /// Notifications that are due, and those that were delivered but are not recorded in a status yet.
    pub notifications: Vec<PendingNotification>,
    /// Tasks with external managers that are due, and those that are done but not recorded yet.
    pub sync_tasks: Vec<SyncTask>,
    /// When the next round is due even if nothing changes.
    pub wake_at: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `expected` is the keyring's resource version; `None` if there is no keyring yet.
    Authority {
        authority: String,
        transition: Transition,
        expected: Option<ResourceVersion>,
    },
    /// Sign a leaf and store it as this version. It is not published yet.
    Issue {
        certificate: ObjectName,
        version: u64,
        settings: Box<CertificateSettings>,
        request: Option<String>,
        reason: IssueReason,
    },
    /// Store what was fetched from the manager as this version.
    StoreFetched {
        certificate: ObjectName,
        version: u64,
        fingerprint: Fingerprint,
        spec_digest: String,
        request: Option<String>,
    },
    /// Store the leaf of an earlier version as a new one.
    RollBack {
        certificate: ObjectName,
        version: u64,
        to: u64,
        /// The version whose bundle counts today, where each version has its own.
        bundle_from: Option<u64>,
        request: String,
    },
    /// Write the target Secret: the leaf of this version with these roots. It is a conflict, too, if these
    /// are no longer the trusted roots of the keyring that the bundle is read from. A version that has its
    /// own bundle is written with that.
    Publish {
        certificate: ObjectName,
        secret: String,
        version: u64,
        /// The version whose own bundle counts, instead of an authority's roots.
        bundle_from: Option<u64>,
        roots: Vec<RootId>,
        /// Roots of others that stay in the bundle, because peers may still need them.
        keep: BTreeSet<RootId>,
        revision: u64,
        /// The Secret's resource version; `None` if there is no such Secret yet.
        expected: Option<ResourceVersion>,
    },
    Prune {
        certificate: ObjectName,
        version: u64,
        /// The stored version's resource version.
        expected: ResourceVersion,
    },
    /// Keep what is recorded of a version and its certificate, and remove its key.
    RemoveKey {
        certificate: ObjectName,
        version: u64,
        /// The stored version's resource version.
        expected: ResourceVersion,
    },
    Nudge {
        pod: ObjectName,
        revision: u64,
    },
    /// `expected` is the resource version of the object that the status was planned on.
    UpdateAuthorityStatus {
        authority: String,
        status: Box<AuthorityStatus>,
        expected: ResourceVersion,
    },
    UpdateCertificateStatus {
        certificate: ObjectName,
        status: Box<CertificateStatus>,
        expected: ResourceVersion,
    },
}

/// A change of an authority's keyring.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// The first root: imported or generated.
    CreateRoot {
        settings: Box<AuthoritySettings>,
    },
    /// A new root, and with it a rollover.
    BeginRollover {
        settings: Box<AuthoritySettings>,
        why: String,
        /// Verb and id of the request that it handles.
        request: Option<(String, String)>,
    },
    AdvanceRollover {
        out_of: Phase,
    },
    ReverseRollover {
        why: String,
        request: String,
    },
    /// The rollover continues without these: the name, and the uid of a pod or the name again.
    OverrideBlockers {
        pods: Vec<(String, String)>,
        /// Certificates that come from another authority and lose the roots they had before at once: the name, and
        /// the Secret.
        moves: Vec<(String, ObjectName)>,
        reason: String,
        request: String,
    },
    /// Secrets that a root is about to be published in, and those that were seen without one.
    ChangeLedger(LedgerChange),
    /// A root is in use that the keyring does not know.
    ReportUnknownRoot(UnknownRoot),
    /// The keyring counts, although a root is in use that it does not know.
    DisregardUnknownRoot {
        why: String,
        request: String,
    },
    /// A new root is created if the keyring knows no other one that could sign.
    RemoveRoot {
        settings: Box<AuthoritySettings>,
        root: RootId,
        why: String,
        request: String,
    },
    /// Record the outcome of a request that changes nothing else: there was nothing to do, or it is refused.
    CloseRequest {
        verb: String,
        request: String,
        outcome: RequestOutcome,
    },
}

/// Why a leaf is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueReason {
    First,
    Renewal,
    /// Another root signs.
    NewRoot,
    SpecChanged,
    Requested,
    /// An external source reported that the current leaf expires or must not be used.
    RenewalHint,
}

/// A proof to obtain by handshakes with one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeRequest {
    pub pod: ObjectName,
    pub uid: String,
    /// Of the proof listener.
    pub address: SocketAddr,
    /// `None`: the control plane has no client certificate for it, and only the leaf is read.
    pub authority: Option<String>,
    /// The roots under which a client certificate is presented, one handshake each.
    pub roots: Vec<RootId>,
}

impl Transition {
    /// The kind of [`Self::ChangeLedger`], with which the reason begins why it failed.
    pub const RECORD: &str = "record";
}

impl ProbeRequest {
    /// Of a pod with an agent that has an address. `client`: the authority and the roots of the client certificates.
    pub fn of(namespace: &str, pod: &Pod, client: Option<(&str, Vec<RootId>)>) -> Option<Self> {
        let (authority, roots) = client.unzip();
        Some(Self {
            pod: ObjectName::new(namespace, pod.name.clone()),
            uid: pod.uid.clone(),
            address: pod.agent.as_ref()?.address?,
            authority: authority.map(str::to_owned),
            roots: roots.unwrap_or_default(),
        })
    }
}

/// An event that has to be delivered to a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingNotification {
    pub subscription: String,
    pub event: Event,
}

/// A task with an external manager.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncTask {
    pub certificate: ObjectName,
    pub with: ManagerRef,
    pub action: SyncAction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SyncAction {
    Fetch {
        trigger: FetchTrigger,
        /// What it has to be valid for.
        usage: Usage,
    },
    /// The version with this leaf.
    Push { version: u64, sha256: String },
}

impl Plan {
    /// No later than `at`.
    pub(super) fn wake(&mut self, at: SystemTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    /// Adds the plan of one object.
    pub(super) fn extend(&mut self, other: Self) {
        self.actions.extend(other.actions);
        self.list_pods.extend(other.list_pods);
        self.retain_pods.extend(other.retain_pods);
        self.probes.extend(other.probes);
        self.notifications.extend(other.notifications);
        self.sync_tasks.extend(other.sync_tasks);
        if let Some(at) = other.wake_at {
            self.wake(at);
        }
    }

    /// Nothing is to be done, and nothing waits for pods or others.
    pub fn is_settled(&self) -> bool {
        self.actions.is_empty()
            && self.list_pods.is_empty()
            && self.probes.is_empty()
            && self.notifications.is_empty()
            && self.sync_tasks.is_empty()
    }

    /// More than one certificate may want the same pod to be nudged or probed. A pod is probed once for all
    /// of them: the result of a probe replaces that of the one before.
    pub(super) fn merge_duplicates(&mut self) {
        let mut nudged = BTreeSet::new();
        self.actions.retain(|action| match action {
            Action::Nudge { pod, .. } => nudged.insert(pod.clone()),
            _ => true,
        });
        let mut merged: BTreeMap<(String, Option<String>), ProbeRequest> = BTreeMap::new();
        for probe in std::mem::take(&mut self.probes) {
            match merged.entry((probe.uid.clone(), probe.authority.clone())) {
                Entry::Vacant(entry) => drop(entry.insert(probe)),
                Entry::Occupied(mut entry) => {
                    let roots = &mut entry.get_mut().roots;
                    roots.extend(probe.roots);
                    roots.sort();
                    roots.dedup();
                }
            }
        }
        self.probes = merged.into_values().collect();
    }
}

impl Action {
    /// The label of the action in logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Authority { transition, .. } => match transition {
                Transition::CreateRoot { .. } => "create_root",
                Transition::BeginRollover { .. } => "begin_rollover",
                Transition::AdvanceRollover { .. } => "advance_rollover",
                Transition::ReverseRollover { .. } => "reverse_rollover",
                Transition::OverrideBlockers { .. } => "override",
                Transition::ChangeLedger(_) => Transition::RECORD,
                Transition::ReportUnknownRoot(_) => "report_unknown_root",
                Transition::DisregardUnknownRoot { .. } => "disregard_unknown_root",
                Transition::RemoveRoot { .. } => "remove_root",
                Transition::CloseRequest { .. } => "answer",
            },
            Self::Issue { .. } => "issue",
            Self::StoreFetched { .. } => "keep",
            Self::RollBack { .. } => "roll_back",
            Self::Publish { .. } => "publish",
            Self::Prune { .. } => "prune",
            Self::RemoveKey { .. } => "remove_key",
            Self::Nudge { .. } => "nudge",
            Self::UpdateAuthorityStatus { .. } | Self::UpdateCertificateStatus { .. } => "report",
        }
    }

    /// It removes what is not needed any more.
    pub fn is_tidying(&self) -> bool {
        matches!(self, Self::Prune { .. } | Self::RemoveKey { .. })
    }

    pub fn is_status_update(&self) -> bool {
        matches!(self, Self::UpdateAuthorityStatus { .. } | Self::UpdateCertificateStatus { .. })
    }

    /// The object that the action changes.
    pub fn object(&self) -> String {
        match self {
            Self::Authority { authority, .. } | Self::UpdateAuthorityStatus { authority, .. } => {
                authority.clone()
            }
            Self::Issue { certificate, .. }
            | Self::StoreFetched { certificate, .. }
            | Self::RollBack { certificate, .. }
            | Self::Publish { certificate, .. }
            | Self::Prune { certificate, .. }
            | Self::RemoveKey { certificate, .. }
            | Self::UpdateCertificateStatus { certificate, .. } => certificate.to_string(),
            Self::Nudge { pod, .. } => pod.to_string(),
        }
    }
}

impl IssueReason {
    /// As in events and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first version",
            Self::Renewal => "renewal due",
            Self::NewRoot => "new root",
            Self::SpecChanged => "spec changed",
            Self::Requested => "on request",
            Self::RenewalHint => "notification received",
        }
    }
}

impl SyncTask {
    /// Identifies the task in the outbox: the manager, and what is done with it.
    pub fn key(&self) -> DeliveryKey {
        let Self { certificate, with, action } = self;
        let content = match action {
            SyncAction::Fetch { trigger: FetchTrigger::Request(id), .. } => id,
            // A fetch that is not done within its hour is the same task in the next.
            SyncAction::Fetch { trigger: FetchTrigger::Hour(_), .. } => "now and then",
            SyncAction::Push { sha256, .. } => sha256,
        };
        (with.name.clone(), format!("{} {certificate} {} {content}", action.as_str(), with.id))
    }
}

impl SyncAction {
    /// The label of the action in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Push { .. } => "push",
        }
    }
}
