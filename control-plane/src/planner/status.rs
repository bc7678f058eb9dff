//! What the status of an object says. Written when it says something else than before, and not for the
//! sake of a timestamp.

use std::time::{Duration, SystemTime};

use super::lifecycle::{CertificatePlan, answers};
use super::rollover::AuthorityPlan;
use super::{Action, Plan, notifications};
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::date;
use crate::api::resource::{
    AuthorityStatus, CertificateStatus, HandledRequestStatus, HandledRequests, RolloverRecordStatus,
    RolloverStatus, RootStatus,
};
use crate::pki::keyring::{HandledRequest, Rollover, RolloverRecord};
use crate::planner::observed::{Certificate, KeyringView, ObjectName, Observed, Published};
use crate::planner::serving::Served;

/// So long after a writing its pods may take to show it, before the status says that they are looked at:
/// most are seen within this, and all is said at once.
const MEANWHILE: Duration = Duration::from_secs(2);
/// Reasons that are part of how things go.
const PASSING: [Reason; 3] = [Reason::WaitingForTrust, Reason::WaitingForManager, Reason::Deleting];
/// How many of those who hold a step the status names.
const NAMED: usize = 20;

pub fn certificate(
    observed: &Observed,
    (name, certificate): (&ObjectName, &Certificate),
    certificate_plan: &CertificatePlan<'_>,
    served: Option<Served>,
    now: SystemTime,
    plan: &mut Plan,
) {
    let before = &certificate.status;
    let mut status = CertificateStatus {
        observed_generation: Some(certificate.generation),
        secret_name: certificate_plan.secret.map(str::to_owned).or(before.secret_name.clone()),
        // Of what is published, or was: numbers go on from there.
        version: before.version,
        revision: before.revision,
        handled_requests: handled_requests(certificate, certificate_plan),
        external_sync: certificate_plan.imported.clone(),
        ..CertificateStatus::default()
    };
    let published = certificate.published_version();
    let mut valid = None;
    if let (Published::Ours(publication), Some((number, version))) = (&certificate.published, published) {
        status.version = i64::try_from(number).ok();
        status.revision = i64::try_from(publication.revision).ok();
        status.serial = Some(version.leaf.serial.clone());
        status.sha256 = Some(version.leaf.sha256.clone());
        status.not_before = Some(date::seconds(version.leaf.not_before));
        status.not_after = Some(date::seconds(version.leaf.not_after));
        status.root = Some(version.root.0.clone());
        status.published_at = Some(date::millis(publication.written_at));
        status.renew_at = certificate_plan.renew_at.map(date::seconds);
        valid = Some(version.leaf.not_after);
    }
    let is_valid = valid.is_some_and(|end| now < end);
    let (ready, reason, message) = match (&certificate_plan.problem, is_valid) {
        (None, true) => {
            (ConditionStatus::True, Reason::Published, "a valid certificate is published".to_owned())
        }
        (Some((reason, message)), true) => (ConditionStatus::True, *reason, message.clone()),
        (Some((reason, message)), false) => (ConditionStatus::False, *reason, message.clone()),
        (None, false) if valid.is_some() => {
            (ConditionStatus::False, Reason::Expired, "what is published has expired".into())
        }
        (None, false) => (ConditionStatus::False, Reason::Issuing, "nothing is published yet".into()),
    };
    let mut conditions =
        vec![condition(&before.conditions, ConditionType::Ready, ready, reason, message, now)];
    if let Some((_, why)) = &certificate_plan.refused {
        conditions.push(condition(
            &before.conditions,
            ConditionType::RollbackRefused,
            ConditionStatus::True,
            Reason::Refused,
            why.clone(),
            now,
        ));
    } else if let Some(refused) = Condition::find(&before.conditions, ConditionType::RollbackRefused)
        && certificate.requests.get("rollback").is_some_and(|request| {
            let answered = status.handled_requests.as_ref().and_then(|answered| answered.rollback.as_ref());
            let done = certificate.versions.values().any(|version| answers(version, "rollback", &request.id));
            answered == Some(&request.id) && !done
        })
    {
        conditions.push(refused.clone());
    }
    let mut looking = false;
    if let Some(Served { status: seen, complete, late, problem }) = served {
        let counted = format!("{} of {} pods serve what is published", seen.serving, seen.pods);
        let blind = problem.is_some();
        let (state, reason) = match (complete, late) {
            _ if blind => (ConditionStatus::Unknown, Reason::PodsNotListed),
            (true, _) if seen.pods == 0 => (ConditionStatus::True, Reason::NoPods),
            (true, _) => (ConditionStatus::True, Reason::Served),
            (false, true) => (ConditionStatus::False, Reason::NotServedInTime),
            (false, false) => (ConditionStatus::Unknown, Reason::Probing),
        };
        conditions.push(condition(&before.conditions, ConditionType::Served, state, reason, counted, now));
        // While pods are still on their way it is not written down again for each of them.
        let settled = (complete || late) && !blind;
        looking = !settled && !blind;
        status.served = if settled { Some(seen) } else { before.served.clone() };
        if !settled && let Some(served) = conditions.last_mut() {
            let looking = || "looking whether every pod serves what is published".into();
            served.message = problem.map_or_else(looking, |why| format!("its pods cannot be listed: {why}"));
        }
    } else if let Some(served) = Condition::find(&before.conditions, ConditionType::Served) {
        conditions.push(served.clone());
        status.served = before.served.clone();
    }
    let problem = certificate_plan.problem.as_ref().map(|(reason, message)| (*reason, message.as_str()));
    conditions.extend(failing(&before.conditions, problem, now));
    status.last_notified = notifications::certificate(observed, name, certificate, &conditions, now, plan);
    status.conditions = conditions;
    if certificate_plan.acting && certificate_plan.problem.is_none() {
        return;
    }
    if let (Published::Ours(publication), true) = (&certificate.published, looking) {
        let until = publication.written_at + MEANWHILE;
        if (publication.written_at..until).contains(&now) {
            plan.wake(until);
            return;
        }
    }
    if status != *before {
        let status = Box::new(status);
        plan.actions.push(Action::ReportCertificate { certificate: name.clone(), status });
    }
}

