//! One authority: whether it needs its first root, a new one, or the next step of the rollover that is under way.
//!
//! | phase | trusted: in each Secret | signs | is over when each pod that mounts one of its Secrets was seen |
//! |---|---|---|---|
//! | none | the root | the root | |
//! | `Distributing` | both roots | the old root | to accept clients under the new root and to show the published leaf |
//! | `Reissuing` | both roots | the new root | to show a leaf under the new root, with no connection left from under the old one or past the deadline |
//! | `Retiring` | the new root | the new root | to show a leaf under the new root and to refuse clients under the old one |
//!
//! What a pod was seen to do counts from the beginning of the rollover, in a list of pods that is younger than the last
//! write in its namespace. What is not known holds the step. These do not wait for that: a reversal, which goes back with
//! the roots exchanged; an override, by which a person answers for a pod, a certificate or a namespace; the removal of a
//! compromised root; and a rollover whose old root has expired, which nobody accepts any more.

mod ledger;
mod leftover;
mod phase_check;
mod requests;
mod successor;
mod unknown_root;

use std::time::{Duration, SystemTime};

use ledger::LedgerCheck;
use phase_check::{PhaseCheck, without_expired_root};
use requests::Requests;
use successor::{NO_SUCCESSOR, has_successor, transition_reason};

use super::authority::{AuthorityPlan, AuthorityState};
use super::dependent::DependentCertificate;
use super::moves::Moves;
use super::observed::{Authority, KeyringState, KeyringView, Observed, Request};
use super::plan::{Action, Plan, Transition};
use super::renewal_hint::{NOTICED, PendingHints, SentHint, Target};
use crate::api::date;
use crate::api::request::{self, RequestOutcome};
use crate::api::settings::{AuthoritySettings, CertificateSettings};
use crate::pki::keyring::{Rollover, RootId, UnknownRoot};

/// Another root in its place would cut off every pod that trusts the old one alone.
const KEYRING_LOST: &str = "its keyring is gone (in a cluster, the Secret hotcert-ca-NAME): put it back from a backup. To begin \
                    anew under a root that no pod trusts yet, delete this CertificateAuthority and create it again";

pub fn plan<'a>(state: &AuthorityState<'a>, plan: &mut Plan) -> AuthorityPlan<'a> {
    let AuthorityState { name, authority, settings, dependents, pods, now } = *state;
    let mut authority_plan =
        AuthorityPlan { certificates: dependents.len(), ..AuthorityPlan::quiet(authority, settings, None) };
    let observed = pods.observed;
    let transition = match (&authority.keyring, settings) {
        (KeyringState::Unreadable(why), _) => {
            authority_plan.problem = Some(why.clone());
            None
        }
        (KeyringState::Absent, Err(_)) => None,
        (KeyringState::Absent, Ok(_)) if authority.deleting => None,
        (KeyringState::Absent, Ok(_)) if authority.status.root.is_some() => {
            authority_plan.problem = Some(KEYRING_LOST.into());
            None
        }
        (KeyringState::Absent, Ok(settings)) => create_root(authority, settings, &mut authority_plan.problem),
        (KeyringState::Present(keyring), settings) => {
            authority_plan.moves = Moves::of(keyring, dependents, pods, now);
            let unknown_root = keyring.state.unknown_root.clone();
            let unknown_root =
                unknown_root.or_else(|| unknown_root::find(observed, name, keyring, dependents, pods));
            authority_plan.suspended = unknown_root.as_ref().map(|unknown| keyring_outdated(name, unknown));
            authority_plan.problem.clone_from(&authority_plan.suspended);
            if let Some(rollover) = keyring.state.rollover() {
                let drain_deadline =
                    settings.as_ref().map_or(Duration::MAX, |settings| settings.drain_deadline);
                let check = PhaseCheck { observed, authority: name, keyring, rollover, drain_deadline, now };
                authority_plan.blockers = check.blockers(dependents, plan);
                if keyring.roots.get(&rollover.from).is_some_and(|from| from.not_after <= now) {
                    without_expired_root(&mut authority_plan.blockers, rollover.phase);
                }
            }
            if let Ok(settings) = settings {
                authority_plan.rollover_due = rollover_due(keyring, settings, dependents);
            }
            let ledger = LedgerCheck {
                observed,
                authority: name,
                keyring,
                dependents,
                moves: &authority_plan.moves,
                now,
            };
            let (change, has_leftovers) = ledger.change(plan);
            // Also an empty ledger, where there is none.
            authority_plan.has_leftovers = has_leftovers;
            let requests = Requests { authority: name, authority_plan: &authority_plan, keyring, observed };
            let is_recording = !change.is_empty() || keyring.state.ledger.is_none();
            // An emergency comes first. Then what is about to be published is written down, before anything else
            // is decided on it; unless that fails, which must not hold up everything else.
            let recording = is_recording.then_some(Transition::ChangeLedger(change));
            let why = observed.failed_actions.get(name).filter(|_| keyring.state.ledger.is_some());
            let is_failing = why.is_some_and(|why| why.starts_with(Transition::RECORD));
            let (first, last) = if is_failing { (None, recording) } else { (recording, None) };
            let urgent = requests.remove_root().or_else(|| requests.accept_keyring()).or(first);
            match (urgent, unknown_root) {
                (Some(transition), _) => Some(transition),
                (None, Some(unknown)) if keyring.state.unknown_root.is_none() => {
                    Some(Transition::ReportUnknownRoot(unknown))
                }
                (None, Some(_)) => requests.refuse_while_suspended(),
                (None, None) => {
                    next_transition(name, &mut authority_plan, keyring, observed, now, plan).or(last)
                }
            }
        }
    };
    if let Some(why) = observed.failed_actions.get(name) {
        authority_plan.problem.get_or_insert_with(|| why.clone());
    }
    if let Some(transition) = transition {
        authority_plan.creating_root = matches!(transition, Transition::CreateRoot { .. });
        let expected = authority_plan.keyring.map(|keyring| keyring.resource_version.clone());
        plan.actions.push(Action::Authority { authority: name.to_owned(), transition, expected });
    }
    authority_plan
}

