//! A certificate that an authority here signs: which version is to be served, whether it has to be issued
//! first, and whether the Secret contains it. The newest version is always the one to be served; a
//! rollback makes a new version out of an old one. The versions are the only state, so a controller that
//! starts after a crash goes on where the last one stopped.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::authority::AuthorityPlan;
use super::certificate::{CertificateContext, CertificatePlan, obstacle, renew_at};
use super::observed::{Certificate, KeyringView, Pod, Publication, Published, Version};
use super::plan::{Action, IssueReason, Plan, ProbeRequest};
use super::renewal_hint::RenewalHint;
use super::serving::PodsBySecret;
use crate::api::condition::Reason;
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::settings::CertificateSettings;
use crate::pki::keyring::{Rollover, RootId};

/// `settings` is `None` where there is no authority.
pub fn plan<'a>(
    pods: &PodsBySecret<'_>,
    context: &CertificateContext<'_>,
    settings: Option<&'a Result<CertificateSettings, Vec<String>>>,
    authority: Option<&AuthorityPlan<'_>>,
    plan: &mut Plan,
) -> CertificatePlan<'a> {
    let certificate = context.certificate;
    let valid = settings.and_then(|settings| settings.as_ref().ok());
    let renew_before = valid.map(|settings| settings.renew_before);
    let mut certificate_plan = CertificatePlan {
        secret_name: valid.map(|settings| settings.secret_name.as_str()),
        renew_at: certificate.newest().map(|(_, version)| renew_at(version, renew_before)),
        problem: obstacle(certificate),
        ..CertificatePlan::default()
    };
    if certificate_plan.problem.is_some() {
        return certificate_plan;
    }
    let Some(authority) = authority else {
        let name = &certificate.spec.authority;
        certificate_plan.problem =
            Some((Reason::AuthorityNotFound, format!("there is no CertificateAuthority {name:?}")));
        return certificate_plan;
    };
    certificate_plan.problem = invalid_spec(certificate, settings, authority);
    if let Some(why) = &authority.suspended {
        certificate_plan.problem = Some((Reason::KeyringOutdated, why.clone()));
        return certificate_plan;
    }
    match authority.keyring {
        Some(keyring) => {
            SigningContext::new(pods, context, authority, keyring).plan(valid, &mut certificate_plan, plan);
        }
        None if authority.creating_root => certificate_plan.in_progress = true,
        None => {
            let name = &certificate.spec.authority;
            let message = match &authority.problem {
                Some(problem) => format!("the authority {name} has no root to sign with: {problem}"),
                None => format!("the authority {name} has no root yet"),
            };
            certificate_plan.problem.get_or_insert((Reason::RootNotReady, message));
        }
    }
    certificate_plan
}

fn invalid_spec(
    certificate: &Certificate,
    settings: Option<&Result<CertificateSettings, Vec<String>>>,
    authority: &AuthorityPlan<'_>,
) -> Option<(Reason, String)> {
    if let Some(Err(errors)) = settings {
        return Some((Reason::InvalidSpec, errors.join("; ")));
    }
    let errors = authority.settings.as_ref().err()?;
    let name = &certificate.spec.authority;
    let message = format!("the spec of the authority {name} is invalid: {}", errors.join("; "));
    Some((Reason::InvalidAuthority, message))
}

/// A certificate, and the keyring that signs it.
struct SigningContext<'a> {
    pods: &'a PodsBySecret<'a>,
    certificate: &'a CertificateContext<'a>,
    authority: &'a AuthorityPlan<'a>,
    keyring: &'a KeyringView,
    root: &'a RootId,
    root_not_after: SystemTime,
    /// A rollover that distributes a root again which had begun to be retired.
    redistributing: Option<&'a Rollover>,
}

impl<'a> SigningContext<'a> {
    fn new(
        pods: &'a PodsBySecret<'a>,
        certificate: &'a CertificateContext<'a>,
        authority: &'a AuthorityPlan<'a>,
        keyring: &'a KeyringView,
    ) -> Self {
        let root = keyring.state.signing();
        let root_not_after = keyring.roots.get(root).map_or(certificate.now, |root| root.not_after);
        let redistributing = keyring.state.rollover().filter(|rollover| rollover.is_redistributing());
        Self { pods, certificate, authority, keyring, root, root_not_after, redistributing }
    }

