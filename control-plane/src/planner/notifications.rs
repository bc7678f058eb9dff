//! Who is still to be told of what. It follows from the state of an object and from how far each
//! subscription was told, which is kept in the object's status: so a crash loses nothing, and tells
//! something twice at most, under the same id.
//!
//! What there is to tell of an object goes through channels, each with marks that say how far somebody was
//! told: numbers of versions, thresholds of an expiry, phases of a rollover, a trouble since when.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::Plan;
use super::rollover::AuthorityPlan;
use crate::api::condition::{Condition, ConditionStatus, ConditionType};
use crate::api::date;
use crate::api::events::{Event, EventKind, NotificationRules, Severity};
use crate::api::resource::{NotifiedMarks, UNDELIVERED};
use crate::pki::keyring::{Rollover, RolloverRecord};
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{Certificate, Foreign, ObjectName, Observed, Version};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A threshold counts for lives of at least this many times its length: a leaf that is renewed in time
/// never comes there.
const LIVES: u32 = 3;
/// What did not go well may go well the next time: until then nobody is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// To each subscription; what is owed beyond follows from the state the next time.
const AT_ONCE: usize = 500;
/// How many of those who hold a rollover an event names.
const NAMED: usize = 20;

pub const VERSION: &str = "version";
const EXPIRY: &str = "expiry";
const TROUBLE: &str = "trouble";
const ROLLOVER: &str = "rollover";
const STUCK: &str = "stuck";
/// Sorts before every date.
const BEGIN: &str = "-";

/// An event that a subscription is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingNotification {
    pub subscription: String,
    pub event: Event,
}

/// What is said of all events of one object.
struct Subject<'a> {
    rules: &'a NotificationRules,
    uid: &'a str,
    subject: String,
    facts: Map<String, Value>,
}

/// An announcement: how far who hears it has been told.
struct Mark<'a> {
    mark: String,
    kind: EventKind,
    severity: Severity,
    at: SystemTime,
    data: Vec<(&'a str, Value)>,
}

/// What there is to say in one channel, the oldest first, and from where on somebody new is told.
struct Channel<'a> {
    name: &'static str,
    marks: Vec<Mark<'a>>,
    start: Option<String>,
    /// Whether a mark comes after what was told.
    is_after: fn(mark: &str, told: &str) -> bool,
}

/// By subscription.
pub type AllTold = BTreeMap<String, NotifiedMarks>;

/// `conditions` are those of the status that is about to be written.
pub fn certificate(
    observed: &Observed,
    name: &ObjectName,
    certificate: &Certificate,
    conditions: &[Condition],
    now: SystemTime,
    plan: &mut Plan,
) -> AllTold {
    let rules = observed.notification_rules.as_ref();
    if rules.topics.is_empty() || certificate.deleting {
        // Whoever has no settings, as a command has none, does not forget for those who have.
        return certificate.status.last_notified.clone();
    }
    let mut facts = Map::from_iter([
        ("namespace".to_owned(), json!(name.namespace)),
        ("name".to_owned(), json!(name.name)),
    ]);
    let (authority, manager) = (&certificate.spec.authority, &certificate.spec.manager);
    if !authority.is_empty() {
        facts.insert("authority".to_owned(), json!(authority));
    }
    if let Some(manager) = manager {
        facts.insert("manager".to_owned(), json!(manager));
    }
    let about = Subject { rules, uid: &certificate.uid, subject: name.to_string(), facts };
    let published = certificate.published_version();
    let leaf = published.map(|(_, version)| version);
    let channels = [
        versions(certificate, rules.subscriptions_about(&about.subject)),
        Channel::now(
            EXPIRY,
            leaf.and_then(|version| expiry(rules, &version.leaf, version.created_at, now, plan)),
        ),
        Channel::now(TROUBLE, trouble(conditions, leaf.map(|version| &version.leaf), now, plan)),
    ];
    about.owed(&certificate.status.last_notified, &channels, observed, plan)
}

