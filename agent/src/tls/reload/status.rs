//! What the reload loop reports, for health and metrics to read. What is served is not repeated here:
//! that is the `Snapshot`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::tls::identity::{Rejection, RejectionReason};
use crate::tls::source::SourceKind;
use crate::tls::source::kubernetes::{ApiState, WatchErrorReason};

/// Shared between the loop, which writes, and those that show it.
#[derive(Clone, Default)]
pub struct ReloadStatus(Arc<Mutex<ReloadReport>>);

#[derive(Clone, Debug, Default)]
pub struct ReloadReport {
    pub source: SourceReport,
    pub last_attempt: Option<Attempt>,
    pub rejected_leaf: Option<CurrentRejection>,
    pub rejected_trust: Option<CurrentRejection>,
    pub held: Option<HeldCandidate>,
    /// How many candidates had each outcome since start.
    pub candidates: BTreeMap<(Outcome, Option<RejectionReason>), u64>,
}

#[derive(Clone, Debug, Default)]
pub struct SourceReport {
    /// `None` until the first read.
    pub authority: Option<Authority>,
    /// `None` if no directory is read.
    pub directory: Option<String>,
    /// The directory swaps all files at once (`..data`).
    pub atomic: bool,
    /// Events are expected; otherwise changes are noticed by polling only.
    pub watching: bool,
    pub notices: Vec<String>,
    /// `None` if no Secret is watched.
    pub api: Option<ApiReport>,
}

/// Which source decides what is served.
#[derive(Clone, Debug)]
pub struct Authority {
    pub kind: SourceKind,
    pub why: String,
    pub since: SystemTime,
}

/// The state of the watch on the Secret.
#[derive(Clone, Debug)]
pub struct ApiReport {
    pub secret: String,
    pub state: ApiState,
    pub since: SystemTime,
    pub resource_version: Option<String>,
    pub revision: Option<u64>,
    /// How often the watch was lost or could not begin, by reason.
    pub failures: BTreeMap<WatchErrorReason, u64>,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub at: SystemTime,
    pub outcome: Outcome,
    pub rejection: Option<Rejection>,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Published,
    Unchanged,
    Refused,
    Held,
}

impl Outcome {
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
pub struct CurrentRejection {
    pub rejection: Rejection,
    pub since: SystemTime,
}

/// A candidate that is published once it is valid.
#[derive(Clone, Debug)]
pub struct HeldCandidate {
    pub not_before: SystemTime,
    pub serial: String,
}

impl ReloadStatus {
    pub fn report(&self) -> ReloadReport {
        self.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut ReloadReport)) {
        change(&mut self.lock());
    }

    pub(super) fn count(&self, outcome: Outcome, reason: Option<RejectionReason>) {
        *self.lock().candidates.entry((outcome, reason)).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, ReloadReport> {
        // A panic in between leaves a report that can still be read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
