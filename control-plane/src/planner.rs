//! What is to be done, as a function of what is known and the time. Pure and total: every decision is
//! made here, so that each can be put into a table and tested. Actions that were lost are planned again
//! at the next look; actions planned on an old look are refused where they are applied.
//!
//! | module | decides |
//! |---|---|
//! | [`lifecycle`] | of one certificate: issue, renew, roll back, publish, keep, prune |
//! | [`outside`] | of one that a manager keeps: fetch it, or push it there |
//! | [`rollover`] | of one authority: make, replace, reverse, remove a root; which pods hold a step |
//! | [`served`] | which pods to nudge and to look at, and what was seen |
//! | [`owed`] | who is still to be told of what |
//! | [`report`] | what the objects' status says |

mod lifecycle;
mod notifications;
pub mod observed;
pub mod outbox;
pub mod renewal_hint;
mod rollover;
mod serving;
mod status;
mod sync;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use lifecycle::Step;
pub use notifications::PendingNotification;
pub use rollover::Blocker;
use rollover::Member;
pub use sync::{SyncAction, SyncTask, Trigger};

use crate::api::condition::Reason;
use crate::api::resource::{AuthorityStatus, CertificateStatus};
use crate::api::settings::{AuthoritySettings, CertificateSettings, FetchedSettings};
use crate::pki::keyring::{Phase, RootId};
use crate::pki::x509_facts::Fingerprint;
use crate::planner::observed::{ObjectName, Observed, ResourceVersion};
use serving::Users;

/// All that follows from a look.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Namespaces whose pods are to be listed before the next plan.
    pub look: BTreeSet<String>,
    /// Those whose pods need not be listed again, but not be forgotten either.
    pub keep: BTreeSet<String>,
    /// Pods to shake hands with, and under which roots.
    pub prove: Vec<Prove>,
    /// What is owed to whom, and what arrived and is not written down yet.
    pub deliver: Vec<PendingNotification>,
    /// How many of them to whom.
    owed: BTreeMap<String, usize>,
    /// What is to be done with managers outside, and what is done and not written down yet.
    pub sync_tasks: Vec<SyncTask>,
    /// What is worth a look earlier than something changes.
    pub wake_at: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `over` is the keyring's stamp; `None` where there is none.
    Authority {
        authority: String,
        transition: Transition,
        over: Option<ResourceVersion>,
    },
    /// Sign a leaf and keep it as this version. It is not served yet.
    Issue {
        certificate: ObjectName,
        version: u64,
        settings: Box<CertificateSettings>,
        request: Option<String>,
        why: Why,
    },
    /// Keep what was fetched from its manager as this version.
    Keep {
        certificate: ObjectName,
        version: u64,
        fingerprint: Fingerprint,
        made_for: String,
        request: Option<String>,
    },
    /// Keep the leaf of an earlier version as a new one.
    Copy {
        certificate: ObjectName,
        version: u64,
        of: u64,
        /// Whose bundle counts today, where each version has its own.
        bundle_of: Option<u64>,
        request: String,
    },
    /// Write the target Secret: the leaf of this version with these roots. Conflict as well if these are
    /// no longer the trusted roots of the keyring that the bundle is read from. A version that has its own
    /// bundle is written with that.
    Publish {
        certificate: ObjectName,
        secret: String,
        version: u64,
        roots: Vec<RootId>,
        revision: u64,
        /// What it is written over; `None` where there is no such Secret.
        over: Option<ResourceVersion>,
    },
    Prune {
        certificate: ObjectName,
        version: u64,
    },
    Nudge {
        pod: ObjectName,
        revision: u64,
    },
    ReportAuthority {
        authority: String,
        status: Box<AuthorityStatus>,
    },
    ReportCertificate {
        certificate: ObjectName,
        status: Box<CertificateStatus>,
    },
}

/// A step of an authority.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// The first root: the imported one, or a new one.
    Create {
        settings: Box<AuthoritySettings>,
    },
    /// A new root, and with it a rollover.
    Begin {
        settings: Box<AuthoritySettings>,
        why: String,
        /// Verb and id of what it answers.
        request: Option<(String, String)>,
    },
    Advance {
        out_of: Phase,
    },
    Reverse {
        why: String,
        request: String,
    },
    Exempt {
        pods: Vec<(String, String)>,
        reason: String,
        request: String,
    },
    /// There is a new root if the state knows no survivor.
    Remove {
        settings: Box<AuthoritySettings>,
        root: RootId,
        why: String,
        request: String,
    },
    /// There was nothing to do, or it may not be done.
    Answer {
        verb: String,
        request: String,
        outcome: String,
    },
}

/// Why a leaf is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    First,
    Renewal,
    /// Another root signs.
    Root,
    /// The spec asks for something else.
    Changed,
    Asked,
    /// Somebody outside says that it expires, or must not be used.
    Noticed,
}

/// A handshake that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Prove {
    pub pod: ObjectName,
    pub uid: String,
    /// Of its proof listener.
    pub address: SocketAddr,
    /// `None`: nobody here can be its client, and what it shows is all that is wanted.
    pub authority: Option<String>,
    /// As a client under each of these.
    pub roots: Vec<RootId>,
}

