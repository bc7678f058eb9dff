//! The status of an authority.

use std::time::SystemTime;

use crate::api::condition::{ConditionStatus, ConditionType, Reason};
use crate::api::date;
use crate::api::resource::{
    AuthorityStatus, HandledRequestStatus, RolloverRecordStatus, RolloverStatus, RootStatus,
};
use crate::pki::keyring::{HandledRequest, Rollover, RolloverRecord, RootId};
use crate::pki::x509_facts::Root;
use crate::planner::authority::AuthorityPlan;
use crate::planner::notifications;
use crate::planner::observed::{Authority, KeyringView, Observed};
use crate::planner::plan::{Action, Plan};
use crate::planner::status::condition_writer::{Conditions, is_recorded};
use crate::planner::status::readiness::Effect;

/// How many blockers of a rollover the status names.
const MAX_NAMED: usize = 20;

pub fn authority(
    observed: &Observed,
    name: &str,
    authority_plan: &AuthorityPlan<'_>,
    now: SystemTime,
    plan: &mut Plan,
) {
    let before = &authority_plan.authority.status;
    let mut status = AuthorityStatus {
        observed_generation: Some(authority_plan.authority.generation),
        certificates: i64::try_from(authority_plan.certificates).ok(),
        rollover_at: authority_plan.rollover_due.map(date::seconds),
        ..AuthorityStatus::default()
    };
    let mut root = None;
    match authority_plan.keyring {
        Some(keyring) => {
            set_keyring(&mut status, keyring);
            keep_answers(&mut status, authority_plan.authority);
            let signing = keyring.state.signing();
            root = keyring.roots.get(signing);
            status.root = root.map(|root| root_status(signing, root));
            let rollover = keyring.state.rollover();
            status.rollover = rollover.map(|rollover| rollover_status(rollover, authority_plan));
        }
        None => {
            // The record that there was a root keeps another one from being created in its place.
            (status.phase, status.root) = (before.phase.clone(), before.root.clone());
            (status.handled_requests, status.rollover_history) =
                (before.handled_requests.clone(), before.rollover_history.clone());
        }
    }
    let turns = root.into_iter().flat_map(|root| [root.not_before, root.not_after]);
    turns.filter(|at| *at > now).for_each(|at| plan.wake(at));
    let mut conditions = Conditions::new(&before.conditions, authority_plan.authority.generation, now);
    set_ready(&mut conditions, authority_plan, root, now);
    let errors = authority_plan.settings.as_ref().err().map(|errors| errors.join("; "));
    let problem = match (&errors, &authority_plan.problem) {
        (Some(errors), _) => Some((Reason::InvalidSpec, errors.as_str())),
        (None, Some(problem)) if authority_plan.suspended.is_some() => {
            Some((Reason::KeyringOutdated, problem.as_str()))
        }
        (None, Some(problem)) => Some((Reason::NeedsAttention, problem.as_str())),
        (None, None) => None,
    };
    conditions.set_degraded(problem);
    match &observed.notification_settings {
        Some(Err(why)) => {
            let (status, reason) = (ConditionStatus::True, Reason::InvalidSettings);
            conditions.set(ConditionType::SettingsRejected, status, reason, why.clone());
        }
        Some(Ok(())) => {}
        // A command, which has no settings, keeps what the controller reported.
        None => conditions.keep(ConditionType::SettingsRejected),
    }
    status.conditions = conditions.into_vec();
    status.last_notified =
        notifications::authority(observed, name, authority_plan, &status.conditions, now, plan);
    if !is_recorded(&mut status, before, |status| &mut status.conditions, &before.conditions) {
        let (authority, status) = (name.to_owned(), Box::new(status));
        let expected = authority_plan.authority.resource_version.clone();
        plan.actions.push(Action::UpdateAuthorityStatus { authority, status, expected });
    }
}

