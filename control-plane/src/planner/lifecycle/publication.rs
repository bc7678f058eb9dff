//! What is published of a certificate that is signed here: which version, with which roots, and why the newest one
//! may have to wait.

use std::collections::BTreeSet;

use super::SigningContext;
use crate::api::condition::Reason;
use crate::pki::keyring::RootId;
use crate::planner::certificate::{CertificatePlan, CertificateState};
use crate::planner::observed::{Pod, Publication, Published, Version};
use crate::planner::plan::{Action, Plan, ProbeRequest};

impl SigningContext<'_> {
    /// Whether it was seen, since this process leads, what the pods of the Secret have: a keyring that was restored is
    /// older than that. What this process has published itself needs no second look.
    pub(super) fn is_keyring_current(&self, secret: &str, plan: &mut Plan) -> bool {
        let CertificateState { name, certificate, now, .. } = *self.certificate;
        let Some(since) = self.certificate.pods.observed.leading_since else { return true };
        let publication = match &certificate.published {
            Published::Ours(publication) => Some(publication),
            _ => None,
        };
        if certificate.versions.is_empty()
            || publication.is_some_and(|publication| publication.written_at >= since)
        {
            return true;
        }
        let list = self.certificate.pods.observed.pods.get(&name.namespace);
        let Some(list) = list.filter(|list| since <= list.listed_at && list.listed_at <= now) else {
            plan.list_pods.insert(name.namespace.clone());
            return false;
        };
        // A namespace whose pods cannot be listed does not keep its certificates from being renewed, nor does a pod
        // that does not answer.
        let is_seen = |pod: &Pod| pod.proof_since(&certificate.spec.authority, since, now).is_some();
        let mut is_current = true;
        for pod in self.certificate.pods.mounting(&name.namespace, secret).filter(|_| list.error.is_none()) {
            let client = Some((certificate.spec.authority.as_str(), vec![self.root.clone()]));
            let probe = ProbeRequest::of(&name.namespace, pod, client);
            if let Some(probe) = probe.filter(|_| pod.serves(secret) && !is_seen(pod)) {
                is_current = false;
                // The pod may be gone since.
                plan.list_pods.insert(name.namespace.clone());
                plan.probes.push(probe);
            }
        }
        is_current
    }

    pub(super) fn publish(&self, certificate_plan: &mut CertificatePlan, plan: &mut Plan) {
        let CertificateState { name, certificate, now, .. } = *self.certificate;
        let Some((newest_number, newest)) = certificate.newest() else { return };
        let secret = certificate_plan.secret_name.as_deref().or(certificate.status.secret_name.as_deref());
        let Some(secret) = secret.map(str::to_owned) else { return };
        if self.keyring.ledger_entry(&name.namespace, &secret).is_none() {
            // It is written into the ledger in this round, unless its spec is refused.
            certificate_plan.in_progress = certificate_plan.problem.is_none();
            return;
        }
        let trusted: Vec<RootId> = self.keyring.state.trusted().into_iter().cloned().collect();
        let mut keep = self.authority.moves.keep(name);
        keep.retain(|root| !trusted.contains(root));
        let bundle: BTreeSet<_> = trusted.iter().chain(&keep).cloned().collect();
        if !bundle.contains(&newest.root) {
            // Its own bundle would reject it; why it is not issued anew is reported elsewhere.
            return;
        }
        let before = match &certificate.published {
            Published::Ours(publication) => Some(publication),
            _ => None,
        };
        let is_published = |version: &Version| {
            before.is_some_and(|before: &Publication| {
                before.fingerprint == version.fingerprint && before.roots == bundle
            })
        };
        let is_moving = self.authority.moves.stage(name).is_some();
        let (mut number, mut version) = (newest_number, newest);
        if let Some(waits_for) = self.obstacle_to_publish(newest).filter(|_| !is_published(newest)) {
            match self.interim_version(&bundle) {
                Some(interim) => {
                    certificate_plan.problem.get_or_insert(waits_for);
                    (number, version) = interim;
                }
                None if self.authority.moves.has_lost_history(name) => {
                    let message = "its authority was changed after the certificate was deleted and made again: its pods \
                                   still show a leaf of which there is no version. Name the authority that it had \
                                   before, until that has published it anew";
                    certificate_plan.problem = Some((Reason::MovingTrust, message.into()));
                    return;
                }
                // With nothing valid to serve in the meantime, waiting gains nothing: an expired leaf is
                // accepted nowhere, and its pods, which can prove nothing, would block the step for ever.
                None if newest.root != *self.root => return,
                None if !self.authority.moves.has_switched(name) => {
                    // That it has is written into the ledger first.
                    certificate_plan.in_progress = certificate_plan.problem.is_none();
                    return;
                }
                None => {}
            }
        }
        if is_published(version) && !self.is_behind_pods(&secret, (number, version), before) {
            certificate_plan.up_to_date = number == newest_number && keep.is_empty();
            certificate_plan.awaits_pods = is_moving;
            return;
        }
        if now >= version.leaf.not_after {
            return;
        }
        certificate_plan.in_progress = true;
        if !self.is_keyring_current(&secret, plan) {
            return;
        }
        // Whether pods serve it is the next question, and one status answers both.
        plan.list_pods.insert(name.namespace.clone());
        plan.actions.push(Action::Publish {
            certificate: name.clone(),
            secret,
            version: number,
            bundle_from: None,
            roots: trusted,
            keep,
            revision: self.certificate.next_revision(before),
            expected: before.map(|before| before.resource_version.clone()),
        });
    }

    /// Whether some pod shows a later version than this, which is published: the Secret was restored from a backup, and
    /// the pod ignores it as the older one, until it is written anew.
    fn is_behind_pods(
        &self,
        secret: &str,
        (number, version): (u64, &Version),
        publication: Option<&Publication>,
    ) -> bool {
        let CertificateState { name, certificate, now, .. } = *self.certificate;
        let (Some(since), Some(publication)) = (self.certificate.pods.observed.leading_since, publication)
        else {
            return false;
        };
        let is_later = |leaf: &str| {
            let mut later = certificate.versions.range(number + 1..);
            leaf != version.leaf.sha256 && later.any(|(_, later)| later.leaf.sha256 == leaf)
        };
        let shows_later = |pod: &Pod| {
            let proof = pod.proof_since(&certificate.spec.authority, since, now);
            proof
                .and_then(|proof| proof.result.as_ref().ok())
                .is_some_and(|shown| is_later(&shown.leaf_sha256))
        };
        publication.written_at < since
            && self.certificate.pods.mounting(&name.namespace, secret).any(shows_later)
    }

    /// Why the newest version has to wait: some pod may not trust its root.
    fn obstacle_to_publish(&self, newest: &Version) -> Option<(Reason, String)> {
        let moves = &self.authority.moves;
        let name = self.certificate.name;
        // As it came: what its peers trust is what they trusted before.
        let is_as_before = moves.shown(name).is_some_and(|shown| shown.contains(&newest.root));
        if !is_as_before && !moves.has_switched(name) {
            let slowest = moves.waits_for(name).unwrap_or(name);
            let authority = &self.certificate.certificate.spec.authority;
            let message = format!(
                "its new leaf waits until every pod of {slowest} trusts its new authority as well as the roots it had \
                 before; hotcert rollover {authority} --override {slowest} goes on without proof"
            );
            return Some((Reason::MovingTrust, message));
        }
        if !is_as_before && !self.authority.may_publish_under(&newest.root) {
            let message = "its new leaf waits until every pod is known to trust the new root";
            return Some((Reason::WaitingForTrust, message.into()));
        }
        None
    }

    /// What is served while the newest version may not be: the published version or, to restore a lost
    /// Secret, the latest one that every pod is known to trust.
    fn interim_version(&self, bundle: &BTreeSet<RootId>) -> Option<(u64, &Version)> {
        let certificate = self.certificate.certificate;
        let is_valid = |version: &Version| self.certificate.now < version.leaf.not_after;
        let is_served = |(_, version): &(u64, &Version)| is_valid(version) && bundle.contains(&version.root);
        certificate.published_version().filter(is_served).or_else(|| {
            let mut latest = certificate.versions.iter().rev();
            let shown = self.authority.moves.shown(self.certificate.name);
            let fits = |version: &Version| {
                let is_trusted = match shown {
                    Some(shown) if !self.authority.moves.has_switched(self.certificate.name) => {
                        shown.contains(&version.root) && bundle.contains(&version.root)
                    }
                    _ => self.authority.may_publish_under(&version.root),
                };
                version.has_key && is_valid(version) && is_trusted
            };
            latest.find(|(_, version)| fits(version)).map(|(number, version)| (*number, version.as_ref()))
        })
    }
}
