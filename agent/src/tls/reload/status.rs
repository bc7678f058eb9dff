//! Status: what the reload loop and the self-check have to report, for `admin` and `metrics` to
//! read. What is served is not repeated here: that is the `Snapshot`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::tls::identity::Rejection;
use crate::tls::source::SourceKind;
use crate::tls::source::kubernetes::ApiState;

/// Shared between the parts that report and those that show.
#[derive(Clone)]
pub struct Status {
    report: Arc<Mutex<Report>>,
    pub reloads: Family<ReloadLabels, Counter>,
    pub swap_to_served: Histogram,
    pub api_failures: Family<ApiLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabels {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadLabels {
    pub outcome: &'static str,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub source: Source,
    pub last_attempt: Option<Attempt>,
    pub refused_leaf: Option<Refusal>,
    pub refused_trust: Option<Refusal>,
    pub held: Option<Held>,
    pub proof: Option<Proof>,
    /// Where the app listens beyond loopback.
    pub exposed: Vec<SocketAddr>,
    /// Set on SIGTERM, never taken back.
    pub draining: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Which source is believed; `None` until the first look.
    pub authority: Option<Authority>,
    /// `None` where there is no volume to follow.
    pub directory: Option<String>,
    /// The directory swaps all files at once (`..data`).
    pub atomic: bool,
    /// Events are to be expected; otherwise only the poll notices a change.
    pub watching: bool,
    pub notices: Vec<String>,
    /// `None` where no Secret is followed.
    pub api: Option<ApiReport>,
}

#[derive(Clone, Debug)]
pub struct Authority {
    pub origin: SourceKind,
    pub why: String,
    pub since: SystemTime,
}

/// How the watch on the Secret is.
#[derive(Clone, Debug)]
pub struct ApiReport {
    pub secret: String,
    pub state: ApiState,
    pub since: SystemTime,
    pub resource_version: Option<String>,
    pub revision: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub at: SystemTime,
    pub outcome: Outcome,
    pub refusal: Option<Rejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Debug)]
pub struct Refusal {
    pub rejection: Rejection,
    pub since: SystemTime,
}

/// A candidate that will be taken when its time comes.
#[derive(Clone, Debug)]
pub struct Held {
    pub not_before: SystemTime,
    pub serial: String,
}

/// What the agent's dial of its own listener brought back.
#[derive(Clone, Debug)]
pub struct Proof {
    pub generation: u64,
    pub at: SystemTime,
    /// `Ok(None)`: the identity is not one to serve with, so nobody was dialled.
    pub result: Result<Option<Served>, String>,
}

#[derive(Clone, Debug)]
pub struct Served {
    pub leaf_sha256: String,
    /// From the source's change to this proof. `None` for what was there at start.
    pub swap_to_served_seconds: Option<f64>,
}

impl Status {
    pub fn new() -> Self {
        Self {
            report: Arc::default(),
            reloads: Family::default(),
            swap_to_served: Histogram::new(exponential_buckets(0.0005, 2.0, 18)),
            api_failures: Family::default(),
        }
    }

    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    pub fn count(&self, outcome: Outcome, reason: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { outcome: outcome.as_str(), reason }).inc();
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // A panic while reporting leaves a report that is still a report.
        self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}
