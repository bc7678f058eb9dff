//! Which of our objects an event is about, and why nothing follows from it for one of them.

use std::fmt;
use std::time::SystemTime;

use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::external::manager::{Access, Managers};
use crate::notify::event_source::EventSource;
use crate::notify::incoming_event::{IncomingKind, RemoteCertificate, sanitize};
use crate::planner::observed::{Observed, Request, ResourceVersion};
use crate::planner::renewal_hint::{NoEffect, Target};
use crate::store::ObjectRef;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Certificate(ObjectName),
    Authority(String),
}

/// The certificates that a manager keeps under this id and is allowed to, and the object that the settings or its
/// own name identify. `Err`: the sender's names, if there is none.
pub fn resolve(
    source: &EventSource,
    remote: &RemoteCertificate,
    observed: &Observed,
    managers: &Managers,
) -> Result<Vec<Subject>, Vec<String>> {
    let is_kept = |name: &ObjectName| {
        let certificate = observed.certificates.get(name)?;
        let reference = certificate.spec.manager.as_ref()?;
        let manager = managers.get(&reference.name).filter(|_| remote.names.contains(&reference.id))?;
        let access = if certificate.spec.is_fetched() { Access::Fetch } else { Access::Push };
        manager.check_allowed(access, &name.namespace, &reference.id).ok()
    };
    let kept = observed.certificates.keys().filter(|name| is_kept(name).is_some());
    let mut subjects: Vec<_> = kept.map(|name| Subject::Certificate(name.clone())).collect();
    match by_name(source, remote, observed) {
        Some(subject) if !subjects.contains(&subject) => subjects.push(subject),
        None if subjects.is_empty() => return Err(remote.names.iter().map(|name| sanitize(name)).collect()),
        Some(_) | None => {}
    }
    Ok(subjects)
}

/// By the settings' `certificates`; by NAMESPACE/NAME; or by a NAME that exists in one namespace only.
fn by_name(source: &EventSource, remote: &RemoteCertificate, observed: &Observed) -> Option<Subject> {
    let configured = remote.names.iter().filter_map(|name| source.certificates.get(name));
    for name in configured.chain(&remote.names) {
        if observed.authorities.contains_key(name) {
            return Some(Subject::Authority(name.clone()));
        }
        if let Ok(full) = name.parse::<ObjectName>() {
            if observed.certificates.contains_key(&full) {
                return Some(Subject::Certificate(full));
            }
            continue;
        }
        let mut namesakes = observed.certificates.keys().filter(|certificate| certificate.name == *name);
        if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
            return Some(Subject::Certificate(only.clone()));
        }
    }
    None
}

impl Subject {
    pub fn object_ref(&self) -> ObjectRef {
        match self {
            Self::Certificate(name) => ObjectRef::Certificate(name.clone()),
            Self::Authority(name) => ObjectRef::Authority(name.clone()),
        }
    }

    /// Why nothing follows from the event for this object.
    pub fn no_effect(
        &self,
        kind: IncomingKind,
        remote: &RemoteCertificate,
        observed: &Observed,
        now: SystemTime,
    ) -> Option<NoEffect> {
        let obsolete = |why: &str| Some(NoEffect::Obsolete(why.to_owned()));
        match kind {
            // The current version of the manager is fetched, whatever it is.
            IncomingKind::Changed | IncomingKind::Revoked if self.is_fetched(observed) => return None,
            IncomingKind::Expiring if self.is_fetched(observed) => {
                return obsolete("its manager renews it, and it is fetched once the manager has changed it");
            }
            IncomingKind::Failed => return None,
            IncomingKind::Expiring | IncomingKind::Revoked => {}
            IncomingKind::Changed => {
                return obsolete("it is issued here, so a change at the sender does not affect it");
            }
            IncomingKind::Other | IncomingKind::Unknown | IncomingKind::Test => {
                return obsolete("nothing follows from an event of this kind");
            }
        }
        let target = match self {
            Self::Certificate(name) => Target::of_certificate(observed.certificates.get(name)?)?,
            Self::Authority(name) => Target::of_root(observed.authorities.get(name)?.keyring.view()?)?,
        };
        remote.hint.no_effect(&target, now)
    }

    /// Of the object as it was observed.
    pub fn resource_version<'a>(&self, observed: &'a Observed) -> Option<&'a ResourceVersion> {
        match self {
            Self::Certificate(name) => Some(&observed.certificates.get(name)?.resource_version),
            Self::Authority(name) => Some(&observed.authorities.get(name)?.resource_version),
        }
    }

    /// The last hint about it that was recorded, until it is handled.
    pub fn open_hint<'a>(&self, observed: &'a Observed) -> Option<&'a Request> {
        match self {
            Self::Certificate(name) => observed.certificates.get(name)?.open_request(request::RENEWAL_HINT),
            Self::Authority(name) => {
                let authority = observed.authorities.get(name)?;
                let is_handled = authority.answer_in_status(request::RENEWAL_HINT).is_some();
                authority.requests.get(request::RENEWAL_HINT).filter(|_| !is_handled)
            }
        }
    }

    /// Whether a manager issues it, and it is fetched from there.
    pub fn is_fetched(&self, observed: &Observed) -> bool {
        match self {
            Self::Certificate(name) => {
                observed.certificates.get(name).is_some_and(|certificate| certificate.spec.is_fetched())
            }
            Self::Authority(_) => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(name) => name.fmt(f),
            Self::Authority(name) => f.write_str(name),
        }
    }
}