    /// `settings` is `None` while the spec is invalid: then the newest version is still published.
    fn plan(
        &self,
        settings: Option<&CertificateSettings>,
        certificate_plan: &mut CertificatePlan<'_>,
        plan: &mut Plan,
    ) {
        self.close_obsolete_hint(certificate_plan);
        if !self.is_root_valid() {
            certificate_plan.problem.get_or_insert((
                Reason::RootExpired,
                "the authority's root is not valid at this time: roll it over, or look at the clock".into(),
            ));
        } else if let Some(settings) = settings
            && let Some(action) = self.next_version(settings, certificate_plan)
        {
            if self.is_keyring_current(&settings.secret_name, plan) {
                plan.actions.push(action);
            }
            certificate_plan.in_progress = true;
            // Published in the next round: a crash in between loses nothing.
            return;
        }
        // What is due and not done is blocked by something, and the end of that wakes the loop.
        if let Some(at) = certificate_plan.renew_at.filter(|at| *at > self.certificate.now) {
            plan.wake(at);
        }
        self.publish(certificate_plan, plan);
        if let (Some(settings), true) = (settings, certificate_plan.up_to_date) {
            self.certificate.prune(settings.history, None, plan);
        }
    }

    fn is_root_valid(&self) -> bool {
        let now = self.certificate.now;
        self.keyring.roots.get(self.root).is_some_and(|root| root.not_before <= now && now < root.not_after)
    }

    fn close_obsolete_hint(&self, certificate_plan: &mut CertificatePlan<'_>) {
        let (Some(request), Some((_, newest))) =
            (self.certificate.open_request(request::RENEWAL_HINT), self.certificate.certificate.newest())
        else {
            return;
        };
        let hint = RenewalHint::parse(&request.arguments);
        // A leaf that ends with its root gains nothing by being issued anew.
        let ends_with_root = newest.leaf.not_after >= self.root_not_after;
        let requested = newest.request.is_some();
        if ends_with_root
            || hint.obsolete(&newest.leaf, newest.created_at, requested, self.certificate.now).is_some()
        {
            certificate_plan.obsolete_requests.push((request::RENEWAL_HINT, request.id.clone()));
        }
    }

    /// The action that makes the next version: a rollback that was requested, or a new leaf that is due.
    fn next_version(
        &self,
        settings: &CertificateSettings,
        certificate_plan: &mut CertificatePlan<'_>,
    ) -> Option<Action> {
        let check_trust = |number, version: &Version| self.check_trust(number, version);
        match self.certificate.rollback(&settings.digest(), check_trust) {
            Some(Ok(action)) => return Some(action),
            Some(Err(refused)) => certificate_plan.refused_rollback = Some(refused),
            None => {}
        }
        self.issue(settings, !certificate_plan.obsolete_requests.is_empty())
    }

    /// An error if today's trust bundle rejects the version, or is about to.
    fn check_trust(&self, number: u64, version: &Version) -> Result<(), String> {
        let root = &version.root;
        if root != self.root {
            return Err(format!(
                "version {number} is under the root {root}, which today's trust rejects or is about to"
            ));
        }
        if self.redistributing.is_some() {
            return Err("the rollover was reversed: wait until every pod trusts the old root again".into());
        }
        Ok(())
    }

    fn issue(&self, settings: &CertificateSettings, is_hint_obsolete: bool) -> Option<Action> {
        let rotate = self.certificate.open_request(request::ROTATE);
        let hint = self.certificate.open_request(request::RENEWAL_HINT).filter(|_| !is_hint_obsolete);
        let reason = match self.certificate.certificate.newest() {
            None => IssueReason::First,
            Some((_, version)) if version.root != *self.root => IssueReason::NewRoot,
            Some((_, version)) if self.needs_distinct_leaf(version) => IssueReason::NewRoot,
            Some((_, version)) if version.spec_digest != settings.digest() => IssueReason::SpecChanged,
            // A leaf that ends with its root gains nothing by being issued anew.
            Some((_, version))
                if self.certificate.now >= renew_at(version, Some(settings.renew_before))
                    && version.leaf.not_after < self.root_not_after =>
            {
                IssueReason::Renewal
            }
            Some(_) if rotate.is_some() => IssueReason::Requested,
            Some(_) if hint.is_some() => IssueReason::RenewalHint,
            Some(_) => return None,
        };
        Some(Action::Issue {
            certificate: self.certificate.name.clone(),
            version: self.certificate.next_version(),
            settings: Box::new(settings.clone()),
            request: rotate.or(hint).map(|request| request.id.clone()),
            reason,
        })
    }

