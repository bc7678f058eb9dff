//! What follows from an event: requests to change objects, or warnings about them.

use std::time::SystemTime;

use super::accepted::Accepted;
use super::rejection::Rejection;
use super::subject::{self, Subject};
use crate::external::manager::Managers;
use crate::notify::event_source::EventSource;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, RemoteCertificate};
use crate::planner::observed::Observed;
use crate::planner::renewal_hint::RenewalHint;

#[derive(Default)]
pub struct Effects {
    /// Objects that the event asks to be changed, each with its hint.
    pub requests: Vec<(Subject, String)>,
    /// Objects that the event reports a problem of, each with what is wrong.
    pub warnings: Vec<(Subject, String)>,
    /// The objects for which nothing follows, and warnings that are about no object.
    pub accepted: Accepted,
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
                let no_effect = not_accepted(event.kind, source, &subject)
                    .or_else(|| subject.no_effect(event.kind, certificate, observed, now))
                    .or_else(|| outweighed(event.kind, &subject, observed));
                match no_effect {
                    Some(why) => drop(effects.accepted.unchanged.insert(subject.to_string(), why)),
                    None if event.kind == IncomingKind::Failed => {
                        effects.warnings.push((subject, warning(event, sender, Some(certificate))));
                    }
                    None => effects.requests.push((subject, certificate.hint.to_arguments())),
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
        self.requests.is_empty() && self.warnings.is_empty() && self.accepted.unchanged.is_empty()
    }
}

/// Why the settings have no event of this kind follow for this object.
fn not_accepted(kind: IncomingKind, source: &EventSource, subject: &Subject) -> Option<String> {
    let name = subject.to_string();
    if !source.events.contains(&kind) {
        Some(format!("the settings do not accept the event {kind} from this sender: events does not list it"))
    } else if !listed.iter().any(|pattern| pattern.matches(&name)) {
        Some(format!("the settings do not accept events about it from this sender: {key} does not list it"))
    } else {
        None
    }
}

/// A revocation that was not handled yet is not replaced by less: an object has one request of this kind.
fn outweighed(kind: IncomingKind, subject: &Subject, observed: &Observed) -> Option<String> {
    let is_revoked = || RenewalHint::parse(&subject.open_hint(observed)?.arguments).revoked.then_some(());
    let is_weaker = matches!(kind, IncomingKind::Expiring | IncomingKind::Changed);
    is_weaker
        .then(is_revoked)
        .flatten()
        .map(|()| "it is reported revoked, and that was not handled yet".into())
}

fn warning(event: &IncomingEvent, sender: &str, certificate: Option<&RemoteCertificate>) -> String {
    let cause = certificate.and_then(|certificate| certificate.cause.as_ref());
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("the sender {sender} reports {}{cause}", event.name)
}
    let (listed, key) = match subject {
        Subject::Certificate(_) => (&source.names, "names"),
        Subject::Authority(_) => (&source.authorities, "authorities"),
    };