fn set_ready(
    conditions: &mut Conditions<'_>,
    authority_plan: &AuthorityPlan<'_>,
    root: Option<&Root>,
    now: SystemTime,
) {
    let (reason, message) = match (authority_plan.settings, &authority_plan.problem, root) {
        _ if authority_plan.authority.deleting => {
            (Reason::Deleting, "it is being deleted: nothing more may be expected of it".to_owned())
        }
        (Err(errors), ..) => (Reason::InvalidSpec, errors.join("; ")),
        _ if let Some(why) = &authority_plan.suspended => (Reason::KeyringOutdated, why.clone()),
        (_, Some(problem), Some(root)) if root.not_before <= now && now < root.not_after => {
            (Reason::NeedsAttention, problem.clone())
        }
        (_, Some(problem), _) => (Reason::NotUsable, problem.clone()),
        (_, None, None) => (Reason::Creating, "it has no root yet".into()),
        (_, None, Some(root)) if now >= root.not_after => (Reason::Expired, "its root has expired".into()),
        (_, None, Some(root)) if now < root.not_before => {
            let from = date::seconds(root.not_before);
            (Reason::NotYetValid, format!("its root is not valid before {from}: look at the clock"))
        }
        (_, None, Some(_)) => (Reason::Usable, "its root signs".into()),
    };
    conditions.set_ready(Effect::of(reason).is_ready(), false, reason, &message);
}

/// The phase, the requests with their outcomes, and the rollovers that have ended.
fn set_keyring(status: &mut AuthorityStatus, keyring: &KeyringView) {
    let state = &keyring.state;
    status.phase = Some(state.rollover().map_or("Steady", |rollover| rollover.phase.as_str()).to_owned());
    let handled = state.handled_requests.iter().map(|(verb, HandledRequest { id, outcome, handled_at })| {
        let (id, outcome, handled_at) = (id.clone(), outcome.clone(), date::seconds(*handled_at));
        (verb.clone(), HandledRequestStatus { id, outcome, handled_at })
    });
    status.handled_requests = handled.collect();
    let history =
        state.rollover_history.iter().map(|RolloverRecord { rollover, ended_at }| RolloverRecordStatus {
            from: rollover.from.0.clone(),
            to: rollover.to.0.clone(),
            reason: rollover.reason.clone(),
            started_at: date::seconds(rollover.started_at),
            ended_at: date::seconds(*ended_at),
            forced: rollover.forced,
            overrides: overrides(rollover),
        });
    status.rollover_history = history.collect();
}

/// A keyring that was restored has forgotten what it had answered, and a request is carried out once.
fn keep_answers(status: &mut AuthorityStatus, authority: &Authority) {
    for verb in authority.requests.keys() {
        if let Some(answer) = authority.answer_in_status(verb)
            && status.handled_requests.get(verb).is_none_or(|handled| handled.id != answer.id)
        {
            status.handled_requests.insert(verb.clone(), answer.clone());
        }
    }
}

fn root_status(id: &RootId, root: &Root) -> RootStatus {
    RootStatus {
        sha256: id.0.clone(),
        serial: root.serial.clone(),
        not_before: date::seconds(root.not_before),
        not_after: date::seconds(root.not_after),
    }
}

fn rollover_status(rollover: &Rollover, authority_plan: &AuthorityPlan<'_>) -> RolloverStatus {
    let blockers = &authority_plan.blockers;
    RolloverStatus {
        from: rollover.from.0.clone(),
        to: rollover.to.0.clone(),
        reason: rollover.reason.clone(),
        started_at: date::seconds(rollover.started_at),
        phase_started_at: date::seconds(rollover.phase_started_at),
        waiting_for: blockers.iter().take(MAX_NAMED).map(ToString::to_string).collect(),
        waiting_for_total: i64::try_from(blockers.len()).unwrap_or(i64::MAX),
        overrides: overrides(rollover),
    }
}

fn overrides(rollover: &Rollover) -> Vec<String> {
    rollover.overrides.iter().map(|pod| format!("{}: {}", pod.pod, pod.reason)).collect()
}
