//! What is printed of a rollover while it is followed: its phase, and of what it waits for only what has changed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::api::condition::{Condition, ConditionType, Reason};
use crate::api::object_name::ObjectName;
use crate::api::resource::{AuthorityStatus, RolloverStatus};

/// How many pods and certificates are named that a phase waits for.
const MAX_NAMED: usize = 5;
/// How long a phase waits for the same before the way past it is printed.
const HINT_AFTER: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Progress {
    /// What was printed last of a state without a list.
    headline: String,
    phase: String,
    waiting_for: Vec<String>,
    waits_since: Option<Instant>,
    hinted: bool,
}

impl Progress {
    /// The lines that say what has changed since the last call.
    pub fn changes(
        &mut self,
        authority: &str,
        status: &AuthorityStatus,
        handled: bool,
        now: Instant,
    ) -> Vec<String> {
        let phase = status.phase.clone().unwrap_or_default();
        if suspended(status).is_some() {
            let headline = describe(status, handled);
            let is_new = headline != self.headline;
            *self = Self { headline: headline.clone(), ..Self::default() };
            return is_new.then_some(headline).into_iter().collect();
        }
        let Some(rollover) = status.rollover.as_ref().filter(|_| phase == self.phase) else {
            let rollover = status.rollover.clone().unwrap_or_default();
            *self = Self {
                headline: std::mem::take(&mut self.headline),
                phase: status.rollover.as_ref().map(|_| phase).unwrap_or_default(),
                waiting_for: rollover.waiting_for,
                waits_since: Some(now),
                hinted: false,
            };
            let headline = describe(status, handled);
            let is_new = headline != self.headline;
            self.headline.clone_from(&headline);
            return is_new.then_some(headline).into_iter().collect();
        };
        let lines = self.changes_of_phase(status, rollover);
        self.waiting_for.clone_from(&rollover.waiting_for);
        if !lines.is_empty() {
            self.waits_since = Some(now);
            return lines;
        }
        let waits_long = self.waits_since.is_some_and(|since| now >= since + HINT_AFTER);
        let hint = override_hint(authority, status).filter(|_| waits_long && !self.hinted);
        self.hinted |= hint.is_some();
        hint.into_iter().collect()
    }

    fn changes_of_phase(&self, status: &AuthorityStatus, rollover: &RolloverStatus) -> Vec<String> {
        let phase = &self.phase;
        if rollover.waiting_for.is_empty() {
            return (!self.waiting_for.is_empty()).then(|| describe(status, true)).into_iter().collect();
        }
        let mut lines = Vec::new();
        let known: BTreeSet<_> = self.waiting_for.iter().map(|hold| uncounted(hold)).collect();
        let new: Vec<_> =
            rollover.waiting_for.iter().filter(|hold| !known.contains(&uncounted(hold))).cloned().collect();
        if !new.is_empty() {
            let total = i64::try_from(new.len()).unwrap_or(i64::MAX);
            lines.push(format!("{phase}: waits for {}", named(&new, total)));
        }
        // The list has the first of them only: what is not in it may still be waited for.
        let is_complete = i64::try_from(rollover.waiting_for.len()) == Ok(rollover.waiting_for_total);
        let now: BTreeSet<_> = rollover.waiting_for.iter().map(|hold| subject(hold)).collect();
        let released: BTreeSet<_> =
            self.waiting_for.iter().map(|hold| subject(hold)).filter(|name| !now.contains(name)).collect();
        if is_complete && !released.is_empty() {
            let released = released.into_iter().collect::<Vec<_>>().join(", ");
            lines.push(format!("{phase}: no longer waits for {released}"));
        }
        lines
    }
}

