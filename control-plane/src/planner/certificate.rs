//! One certificate as the planner sees it: what was decided about it, and the rules that hold whether it
//! is signed here ([`lifecycle`](super::lifecycle)) or by an external manager ([`sync`](crate::planner::external_sync)).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::notifications::VERSION_CHANNEL;
use super::observed::{Certificate, Publication, Published, Request, Version};
use super::plan::{Action, Plan};
use super::pods::PodsBySecret;
use crate::api::condition::Reason;
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::resource::ExternalSyncStatus;
use crate::api::settings::History;
use crate::pki::keyring::RootId;

/// How many versions beyond the history are kept for subscriptions that were not notified of them yet.
const MAX_UNNOTIFIED: usize = 20;

/// What was decided about a certificate.
#[derive(Debug, Default)]
pub struct CertificatePlan {
    /// What follows: actions, probes, notifications, and when it is planned again.
    pub effects: Plan,
    /// The Secret that it is published as; `None` while its spec is invalid.
    pub secret_name: Option<String>,
    /// The newest version is the one that is published.
    pub up_to_date: bool,
    pub renew_at: Option<SystemTime>,
    /// Why it is not ready, or not quite: a reason and a message.
    pub problem: Option<(Reason, String)>,
    /// What is published was made for an earlier spec.
    pub spec_pending: bool,
    /// A rollback that was refused: the id of the request and why.
    pub refused_rollback: Option<(String, String)>,
    /// Requests that change nothing: verb and id.
    pub obsolete_requests: Vec<(&'static str, String)>,
    /// What its manager is known to have.
    pub external_sync: Option<ExternalSyncStatus>,
    /// An action is taken in this round, after which the status is complete.
    pub in_progress: bool,
    /// What is published is what should be for now: the next step waits until every pod was seen to serve it.
    pub awaits_pods: bool,
    /// The authority and the roots under which its pods are probed, if these are not those that it names.
    pub client: Option<(String, Vec<RootId>)>,
    /// Roots that it came with, if it names no authority.
    pub moved_from: BTreeSet<RootId>,
}

/// What the plan of one certificate is made from, besides that of its authority.
pub struct CertificateState<'a> {
    pub name: &'a ObjectName,
    pub certificate: &'a Certificate,
    /// The pods that mount its Secret, and what else was observed.
    pub pods: &'a PodsBySecret<'a>,
    pub now: SystemTime,
}

impl CertificatePlan {
    /// For something that the index does not notice.
    pub fn is_waiting(&self) -> bool {
        self.in_progress || self.awaits_pods
    }
}

impl Certificate {
    /// The request, unless the status or a version shows that it was handled.
    pub fn open_request(&self, verb: &str) -> Option<&Request> {
        let request = self.requests.get(verb)?;
        let handled = self.status.handled_requests.as_ref();
        let handled = handled.and_then(|handled| match verb {
            request::ROTATE => handled.rotate.as_deref(),
            request::RENEWAL_HINT => handled.renewal_hint.as_deref(),
            _ => handled.rollback.as_deref(),
        });
        let done = || self.versions.values().any(|version| handles_request(version, verb, &request.id));
        (handled != Some(&request.id) && !done()).then_some(request)
    }
}

