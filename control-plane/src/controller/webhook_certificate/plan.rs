//! What the webhook's certificate needs next, as a function of what is there and the time. One step
//! a look: whoever takes it looks again, so that any state, also one that somebody made by hand,
//! leads back to the steady one.
//!
//! A certificate comes in under a root of its own, and no API server may meet a leaf whose root it
//! does not know: *prepare* (the pair waits, its root joins the bundle), *trust* (the bundle goes
//! into the webhook configuration), *promote* after the overlap, *retire* the old root after another.

use std::time::{Duration, SystemTime};

use crate::pki::authority::BACKDATE;

/// How long API servers have to hear of a new root when no leaf is usable, and so every moment counts.
const IN_NEED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub lifetime: Duration,
    /// How long an API server may take to notice that the webhook configuration has changed.
    pub overlap: Duration,
}

/// What counts of the Secret and the webhook configuration. Pairs that are not usable are none.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub current: Option<Validity>,
    pub next: Option<Validity>,
    /// The bundle holds roots of neither.
    pub retired: bool,
    /// The bundle in the Secret is not as it is written.
    pub mangled: bool,
    /// When the next root was first seen in the webhook configuration.
    pub trusted_at: Option<SystemTime>,
    pub promoted_at: Option<SystemTime>,
    /// `None`: there is no webhook configuration.
    pub trust: Option<Trust>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// It carries every name that API servers ask for.
    pub names: bool,
}

/// How the webhook configuration's `caBundle` (in every entry) compares to the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Same,
    /// Another one, in which the next pair's root is.
    HasNext,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a pair that waits.
    Prepare,
    /// Write the Secret as it should be.
    Mend,
    /// Write the bundle into the webhook configuration.
    Trust,
    /// Write down since when the next root is trusted.
    NoteTrusted(Option<SystemTime>),
    /// The pair that waits is the one to be served.
    Promote,
    /// Write down when the pair came to be served, which got lost.
    NotePromoted,
    /// Take the roots that nobody serves under out of the bundle.
    Retire,
    /// Nothing until then, or until something changes.
    Wait(Option<SystemTime>),
}

pub fn plan(seen: &Seen, now: SystemTime, timing: Timing) -> Step {
    if seen.current.is_none() && seen.next.is_none() {
        return Step::Prepare;
    }
    if seen.mangled {
        return Step::Mend;
    }
    match seen.trust {
        None => return Step::Wait(None),
        // The API servers forgot the root: the overlap begins anew.
        Some(Trust::Other) if seen.trusted_at.is_some() => return Step::NoteTrusted(None),
        Some(Trust::Other | Trust::HasNext) => return Step::Trust,
        Some(Trust::Same) => {}
    }
    let mut due = Vec::new();
    if seen.next.is_some() {
        let overlap = if seen.current.is_some() { timing.overlap } else { timing.overlap.min(IN_NEED) };
        match passed(seen.trusted_at, now).map(|at| at + overlap) {
            None => return Step::NoteTrusted(Some(now)),
            Some(at) if at <= now => return Step::Promote,
            Some(at) => due.push(at),
        }
    }
    if let Some(current) = &seen.current {
        if seen.retired {
            match passed(seen.promoted_at, now).map(|at| at + timing.overlap) {
                None => return Step::NotePromoted,
                Some(at) if at <= now => return Step::Retire,
                Some(at) => due.push(at),
            }
        }
        if seen.next.is_none() {
            match current.renew_at(timing.lifetime) {
                at if at <= now || !current.names => return Step::Prepare,
                at => due.push(at),
            }
        }
    }
    Step::Wait(due.into_iter().min())
}

/// A moment that was written down, unless it is one that has not been: a clock was wrong.
fn passed(noted: Option<SystemTime>, now: SystemTime) -> Option<SystemTime> {
    noted.filter(|at| *at <= now)
}

impl Validity {
    /// At two thirds of the life it has, or of the life it would be given today if that is shorter.
    pub fn renew_at(&self, lifetime: Duration) -> SystemTime {
        let issued = (self.not_before + BACKDATE).min(self.not_after);
        let life = self.not_after.duration_since(issued).unwrap_or_default();
        issued + life.min(lifetime) * 2 / 3
    }
}

/// Every phase there is.
pub const PHASES: [&str; 5] = ["creating", "distributing", "retiring", "mending", "steady"];

impl Seen {
    pub fn phase(&self) -> &'static str {
        match self {
            Self { current: None, .. } => "creating",
            Self { next: Some(_), .. } => "distributing",
            Self { retired: true, .. } => "retiring",
            Self { mangled: false, trust: Some(Trust::Same), .. } => "steady",
            // The webhook configuration, or the Secret, is not what it is to be.
            _ => "mending",
        }
    }
}

#[cfg(test)]
mod tests;