pub fn authority(
    observed: &Observed,
    name: &str,
    authority_plan: &AuthorityPlan<'_>,
    conditions: &[Condition],
    now: SystemTime,
    plan: &mut Plan,
) -> AllTold {
    let rules = observed.notification_rules.as_ref();
    if rules.topics.is_empty() || authority_plan.authority.deleting {
        return authority_plan.authority.status.last_notified.clone();
    }
    let facts = Map::from_iter([("authority".to_owned(), json!(name))]);
    let about = Subject { rules, uid: &authority_plan.authority.uid, subject: name.to_owned(), facts };
    let root = authority_plan.ring.and_then(|ring| {
        let id = ring.state.signing();
        Some(ring.roots.get(id)?.leaf(id))
    });
    let expiry = root.as_ref().and_then(|root| expiry(rules, root, root.not_before, now, plan));
    let channels = [
        rollovers(authority_plan),
        Channel::now(STUCK, stuck(rules, authority_plan, now, plan)),
        Channel::now(EXPIRY, expiry),
        Channel::now(TROUBLE, trouble(conditions, root.as_ref(), now, plan)),
    ];
    about.owed(&authority_plan.authority.status.last_notified, &channels, observed, plan)
}

/// There is nothing of ours to write into: after a restart it is said once more, under the same id.
pub fn foreign(observed: &Observed, name: &ObjectName, foreign: &Foreign, now: SystemTime, plan: &mut Plan) {
    let rules = observed.notification_rules.as_ref();
    let Some(leaf) = foreign.leaf.as_ref().filter(|_| !rules.topics.is_empty() && !foreign.orphan) else {
        return;
    };
    let facts = Map::from_iter([
        ("namespace".to_owned(), json!(name.namespace)),
        ("secret".to_owned(), json!(name.name)),
    ]);
    // Of one that is replaced the leaf is another, so is the mark.
    let about = Subject { rules, uid: &leaf.sha256, subject: name.to_string(), facts };
    let channel = Channel::now(EXPIRY, expiry(rules, leaf, leaf.not_before, now, plan));
    about.owed(&AllTold::new(), &[channel], observed, plan);
}

