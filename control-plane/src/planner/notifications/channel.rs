//! What there is to report about an object, in channels. The milestones of a channel say how far a
//! subscription was notified: version numbers, thresholds of an expiry, phases of a rollover, since when a
//! problem lasts.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::api::condition::{Condition, ConditionStatus, ConditionType};
use crate::api::date;
use crate::api::duration;
use crate::api::notification::{EventKind, NotificationRules, Severity};
use crate::pki::keyring::{Rollover, RolloverRecord};
use crate::pki::x509_facts::Leaf;
use crate::planner::authority::AuthorityPlan;
use crate::planner::observed::{Certificate, Version};
use crate::planner::plan::Plan;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A threshold applies to lifetimes of at least this many times its length: a leaf that is renewed in time
/// never reaches it.
const MIN_LIFETIME: u32 = 3;
/// An action that failed may succeed when it is retried: until then no event is sent.
const PROBLEM_GRACE: Duration = Duration::from_secs(30);
/// How many blockers of a rollover an event names.
const MAX_NAMED: usize = 20;

pub const VERSION_CHANNEL: &str = "version";
const EXPIRY: &str = "expiry";
const PROBLEM: &str = "trouble";
const ROLLOVER: &str = "rollover";
const STUCK: &str = "stuck";
/// Sorts before every date.
const BEGIN: &str = "-";

/// The milestones of one kind, the oldest first.
pub struct Channel<'a> {
    pub name: &'static str,
    pub milestones: Vec<Milestone<'a>>,
    /// The milestone after which a new subscription is notified. `None`: the channel has no order, and its
    /// only milestone is the present state.
    pub start: Option<String>,
    is_after: fn(milestone: &str, notified: &str) -> bool,
}

/// An event, and the value that records in the status that a subscription was notified of it.
pub struct Milestone<'a> {
    pub value: String,
    pub kind: EventKind,
    pub severity: Severity,
    pub at: SystemTime,
    pub data: Vec<(&'a str, Value)>,
}

impl<'a> Channel<'a> {
    /// What is the case now. An earlier state that is over is not reported any more.
    fn present(name: &'static str, milestone: Option<Milestone<'a>>) -> Self {
        Self {
            name,
            milestones: milestone.into_iter().collect(),
            start: None,
            is_after: |milestone, notified| milestone != notified,
        }
    }

    /// The milestones that a subscription was not notified of, if `notified` is the last one that it was.
    pub fn after(&self, notified: Option<&str>) -> impl Iterator<Item = &Milestone<'a>> {
        let is_new = move |milestone: &&Milestone<'a>| {
            notified.is_none_or(|notified| (self.is_after)(&milestone.value, notified))
        };
        self.milestones.iter().filter(is_new)
    }
}

/// A new subscription is notified of the versions that follow.
pub fn versions<'a>(certificate: &Certificate, subscriptions: impl Iterator<Item = &'a str>) -> Channel<'a> {
    let newest = certificate.newest().map_or(0, |(number, _)| number);
    // A version that is not published yet may still be refused.
    let published = certificate.published_version().map_or(0, |(number, _)| number);
    let start = if certificate.status.observed_generation.is_none() { 0 } else { newest };
    let number = |text: &String| text.parse::<u64>().unwrap_or(0);
    let notified = |subscription: &str| {
        let notified = certificate.status.last_notified.get(subscription);
        notified.and_then(|marks| marks.get(VERSION_CHANNEL)).map_or(start, number)
    };
    // The versions that every subscription was notified of are not computed again in each round.
    let least = subscriptions.map(notified).min().unwrap_or(published);
    let versions = certificate.versions.range(..=published).filter(|(number, _)| **number > least);
    let milestones = versions.map(|(number, version)| {
        let (kind, severity) = match version.as_ref() {
            Version { copy_of: Some(_), .. } => (EventKind::RolledBack, Severity::Warning),
            Version { request: Some(_), .. } => (EventKind::Rotated, Severity::Info),
            _ if *number == 1 => (EventKind::Issued, Severity::Info),
            _ => (EventKind::Renewed, Severity::Info),
        };
        let mut data = leaf_data(&version.leaf);
        data.extend([("version", json!(number)), ("root", json!(version.root.0))]);
        data.extend(version.request.as_ref().map(|request| ("request", json!(request))));
        data.extend(version.copy_of.map(|of| ("copy_of", json!(of))));
        Milestone { value: number.to_string(), kind, severity, at: version.created_at, data }
    });
    Channel {
        name: VERSION_CHANNEL,
        milestones: milestones.collect(),
        start: Some(start.to_string()),
        is_after: |milestone, notified| {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            number(milestone) > number(notified)
        },
    }
}

