//! The one writer of the snapshot. A candidate is compared with what is served, validated, tried in a
//! handshake, and published; a rejected one changes nothing that is served. The result depends on content
//! and time: content that was rejected, or that holds an expired root, is validated again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, info, warn};

use super::clock::{ClockWatch, Jump, since_boot};
use super::list_dates::ListDates;
use super::report;
use super::reporter::Reporter;
use super::trial_handshake::try_configs;
use crate::config::{ClientAuth, Configs};
use crate::credential::Fingerprint;
use crate::event::Event;
use crate::identity::{Identity, Policy, Rejection, RejectionReason, Validation, VerdictWindow};
use crate::snapshot::{Delivery, Publisher, Snapshot};
use crate::source::{Candidate, SourceKind};
use crate::status::{Attempt, Outcome};

/// Where files are not swapped at once, a rejection counts only when nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(250);
/// First retry after content that may be half written; doubles up to the poll interval.
const RETRY: Duration = Duration::from_millis(20);
/// The poll interval while no events are expected.
const UNWATCHED_POLL: Duration = Duration::from_millis(250);

/// A point in time by both clocks: the wall clock decides what is valid, the monotonic one how long content
/// has been there.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub wall: SystemTime,
    pub monotonic: Instant,
}

pub(crate) struct Writer {
    pub policy: Policy,
    pub client_auth: ClientAuth,
    pub poll: Duration,
    pub publisher: Publisher,
    pub reporter: Reporter,
    pub progress: Progress,
}

/// What the writer remembers between candidates.
#[derive(Default)]
pub(crate) struct Progress {
    served: Option<Arc<Snapshot>>,
    /// What was published and is not emitted yet, and what it replaced.
    published: Option<(Arc<Snapshot>, Option<Identity>)>,
    /// The content of which both leaf and trust are served, and for how long they are what it means.
    served_content: Option<(Fingerprint, VerdictWindow)>,
    clock: ClockWatch,
    pending: Option<PendingContent>,
    /// A rejection was announced, and nothing has been served as a whole since.
    rejected: bool,
    retry: Option<Duration>,
    /// The generation whose expiry was logged.
    logged_expired: Option<u64>,
    /// What was logged of revocation lists that go out of date.
    list_dates: ListDates,
    /// It was logged that the served leaf is not valid yet.
    logged_not_valid_yet: bool,
}

/// Content that is not served as a whole.
struct PendingContent {
    content: Fingerprint,
    first_seen: Instant,
    /// Reasons that were logged and counted, so that each is once.
    announced: Option<Reasons>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Reasons {
    leaf: Option<RejectionReason>,
    trust: Option<RejectionReason>,
    revocation: Option<RejectionReason>,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }
}

impl Writer {
    /// Returns what became of it, or `None` if it may be half written and is read again shortly.
    pub(super) fn consider(&mut self, candidate: Candidate<'_>, at: Moment) -> Option<Outcome> {
        let now = at.wall;
        let credential = candidate.credential;
        let content = credential.fingerprint();
        if let Some((served, window)) = self.progress.served_content
            && served == content
            && window.contains(now)
        {
            self.report_served(Outcome::Unchanged, now);
            return Some(Outcome::Unchanged);
        }
        let is_whole = credential.atomic || candidate.from == SourceKind::Manual;
        let settled = is_whole || self.track_pending(content, at.monotonic);
        let served = self.progress.served.as_ref().map(|snapshot| snapshot.identity.clone());
        let served_trust = served.as_ref().and_then(|identity| identity.trust.as_ref());
        let mut validation = Identity::parse(credential, &self.policy, served_trust, now);
        if !settled && may_be_half_written(&validation, served.as_ref()) {
            self.progress.retry = Some(RETRY);
            return None;
        }
        let outcome = self.publish(&validation, served.as_ref(), candidate, now).or_else(|rejection| {
            // Each part is valid and the whole does not work: keep the leaf that does.
            validation.refuse_leaf(rejection);
            self.publish(&validation, served.as_ref(), candidate, now)
        });
        if let Err(rejection) = &outcome {
            validation.trust = Err(rejection.clone());
        }
        let trust = validation.trust.as_ref().ok().and_then(Option::as_deref);
        let window = VerdictWindow::of(credential, trust, now);
        Some(self.report((content, window), &validation, outcome.unwrap_or(Outcome::Refused), at))
    }

