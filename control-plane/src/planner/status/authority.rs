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
use crate::planner::observed::{KeyringView, Observed};
use crate::planner::plan::{Action, Plan};
use crate::planner::status::condition_writer::Conditions;

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
    let mut not_after = None;
    match authority_plan.keyring {
        Some(keyring) => {
            set_keyring(&mut status, keyring);
            let signing = keyring.state.signing();
            let root = keyring.roots.get(signing);
            status.root = root.map(|root| root_status(signing, root));
            not_after = root.map(|root| root.not_after);
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
    let mut conditions = Conditions::new(&before.conditions, now);
    set_ready(&mut conditions, authority_plan, not_after, now);
    if authority_plan.rollover_queued {
        let message = "another rollover was requested: it begins when this one has ended".to_owned();
        let (status, reason) = (ConditionStatus::True, Reason::RolloverInProgress);
        conditions.set(ConditionType::Queued, status, reason, message);
    }
    let errors = authority_plan.settings.as_ref().err().map(|errors| errors.join("; "));
    let problem = match (&errors, &authority_plan.problem) {
        (Some(errors), _) => Some((Reason::InvalidSpec, errors.as_str())),
        (None, Some(problem)) => Some((Reason::NeedsAttention, problem.as_str())),
        (None, None) => None,
    };
    conditions.set_degraded(problem);
    status.conditions = conditions.into_vec();
    status.last_notified =
        notifications::authority(observed, name, authority_plan, &status.conditions, now, plan);
    if status != *before {
        let (authority, status) = (name.to_owned(), Box::new(status));
        let expected = authority_plan.authority.resource_version.clone();
        plan.actions.push(Action::UpdateAuthorityStatus { authority, status, expected });
    }
}

fn set_ready(
    conditions: &mut Conditions<'_>,
    authority_plan: &AuthorityPlan<'_>,
    not_after: Option<SystemTime>,
    now: SystemTime,
) {
    let (status, reason, message) = match (authority_plan.settings, &authority_plan.problem, not_after) {
        (Err(errors), ..) => (ConditionStatus::False, Reason::InvalidSpec, errors.join("; ")),
        (_, Some(problem), Some(not_after)) if now < not_after => {
            (ConditionStatus::True, Reason::NeedsAttention, problem.clone())
        }
        (_, Some(problem), _) => (ConditionStatus::False, Reason::NotUsable, problem.clone()),
        (_, None, None) => (ConditionStatus::False, Reason::Creating, "it has no root yet".into()),
        (_, None, Some(not_after)) if now >= not_after => {
            (ConditionStatus::False, Reason::Expired, "its root has expired".into())
        }
        (_, None, Some(_)) => (ConditionStatus::True, Reason::Usable, "its root signs".into()),
    };
    conditions.set(ConditionType::Ready, status, reason, message);
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
