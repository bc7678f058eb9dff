//! The next step for the webhook's certificate, as a pure function of the observed state and the time. Each
//! reconciliation takes one step and observes again, so that every state, including one edited by hand, leads
//! back to the steady one.
//!
//! Each certificate has a root of its own, and no API server may see a leaf whose root it does not trust:
//! *prepare* (issue the next pair and add its root to the bundle), *trust* (write the bundle to the webhook
//! configuration), *promote* after the overlap, *retire* the old root after another.

use std::time::{Duration, SystemTime};

use crate::pki::authority::BACKDATE;

/// The overlap when no usable leaf is served: there is nothing to protect, and admission is down meanwhile.
const URGENT_OVERLAP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub lifetime: Duration,
    /// How long an API server may take to notice that the webhook configuration has changed.
    pub overlap: Duration,
}

/// What the plan needs to know of the Secret and the webhook configuration. Invalid pairs are `None`.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub current: Option<Validity>,
    pub next: Option<Validity>,
    /// The bundle contains roots of neither pair.
    pub has_old_roots: bool,
    /// The bundle in the Secret differs from the one that hotcert would write.
    pub bundle_modified: bool,
    /// When the next root was first observed in the webhook configuration.
    pub trusted_at: Option<SystemTime>,
    pub promoted_at: Option<SystemTime>,
    /// `None` without a webhook configuration.
    pub trust: Option<Trust>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// It carries every name under which API servers call the webhook.
    pub names_match: bool,
}

/// How the `caBundle` of the webhook configuration's entries compares with the Secret's bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Same,
    /// Different, but it has the next pair's root.
    HasNext,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Issue the next pair.
    Prepare,
    /// Write the Secret as it should be.
    Repair,
    /// Write the bundle into the webhook configuration.
    Trust,
    /// Record since when the next root is trusted.
    RecordTrusted(Option<SystemTime>),
    /// Serve the next pair.
    Promote,
    /// Record when the pair was promoted, which was lost.
    RecordPromoted,
    /// Remove the old roots from the bundle.
    Retire,
    /// Nothing until this time, or until something changes.
    Wait(Option<SystemTime>),
}

pub fn plan(observed: &Observed, now: SystemTime, timing: Timing) -> Step {
    if observed.current.is_none() && observed.next.is_none() {
        return Step::Prepare;
    }
    if observed.bundle_modified {
        return Step::Repair;
    }
    match observed.trust {
        None => return Step::Wait(None),
        // API servers have lost the root again: the overlap starts over.
        Some(Trust::Other) if observed.trusted_at.is_some() => return Step::RecordTrusted(None),
        Some(Trust::Other | Trust::HasNext) => return Step::Trust,
        Some(Trust::Same) => {}
    }
    let mut due = Vec::new();
    if observed.next.is_some() {
        // No API server accepts one that has expired, so nothing is lost by replacing it early.
        let is_served = observed.current.as_ref().is_some_and(|current| now < current.not_after);
        let overlap = if is_served { timing.overlap } else { timing.overlap.min(URGENT_OVERLAP) };
        match in_the_past(observed.trusted_at, now).map(|at| at + overlap) {
            None => return Step::RecordTrusted(Some(now)),
            Some(at) if at <= now => return Step::Promote,
            Some(at) => due.push(at),
        }
    }
    if let Some(current) = &observed.current {
        if observed.has_old_roots {
            match in_the_past(observed.promoted_at, now).map(|at| at + timing.overlap) {
                None => return Step::RecordPromoted,
                Some(at) if at <= now => return Step::Retire,
                Some(at) => due.push(at),
            }
        }
        if observed.next.is_none() {
            match current.renew_at(timing.lifetime) {
                at if at <= now || !current.names_match => return Step::Prepare,
                at => due.push(at),
            }
        }
    }
    Step::Wait(due.into_iter().min())
}

/// A recorded time, unless it is in the future because a clock was wrong.
fn in_the_past(recorded: Option<SystemTime>, now: SystemTime) -> Option<SystemTime> {
    recorded.filter(|at| *at <= now)
}

impl Validity {
    /// At two thirds of its lifetime, or of the configured one if that is shorter.
    pub fn renew_at(&self, lifetime: Duration) -> SystemTime {
        let issued = (self.not_before + BACKDATE).min(self.not_after);
        let own = self.not_after.duration_since(issued).unwrap_or_default();
        issued + own.min(lifetime) * 2 / 3
    }
}

/// How far the webhook's certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No usable pair is served yet.
    Creating,
    /// The next root is being distributed to API servers.
    Distributing,
    /// The old roots are still trusted.
    Retiring,
    /// The Secret or the webhook configuration is not as it should be.
    Repairing,
    Steady,
}

impl Phase {
    pub const ALL: [Self; 5] =
        [Self::Creating, Self::Distributing, Self::Retiring, Self::Repairing, Self::Steady];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Distributing => "distributing",
            Self::Retiring => "retiring",
            Self::Repairing => "repairing",
            Self::Steady => "steady",
        }
    }
}

impl Observed {
    pub fn phase(&self) -> Phase {
        match self {
            Self { current: None, .. } => Phase::Creating,
            Self { next: Some(_), .. } => Phase::Distributing,
            Self { has_old_roots: true, .. } => Phase::Retiring,
            Self { bundle_modified: false, trust: Some(Trust::Same), .. } => Phase::Steady,
            _ => Phase::Repairing,
        }
    }
}

impl Step {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Repair => "repair",
            Self::Trust => "trust",
            Self::RecordTrusted(_) => "record_trusted",
            Self::Promote => "promote",
            Self::RecordPromoted => "record_promoted",
            Self::Retire => "retire",
            Self::Wait(_) => "wait",
        }
    }
}

#[cfg(test)]
mod tests;