    /// Publishes what the validation leaves to be served, if that differs from what is.
    fn publish(
        &mut self,
        validation: &Validation,
        served: Option<&Identity>,
        candidate: Candidate<'_>,
        now: SystemTime,
    ) -> Result<Outcome, Rejection> {
        let Some(identity) = validation.merge(served) else {
            return Ok(Outcome::Refused);
        };
        if served.is_some_and(|served| served.same_as(&identity)) {
            return Ok(Outcome::Unchanged);
        }
        let configs = Configs::build(&identity, self.client_auth)
            .map_err(|error| Rejection::HandshakeFailed { cause: error.to_string() })?;
        try_configs(&identity, &configs, now)?;
        // A first identity is not a swap, and the time that a candidate was held is not a delay.
        let is_swap = self.progress.served.is_some() && self.reporter.status().held.is_none();
        let delivery = Delivery {
            from: candidate.from,
            changed_at: candidate.credential.changed_at.filter(|_| is_swap),
            written_at: candidate.written_at,
        };
        let snapshot = self.publisher.publish(identity, configs, delivery);
        self.reporter.count(Outcome::Published, None);
        report::log_published(&snapshot);
        self.progress.published = Some((Arc::clone(&snapshot), served.cloned()));
        self.progress.served = Some(snapshot);
        Ok(Outcome::Published)
    }

    /// Updates the status, and then emits what happened, so that a subscriber finds the status up to date.
    fn report(
        &mut self,
        judged: (Fingerprint, VerdictWindow),
        validation: &Validation,
        outcome: Outcome,
        at: Moment,
    ) -> Outcome {
        let (leaf, trust) = (validation.leaf.as_ref().err(), validation.trust.as_ref().err());
        let lists = validation.revocation();
        if leaf.is_none() && trust.is_none() && lists.is_none() {
            self.progress.served_content = Some(judged);
            self.report_served(outcome, at.wall);
            return outcome;
        }
        self.progress.served_content = None;
        self.track_pending(judged.0, at.monotonic);
        let reported = report::report_rejections(&self.reporter, validation, at.wall);
        self.emit_published();
        let reason = |rejection: Option<&Rejection>| rejection.map(Rejection::reason);
        let reasons = Reasons { leaf: reason(leaf), trust: reason(trust), revocation: reason(lists) };
        let torn = [leaf, trust, lists].into_iter().flatten().any(Rejection::may_be_torn);
        if let Some(pending) = &mut self.progress.pending
            && pending.announced != Some(reasons)
        {
            pending.announced = Some(reasons);
            self.progress.rejected = true;
            self.progress.retry = torn.then_some(RETRY);
            report::rejected(&self.reporter, self.progress.served.as_deref(), validation);
        }
        reported
    }

    /// The content of the source is what is served.
    fn report_served(&mut self, outcome: Outcome, now: SystemTime) {
        self.progress.retry = None;
        self.reporter.update(|report| {
            report.rejected_leaf = None;
            report.rejected_trust = None;
            report.rejected_revocation = None;
            report.held = None;
            report.last_attempt = Some(Attempt { at: now, outcome, rejection: None });
        });
        self.emit_published();
        self.progress.pending = None;
        if std::mem::take(&mut self.progress.rejected) {
            self.reporter.emit(Event::Recovered);
            info!(outcome = outcome.as_str(), "the candidate is served: no part of it is refused any more");
        }
    }

    fn emit_published(&mut self) {
        if let Some((snapshot, before)) = self.progress.published.take() {
            report::emit_published(&self.reporter, &snapshot, before.as_ref());
        }
    }