impl CertificateState<'_> {
    pub fn next_version(&self) -> u64 {
        // After a loss of the history the numbers go on from the one in the status.
        let known = self.certificate.status.version.and_then(|version| u64::try_from(version).ok());
        let newest = self.certificate.newest().map_or(0, |(number, _)| number);
        newest.max(known.unwrap_or(0)).saturating_add(1)
    }

    /// As [`Certificate::open_request`].
    pub fn open_request(&self, verb: &str) -> Option<&Request> {
        self.certificate.open_request(verb)
    }

    /// Grows with every write, even after the Secret and the status were lost: then the clock has advanced.
    pub fn next_revision(&self, before: Option<&Publication>) -> u64 {
        let known = self.certificate.status.revision.and_then(|revision| u64::try_from(revision).ok());
        let before = before.map_or(0, |publication| publication.revision).max(known.unwrap_or(0));
        let clock = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        // Milliseconds: nothing is written twice within one, so that the clock is never behind.
        before.saturating_add(1).max(u64::try_from(clock).unwrap_or(u64::MAX))
    }

    /// Deletes versions beyond the history, and removes the keys of those that no rollback may need. `keep`: a version
    /// that is kept as it is, whatever its age. `may_return`: whether the root of a version is trusted, or may be again.
    pub fn prune(
        &self,
        history: History,
        keep: Option<u64>,
        may_return: impl Fn(&Version) -> bool,
        plan: &mut Plan,
    ) {
        let pruned = self.excess_versions(history.versions, keep);
        let needed = self.versions_to_roll_back_to(history.rollback_versions, may_return);
        for (number, stored) in &self.certificate.versions {
            let (certificate, version) = (self.name.clone(), *number);
            let expected = stored.resource_version.clone();
            if pruned.contains(number) {
                plan.actions.push(Action::Prune { certificate, version, expected });
            } else if stored.has_key && !needed.contains(number) && keep != Some(version) {
                plan.actions.push(Action::RemoveKey { certificate, version, expected });
            }
        }
    }

    /// The newest version, and before it as many leaves as are kept for a rollback that would not be refused for a reason
    /// that lasts.
    fn versions_to_roll_back_to(
        &self,
        rollback_versions: usize,
        may_return: impl Fn(&Version) -> bool,
    ) -> BTreeSet<u64> {
        let mut versions = self.certificate.versions.iter().rev();
        let Some((number, newest)) = versions.next() else { return BTreeSet::new() };
        let (mut needed, mut others) = (BTreeSet::from([*number]), BTreeSet::new());
        for (number, version) in versions {
            let leaf = &version.leaf.sha256;
            // A copy has the key of the version that it is one of.
            let is_kept = *leaf == newest.leaf.sha256 || others.contains(leaf);
            let may_be_needed = self.now < renew_at_latest(version) && may_return(version);
            if is_kept || may_be_needed && others.len() < rollback_versions {
                needed.insert(*number);
                if *leaf != newest.leaf.sha256 {
                    others.insert(leaf.clone());
                }
            }
        }
        needed
    }

    fn excess_versions(&self, history: usize, keep: Option<u64>) -> BTreeSet<u64> {
        let versions = &self.certificate.versions;
        let excess = versions.len().saturating_sub(history);
        // A version that a subscription has yet to be notified of is kept for a while longer.
        let marks = self.certificate.status.last_notified.values();
        let notified: Option<u64> = marks.filter_map(|marks| marks.get(VERSION_CHANNEL)?.parse().ok()).min();
        let is_notified = |number: u64| notified.is_none_or(|notified| number <= notified);
        let excess = versions.keys().take(excess).enumerate().filter(|(index, number)| {
            Some(**number) != keep && (is_notified(**number) || index + MAX_UNNOTIFIED < excess)
        });
        excess.map(|(_, number)| *number).collect()
    }
}

/// Why no action can be taken for it.
pub fn obstacle(certificate: &Certificate) -> Option<(Reason, String)> {
    if certificate.deleting {
        return Some((Reason::Deleting, "it is being deleted; its Secret stays".into()));
    }
    match &certificate.published {
        Published::OwnedByOther(owner) => {
            let message = format!(
                "its Secret exists and {owner}: choose another name, spec.secretName (hotcert issue --secret-name)"
            );
            Some((Reason::ForeignSecret, message))
        }
        Published::Inaccessible(why) => Some((Reason::NoAccess, why.clone())),
        Published::Absent | Published::Ours(_) => None,
    }
}

/// Whether this version was made for that request.
pub fn handles_request(version: &Version, verb: &str, id: &str) -> bool {
    version.request.as_deref() == Some(id) && version.copy_of.is_some() == (verb == request::ROLLBACK)
}

/// A third of its lifetime before its end, or what the spec says; up to a tenth of its lifetime earlier,
/// so that leaves that were issued together are not renewed together.
pub fn renew_at(version: &Version, renew_before: Option<Duration>) -> SystemTime {
    let Version { leaf, created_at, copy_of, .. } = version;
    // Not from not_before: of a short lifetime the backdating may be most.
    let lifetime = leaf.not_after.duration_since(*created_at).unwrap_or_default();
    let renew_before = renew_before.unwrap_or(lifetime / 3);
    let digits = leaf.sha256.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let jitter = lifetime.mul_f64(f64::from(digits) / f64::from(u32::MAX) / 10.0);
    let due = leaf.not_after.checked_sub(renew_before.saturating_add(jitter)).unwrap_or(*created_at);
    // It is served for some time, whatever the spec asks for.
    let due = due.max(created_at.checked_add(lifetime / 20).unwrap_or(due));
    // A version that was rolled back to is meant to be served for a while.
    if copy_of.is_some() { due.max(renew_at_latest(version)) } else { due }
}

/// A tenth of its lifetime before its end.
pub fn renew_at_latest(version: &Version) -> SystemTime {
    let leaf = &version.leaf;
    let lifetime = leaf.not_after.duration_since(leaf.not_before).unwrap_or_default();
    leaf.not_after.checked_sub(lifetime / 10).unwrap_or(leaf.not_after)
}
