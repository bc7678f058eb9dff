//! A certificate that an authority here signs: which version is to be served, whether it has to be issued
//! first, and whether the Secret contains it. The newest version is always the one to be served; a
//! rollback makes a new version out of an old one. The versions are the only state, so a controller that
//! starts after a crash goes on where the last one stopped.

mod publication;

use std::time::SystemTime;

use super::authority::AuthorityPlan;
use super::certificate::{CertificatePlan, CertificateState, obstacle, renew_at};
use super::observed::{Certificate, KeyringView, Version};
use super::plan::{Action, IssueReason, Plan};
use super::renewal_hint::{PendingHints, Target};
use crate::api::condition::Reason;
use crate::api::request;
use crate::api::settings::CertificateSettings;
use crate::pki::keyring::{Rollover, RootId};

/// `settings` is `None` where there is no authority.
pub fn plan(
    context: &CertificateState<'_>,
    settings: Option<&Result<CertificateSettings, Vec<String>>>,
    authority: Option<&AuthorityPlan<'_>>,
    plan: &mut Plan,
) -> CertificatePlan {
    let certificate = context.certificate;
    let valid = settings.and_then(|settings| settings.as_ref().ok());
    let renew_before = valid.map(|settings| settings.renew_before);
    let mut certificate_plan = CertificatePlan {
        secret_name: valid.map(|settings| settings.secret_name.clone()),
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
            SigningContext::new(context, authority, keyring).plan(valid, &mut certificate_plan, plan);
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
    certificate: &'a CertificateState<'a>,
    authority: &'a AuthorityPlan<'a>,
    keyring: &'a KeyringView,
    root: &'a RootId,
    root_not_after: SystemTime,
    /// A rollover that distributes a root again which had begun to be retired.
    redistributing: Option<&'a Rollover>,
}

impl<'a> SigningContext<'a> {
    fn new(
        certificate: &'a CertificateState<'a>,
        authority: &'a AuthorityPlan<'a>,
        keyring: &'a KeyringView,
    ) -> Self {
        let root = keyring.state.signing();
        let root_not_after = keyring.roots.get(root).map_or(certificate.now, |root| root.not_after);
        let redistributing = keyring.state.rollover().filter(|rollover| rollover.is_redistributing());
        Self { certificate, authority, keyring, root, root_not_after, redistributing }
    }

    /// `settings` is `None` while the spec is invalid: then the newest version is still published.
    fn plan(
        &self,
        settings: Option<&CertificateSettings>,
        certificate_plan: &mut CertificatePlan,
        plan: &mut Plan,
    ) {
        self.close_obsolete_hint(certificate_plan);
        let root = self.keyring.roots.get(self.root).into_iter();
        let turns = root.flat_map(|root| [root.not_before, root.not_after]);
        turns.filter(|at| *at > self.certificate.now).for_each(|at| plan.wake(at));
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
            let needed = self.keyring.state.needed();
            self.certificate.prune(settings.history, None, |version| needed.contains(&&version.root), plan);
        }
    }

    fn is_root_valid(&self) -> bool {
        let now = self.certificate.now;
        self.keyring.roots.get(self.root).is_some_and(|root| root.not_before <= now && now < root.not_after)
    }

    fn close_obsolete_hint(&self, certificate_plan: &mut CertificatePlan) {
        let certificate = self.certificate.certificate;
        let (Some(request), Some((_, newest)), Some(target)) = (
            self.certificate.open_request(request::RENEWAL_HINT),
            certificate.newest(),
            Target::of_certificate(certificate),
        ) else {
            return;
        };
        let hints = PendingHints::parse(&request.arguments);
        // A leaf that ends with its root gains nothing by being issued anew.
        let ends_with_root = newest.leaf.not_after >= self.root_not_after;
        if ends_with_root || hints.effective(&target, self.certificate.now).is_err() {
            certificate_plan.obsolete_requests.push((request::RENEWAL_HINT, request.id.clone()));
        }
    }

    /// The action that makes the next version: a rollback that was requested, or a new leaf that is due.
    fn next_version(
        &self,
        settings: &CertificateSettings,
        certificate_plan: &mut CertificatePlan,
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
}