    /// While a root is distributed again, what a pod shows must be distinguishable from what it showed
    /// before that root began to be retired: by a leaf that was issued since.
    fn needs_distinct_leaf(&self, newest: &Version) -> bool {
        self.redistributing.is_some_and(|rollover| {
            !newest.is_issued_since(rollover.started_at) && self.certificate.now >= rollover.started_at
        })
    }

    /// Whether it was seen, since this process leads, what the pods of the Secret have: a keyring that was restored is
    /// older than that. What this process has published itself needs no second look.
    fn is_keyring_current(&self, secret: &str, plan: &mut Plan) -> bool {
        let CertificateContext { name, certificate, now } = *self.certificate;
        let Some(since) = self.pods.observed.leading_since else { return true };
        let publication = match &certificate.published {
            Published::Ours(publication) => Some(publication),
            _ => None,
        };
        if certificate.versions.is_empty()
            || publication.is_some_and(|publication| publication.written_at >= since)
        {
            return true;
        }
        let list = self.pods.observed.pods.get(&name.namespace);
        let Some(list) = list.filter(|list| since <= list.listed_at && list.listed_at <= now) else {
            plan.list_pods.insert(name.namespace.clone());
            return false;
        };
        // A namespace whose pods cannot be listed does not keep its certificates from being renewed, nor does a pod
        // that does not answer.
        let is_seen = |pod: &Pod| {
            pod.proof(&certificate.spec.authority)
                .is_some_and(|proof| since <= proof.taken_at && proof.taken_at <= now)
        };
        let mut is_current = true;
        for pod in self.pods.mounting(&name.namespace, secret).filter(|_| list.error.is_none()) {
            let address = pod.agent.as_ref().and_then(|agent| agent.address);
            if let (Some(address), true) = (address, pod.serves(secret) && !is_seen(pod)) {
                is_current = false;
                // The pod may be gone since.
                plan.list_pods.insert(name.namespace.clone());
                plan.probes.push(ProbeRequest {
                    pod: ObjectName::new(name.namespace.clone(), pod.name.clone()),
                    uid: pod.uid.clone(),
                    address,
                    authority: Some(certificate.spec.authority.clone()),
                    roots: vec![self.root.clone()],
                });
            }
        }
        is_current
    }

    fn publish(&self, certificate_plan: &mut CertificatePlan<'_>, plan: &mut Plan) {
        let CertificateContext { name, certificate, now } = *self.certificate;
        let Some((newest_number, newest)) = certificate.newest() else { return };
        let secret = certificate_plan.secret_name.or(certificate.status.secret_name.as_deref());
        let Some(secret) = secret.map(str::to_owned) else { return };
        if self.keyring.ledger_entry(&name.namespace, &secret).is_none() {
            // It is written into the ledger in this round.
            certificate_plan.in_progress = true;
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
                None if self.has_lost_history(&keep) => {
                    let message = "its authority was changed after the certificate was deleted and made again: its pods \
                                   still show a leaf of which there is no version. Name the authority that it had \
                                   before, until that has published it anew";
                    certificate_plan.problem = Some((Reason::MovingTrust, message.into()));
                    return;
                }
                // With nothing valid to serve in the meantime, waiting gains nothing: an expired leaf is
                // accepted nowhere, and its pods, which can prove nothing, would block the step for ever.
                None if newest.root != *self.root => return,
                None => {}
            }
        }
        if is_published(version) {
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

    /// Its pods have what was signed before it moved, and of that no version is left to publish with both bundles.
    fn has_lost_history(&self, keep: &BTreeSet<RootId>) -> bool {
        let moves = &self.authority.moves;
        let name = self.certificate.name;
        let Some(shown) = moves.shown(name).filter(|_| !moves.has_switched(name)) else { return false };
        let mut versions = self.certificate.certificate.versions.values();
        shown.iter().any(|root| keep.contains(root)) && !versions.any(|version| shown.contains(&version.root))
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
                is_valid(version) && is_trusted
            };
            latest.find(|(_, version)| fits(version)).map(|(number, version)| (*number, version.as_ref()))
        })
    }
}
