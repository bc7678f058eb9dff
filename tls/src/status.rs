//! The state of the reload, as health pages and metrics show it. What is served is not repeated here: that is
//! the [`Snapshot`](crate::Snapshot).

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use crate::identity::{Rejection, RejectionReason};
use crate::source::{ApiState, SourceKind, WatchErrorReason};

/// The state of the reload: a value, taken at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// The sources and which of them decides.
    pub source: SourceStatus,
    /// The candidate that was considered last. `None` until there was one.
    pub last_attempt: Option<Attempt>,
    /// Why the leaf that the source has now is not served.
    pub rejected_leaf: Option<CurrentRejection>,
    /// Why the trust bundle that the source has now is not served.
    pub rejected_trust: Option<CurrentRejection>,
    /// What is wrong with the revocation lists that the source has now, of which the last good ones are in force.
    pub rejected_revocation: Option<CurrentRejection>,
    /// A leaf that is not valid yet.
    pub held: Option<HeldCandidate>,
    /// How many candidates had each outcome since start.
    pub candidates: BTreeMap<(Outcome, Option<RejectionReason>), u64>,
}

/// Where credentials are read from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SourceStatus {
    /// Which source decides. `None` until the first read.
    pub authority: Option<Authority>,
    /// The directory. `None` if none is read.
    pub directory: Option<String>,
    /// The directory swaps all files at once (`..data`).
    pub atomic: bool,
    /// Events are expected; otherwise changes are noticed by polling only.
    pub watching: bool,
    /// Since when the directory has not answered. `None` while it does.
    pub hanging_since: Option<Instant>,
    /// What is unusual about the directory, in sentences.
    pub notices: Vec<String>,
    /// The watch on the Secret. `None` if none is watched.
    pub api: Option<ApiStatus>,
}

/// Which source decides what is served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Authority {
    /// The source.
    pub kind: SourceKind,
    /// The reason, as a clause.
    pub why: String,
    /// Since when it decides.
    pub since: SystemTime,
}

/// The state of the watch on the Secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ApiStatus {
    /// The Secret, as NAMESPACE/NAME.
    pub secret: String,
    /// Whether the watch is healthy.
    pub state: ApiState,
    /// Since when it is in that state.
    pub since: SystemTime,
    /// The resource version of the last content.
    pub resource_version: Option<String>,
    /// The `revision` key of the last content, if it has one.
    pub revision: Option<u64>,
    /// How often the watch was lost or could not begin, by reason.
    pub failures: BTreeMap<WatchErrorReason, u64>,
}

/// One candidate and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// When it was considered.
    pub at: SystemTime,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not served as a whole.
    pub rejection: Option<Rejection>,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// It is served.
    Published,
    /// It was served already.
    Unchanged,
    /// It is not served as a whole; see the rejections.
    Refused,
    /// It is served once it is valid.
    Held,
}

impl Outcome {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Held => "held",
        }
    }
}

/// Why the candidate that is there now is not served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CurrentRejection {
    /// What is wrong, and what to do.
    pub rejection: Rejection,
    /// Since when it is rejected for that.
    pub since: SystemTime,
}

/// A candidate that is published once it is valid.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldCandidate {
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Its serial number, in hexadecimal.
    pub serial: String,
}