/// Requests that a version answers to, once it or a later one is published, and those that were refused.
fn handled_requests(
    certificate: &Certificate,
    certificate_plan: &CertificatePlan<'_>,
) -> Option<HandledRequests> {
    let mut answered = certificate.status.handled_requests.clone().unwrap_or_default();
    let published = certificate.published_version().map(|(number, _)| number);
    let done = |verb: &str| {
        let id = &certificate.requests.get(verb)?.id;
        let answer = certificate.versions.iter().find(|(_, version)| answers(version, verb, id));
        answer.filter(|(number, _)| Some(**number) <= published).map(|_| id.clone())
    };
    answered.rotate = done("rotate").or(answered.rotate);
    answered.rollback = done("rollback").or(answered.rollback);
    answered.renewal_hint = done("renewal-hint").or(answered.renewal_hint);
    if let Some((id, _)) = &certificate_plan.refused {
        answered.rollback = Some(id.clone());
    }
    for (verb, id) in &certificate_plan.obsolete {
        let answer = if *verb == "rotate" { &mut answered.rotate } else { &mut answered.renewal_hint };
        *answer = Some(id.clone());
    }
    (answered != HandledRequests::default()).then_some(answered)
}

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
        certificates: i64::try_from(authority_plan.members).ok(),
        rollover_at: authority_plan.due.map(date::seconds),
        ..AuthorityStatus::default()
    };
    if authority_plan.ring.is_none() {
        // That there was a root is what keeps another one from being made in its place.
        (status.phase, status.root) = (before.phase.clone(), before.root.clone());
        (status.handled_requests, status.rollover_history) =
            (before.handled_requests.clone(), before.rollover_history.clone());
    }
    let mut end = None;
    if let Some(ring) = authority_plan.ring {
        remember(&mut status, ring);
        let signing = ring.state.signing();
        status.phase =
            Some(ring.state.rollover().map_or("Steady", |rollover| rollover.phase.as_str()).to_owned());
        if let Some(root) = ring.roots.get(signing) {
            status.root = Some(RootStatus {
                sha256: signing.0.clone(),
                serial: root.serial.clone(),
                not_before: date::seconds(root.not_before),
                not_after: date::seconds(root.not_after),
            });
            end = Some(root.not_after);
        }
        status.rollover = ring.state.rollover().map(|rollover| RolloverStatus {
            from: rollover.from.0.clone(),
            to: rollover.to.0.clone(),
            reason: rollover.reason.clone(),
            started_at: date::seconds(rollover.started_at),
            phase_started_at: date::seconds(rollover.phase_started_at),
            waiting_for: authority_plan
                .holds
                .iter()
                .take(NAMED)
                .map(|hold| format!("{}: {}", hold.who, hold.why))
                .collect(),
            waiting_for_total: i64::try_from(authority_plan.holds.len()).unwrap_or(i64::MAX),
            overrides: overrides(rollover),
        });
    }
    let (ready, reason, message) = match (&authority_plan.settings, &authority_plan.problem, end) {
        (Err(wrong), ..) => (ConditionStatus::False, Reason::InvalidSpec, wrong.join("; ")),
        (_, Some(problem), Some(end)) if now < end => {
            (ConditionStatus::True, Reason::NeedsAttention, problem.clone())
        }
        (_, Some(problem), _) => (ConditionStatus::False, Reason::NotUsable, problem.clone()),
        (_, None, None) => (ConditionStatus::False, Reason::Creating, "it has no root yet".into()),
        (_, None, Some(end)) if now >= end => {
            (ConditionStatus::False, Reason::Expired, "its root has expired".into())
        }
        (_, None, Some(_)) => (ConditionStatus::True, Reason::Usable, "its root signs".into()),
    };
    status.conditions =
        vec![condition(&before.conditions, ConditionType::Ready, ready, reason, message, now)];
    if authority_plan.queued {
        let said = "another rollover was asked for: it begins when this one has ended".to_owned();
        status.conditions.push(condition(
            &before.conditions,
            ConditionType::Queued,
            ConditionStatus::True,
            Reason::RolloverInProgress,
            said,
            now,
        ));
    }
    let wrong = authority_plan.settings.as_ref().err().map(|wrong| wrong.join("; "));
    let problem = match (&wrong, &authority_plan.problem) {
        (Some(wrong), _) => Some((Reason::InvalidSpec, wrong.as_str())),
        (None, Some(problem)) => Some((Reason::NeedsAttention, problem.as_str())),
        (None, None) => None,
    };
    status.conditions.extend(failing(&before.conditions, problem, now));
    status.last_notified =
        notifications::authority(observed, name, authority_plan, &status.conditions, now, plan);
    if status != *before {
        plan.actions.push(Action::ReportAuthority { authority: name.to_owned(), status: Box::new(status) });
    }
}

