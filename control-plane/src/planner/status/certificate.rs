//! The status of a certificate.

use std::time::{Duration, SystemTime};

use crate::api::condition::{ConditionStatus, ConditionType, Reason};
use crate::api::date;
use crate::api::request;
use crate::api::resource::{CertificateStatus, HandledRequests, ServedStatus};
use crate::pki::x509_facts::Leaf;
use crate::planner::authority::AuthorityPlan;
use crate::planner::certificate::{CertificatePlan, CertificateState, handles_request};
use crate::planner::notifications;
use crate::planner::observed::{Certificate, Publication, Published, Version};
use crate::planner::plan::{Action, Plan};
use crate::planner::serving::Served;
use crate::planner::status::condition_writer::{Conditions, is_recorded};
use crate::planner::status::readiness::Effect;

/// How long after a write the status does not mention that its pods are probed: most serve the publication
/// by then, and the status is written once.
const SERVED_SOON: Duration = Duration::from_secs(2);
/// While a rollover distributes its new root: how long the status waits for the leaf that is published next, where the
/// bundle alone was written so far. Both are said at once.
const LEAF_SOON: Duration = Duration::from_secs(2 * 60);
/// As [`SERVED_SOON`], while a pod waits to be probed behind those of other certificates.
const PROBED_SOON: Duration = Duration::from_secs(30);

pub fn certificate(
    context: &CertificateState<'_>,
    authority: Option<&AuthorityPlan<'_>>,
    certificate_plan: &CertificatePlan,
    served: Option<Served>,
    plan: &mut Plan,
) {
    let CertificateState { name, certificate, pods, now } = *context;
    let before = &certificate.status;
    let mut status = CertificateStatus {
        observed_generation: Some(certificate.generation),
        secret_name: certificate_plan.secret_name.clone().or(before.secret_name.clone()),
        // Of the last publication, even if it is lost: the numbers go on from there.
        version: before.version,
        revision: before.revision,
        handled_requests: handled_requests(certificate, certificate_plan),
        external_sync: certificate_plan.external_sync.clone(),
        ..CertificateStatus::default()
    };
    let mut leaf = None;
    if let (Published::Ours(publication), Some((number, version))) =
        (&certificate.published, certificate.published_version())
    {
        describe_publication(&mut status, publication, number, version);
        status.renew_at = certificate_plan.renew_at.map(date::seconds);
        leaf = Some(&version.leaf);
    }
    let turns = leaf.into_iter().flat_map(|leaf| [leaf.not_before, leaf.not_after]);
    turns.filter(|at| *at > now).for_each(|at| plan.wake(at));
    let mut conditions = Conditions::new(&before.conditions, certificate.generation, now);
    set_ready(&mut conditions, certificate_plan, leaf, now);
    set_published(&mut conditions, certificate, certificate_plan, leaf, now);
    set_rollback_refused(&mut conditions, certificate, certificate_plan, status.handled_requests.as_ref());
    let grace = served.as_ref().and_then(|served| grace(certificate_plan, served));
    status.served = set_served(&mut conditions, certificate, served);
    let problem = certificate_plan.problem.as_ref();
    conditions.set_degraded(problem.map(|(reason, message)| (*reason, message.as_str())));
    status.conditions = conditions.into_vec();
    status.last_notified =
        notifications::certificate(pods.observed, (name, certificate), &status.conditions, now, plan);
    if certificate_plan.in_progress && certificate_plan.problem.is_none() {
        return;
    }
    let is_distributing = authority.is_some_and(AuthorityPlan::is_distributing);
    let grace = match grace {
        None if is_distributing && says_bundle_alone(&status, before) => Some(LEAF_SOON),
        grace => grace,
    };
    if let (Published::Ours(publication), Some(grace)) = (&certificate.published, grace) {
        let until = publication.written_at + grace;
        if (publication.written_at..until).contains(&now) {
            plan.wake(until);
            return;
        }
    }
    if !is_recorded(&mut status, before, |status| &mut status.conditions, &before.conditions) {
        let (status, expected) = (Box::new(status), certificate.resource_version.clone());
        plan.actions.push(Action::UpdateCertificateStatus { certificate: name.clone(), status, expected });
    }
}

/// Whether all that there is to say is that the Secret was written with other roots.
fn says_bundle_alone(status: &CertificateStatus, before: &CertificateStatus) -> bool {
    let mut without = CertificateStatus {
        revision: before.revision,
        published_at: before.published_at.clone(),
        served: before.served.clone(),
        ..status.clone()
    };
    is_recorded(&mut without, before, |status| &mut status.conditions, &before.conditions)
}

fn describe_publication(
    status: &mut CertificateStatus,
    publication: &Publication,
    number: u64,
    version: &Version,
) {
    status.version = i64::try_from(number).ok();
    status.revision = i64::try_from(publication.revision).ok();
    status.serial = Some(version.leaf.serial.clone());
    status.sha256 = Some(version.leaf.sha256.clone());
    status.not_before = Some(date::seconds(version.leaf.not_before));
    status.not_after = Some(date::seconds(version.leaf.not_after));
    status.root = Some(version.root.0.clone());
    status.published_at = Some(date::millis(publication.written_at));
}

fn set_ready(
    conditions: &mut Conditions<'_>,
    certificate_plan: &CertificatePlan,
    leaf: Option<&Leaf>,
    now: SystemTime,
) {
    let (is_valid, state, text) = publication_state(leaf, now);
    let (reason, message) = match &certificate_plan.problem {
        Some((reason, message)) => (*reason, message.as_str()),
        None => (state, text),
    };
    let is_ready = is_valid && Effect::of(reason).is_ready();
    conditions.set_ready(is_ready, certificate_plan.spec_pending, reason, message);
}