/// A rollover in one line, or that there is none.
pub(super) fn describe(status: &AuthorityStatus, handled: bool) -> String {
    let phase = status.phase.as_deref().unwrap_or_default();
    if let (Some(why), Some(_)) = (suspended(status), &status.rollover) {
        return format!("{phase}: {why}");
    }
    match &status.rollover {
        Some(RolloverStatus { waiting_for, overrides, .. })
            if waiting_for.is_empty() && !overrides.is_empty() =>
        {
            let overrides = overrides.join(", ");
            format!("{phase}: nothing else blocks this phase; it continues without {overrides}")
        }
        Some(rollover) if rollover.waiting_for.is_empty() => format!("{phase}: nothing blocks this phase"),
        Some(rollover) => {
            format!("{phase}: waits for {}", named(&rollover.waiting_for, rollover.waiting_for_total))
        }
        None if handled => "Steady".into(),
        None => "waiting for the control plane to handle the request".into(),
    }
}

/// Why the rollover does not go on, whatever it waits for: it is not known whether the keyring counts.
fn suspended(status: &AuthorityStatus) -> Option<&str> {
    let degraded = Condition::find(&status.conditions, ConditionType::Degraded)?;
    (degraded.reason == Reason::KeyringOutdated).then_some(degraded.message.as_str())
}

/// How to continue without the first that can be overridden.
pub(super) fn override_hint(authority: &str, status: &AuthorityStatus) -> Option<String> {
    let rollover = status.rollover.as_ref().filter(|_| suspended(status).is_none())?;
    let target = rollover.waiting_for.iter().find_map(|hold| override_target(hold))?;
    Some(format!("to continue without it: hotcert rollover {authority} --override {target} --reason TEXT"))
}

/// What `--override` takes for it: a pod or a certificate by its name, a namespace by what is in it.
fn override_target(hold: &str) -> Option<String> {
    let subject = subject(hold);
    match subject.strip_prefix("namespace ") {
        Some(namespace) => Some(format!("'{namespace}/*'")),
        None => subject.parse::<ObjectName>().ok().map(|name| name.to_string()),
    }
}

/// The first of them, and how many more there are.
fn named(holds: &[String], total: i64) -> String {
    let first: Vec<_> = holds.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = total - i64::try_from(first.len()).unwrap_or(0);
    let first = first.join("; ");
    if more > 0 { format!("{first}; and {more} more, see hotcert status") } else { first }
}

/// What blocks, without the reason.
fn subject(hold: &str) -> &str {
    hold.split_once(": ").map_or(hold, |(subject, _)| subject)
}