/// What was asked for and what became of it, and the rollovers that have ended.
fn remember(status: &mut AuthorityStatus, ring: &KeyringView) {
    let handled =
        ring.state.handled_requests.iter().map(|(verb, HandledRequest { id, outcome, handled_at })| {
            let (id, outcome, handled_at) = (id.clone(), outcome.clone(), date::seconds(*handled_at));
            (verb.clone(), HandledRequestStatus { id, outcome, handled_at })
        });
    status.handled_requests = handled.collect();
    let history = ring.state.rollover_history.iter().map(|RolloverRecord { rollover, ended_at }| {
        RolloverRecordStatus {
            from: rollover.from.0.clone(),
            to: rollover.to.0.clone(),
            reason: rollover.reason.clone(),
            started_at: date::seconds(rollover.started_at),
            ended_at: date::seconds(*ended_at),
            forced: rollover.forced,
            overrides: overrides(rollover),
        }
    });
    status.rollover_history = history.collect();
}

fn overrides(rollover: &Rollover) -> Vec<String> {
    rollover.overrides.iter().map(|pod| format!("{}: {}", pod.pod, pod.reason)).collect()
}

/// What holds up an object, and since when: there is such a condition while something does.
fn failing(before: &[Condition], problem: Option<(Reason, &str)>, now: SystemTime) -> Option<Condition> {
    let (reason, message) = problem.filter(|(reason, _)| !PASSING.contains(reason))?;
    Some(condition(before, ConditionType::Degraded, ConditionStatus::True, reason, message.to_owned(), now))
}

fn condition(
    before: &[Condition],
    r#type: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: String,
    now: SystemTime,
) -> Condition {
    let same = Condition::find(before, r#type).filter(|condition| condition.status == status);
    Condition {
        r#type,
        status,
        reason,
        message,
        last_transition_time: same
            .map_or_else(|| date::seconds(now), |same| same.last_transition_time.clone()),
    }
}