/// Whether a valid leaf is published, whatever is said of the spec.
fn set_published(
    conditions: &mut Conditions<'_>,
    certificate: &Certificate,
    certificate_plan: &CertificatePlan,
    leaf: Option<&Leaf>,
    now: SystemTime,
) {
    let (is_valid, state, text) = publication_state(leaf, now);
    let (status, reason, message) = match (&certificate.published, &certificate_plan.problem) {
        (Published::Inaccessible(why), _) => (ConditionStatus::Unknown, Reason::NoAccess, why.as_str()),
        (Published::OwnedByOther(_), Some((reason, message))) => {
            (ConditionStatus::False, *reason, message.as_str())
        }
        _ if is_valid => (ConditionStatus::True, state, text),
        _ => (ConditionStatus::False, state, text),
    };
    conditions.set(ConditionType::Published, status, reason, message.to_owned());
}

/// Whether the published leaf is valid, and what there is to say of it.
fn publication_state(leaf: Option<&Leaf>, now: SystemTime) -> (bool, Reason, &'static str) {
    match leaf {
        None => (false, Reason::Issuing, "nothing is published yet"),
        Some(leaf) if now >= leaf.not_after => (false, Reason::Expired, "what is published has expired"),
        Some(leaf) if now < leaf.not_before => {
            (false, Reason::NotYetValid, "what is published is not valid yet: look at the clock")
        }
        Some(_) => (true, Reason::Published, "a valid certificate is published"),
    }
}

/// Kept until there is another request.
fn set_rollback_refused(
    conditions: &mut Conditions<'_>,
    certificate: &Certificate,
    certificate_plan: &CertificatePlan,
    handled: Option<&HandledRequests>,
) {
    if let Some((_, why)) = &certificate_plan.refused_rollback {
        let (status, reason) = (ConditionStatus::True, Reason::Refused);
        conditions.set(ConditionType::RollbackRefused, status, reason, why.clone());
        return;
    }
    let is_refused = certificate.requests.get(request::ROLLBACK).is_some_and(|request| {
        let mut versions = certificate.versions.values();
        let is_done = versions.any(|version| handles_request(version, request::ROLLBACK, &request.id));
        let handled = handled.and_then(|handled| handled.rollback.as_ref());
        handled == Some(&request.id) && !is_done
    });
    if is_refused {
        conditions.keep(ConditionType::RollbackRefused);
    }
}

/// How long after a write the status waits for what pods show.
fn grace(certificate_plan: &CertificatePlan, served: &Served) -> Option<Duration> {
    let has_news = certificate_plan.problem.is_some() || certificate_plan.refused_rollback.is_some();
    if served.complete || served.late || served.error.is_some() {
        return None;
    }
    Some(if served.unprobed && !has_news { PROBED_SOON } else { SERVED_SOON })
}

/// Also what the status says of the pods. While they are being probed it is not written for each of them.
fn set_served(
    conditions: &mut Conditions<'_>,
    certificate: &Certificate,
    served: Option<Served>,
) -> Option<ServedStatus> {
    let before = certificate.status.served.clone();
    let Some(served) = served else {
        conditions.before(ConditionType::Served)?;
        conditions.keep(ConditionType::Served);
        return before;
    };
    let counted = format!("{} of {} pods serve what is published", served.status.serving, served.status.pods);
    let (status, reason, message) = match (&served.error, served.complete, served.late) {
        (Some(why), ..) => {
            (ConditionStatus::Unknown, Reason::PodsNotListed, format!("its pods cannot be listed: {why}"))
        }
        (None, true, _) if served.status.pods == 0 => (ConditionStatus::True, Reason::NoPods, counted),
        (None, true, _) => (ConditionStatus::True, Reason::Served, counted),
        (None, false, true) => (ConditionStatus::False, Reason::NotServedInTime, counted),
        (None, false, false) => {
            let message = "probing whether every pod serves what is published";
            (ConditionStatus::Unknown, Reason::Probing, message.to_owned())
        }
    };
    conditions.set(ConditionType::Served, status, reason, message);
    let is_final = served.error.is_none() && (served.complete || served.late);
    if is_final { Some(served.status) } else { before }
}

/// Requests that a version was made for, once it or a later one is published, and those that were refused
/// or were obsolete.
fn handled_requests(
    certificate: &Certificate,
    certificate_plan: &CertificatePlan,
) -> Option<HandledRequests> {
    let mut handled = certificate.status.handled_requests.clone().unwrap_or_default();
    let published = certificate.published_version().map(|(number, _)| number);
    let done = |verb: &str| {
        let id = &certificate.requests.get(verb)?.id;
        let made = certificate.versions.iter().find(|(_, version)| handles_request(version, verb, id));
        made.filter(|(number, _)| Some(**number) <= published).map(|_| id.clone())
    };
    handled.rotate = done(request::ROTATE).or(handled.rotate);
    handled.rollback = done(request::ROLLBACK).or(handled.rollback);
    handled.renewal_hint = done(request::RENEWAL_HINT).or(handled.renewal_hint);
    if let Some((id, _)) = &certificate_plan.refused_rollback {
        handled.rollback = Some(id.clone());
    }
    for (verb, id) in &certificate_plan.obsolete_requests {
        let field = if *verb == request::ROTATE { &mut handled.rotate } else { &mut handled.renewal_hint };
        *field = Some(id.clone());
    }
    (handled != HandledRequests::default()).then_some(handled)
}