impl Subject<'_> {
    fn owed(
        &self,
        before: &AllTold,
        channels: &[Channel<'_>],
        observed: &Observed,
        plan: &mut Plan,
    ) -> AllTold {
        let mut all = AllTold::new();
        for subscription in self.rules.subscriptions_about(&self.subject) {
            let before = before.get(subscription);
            let mut told = NotifiedMarks::new();
            for channel in channels {
                let said = before.and_then(|told| told.get(channel.name)).or(channel.start.as_ref());
                let mut said = said.cloned();
                let owed = channel
                    .marks
                    .iter()
                    .filter(|mark| said.as_ref().is_none_or(|told| (channel.is_after)(&mark.mark, told)));
                let owed: Vec<_> = owed.collect();
                for mark in owed {
                    let event = self.event(channel.name, mark);
                    if !self.rules.subscriptions_for(&event).any(|to| to == subscription) {
                        // What comes in order does not come back.
                        if channel.start.is_some() {
                            said = Some(mark.mark.clone());
                        }
                        continue;
                    }
                    let key = (subscription.to_owned(), event.id.clone());
                    let is_delivered = observed.delivered.contains(&key);
                    if let Some(why) = observed.undelivered.get(&key) {
                        told.insert(UNDELIVERED.to_owned(), format!("{}: {why}", event.kind));
                    }
                    let owed = plan.owed.entry(subscription.to_owned()).or_default();
                    if !is_delivered && *owed >= AT_ONCE {
                        break;
                    }
                    *owed += 1;
                    // Also what was delivered: it is remembered until it is written down.
                    plan.deliver.push(PendingNotification { subscription: key.0, event });
                    if !is_delivered {
                        break;
                    }
                    said = Some(mark.mark.clone());
                }
                told.extend(said.map(|said| (channel.name.to_owned(), said)));
            }
            all.insert(subscription.to_owned(), told);
        }
        all
    }

    fn event(&self, channel: &str, mark: &Mark<'_>) -> Event {
        let mut data = self.facts.clone();
        data.extend(mark.data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Event {
            id: self.rules.event_id(self.uid, channel, &mark.mark),
            kind: mark.kind,
            severity: mark.severity,
            subject: self.subject.clone(),
            at: mark.at,
            data,
        }
    }
}

impl<'a> Channel<'a> {
    /// What is the matter now, if something is. Of what was before nobody needs to hear any more.
    fn now(name: &'static str, mark: Option<Mark<'a>>) -> Self {
        Self { name, marks: mark.into_iter().collect(), start: None, is_after: |mark, told| mark != told }
    }
}

/// A subscription that is new to a certificate hears of the versions that come.
fn versions<'a>(certificate: &Certificate, subscriptions: impl Iterator<Item = &'a str>) -> Channel<'a> {
    let newest = certificate.newest().map_or(0, |(number, _)| number);
    // Until it is published it may still be refused.
    let published = certificate.published_version().map_or(0, |(number, _)| number);
    let start = if certificate.status.observed_generation.is_none() { 0 } else { newest };
    let number = |text: &String| text.parse::<u64>().unwrap_or(0);
    let told = |of: &str| {
        certificate.status.last_notified.get(of).and_then(|told| told.get(VERSION)).map_or(start, number)
    };
    // What everybody was told is not made again at every look.
    let least = subscriptions.map(told).min().unwrap_or(published);
    let versions = certificate.versions.range(..=published).filter(|(number, _)| **number > least);
    let marks = versions.map(|(number, version)| {
        let (kind, severity) = match version.as_ref() {
            Version { copy_of: Some(_), .. } => (EventKind::RolledBack, Severity::Warning),
            Version { request: Some(_), .. } => (EventKind::Rotated, Severity::Info),
            _ if *number == 1 => (EventKind::Issued, Severity::Info),
            _ => (EventKind::Renewed, Severity::Info),
        };
        let mut data = of_leaf(&version.leaf);
        data.extend([("version", json!(number)), ("root", json!(version.root.0))]);
        data.extend(version.request.as_ref().map(|request| ("request", json!(request))));
        data.extend(version.copy_of.map(|of| ("copy_of", json!(of))));
        Mark { mark: number.to_string(), kind, severity, at: version.created_at, data }
    });
    Channel {
        name: VERSION,
        marks: marks.collect(),
        start: Some(start.to_string()),
        is_after: |mark, told| {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            number(mark) > number(told)
        },
    }
}

/// The shortest threshold that was reached. Of those before it nobody needs to hear any more.
fn expiry<'a>(
    rules: &NotificationRules,
    leaf: &Leaf,
    since: SystemTime,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Mark<'a>> {
    let short = leaf.sha256.get(..16).unwrap_or(&leaf.sha256);
    let mut data = of_leaf(leaf);
    if let Ok(past) = now.duration_since(leaf.not_after) {
        let days = past.as_secs() / DAY.as_secs();
        let of_day = |day: u64| leaf.not_after.checked_add(DAY * u32::try_from(day).unwrap_or(u32::MAX));
        if let Some(tomorrow) = of_day(days + 1) {
            plan.wake(tomorrow);
        }
        data.push(("days_past", json!(days)));
        return Some(Mark {
            mark: format!("{short}/expired/{days}"),
            kind: EventKind::Expired,
            severity: Severity::Critical,
            at: of_day(days).unwrap_or(now),
            data,
        });
    }
    let life = leaf.not_after.duration_since(since).unwrap_or_default();
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    let mut reached = None;
    // The longest first.
    for threshold in rules.thresholds.iter().filter(|threshold| life >= **threshold * LIVES) {
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
    let text = date::span(threshold);
    data.push(("threshold", json!(text)));
    data.push(("threshold_seconds", json!(threshold.as_secs())));
    Some(Mark {
        mark: format!("{short}/{text}"),
        kind: EventKind::Expiring,
        severity: Severity::from_time_left(threshold),
        at: leaf.not_after - threshold,
        data,
    })
}