pub fn plan(observed: &Observed, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    let authorities: BTreeMap<_, _> = observed
        .authorities
        .iter()
        .map(|(name, authority)| (name.as_str(), AuthoritySettings::validate(name, &authority.spec)))
        .collect();
    let settings: BTreeMap<_, _> = observed
        .certificates
        .iter()
        .filter_map(|(name, certificate)| {
            let authority = authorities.get(certificate.spec.authority.as_str())?.as_ref().ok()?;
            let ObjectName { namespace, name: own } = name;
            Some((name, CertificateSettings::validate(namespace, own, &certificate.spec, authority)))
        })
        .collect();
    let fetched: BTreeMap<_, _> = observed
        .certificates
        .iter()
        .filter(|(_, certificate)| certificate.spec.authority.is_empty())
        .map(|(name, certificate)| (name, FetchedSettings::validate(&name.name, &certificate.spec)))
        .collect();
    let mut members: BTreeMap<&str, Vec<Member<'_>>> = BTreeMap::new();
    for (name, certificate) in &observed.certificates {
        let judged = settings.get(name).and_then(|settings| settings.as_ref().ok());
        let secret = judged.map(|settings| &settings.secret_name).or(certificate.status.secret_name.as_ref());
        let secret = secret.map_or("", String::as_str);
        let member = Member { name, certificate, secret, valid: judged.is_some() };
        members.entry(&certificate.spec.authority).or_default().push(member);
    }
    let mut authority_plans = BTreeMap::new();
    for (name, judged) in authorities {
        let authority = &observed.authorities[name];
        let members = members.get(name).map_or(&[][..], Vec::as_slice);
        authority_plans
            .insert(name, rollover::plan(observed, (name, authority), judged, members, now, &mut plan));
    }
    let users = Users::of(observed);
    for (name, certificate) in &observed.certificates {
        let authority_plan = authority_plans.get(certificate.spec.authority.as_str());
        let mut certificate_plan = match fetched.get(name) {
            Some(settings) => sync::fetched(&observed.outside, name, certificate, settings, now, &mut plan),
            None => lifecycle::plan(name, certificate, settings.get(name), authority_plan, now, &mut plan),
        };
        if certificate.spec.manager.is_some() {
            // Also while nothing can be done: what is known of it is not forgotten.
            certificate_plan.imported.clone_from(&certificate.status.external_sync);
        }
        if let Some(Ok(settings)) = settings.get(name) {
            let step = Step { name, certificate, now };
            sync::pushed(&observed.outside, &step, settings, &mut certificate_plan, &mut plan);
        }
        if let Some(why) = observed.failing.get(&name.to_string()) {
            certificate_plan.problem.get_or_insert_with(|| (Reason::ActionFailed, why.clone()));
        }
        let served = serving::plan(&users, name, certificate, &certificate_plan, now, &mut plan);
        status::certificate(observed, (name, certificate), &certificate_plan, served, now, &mut plan);
    }
    for (name, authority_plan) in &authority_plans {
        status::authority(observed, name, authority_plan, now, &mut plan);
    }
    for (name, foreign) in &observed.foreign {
        notifications::foreign(observed, name, foreign, now, &mut plan);
    }
    // A pod may be waited for more than once.
    let mut nudged = BTreeSet::new();
    plan.actions.retain(|action| match action {
        Action::Nudge { pod, .. } => nudged.insert(pod.clone()),
        _ => true,
    });
    plan.ask_once();
    plan
}

impl Plan {
    /// A pod is asked once for all that is wanted of it: what it shows replaces what it showed before.
    fn ask_once(&mut self) {
        let mut asked: BTreeMap<(String, Option<String>), Prove> = BTreeMap::new();
        for prove in std::mem::take(&mut self.prove) {
            match asked.entry((prove.uid.clone(), prove.authority.clone())) {
                Entry::Vacant(new) => drop(new.insert(prove)),
                Entry::Occupied(mut known) => {
                    let roots = &mut known.get_mut().roots;
                    roots.extend(prove.roots);
                    roots.sort();
                    roots.dedup();
                }
            }
        }
        self.prove = asked.into_values().collect();
    }

    fn wake(&mut self, at: SystemTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

impl Action {
    /// The word for it in logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Authority { transition, .. } => match transition {
                Transition::Create { .. } => "create_root",
                Transition::Begin { .. } => "begin_rollover",
                Transition::Advance { .. } => "advance_rollover",
                Transition::Reverse { .. } => "reverse_rollover",
                Transition::Exempt { .. } => "override",
                Transition::Remove { .. } => "remove_root",
                Transition::Answer { .. } => "answer",
            },
            Self::Issue { .. } => "issue",
            Self::Keep { .. } => "keep",
            Self::Copy { .. } => "roll_back",
            Self::Publish { .. } => "publish",
            Self::Prune { .. } => "prune",
            Self::Nudge { .. } => "nudge",
            Self::ReportAuthority { .. } | Self::ReportCertificate { .. } => "report",
        }
    }

    /// It says what is, and changes nothing.
    pub fn is_report(&self) -> bool {
        matches!(self, Self::ReportAuthority { .. } | Self::ReportCertificate { .. })
    }

    /// The object that it is about.
    pub fn about(&self) -> String {
        match self {
            Self::Authority { authority, .. } | Self::ReportAuthority { authority, .. } => authority.clone(),
            Self::Issue { certificate, .. }
            | Self::Keep { certificate, .. }
            | Self::Copy { certificate, .. }
            | Self::Publish { certificate, .. }
            | Self::Prune { certificate, .. }
            | Self::ReportCertificate { certificate, .. } => certificate.to_string(),
            Self::Nudge { pod, .. } => pod.to_string(),
        }
    }
}

impl Why {
    /// The word for it in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Renewal => "renewal",
            Self::Root => "root",
            Self::Changed => "changed",
            Self::Asked => "asked",
            Self::Noticed => "noticed",
        }
    }
}

#[cfg(test)]
mod tests;