/// The shortest threshold that was reached. Those before it are not reported any more. `leaf` comes with
/// the time when its lifetime began.
pub fn expiry<'a>(
    rules: &NotificationRules,
    leaf: Option<(&Leaf, SystemTime)>,
    now: SystemTime,
    plan: &mut Plan,
) -> Channel<'a> {
    Channel::present(EXPIRY, leaf.and_then(|(leaf, since)| expiry_milestone(rules, leaf, since, now, plan)))
}

fn expiry_milestone<'a>(
    rules: &NotificationRules,
    leaf: &Leaf,
    since: SystemTime,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Milestone<'a>> {
    let short = leaf.sha256.get(..16).unwrap_or(&leaf.sha256);
    let mut data = leaf_data(leaf);
    if let Ok(past) = now.duration_since(leaf.not_after) {
        let days = past.as_secs() / DAY.as_secs();
        let of_day = |day: u64| leaf.not_after.checked_add(DAY * u32::try_from(day).unwrap_or(u32::MAX));
        if let Some(tomorrow) = of_day(days + 1) {
            plan.wake(tomorrow);
        }
        data.push(("days_past", json!(days)));
        return Some(Milestone {
            value: format!("{short}/expired/{days}"),
            kind: EventKind::Expired,
            severity: Severity::Critical,
            at: of_day(days).unwrap_or(now),
            data,
        });
    }
    let lifetime = leaf.not_after.duration_since(since).unwrap_or_default();
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    let mut reached = None;
    // The longest first.
    for threshold in rules.thresholds.iter().filter(|threshold| lifetime >= **threshold * MIN_LIFETIME) {
        if left > *threshold {
            plan.wake(leaf.not_after - *threshold);
            break;
        }
        reached = Some(*threshold);
    }
    if reached.is_some() {
        plan.wake(leaf.not_after);
    }
    let threshold = reached?;
    let text = duration::format(threshold);
    data.push(("threshold", json!(text)));
    data.push(("threshold_seconds", json!(threshold.as_secs())));
    Some(Milestone {
        value: format!("{short}/{text}"),
        kind: EventKind::Expiring,
        severity: Severity::from_time_left(threshold),
        at: leaf.not_after - threshold,
        data,
    })
}

/// A condition that lasts: an action fails, or pods do not serve what is published.
pub fn problem<'a>(
    conditions: &[Condition],
    leaf: Option<&Leaf>,
    now: SystemTime,
    plan: &mut Plan,
) -> Channel<'a> {
    Channel::present(PROBLEM, problem_milestone(conditions, leaf, now, plan))
}

fn problem_milestone<'a>(
    conditions: &[Condition],
    leaf: Option<&Leaf>,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Milestone<'a>> {
    let is_problem = |condition: &&Condition| match condition.r#type {
        ConditionType::Degraded => true,
        ConditionType::Served => condition.status == ConditionStatus::False,
        _ => false,
    };
    let condition = conditions.iter().find(is_problem)?;
    let since = date::parse(&condition.last_transition_time)?;
    let due = since.checked_add(PROBLEM_GRACE)?;
    if now < due {
        plan.wake(due);
        return None;
    }
    let is_valid = leaf.is_some_and(|leaf| now < leaf.not_after);
    let mut data = leaf.map(leaf_data).unwrap_or_default();
    data.extend([("reason", json!(condition.reason)), ("message", json!(condition.message))]);
    Some(Milestone {
        value: format!("{}/{}", condition.last_transition_time, condition.r#type),
        kind: EventKind::RotationFailed,
        severity: if is_valid { Severity::Warning } else { Severity::Critical },
        at: since,
        data,
    })
}