    /// Remembers content that is not served as a whole. Returns whether it has been there long enough to count.
    fn track_pending(&mut self, content: Fingerprint, now: Instant) -> bool {
        match &self.progress.pending {
            Some(pending) if pending.content == content => now.duration_since(pending.first_seen) >= SETTLE,
            _ => {
                self.progress.pending = Some(PendingContent { content, first_seen: now, announced: None });
                false
            }
        }
    }

    /// How long to wait for an event: the poll interval, or less if something is due before.
    pub(super) fn next_wait(&mut self, watching: bool, now: SystemTime) -> Duration {
        self.check_clock(now);
        let mut wait = if watching { self.poll } else { self.poll.min(UNWATCHED_POLL) };
        if let Some(retry) = self.progress.retry {
            wait = wait.min(retry);
            self.progress.retry = (retry < self.poll).then_some(retry * 2);
        }
        if let Some(held) = self.reporter.status().held {
            wait = wait.min(held.not_before.duration_since(now).unwrap_or(RETRY));
        }
        let due = self.progress.served_content.and_then(|(_, window)| window.until());
        if let Some(left) = due.and_then(|due| due.duration_since(now).ok()) {
            wait = wait.min(left);
        }
        if let Some(left) = self.leaf_lifetime_left(now) {
            wait = wait.min(left);
        }
        wait.max(Duration::from_millis(1))
    }

    /// Says that the clock has jumped, and, once each time, that what is served was valid when it was published and is
    /// not any more.
    pub(super) fn check_clock(&mut self, now: SystemTime) {
        if let Some(Jump { forwards, by }) = self.progress.clock.look(now, since_boot()) {
            warn!(
                by = %humantime::format_duration(Duration::from_secs(by.as_secs())),
                "the clock of this machine was set {}: everything is judged again by the new time",
                if forwards { "forwards" } else { "back" }
            );
        }
        let Some(served) = &self.progress.served else { return };
        let leaf = &served.identity.leaf;
        let not_valid_yet = now < leaf.usable_from;
        if not_valid_yet && !self.progress.logged_not_valid_yet {
            error!(
                serial = leaf.serial,
                not_before = %humantime::format_rfc3339_seconds(leaf.usable_from),
                "the served certificate or its chain is not valid yet by the clock of this machine, which was set back: \
                 peers with that time refuse it"
            );
        }
        self.progress.logged_not_valid_yet = not_valid_yet;
        let lists = served.identity.trust.as_ref().and_then(|trust| trust.revocation.as_deref());
        self.progress.list_dates.check(lists, now);
    }

    /// `None` once the served leaf has expired, which is reported once.
    pub(super) fn leaf_lifetime_left(&mut self, now: SystemTime) -> Option<Duration> {
        let served = self.progress.served.as_ref()?;
        let leaf = &served.identity.leaf;
        let left = leaf.usable_until.duration_since(now).ok();
        if left.is_none()
            && self.progress.logged_expired.replace(served.generation) != Some(served.generation)
        {
            self.reporter.emit(Event::Expired { serial: leaf.serial.clone(), not_after: leaf.usable_until });
            error!(
                serial = leaf.serial,
                not_after = %humantime::format_rfc3339_seconds(leaf.usable_until),
                "the served certificate or its chain has expired and no newer one has arrived: peers refuse it"
            );
        }
        left
    }
}

/// Something is wrong with it, or it removes a root: a writer may have replaced some of the files only.
fn may_be_half_written(validation: &Validation, served: Option<&Identity>) -> bool {
    let torn = |rejection: Option<&Rejection>| rejection.is_some_and(Rejection::may_be_torn);
    let Validation { leaf, trust, .. } = validation;
    if torn(leaf.as_ref().err()) || torn(trust.as_ref().err()) || torn(validation.revocation()) {
        return true;
    }
    let before = served.and_then(|identity| identity.trust.as_ref());
    match (&validation.trust, before) {
        (Ok(Some(after)), Some(before)) => after.lost_a_root_of(before),
        (Ok(None), Some(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