fn keyring_outdated(authority: &str, unknown: &UnknownRoot) -> String {
    format!(
        "the keyring is older than what is in use: {unknown}. Restore a newer keyring, or accept this one, which cuts \
         off what trusts newer roots alone: hotcert rollover {authority} --accept-keyring --reason TEXT"
    )
}

fn create_root(
    authority: &Authority,
    settings: &AuthoritySettings,
    problem: &mut Option<String>,
) -> Option<Transition> {
    if let (Some(secret), Some(Err(why))) = (&settings.import, &authority.import) {
        *problem = Some(format!("the root cannot be imported from {secret}: {why}"));
        return None;
    }
    Some(Transition::CreateRoot { settings: Box::new(settings.clone()) })
}

/// So early that no leaf has to be cut short during the rollover.
fn rollover_due(
    keyring: &KeyringView,
    settings: &AuthoritySettings,
    dependents: &[DependentCertificate<'_>],
) -> Option<SystemTime> {
    let root = keyring.roots.get(keyring.state.signing())?;
    let longest = dependents.iter().filter_map(DependentCertificate::lifetime).max().unwrap_or_default();
    // A leaf that was not issued yet may have the longest lifetime that a spec asks for.
    let longest = longest.max(longest_requested(settings, dependents)).min(settings.leaf_lifetime_max);
    root.not_after.checked_sub(longest + settings.rollover_allowance)
}

fn longest_requested(settings: &AuthoritySettings, dependents: &[DependentCertificate<'_>]) -> Duration {
    let requested =
        |dependent: &DependentCertificate<'_>| match dependent.certificate.spec.lifetime.as_deref() {
            Some(text) => humantime::parse_duration(text).unwrap_or_default(),
            None => CertificateSettings::default_lifetime(settings),
        };
    dependents.iter().map(requested).max().unwrap_or_else(|| CertificateSettings::default_lifetime(settings))
}

/// The next transition, if one can be made now. Requests come first.
fn next_transition(
    name: &str,
    authority_plan: &mut AuthorityPlan<'_>,
    keyring: &KeyringView,
    observed: &Observed,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Transition> {
    let requests = Requests { authority: name, authority_plan, keyring, observed };
    let transition = requests.reverse().or_else(|| requests.override_blockers());
    if transition.is_some() {
        return transition;
    }
    let rollover_request = requests.open(request::ROLLOVER).cloned();
    let hint_request = requests.open(request::RENEWAL_HINT).cloned();
    if let (Some(Request { id, .. }), Some(_)) = (&rollover_request, keyring.state.rollover()) {
        // Another one does not begin as soon as this one has ended.
        let outcome = RequestOutcome::Refused(request::rollover_under_way(name));
        let (verb, request) = (request::ROLLOVER.to_owned(), id.clone());
        return Some(Transition::CloseRequest { verb, request, outcome });
    }
    let is_unblocked = authority_plan.blockers.is_empty();
    let Ok(settings) = authority_plan.settings else {
        // A rollover that is under way is finished all the same.
        return keyring.state.rollover().filter(|_| is_unblocked).map(advance);
    };
    if let Some(rollover) = keyring.state.rollover() {
        let nothing_to_do = |Request { id, .. }: Request| {
            let outcome = RequestOutcome::NothingToDo("the root is being replaced".into());
            Transition::CloseRequest { verb: request::RENEWAL_HINT.to_owned(), request: id, outcome }
        };
        return is_unblocked.then(|| advance(rollover)).or_else(|| hint_request.map(nothing_to_do));
    }
    let authority = authority_plan.authority;
    if let Some(request) = rollover_request {
        return Some(requested_rollover(authority, keyring, settings, request));
    }
    if let Some(request) = hint_request {
        return Some(hinted_rollover(authority, keyring, settings, request, now));
    }
    // A root that was replaced before comes back on request, not by itself.
    let was_replaced =
        |root: &RootId| keyring.state.rollover_history.iter().any(|past| past.rollover.from == *root);
    let is_new = |root: &Result<RootId, String>| root.as_ref().is_ok_and(|root| !was_replaced(root));
    if authority.import.as_ref().is_some_and(is_new) && has_successor(authority, keyring) {
        return Some(begin(settings, "another root is there to be imported".into(), None));
    }
    scheduled_rollover(authority_plan, keyring, now, plan)
}

fn requested_rollover(
    authority: &Authority,
    keyring: &KeyringView,
    settings: &AuthoritySettings,
    Request { id, arguments }: Request,
) -> Transition {
    let verb = request::ROLLOVER.to_owned();
    if has_successor(authority, keyring) {
        return begin(settings, transition_reason("requested", &arguments), Some((verb, id)));
    }
    Transition::CloseRequest { verb, request: id, outcome: RequestOutcome::Refused(NO_SUCCESSOR.into()) }
}

fn hinted_rollover(
    authority: &Authority,
    keyring: &KeyringView,
    settings: &AuthoritySettings,
    Request { id, arguments }: Request,
    now: SystemTime,
) -> Transition {
    let verb = request::RENEWAL_HINT.to_owned();
    let hints = PendingHints::parse(&arguments);
    let effective = match Target::of_root(keyring) {
        Some(target) => hints.effective(&target, now).map(SentHint::to_words),
        None => Ok(arguments),
    };
    let outcome = match effective {
        Err(no_effect) => RequestOutcome::NothingToDo(no_effect.why()),
        Ok(words) if has_successor(authority, keyring) => {
            return begin(settings, transition_reason(NOTICED, &words), Some((verb, id)));
        }
        Ok(_) => RequestOutcome::Refused(NO_SUCCESSOR.into()),
    };
    Transition::CloseRequest { verb, request: id, outcome }
}

/// Because the root expires.
fn scheduled_rollover(
    authority_plan: &mut AuthorityPlan<'_>,
    keyring: &KeyringView,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Transition> {
    let settings = authority_plan.settings.as_ref().ok()?;
    let due = authority_plan.rollover_due?;
    if due > now {
        plan.wake(due);
        return None;
    }
    let root = keyring.roots.get(keyring.state.signing());
    let end = root.map(|root| date::seconds(root.not_after)).unwrap_or_default();
    let problem = if !settings.automatic_rollover {
        format!("the root expires at {end}: run hotcert rollover, because spec.automaticRollover is false")
    } else if !has_successor(authority_plan.authority, keyring) {
        format!("the root expires at {end}: {NO_SUCCESSOR}")
    } else {
        return Some(begin(settings, format!("the root expires at {end}"), None));
    };
    authority_plan.problem = Some(problem);
    None
}

fn begin(settings: &AuthoritySettings, why: String, request: Option<(String, String)>) -> Transition {
    Transition::BeginRollover { settings: Box::new(settings.clone()), why, request }
}

fn advance(rollover: &Rollover) -> Transition {
    Transition::AdvanceRollover { out_of: rollover.phase }
}
