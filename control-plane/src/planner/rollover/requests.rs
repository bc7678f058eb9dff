//! Requests about a rollover: to reverse it, to go on without a pod, to remove a root at once. Every
//! request is answered once, and a refusal says what to do instead.

use super::successor::{NO_SUCCESSOR, has_successor, transition_reason};
use crate::api::object_name::ObjectName;
use crate::api::request::{self, RequestOutcome};
use crate::planner::authority::{AuthorityPlan, everything_in};
use crate::planner::observed::{KeyringView, Observed, Request, SecretListing};
use crate::planner::plan::Transition;

pub struct Requests<'s, 'a> {
    pub authority: &'s str,
    pub authority_plan: &'s AuthorityPlan<'a>,
    pub keyring: &'s KeyringView,
    pub observed: &'s Observed,
}

impl Requests<'_, '_> {
    /// The request, unless it was handled already. Also if the keyring was restored and has forgotten it: who asked was
    /// answered.
    pub fn open(&self, verb: &str) -> Option<&Request> {
        let authority = self.authority_plan.authority;
        let request = authority.requests.get(verb)?;
        let is_handled =
            self.keyring.state.is_handled(verb, &request.id) || authority.answer_in_status(verb).is_some();
        (!is_handled).then_some(request)
    }

    pub fn remove_root(&self) -> Option<Transition> {
        let Request { id, arguments } = self.open(request::REMOVE_ROOT)?;
        let refuse = |why: String| {
            let outcome = RequestOutcome::Refused(why);
            Some(Transition::CloseRequest { verb: request::REMOVE_ROOT.into(), request: id.clone(), outcome })
        };
        let (prefix, why) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
        let found: Vec<_> = self.keyring.roots.keys().filter(|root| root.0.starts_with(prefix)).collect();
        let settings = match self.authority_plan.settings {
            Ok(settings) => settings,
            Err(errors) => return refuse(format!("the spec is wrong: {}", errors.join("; "))),
        };
        let state = &self.keyring.state;
        match found.as_slice() {
            _ if prefix.len() < 8 => refuse("give at least 8 digits of the root's SHA-256".into()),
            [root] if state.rollover().is_some_and(|other| other.forced && other.from == **root) => {
                refuse(format!("the root {root} is being removed already"))
            }
            [root]
                if state.survivor(root).is_none()
                    && !has_successor(self.authority_plan.authority, self.keyring) =>
            {
                refuse(NO_SUCCESSOR.into())
            }
            [root] if state.needed().contains(root) => Some(Transition::RemoveRoot {
                settings: Box::new(settings.clone()),
                root: (*root).clone(),
                why: transition_reason("removed at once", why),
                request: id.clone(),
            }),
            _ => refuse(format!("there is no root {prefix}")),
        }
    }

    pub fn reverse(&self) -> Option<Transition> {
        let Request { id, arguments } = self.open(request::REVERSE)?;
        let refusal = match self.keyring.state.rollover() {
            Some(rollover) if !rollover.forced => {
                let why = transition_reason("reversed", arguments);
                return Some(Transition::ReverseRollover { why, request: id.clone() });
            }
            Some(_) => "a root that was removed at once does not come back",
            None => return self.no_rollover(request::REVERSE, id),
        };
        Some(Transition::CloseRequest {
            verb: request::REVERSE.into(),
            request: id.clone(),
            outcome: RequestOutcome::Refused(refusal.into()),
        })
    }

    pub fn accept_keyring(&self) -> Option<Transition> {
        let Request { id, arguments } = self.open(request::ACCEPT_KEYRING)?;
        let refuse = |why: &str| {
            let outcome = RequestOutcome::Refused(why.to_owned());
            Some(Transition::CloseRequest {
                verb: request::ACCEPT_KEYRING.into(),
                request: id.clone(),
                outcome,
            })
        };
        match &self.keyring.state.unknown_root {
            None => refuse("the keyring knows every root that was seen in use"),
            Some(_) if arguments.is_empty() => refuse("give a reason, which is recorded"),
            Some(_) => Some(Transition::DisregardUnknownRoot { why: arguments.clone(), request: id.clone() }),
        }
    }