/// What holds for a while: that something fails, or that pods do not serve what is published.
fn trouble<'a>(
    conditions: &[Condition],
    leaf: Option<&Leaf>,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Mark<'a>> {
    let is_late = |condition: &&Condition| match condition.r#type {
        ConditionType::Degraded => true,
        ConditionType::Served => condition.status == ConditionStatus::False,
        _ => false,
    };
    let condition = conditions.iter().find(is_late)?;
    let since = date::parse(&condition.last_transition_time)?;
    let due = since.checked_add(PATIENCE)?;
    if now < due {
        plan.wake(due);
        return None;
    }
    let is_valid = leaf.is_some_and(|leaf| now < leaf.not_after);
    let mut data = leaf.map(of_leaf).unwrap_or_default();
    data.extend([("reason", json!(condition.reason)), ("message", json!(condition.message))]);
    Some(Mark {
        mark: format!("{}/{}", condition.last_transition_time, condition.r#type),
        kind: EventKind::RotationFailed,
        severity: if is_valid { Severity::Warning } else { Severity::Critical },
        at: since,
        data,
    })
}

/// A subscription that is new to an authority hears of the phases that come.
fn rollovers<'a>(authority_plan: &AuthorityPlan<'_>) -> Channel<'a> {
    let mut marks = Vec::new();
    if let Some(ring) = authority_plan.ring {
        for RolloverRecord { rollover, ended_at } in &ring.state.rollover_history {
            let severity = if rollover.forced { Severity::Warning } else { Severity::Info };
            marks.push(phase(rollover, "ended", EventKind::RolloverEnded, severity, *ended_at));
        }
        if let Some(rollover) = ring.state.rollover() {
            let since = rollover.phase_started_at;
            marks.push(phase(rollover, rollover.phase.as_str(), EventKind::Rollover, Severity::Info, since));
        }
    }
    let start = match authority_plan.authority.status.observed_generation {
        _ if authority_plan.ring.is_none() => return Channel::now(ROLLOVER, None),
        None => BEGIN.to_owned(),
        Some(_) => marks.last().map_or_else(|| BEGIN.to_owned(), |mark| mark.mark.clone()),
    };
    // They begin with a date, which sorts as text does, after what stands for nothing yet.
    Channel { name: ROLLOVER, marks, start: Some(start), is_after: |mark, told| mark > told }
}

fn phase<'a>(
    rollover: &Rollover,
    name: &str,
    kind: EventKind,
    severity: Severity,
    at: SystemTime,
) -> Mark<'a> {
    let data = vec![
        ("phase", json!(name)),
        ("from", json!(rollover.from.0)),
        ("to", json!(rollover.to.0)),
        ("why", json!(rollover.reason)),
        ("forced", json!(rollover.forced)),
        ("reversed", json!(rollover.reversed)),
    ];
    Mark { mark: format!("{}/{name}", date::millis(at)), kind, severity, at, data }
}

fn stuck<'a>(
    rules: &NotificationRules,
    authority_plan: &AuthorityPlan<'_>,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Mark<'a>> {
    let rollover = authority_plan.rollover().filter(|_| !authority_plan.holds.is_empty())?;
    let at = rollover.phase_started_at.checked_add(rules.stuck_after)?;
    if now < at {
        plan.wake(at);
        return None;
    }
    let mut mark = phase(rollover, rollover.phase.as_str(), EventKind::RolloverStuck, Severity::Warning, at);
    let waiting: Vec<_> =
        authority_plan.holds.iter().take(NAMED).map(|hold| format!("{}: {}", hold.who, hold.why)).collect();
    mark.data.extend([("waiting", json!(waiting)), ("waiting_total", json!(authority_plan.holds.len()))]);
    Some(mark)
}

fn of_leaf<'a>(leaf: &Leaf) -> Vec<(&'a str, Value)> {
    vec![
        ("serial", json!(leaf.serial)),
        ("sha256", json!(leaf.sha256)),
        ("not_before", json!(date::seconds(leaf.not_before))),
        ("not_after", json!(date::seconds(leaf.not_after))),
    ]
}
