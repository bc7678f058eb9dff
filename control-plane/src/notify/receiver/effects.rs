//! What follows from an event: requests to change objects, or warnings about them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::accepted::Accepted;
use super::rejection::Rejection;
use super::subject::{self, Subject};
use crate::external::manager::Managers;
use crate::notify::event_source::EventSource;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, RemoteCertificate};
use crate::planner::observed::{Observed, ResourceVersion};
use crate::planner::renewal_hint::{Added, NoEffect, PendingHints, SentHint};

#[derive(Default)]
pub struct Effects {
    /// Objects that the event asks to be changed.
    pub requests: BTreeMap<Subject, HintRequest>,
    /// Objects that the event reports a problem of, each with what is wrong.
    pub warnings: Vec<(Subject, String)>,
    /// The objects for which nothing follows, and warnings that are about no object.
    pub accepted: Accepted,
}

/// A request to leave with an object.
pub struct HintRequest {
    /// With those that wait already.
    pub hints: PendingHints,
    /// Of the object when these were read.
    pub over: ResourceVersion,
}

impl Effects {
    pub fn of(
        event: &IncomingEvent,
        sender: &str,
        source: &EventSource,
        managers: &Managers,
        observed: &Observed,
        now: SystemTime,
    ) -> Result<Self, Rejection> {
        let (mut effects, mut unknown) = (Self::default(), Vec::new());
        for certificate in &event.certificates {
            let subjects = match subject::resolve(source, certificate, observed, managers) {
                Ok(subjects) => subjects,
                Err(names) => {
                    unknown.extend(names);
                    continue;
                }
            };
            for subject in subjects {
                let no_effect = not_accepted(event.kind, source, &subject).map(NoEffect::Obsolete);
                let no_effect =
                    no_effect.or_else(|| subject.no_effect(event.kind, certificate, observed, now));
                match no_effect {
                    Some(no_effect) => effects.leave(&subject, no_effect),
                    None if event.kind == IncomingKind::Failed => {
                        effects.warnings.push((subject, warning(event, sender, Some(certificate))));
                    }
                    None => {
                        let hint = certificate.hint.clone();
                        effects.request(subject, SentHint { hint, sender: sender.to_owned() }, observed);
                    }
                }
            }
        }
        // The sender may well keep certificates that are not ours.
        if effects.is_empty() && !unknown.is_empty() {
            return Err(Rejection::UnknownCertificate(unknown));
        }
        if event.kind == IncomingKind::Failed
            && event.certificates.is_empty()
            && source.events.contains(&event.kind)
        {
            effects.accepted.warnings.push(warning(event, sender, None));
        }
        let unknown =
            unknown.into_iter().map(|name| (name, "no certificate or authority has this name".into()));
        effects.accepted.unchanged.extend(unknown);
        Ok(effects)
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.warnings.is_empty()
            && self.accepted.unchanged.is_empty()
            && self.accepted.requested.is_empty()
    }

    fn leave(&mut self, subject: &Subject, no_effect: NoEffect) {
        self.accepted.limited |= matches!(no_effect, NoEffect::TooSoon(_));
        self.accepted.unchanged.insert(subject.to_string(), no_effect.why());
    }

    /// The hint is added to those that were not handled yet.
    fn request(&mut self, subject: Subject, hint: SentHint, observed: &Observed) {
        let Some(over) = subject.resource_version(observed).cloned() else { return };
        let gathered = self.requests.get(&subject).map(|request| request.hints.clone());
        let is_gathered = gathered.is_some();
        let open = || subject.open_hint(observed).map(|open| PendingHints::parse(&open.arguments));
        let mut hints = gathered.or_else(open).unwrap_or_default();
        // What is fetched is fetched on each announcement: the manager may have changed it since the one before.
        match hints.add(hint) {
            Added::Known if is_gathered => {}
            Added::Known if !subject.is_fetched(observed) => {
                self.accepted.requested.push(subject.to_string());
            }
            Added::Outweighed(why) if !subject.is_fetched(observed) => {
                drop(self.accepted.unchanged.insert(subject.to_string(), why.to_owned()));
            }
            Added::Added | Added::Known | Added::Outweighed(_) => {
                self.requests.insert(subject, HintRequest { hints, over });
            }
        }
    }
}

/// Why the settings have no event of this kind follow for this object.
fn not_accepted(kind: IncomingKind, source: &EventSource, subject: &Subject) -> Option<String> {
    let name = subject.to_string();
    let (listed, key) = match subject {
        Subject::Certificate(_) => (&source.names, "names"),
        Subject::Authority(_) => (&source.authorities, "authorities"),
    };
    if !source.events.contains(&kind) {
        Some(format!("the settings do not accept the event {kind} from this sender: events does not list it"))
    } else if !listed.iter().any(|pattern| pattern.matches(&name)) {
        Some(format!("the settings do not accept events about it from this sender: {key} does not list it"))
    } else {
        None
    }
}

fn warning(event: &IncomingEvent, sender: &str, certificate: Option<&RemoteCertificate>) -> String {
    let cause = certificate.and_then(|certificate| certificate.cause.as_ref());
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("the sender {sender} reports {}{cause}", event.name)
}
