//! The plan: what has to be done, as a function of the observed state and the time. Pure and total: every
//! decision is made here, so that each can be tested as a row of a table. An action that was lost is
//! planned again in the next round; an action that was planned on an outdated state is a conflict where it
//! is applied.
//!
//! Each object has a plan of its own: [`plan_authority`] first, then [`plan_certificate`] of the certificates that name
//! it, which read what was decided about their authority.
//!
//! | module | what it is |
//! |---|---|
//! | [`observed`] | the state that a plan is made from |
//! | [`Planner`] | plans the objects that something touches, and remembers when the others are due |
//! | `index`, `due` | what changed and which objects that touches; when an object is planned although nothing changed |
//! | [`plan`](self::plan()) | the actions, probes, notifications and sync tasks that follow |
//! | `certificate`, `authority` | what is decided about one object, and the rules that its decisions share |
//! | `lifecycle` | a certificate that is signed here: issue, renew, publish, prune |
//! | `external_sync` | a certificate that an external manager has: fetch it, or push it there |
//! | `moves` | a certificate that comes from another authority or a manager |
//! | `rollback` | a certificate back to an earlier version; the way back of a root is `rollover`'s |
//! | `rollover` | an authority: create, replace, reverse, remove a root, and what blocks that |
//! | [`grounds`] | what a step of a rollover was taken on: proof, overrides, or force |
//! | `by_namespace` | a map that shares what did not change with the one before |
//! | `dependent`, `pods` | a certificate as its authority sees it, and what its pods were seen to serve |
//! | `serving`, `nudge` | which pods to list, nudge and probe after a publication, and what they serve |
//! | `notifications` | which subscriptions have yet to be notified of what |
//! | `status` | the status of the objects; which reasons make them unready ([`Effect`]) |
//! | [`outbox`] | deliveries to external receivers and managers, and when each is tried again |
//! | [`renewal_hint`] | what an external source reports about a certificate |

mod authority;
pub mod by_namespace;
mod certificate;
mod dependent;
mod due;
mod external_sync;
pub mod grounds;
mod index;
mod lifecycle;
mod moves;
mod notifications;
mod nudge;
pub mod observed;
mod plan;
mod pods;
pub mod renewal_hint;
mod rollback;
mod rollover;
mod serving;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use authority::{AuthorityPlan, AuthorityState, VisibleAuthority};
use certificate::{CertificatePlan, CertificateState};
use due::DueQueue;
use index::{Index, Key};
use moves::MoveStage;
use observed::Observed;
pub use plan::{
    Action, IssueReason, PendingNotification, Plan, ProbeRequest, SyncAction, SyncTask, Transition,
};
use pods::PodsBySecret;
pub use status::Effect;

use crate::api::condition::Reason;
use crate::api::settings::{CertificateSettings, FetchedSettings};

/// Plans of the objects that something touches. What it returns is the plan of all of them: one that is not touched
/// has nothing to do.
#[derive(Debug, Default)]
pub struct Planner {
    index: Index,
    due: DueQueue,
    /// They have something to do, or wait for something that the index does not notice.
    unsettled: BTreeSet<Key>,
    /// What certificates saw of each authority when they were planned last.
    visible: BTreeMap<String, VisibleAuthority>,
    /// Authorities that have nothing to do, and the problem of each. They are not planned again for a certificate.
    quiet: BTreeMap<String, Option<String>>,
    /// For how many objects the last plan was made.
    planned: usize,
}

/// Of everything that was observed.
pub fn plan(observed: &Observed, now: SystemTime) -> Plan {
    Planner::default().plan(observed, now)
}

impl Planner {
    /// For how many objects the last plan was made: those that something touched.
    pub fn planned(&self) -> usize {
        self.planned
    }

