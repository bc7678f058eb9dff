//! An event that a sender sent, whatever its provider, after the message was verified.

use std::fmt;
use std::str::FromStr;

use crate::planner::renewal_hint::RenewalHint;

#[derive(Debug, PartialEq)]
pub struct IncomingEvent {
    /// Identifies the message, to recognise a replay.
    pub id: String,
    pub kind: IncomingKind,
    /// What the sender calls it; sanitized.
    pub name: String,
    pub certificates: Vec<RemoteCertificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingKind {
    /// A certificate expires soon, or has expired.
    Expiring,
    Revoked,
    /// The sender has a new version.
    Changed,
    /// Something failed at the sender, or is blocked there: a warning follows.
    Failed,
    /// Any other known event: nothing follows from it here.
    Other,
    /// A test of the delivery.
    Test,
    /// An event that this provider is not known to have.
    Unknown,
}

/// A certificate as the sender describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteCertificate {
    /// Its id and names at the sender, the most specific first.
    pub names: Vec<String>,
    pub hint: RenewalHint,
    /// Why something failed; sanitized.
    pub cause: Option<String>,
}

/// Those that the settings may name.
const KINDS: [(IncomingKind, &str); 6] = [
    (IncomingKind::Expiring, "expiring"),
    (IncomingKind::Revoked, "revoked"),
    (IncomingKind::Changed, "changed"),
    (IncomingKind::Failed, "failed"),
    (IncomingKind::Other, "other"),
    (IncomingKind::Test, "test"),
];

impl IncomingKind {
    /// Those that are accepted where the settings name none. A revocation is not among them: it replaces certificates
    /// before their time.
    pub fn default_kinds() -> Vec<Self> {
        vec![Self::Expiring, Self::Changed, Self::Failed]
    }

    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for IncomingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of expiring, revoked, changed, failed")]
pub struct UnknownKind(String);

impl FromStr for IncomingKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = KINDS.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| UnknownKind(text.chars().take(80).collect()))
    }
}

/// Text of a sender, for logs and errors: bounded, and without control characters.
pub fn sanitize(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}