    /// Every other request about the rollover, while it is not known whether the keyring counts.
    pub fn refuse_while_suspended(&self) -> Option<Transition> {
        let verbs = [request::ROLLOVER, request::REVERSE, request::OVERRIDE];
        let (verb, Request { id, .. }) = verbs.into_iter().find_map(|verb| Some((verb, self.open(verb)?)))?;
        let why = self.authority_plan.suspended.clone().unwrap_or_default();
        let outcome = RequestOutcome::Refused(why);
        Some(Transition::CloseRequest { verb: verb.into(), request: id.clone(), outcome })
    }

    fn no_rollover(&self, verb: &str, id: &str) -> Option<Transition> {
        let outcome = RequestOutcome::Refused(format!("no rollover of {} is under way", self.authority));
        Some(Transition::CloseRequest { verb: verb.into(), request: id.to_owned(), outcome })
    }

    /// Certificates that come from another authority and are named here, each with its Secret.
    fn overridden_moves(&self, named: &str) -> Vec<(String, ObjectName)> {
        let moves = named.split(',').filter_map(|name| {
            let certificate = name.parse::<ObjectName>().ok()?;
            let secret = self.authority_plan.moves.secret(&certificate)?;
            Some((name.to_owned(), ObjectName::new(certificate.namespace, secret)))
        });
        moves.collect()
    }

    pub fn override_blockers(&self) -> Option<Transition> {
        let Request { id, arguments } = self.open(request::OVERRIDE)?;
        let (named, why) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
        let blockers = &self.authority_plan.blockers;
        let mut pods = Vec::new();
        let mut unknown = Vec::new();
        for name in named.split(',') {
            let named = pods.len();
            let blockers = blockers.iter().filter(|blocker| blocker.name == name);
            pods.extend(blockers.map(|blocker| (blocker.name.clone(), blocker.uid.clone())));
            if pods.len() == named {
                unknown.push(name);
            }
        }
        // Pods that are not listed yet may block the step all the same. If they cannot be, that is a blocker of its
        // own, which can be overridden.
        let is_waiting = |namespace: &str| {
            let has_failed = self.observed.pods.get(namespace).is_some_and(|list| list.error.is_some())
                || matches!(self.observed.namespaces.get(namespace), Some(SecretListing::Failed(_)));
            !has_failed && blockers.iter().any(|blocker| blocker.name == everything_in(namespace))
        };
        if unknown.iter().any(|name| name.split_once('/').is_some_and(|(namespace, _)| is_waiting(namespace)))
        {
            return None;
        }
        let moves = self.overridden_moves(named);
        if !why.is_empty()
            && unknown.iter().all(|name| moves.iter().any(|(moving, _)| moving == name))
            && !moves.is_empty()
        {
            let (reason, request) = (why.trim().to_owned(), id.clone());
            return Some(Transition::OverrideBlockers { pods, moves, reason, request });
        }
        if self.keyring.state.rollover().is_none() && self.authority_plan.moves.is_empty() {
            return self.no_rollover(request::OVERRIDE, id);
        }
        let refusal = if why.is_empty() {
            "give a reason, which is recorded".to_owned()
        } else if !unknown.is_empty() {
            let is_rolling = self.keyring.state.rollover().is_some();
            let what =
                if is_rolling { "the rollover does not wait" } else { "no move of a certificate waits" };
            format!("{what} for {}", unknown.join(", "))
        } else {
            let (reason, request) = (why.trim().to_owned(), id.clone());
            return Some(Transition::OverrideBlockers { pods, moves, reason, request });
        };
        Some(Transition::CloseRequest {
            verb: request::OVERRIDE.into(),
            request: id.clone(),
            outcome: RequestOutcome::Refused(refusal),
        })
    }
}