    /// The caller plans again at [`Plan::wake_at`], when something changed, soon while the plan is not settled, and every
    /// ten minutes in any case.
    pub fn plan(&mut self, observed: &Observed, now: SystemTime) -> Plan {
        let Self { index, due, unsettled, visible, quiet, planned } = self;
        *planned = 0;
        let mut keys = index.update(observed, now);
        keys.extend(due.due(now).cloned());
        keys.append(unsettled);
        let mut plan = Plan::default();
        let mut record = |key: Key, effects: Plan, is_waiting: bool| {
            *planned += 1;
            due.set(&key, effects.wake_at);
            if is_waiting || !effects.is_settled() || !effects.retain_pods.is_empty() {
                unsettled.insert(key);
            }
            plan.extend(effects);
        };

        let pods = PodsBySecret::new(observed);
        let mut authorities: BTreeSet<&str> = BTreeSet::new();
        for key in &keys {
            match key {
                Key::Authority(name) => drop(authorities.insert(name)),
                Key::Certificate(name) => {
                    let certificate = observed.certificates.get(name);
                    authorities.extend(certificate.map(|certificate| certificate.spec.authority.as_str()));
                }
                Key::WatchedSecret(_) => {}
            }
        }
        let mut authority_plans = BTreeMap::new();
        authorities.retain(|name| {
            let is_touched = keys.contains(&Key::Authority((*name).to_owned()));
            let (Some(problem), false) = (quiet.get(*name), is_touched) else { return true };
            let (Some(authority), Some(settings)) = (observed.authorities.get(*name), index.settings(name))
            else {
                return true;
            };
            authority_plans.insert(*name, AuthorityPlan::quiet(authority, settings, problem.clone()));
            false
        });
        let dependents: BTreeMap<_, _> =
            authorities.iter().map(|name| (*name, index.dependents(name))).collect();
        let mut concerned = BTreeSet::new();
        for (name, dependents) in &dependents {
            let (Some(authority), Some(settings)) = (observed.authorities.get(*name), index.settings(name))
            else {
                visible.remove(*name);
                quiet.remove(*name);
                record(Key::Authority((*name).to_owned()), Plan::default(), false);
                continue;
            };
            let state = AuthorityState { name, authority, settings, dependents, pods: &pods, now };
            let mut authority_plan = plan_authority(&state);
            let seen = VisibleAuthority::of(&authority_plan);
            if seen.concerns_all || visible.get(*name) != Some(&seen) {
                concerned.extend(dependents.iter().map(|it| Key::Certificate(it.name.clone())));
            }
            visible.insert((*name).to_owned(), seen);
            if authority_plan.is_quiet() {
                quiet.insert((*name).to_owned(), authority_plan.problem.clone());
            } else {
                quiet.remove(*name);
            }
            let effects = std::mem::take(&mut authority_plan.effects);
            record(Key::Authority((*name).to_owned()), effects, authority_plan.is_waiting());
            authority_plans.insert(*name, authority_plan);
        }
        for key in keys.union(&concerned) {
            match key {
                Key::Authority(_) => {}
                Key::Certificate(name) => match observed.certificates.get(name) {
                    Some(certificate) => {
                        let state = CertificateState { name, certificate, pods: &pods, now };
                        let authority_plan = authority_plans.get(certificate.spec.authority.as_str());
                        let certificate_plan = plan_certificate(&state, authority_plan);
                        let is_waiting = certificate_plan.is_waiting();
                        record(key.clone(), certificate_plan.effects, is_waiting);
                    }
                    None => record(key.clone(), Plan::default(), false),
                },
                Key::WatchedSecret(name) => {
                    let mut effects = Plan::default();
                    if let Some(secret) = observed.watched_secrets.get(name) {
                        notifications::watched_secret(observed, name, secret, now, &mut effects);
                    }
                    record(key.clone(), effects, false);
                }
            }
        }
        plan.wake_at = due.next();
        plan.merge_duplicates();
        notifications::limit(&mut plan.notifications, &observed.delivered_notifications);
        plan
    }
}

/// What is decided about an authority: its roots, the next step of a rollover and what blocks it, its status.
fn plan_authority<'a>(state: &AuthorityState<'a>) -> AuthorityPlan<'a> {
    let mut effects = Plan::default();
    let mut authority_plan = rollover::plan(state, &mut effects);
    status::authority(state.pods.observed, state.name, &authority_plan, state.now, &mut effects);
    authority_plan.effects = effects;
    authority_plan
}

/// What is decided about a certificate: its next version, what is published, which pods serve that, its status.
/// `authority` is the plan of the authority that it names, if there is one of that name.
fn plan_certificate(state: &CertificateState<'_>, authority: Option<&AuthorityPlan<'_>>) -> CertificatePlan {
    let mut effects = Plan::default();
    let CertificateState { name, certificate, pods, .. } = *state;
    let (spec, observed) = (&certificate.spec, pods.observed);
    let settings = authority.and_then(|authority| authority.settings.as_ref().ok());
    let settings =
        settings.map(|authority| CertificateSettings::validate(&name.namespace, &name.name, spec, authority));
    let mut certificate_plan = if spec.is_fetched() {
        let settings = FetchedSettings::validate(&name.name, spec);
        external_sync::plan_fetched(state, &settings, &mut effects)
    } else {
        lifecycle::plan(state, settings.as_ref(), authority, &mut effects)
    };
    if spec.manager.is_some() {
        // Kept even while nothing can be done with the manager.
        certificate_plan.external_sync.clone_from(&certificate.status.external_sync);
    }
    if let Some(Ok(settings)) = &settings {
        external_sync::plan_push(&observed.external, state, settings, &mut certificate_plan, &mut effects);
    }
    if let Some(why) = observed.failed_actions.get(&name.to_string()) {
        certificate_plan.problem.get_or_insert_with(|| (Reason::ActionFailed, why.clone()));
    }
    if authority.is_some_and(|authority| authority.authority.deleting) {
        let why = format!("the authority {} is being deleted: name another", spec.authority);
        certificate_plan.problem.get_or_insert((Reason::AuthorityDeleting, why));
    }
    // Without a problem the version for this spec is published, or will be in a moment.
    if let (Some(Ok(settings)), Some(_)) = (&settings, &certificate_plan.problem) {
        let published = certificate.published_version();
        let is_moving = authority
            .and_then(|authority| authority.moves.stage(name))
            .is_some_and(|stage| stage < MoveStage::Switching);
        certificate_plan.spec_pending =
            is_moving || published.is_some_and(|(_, version)| version.spec_digest != settings.digest());
    }
    let served = serving::plan(state, authority, &certificate_plan, &mut effects);
    status::certificate(state, authority, &certificate_plan, served, &mut effects);
    certificate_plan.effects = effects;
    certificate_plan
}

#[cfg(test)]
mod tests;