/// A new subscription is notified of the phases that follow.
pub fn rollovers<'a>(authority_plan: &AuthorityPlan<'_>) -> Channel<'a> {
    let mut milestones = Vec::new();
    if let Some(keyring) = authority_plan.keyring {
        for RolloverRecord { rollover, ended_at } in &keyring.state.rollover_history {
            let is_proved = !rollover.forced && rollover.overrides.is_empty();
            let severity = if is_proved { Severity::Info } else { Severity::Warning };
            let mut ended = phase(rollover, "ended", EventKind::RolloverEnded, severity, *ended_at);
            ended.data.push(("grounds", json!(rollover.grounds())));
            milestones.push(ended);
        }
        if let Some(rollover) = keyring.state.rollover() {
            let since = rollover.phase_started_at;
            milestones.push(phase(
                rollover,
                rollover.phase.as_str(),
                EventKind::Rollover,
                Severity::Info,
                since,
            ));
        }
    }
    let start = match authority_plan.authority.status.observed_generation {
        _ if authority_plan.keyring.is_none() => return Channel::present(ROLLOVER, None),
        None => BEGIN.to_owned(),
        Some(_) => milestones.last().map_or_else(|| BEGIN.to_owned(), |milestone| milestone.value.clone()),
    };
    // They begin with a date, which sorts as text does, and after BEGIN.
    Channel {
        name: ROLLOVER,
        milestones,
        start: Some(start),
        is_after: |milestone, notified| milestone > notified,
    }
}

fn phase<'a>(
    rollover: &Rollover,
    name: &str,
    kind: EventKind,
    severity: Severity,
    at: SystemTime,
) -> Milestone<'a> {
    let overrides: Vec<_> = rollover.overrides.iter().take(MAX_NAMED).map(|pod| &pod.pod).collect();
    let data = vec![
        ("phase", json!(name)),
        ("from", json!(rollover.from.0)),
        ("to", json!(rollover.to.0)),
        ("why", json!(rollover.reason)),
        ("forced", json!(rollover.forced)),
        ("reversed", json!(rollover.reversed)),
        ("overrides", json!(overrides)),
    ];
    Milestone { value: format!("{}/{name}", date::millis(at)), kind, severity, at, data }
}

/// A rollover whose phase has been blocked for a long time.
pub fn stuck<'a>(
    rules: &NotificationRules,
    authority_plan: &AuthorityPlan<'_>,
    now: SystemTime,
    plan: &mut Plan,
) -> Channel<'a> {
    Channel::present(STUCK, stuck_milestone(rules, authority_plan, now, plan))
}

fn stuck_milestone<'a>(
    rules: &NotificationRules,
    authority_plan: &AuthorityPlan<'_>,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Milestone<'a>> {
    let blockers = &authority_plan.blockers;
    let rollover = authority_plan.rollover().filter(|_| !blockers.is_empty())?;
    let at = rollover.phase_started_at.checked_add(rules.stuck_after)?;
    if now < at {
        plan.wake(at);
        return None;
    }
    let mut milestone =
        phase(rollover, rollover.phase.as_str(), EventKind::RolloverStuck, Severity::Warning, at);
    let waiting: Vec<_> = blockers.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    milestone.data.extend([("waiting", json!(waiting)), ("waiting_total", json!(blockers.len()))]);
    Some(milestone)
}

fn leaf_data<'a>(leaf: &Leaf) -> Vec<(&'a str, Value)> {
    vec![
        ("serial", json!(leaf.serial)),
        ("sha256", json!(leaf.sha256)),
        ("not_before", json!(date::seconds(leaf.not_before))),
        ("not_after", json!(date::seconds(leaf.not_after))),
    ]
}
