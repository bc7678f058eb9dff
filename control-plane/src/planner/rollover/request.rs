//! What people ask of a rollover: to transition it around, to go on without a pod, to take a root out at once.
//! Every request is answered once, and a refusal says what to do instead.

use super::{AuthorityPlan, STUCK, Transition, reason, successor};
use crate::planner::observed::{KeyringView, Request};
use crate::planner::rollover::blocker::NAMESPACE;

/// What people ask of an authority besides a rollover.
pub(super) struct Requests<'s, 'a> {
    pub authority_plan: &'s AuthorityPlan<'a>,
    pub ring: &'s KeyringView,
}

impl Requests<'_, '_> {
    /// A request that was not answered yet.
    pub fn open(&self, verb: &str) -> Option<&Request> {
        let request = self.authority_plan.authority.requests.get(verb)?;
        (!self.ring.state.is_handled(verb, &request.id)).then_some(request)
    }

    pub fn remove(&self) -> Option<Transition> {
        let Request { id, words } = self.open("remove-root")?;
        let answer = |outcome: String| {
            Some(Transition::Answer { verb: "remove-root".into(), request: id.clone(), outcome })
        };
        let (prefix, why) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let found: Vec<_> = self.ring.roots.keys().filter(|root| root.0.starts_with(prefix)).collect();
        let settings = match &self.authority_plan.settings {
            Ok(settings) => settings,
            Err(wrong) => return answer(format!("refused: the spec is wrong: {}", wrong.join("; "))),
        };
        match found.as_slice() {
            _ if prefix.len() < 8 => answer("refused: give at least 8 digits of the root's SHA-256".into()),
            [root]
                if self.ring.state.rollover().is_some_and(|other| other.forced && other.from == **root) =>
            {
                answer(format!("refused: the root {root} is being removed already"))
            }
            [root]
                if self.ring.state.survivor(root).is_none()
                    && !successor(self.authority_plan.authority, self.ring) =>
            {
                answer(format!("refused: {STUCK}"))
            }
            [root] if self.ring.state.needed().contains(root) => Some(Transition::Remove {
                settings: Box::new(settings.clone()),
                root: (*root).clone(),
                why: reason("removed at once", why),
                request: id.clone(),
            }),
            _ => answer(format!("refused: there is no root {prefix}")),
        }
    }

    pub fn reverse(&self) -> Option<Transition> {
        let Request { id, words } = self.open("reverse")?;
        match self.ring.state.rollover() {
            Some(rollover) if !rollover.forced => {
                Some(Transition::Reverse { why: reason("reversed", words), request: id.clone() })
            }
            under_way => {
                let outcome = match under_way {
                    Some(_) => "refused: a root that was removed at once does not come back",
                    None => "refused: no rollover is under way",
                };
                Some(Transition::Answer {
                    verb: "reverse".into(),
                    request: id.clone(),
                    outcome: outcome.into(),
                })
            }
        }
    }

    pub fn exempt(&self) -> Option<Transition> {
        let Request { id, words } = self.open("override")?;
        let (named, why) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let mut pods = Vec::new();
        let mut strangers = Vec::new();
        for pod in named.split(',') {
            match self.authority_plan.holds.iter().find(|hold| hold.who == pod && !hold.uid.is_empty()) {
                Some(hold) => pods.push((hold.who.clone(), hold.uid.clone())),
                None => strangers.push(pod),
            }
        }
        // Who is not seen yet may hold it all the same.
        let unseen = self.authority_plan.holds.iter().any(|hold| hold.who.starts_with(NAMESPACE));
        if !strangers.is_empty() && unseen {
            return None;
        }
        let refused = if self.ring.state.rollover().is_none() {
            "refused: no rollover is under way".to_owned()
        } else if why.is_empty() {
            "refused: give a reason, it is recorded".to_owned()
        } else if !strangers.is_empty() {
            format!("refused: no pod of that name holds the step: {}", strangers.join(", "))
        } else {
            return Some(Transition::Exempt { pods, reason: why.trim().to_owned(), request: id.clone() });
        };
        Some(Transition::Answer { verb: "override".into(), request: id.clone(), outcome: refused })
    }
}
