//! What a message says, whatever its form, and which of our objects it is about.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use super::EventSource;
use crate::external::manager::Manager;
use crate::planner::observed::{Certificate, KeyringState, ObjectName, Observed};
use crate::planner::renewal_hint::RenewalHint;
use crate::store;

/// A message that was proved.
#[derive(Debug, PartialEq)]
pub struct Said {
    /// Of the message, for rules a replay.
    pub id: String,
    pub what: What,
    pub about: Vec<Remote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A certificate expires, or has expired.
    Expiring,
    /// It must not be used any more.
    Revoked,
    /// There is a new one where it is kept.
    Changed,
    /// Something that nothing follows from here.
    Other,
    /// To see whether it arrives.
    Test,
}

/// A certificate as the sender speaks of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remote {
    /// Its id there and its names, the surest first.
    pub names: Vec<String>,
    pub notice: RenewalHint,
}

/// One of our objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Certificate(ObjectName),
    Authority(String),
}

const WORDS: [(What, &str); 5] = [
    (What::Expiring, "expiring"),
    (What::Revoked, "revoked"),
    (What::Changed, "changed"),
    (What::Other, "other"),
    (What::Test, "test"),
];

impl What {
    pub fn all() -> Vec<Self> {
        WORDS.iter().map(|(what, _)| *what).collect()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORDS.iter().find(|(what, _)| what == self).map_or("", |(_, word)| word))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of expiring, revoked, changed")]
pub struct WhatError(String);

impl FromStr for What {
    type Err = WhatError;

    fn from_str(text: &str) -> Result<Self, WhatError> {
        let found = WORDS.iter().find(|(_, word)| *word == text);
        found.map(|(what, _)| *what).ok_or_else(|| WhatError(text.chars().take(80).collect()))
    }
}

impl EventSource {
    /// Which of ours are meant: those that a manager knows by that id, and may; and the one that [`Self::subject`]
    /// finds.
    pub(super) fn subjects(
        &self,
        remote: &Remote,
        observed: &Observed,
        managers: &BTreeMap<String, Arc<Manager>>,
    ) -> Result<Vec<Subject>, Vec<String>> {
        let is_meant = |(name, certificate): &(&ObjectName, &Arc<Certificate>)| {
            let manager = certificate.spec.manager.as_ref();
            manager.filter(|manager| remote.names.contains(&manager.id)).is_some_and(|known| {
                let manager = managers.get(&known.name);
                manager.is_some_and(|manager| manager.allows(&name.namespace, &known.id).is_ok())
            })
        };
        let known = observed.certificates.iter().filter(is_meant);
        let mut known: Vec<_> = known.map(|(name, _)| Subject::Certificate(name.clone())).collect();
        match self.subject(remote, observed) {
            Ok(subject) if !known.contains(&subject) => known.push(subject),
            Err(names) if known.is_empty() => return Err(names),
            Ok(_) | Err(_) => {}
        }
        Ok(known)
    }

    /// What the settings say of it; NAMESPACE/NAME; or a NAME that there is one of.
    fn subject(&self, remote: &Remote, observed: &Observed) -> Result<Subject, Vec<String>> {
        let own = remote.names.iter().filter_map(|name| self.certificates.get(name));
        for name in own.chain(&remote.names) {
            if observed.authorities.contains_key(name) {
                return Ok(Subject::Authority(name.clone()));
            }
            if let Ok(full) = name.parse::<ObjectName>() {
                if observed.certificates.contains_key(&full) {
                    return Ok(Subject::Certificate(full));
                }
                continue;
            }
            let mut called = observed.certificates.keys().filter(|known| known.name == *name);
            if let (Some(one), None) = (called.next(), called.next()) {
                return Ok(Subject::Certificate(one.clone()));
            }
        }
        Err(remote.names.iter().map(|name| shown(name)).collect())
    }
}

impl Subject {
    pub(super) fn about(&self) -> store::ObjectRef {
        match self {
            Self::Certificate(name) => store::ObjectRef::Certificate(name.clone()),
            Self::Authority(name) => store::ObjectRef::Authority(name.clone()),
        }
    }

    /// Why nothing follows.
    pub(super) fn obsolete(
        &self,
        what: What,
        remote: &Remote,
        observed: &Observed,
        now: SystemTime,
    ) -> Option<String> {
        let is_fetched = match self {
            Self::Certificate(name) => {
                let certificate = observed.certificates.get(name);
                certificate.is_some_and(|certificate| certificate.spec.authority.is_empty())
            }
            Self::Authority(_) => false,
        };
        match what {
            // Whatever is there now is looked at.
            What::Changed | What::Revoked if is_fetched => return None,
            What::Expiring if is_fetched => {
                return Some("it is made by its manager, and fetched from there when it has changed".into());
            }
            What::Expiring | What::Revoked => {}
            What::Changed => {
                return Some("it is issued here, so nothing is taken over from elsewhere".into());
            }
            What::Other | What::Test => return Some("nothing follows from that".into()),
        }
        match self {
            Self::Certificate(name) => {
                let certificate = observed.certificates.get(name)?;
                let (_, version) = certificate.newest()?;
                let asked = version.request.is_some();
                remote.notice.obsolete(&version.leaf, version.created_at, asked, now)
            }
            Self::Authority(name) => {
                let KeyringState::KeyringView(ring) = &observed.authorities.get(name)?.keyring else {
                    return None;
                };
                let id = ring.state.signing();
                let leaf = ring.roots.get(id)?.leaf(id);
                remote.notice.obsolete(&leaf, leaf.not_before, ring.state.has_rolled_over(), now)
            }
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

/// What somebody outside wrote, for a log: bounded, and without what a terminal would obey.
pub fn shown(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}