/// Without the numbers in the reason, which change while connections end.
fn uncounted(hold: &str) -> String {
    let (subject, reason) = hold.split_once(": ").unwrap_or((hold, ""));
    let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{subject}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(phase: &str, total: i64, holds: &[&str]) -> AuthorityStatus {
        AuthorityStatus {
            phase: Some(phase.into()),
            rollover: Some(RolloverStatus {
                waiting_for: holds.iter().map(ToString::to_string).collect(),
                waiting_for_total: total,
                ..RolloverStatus::default()
            }),
            ..AuthorityStatus::default()
        }
    }

    #[test]
    fn only_what_has_changed_is_printed() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        let steady = AuthorityStatus { phase: Some("Steady".into()), ..AuthorityStatus::default() };
        for (status, handled, printed) in [
            (steady.clone(), false, &["waiting for the control plane to handle the request"][..]),
            (steady.clone(), false, &[]),
            (
                waiting("Distributing", 2, &["a/x: late", "a/y: late"]),
                true,
                &["Distributing: waits for a/x: late; a/y: late"],
            ),
            (waiting("Distributing", 2, &["a/x: late", "a/y: late"]), true, &[]),
            (
                waiting("Distributing", 2, &["a/x: late", "a/z: dead"]),
                true,
                &["Distributing: waits for a/z: dead", "Distributing: no longer waits for a/y"],
            ),
            (
                waiting("Distributing", 1, &["a/x: gone"]),
                true,
                &["Distributing: waits for a/x: gone", "Distributing: no longer waits for a/z"],
            ),
            (waiting("Distributing", 0, &[]), true, &["Distributing: nothing blocks this phase"]),
            (waiting("Distributing", 0, &[]), true, &[]),
            (
                waiting("Reissuing", 1, &["a/x: 12 connections"]),
                true,
                &["Reissuing: waits for a/x: 12 connections"],
            ),
            (waiting("Reissuing", 1, &["a/x: 9 connections"]), true, &[]),
            (steady.clone(), true, &["Steady"]),
        ] {
            assert_eq!(progress.changes("root-prod-shop", &status, handled, now), printed, "{status:?}");
        }
    }

    #[test]
    fn what_is_left_out_of_the_list_is_not_reported_as_over() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        progress.changes("root-prod-shop", &waiting("Retiring", 30, &["a/x: late", "a/y: late"]), true, now);
        let other = waiting("Retiring", 29, &["a/w: late", "a/x: late"]);
        let printed = progress.changes("root-prod-shop", &other, true, now);
        assert_eq!(printed, ["Retiring: waits for a/w: late"]);
    }

    #[test]
    fn the_way_past_a_hold_is_printed_once_a_phase_and_only_where_there_is_one() {
        for (hold, target) in [
            ("shop/payments-0: late", Some("shop/payments-0")),
            ("shop/mtls-prod-payments: its Secret cannot be read", Some("shop/mtls-prod-payments")),
            ("namespace shop: it is closed", Some("'shop/*'")),
            ("the clock: it is wrong", None),
        ] {
            let (mut progress, now) = (Progress::default(), Instant::now());
            let status = waiting("Retiring", 1, &[hold]);
            let mut after = |wait| progress.changes("root-prod-shop", &status, true, now + wait);
            after(Duration::ZERO);
            assert!(after(HINT_AFTER / 2).is_empty());
            let hint = after(HINT_AFTER).pop();
            let expected = target
                .map(|target| format!("hotcert rollover root-prod-shop --override {target} --reason TEXT"));
            assert_eq!(
                hint.as_deref().map(|hint| hint.split_once(": ").unwrap_or_default().1),
                expected.as_deref()
            );
            assert!(after(HINT_AFTER * 2).is_empty());
        }
    }

    #[test]
    fn a_keyring_that_is_outdated_is_what_a_rollover_waits_for() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        let waits = waiting("Retiring", 1, &["shop/payments-0: late"]);
        let outdated = Condition {
            r#type: ConditionType::Degraded,
            reason: Reason::KeyringOutdated,
            message: "the keyring is older".into(),
            ..Condition::default()
        };
        let suspended = AuthorityStatus { conditions: vec![outdated], ..waits.clone() };
        let mut printed = |status| progress.changes("root-prod-shop", status, true, now);
        let late = "Retiring: waits for shop/payments-0: late";
        assert_eq!(printed(&waits), [late]);
        assert_eq!(printed(&suspended), ["Retiring: the keyring is older"]);
        assert!(printed(&suspended).is_empty());
        assert_eq!(printed(&waits), [late]);
        assert_eq!(override_hint("root-prod-shop", &suspended), None);
    }

    #[test]
    fn a_step_that_nothing_blocks_claims_no_proof() {
        let status = |overrides: &[&str]| {
            let mut status = waiting("Distributing", 0, &[]);
            if let Some(rollover) = &mut status.rollover {
                rollover.overrides = overrides.iter().map(ToString::to_string).collect();
            }
            status
        };
        assert_eq!(describe(&status(&[]), true), "Distributing: nothing blocks this phase");
        assert!(describe(&status(&["shop/late: dead"]), true).ends_with("continues without shop/late: dead"));
    }

    #[test]
    fn what_a_phase_waits_for_is_named_and_the_rest_counted() {
        let holds: Vec<_> = (0..20).map(|number| format!("shop/p{number}: late")).collect();
        let holds: Vec<_> = holds.iter().map(String::as_str).collect();
        let two = describe(&waiting("Retiring", 2, &holds[..2]), true);
        assert_eq!(two, "Retiring: waits for shop/p0: late; shop/p1: late");
        let many = describe(&waiting("Retiring", 30, &holds), true);
        assert!(many.ends_with("shop/p4: late; and 25 more, see hotcert status"), "{many}");
    }
}
