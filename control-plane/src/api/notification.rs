//! Events and the topics that select them: the kinds of events, their severities, and which subscriptions receive
//! which. Values only: the planner decides which events are due, and [`crate::notify::dispatcher`] delivers them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::api::date;
use crate::digest::sha256_hex;

/// When events are due, and who receives them. Without topics no event is due.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotificationRules {
    /// A URI: `source` of every event.
    pub source: String,
    /// Times before the end of a certificate at which it is reported as expiring, the longest first.
    pub thresholds: Vec<Duration>,
    /// A rollover that stays in one phase for longer is stuck.
    pub stuck_after: Duration,
    pub topics: Vec<Topic>,
    /// The subscriptions that hold alerts: they are told of a state as long as it lasts, and of nothing else.
    pub alerting: BTreeSet<String>,
}

/// Selects events for its subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: String,
    pub events: BTreeSet<EventKind>,
    pub names: Vec<Pattern>,
    /// The lowest severity that is selected.
    pub severity: Severity,
    /// Each as TOPIC/NAME.
    pub subscriptions: Vec<String>,
}

/// What happened, or will happen soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The first certificate.
    Issued,
    /// Replaced because of its age, its root or its spec.
    Renewed,
    /// Replaced on request.
    Rotated,
    RolledBack,
    /// A threshold was reached.
    Expiring,
    /// Repeated once a day.
    Expired,
    /// A rotation failed, or its result is not served.
    RotationFailed,
    /// A rollover entered the phase that the event names.
    Rollover,
    RolloverEnded,
    RolloverStuck,
    /// Sent by hand, and selected by no topic.
    Test,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    #[default]
    Info,
    Warning,
    Critical,
}

/// A name with wildcards: `*` matches any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// An event. The same state always yields the same event, id included.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: EventKind,
    pub severity: Severity,
    /// NAMESPACE/NAME of a certificate, NAME of an authority.
    pub subject: String,
    pub at: SystemTime,
    pub data: Map<String, Value>,
}

const KINDS: [(EventKind, &str); 10] = [
    (EventKind::Issued, "issued"),
    (EventKind::Renewed, "renewed"),
    (EventKind::Rotated, "rotated"),
    (EventKind::RolledBack, "rolled_back"),
    (EventKind::Expiring, "expiring"),
    (EventKind::Expired, "expired"),
    (EventKind::RotationFailed, "rotation_failed"),
    (EventKind::Rollover, "rollover"),
    (EventKind::RolloverEnded, "rollover_ended"),
    (EventKind::RolloverStuck, "rollover_stuck"),
];
const SEVERITIES: [(Severity, &str); 3] =
    [(Severity::Info, "info"), (Severity::Warning, "warning"), (Severity::Critical, "critical")];
/// The prefix of every event's `type`.
const TYPE_PREFIX: &str = "dev.hotcert.";
const MAX_PATTERN: usize = 512;

impl EventKind {
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, _)| *kind)
    }

    pub fn as_str(self) -> &'static str {
        if self == Self::Test { "test" } else { name_of(&KINDS, self) }
    }

    /// Tells of a state that may last, rather than of something that happened once.
    pub fn is_state(self) -> bool {
        matches!(self, Self::Expiring | Self::Expired | Self::RotationFailed | Self::RolloverStuck)
    }

    /// The `type` of the CloudEvent.
    pub fn event_type(self) -> String {
        format!("{TYPE_PREFIX}{}", self.as_str())
    }

    /// The inverse of [`Self::event_type`].
    pub fn from_type(event_type: &str) -> Option<Self> {
        event_type.strip_prefix(TYPE_PREFIX)?.parse().ok()
    }
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        name_of(&SEVERITIES, self)
    }

    /// The severity of an expiry that is reported this long before the end.
    pub fn from_time_left(left: Duration) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        match left {
            left if left > 30 * DAY => Self::Info,
            left if left > DAY => Self::Warning,
            _ => Self::Critical,
        }
    }
}

fn name_of<T: Copy + PartialEq>(names: &[(T, &'static str)], value: T) -> &'static str {
    names.iter().find(|(named, _)| *named == value).map_or("", |(_, name)| name)
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of {}", .known.join(", "))]
pub struct UnknownName {
    given: String,
    known: Vec<&'static str>,
}

fn by_name<T: Copy>(names: &[(T, &'static str)], given: &str) -> Result<T, UnknownName> {
    names.iter().find(|(_, name)| *name == given).map(|(value, _)| *value).ok_or_else(|| UnknownName {
        given: given.chars().take(80).collect(),
        known: names.iter().map(|(_, name)| *name).collect(),
    })
}

impl FromStr for EventKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        by_name(&KINDS, text)
    }
}

impl FromStr for Severity {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        by_name(&SEVERITIES, text)
    }
}

impl NotificationRules {
    /// The subscriptions that receive this event.
    pub fn subscriptions_for<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a str> {
        let topics = self.topics.iter().filter(|topic| topic.selects(event));
        let subscriptions = topics.flat_map(|topic| topic.subscriptions.iter().map(String::as_str));
        subscriptions.filter(|subscription| event.kind.is_state() || !self.alerting.contains(*subscription))
    }

    /// The subscriptions that may receive an event about this subject.
    pub fn subscriptions_about<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a str> {
        let topics = self.topics.iter().filter(|topic| topic.matches(subject));
        topics.flat_map(|topic| topic.subscriptions.iter().map(String::as_str))
    }

    /// The id of the event for this mark of this object: the same after a crash, and of no other event.
    pub fn event_id(&self, uid: &str, channel: &str, mark: &str) -> String {
        let text = format!("{:?} {uid:?} {channel:?} {mark:?}", self.source);
        sha256_hex(text.as_bytes())[..32].to_owned()
    }
}

/// The event as a CloudEvent 1.0 in JSON, in structured mode, so that a signature covers all of it.
pub fn cloud_event(source: &str, event: &Event) -> Value {
    let mut data = event.data.clone();
    data.insert("severity".into(), event.severity.as_str().into());
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.kind.event_type(),
        "subject": event.subject,
        "time": date::millis(event.at),
        "datacontenttype": "application/json",
        "data": data,
    })
}

impl Event {
    /// Of which nothing follows, with an id of its own.
    pub fn test() -> Self {
        let at = SystemTime::now();
        Self {
            id: sha256_hex(format!("test {at:?}").as_bytes())[..32].to_owned(),
            kind: EventKind::Test,
            severity: Severity::Info,
            subject: "hotcert".into(),
            at,
            data: Map::new(),
        }
    }
}

impl Topic {
    fn matches(&self, subject: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(subject))
    }

    fn selects(&self, event: &Event) -> bool {
        self.events.contains(&event.kind) && event.severity >= self.severity && self.matches(&event.subject)
    }
}

impl Pattern {
    pub fn any() -> Self {
        Self("*".into())
    }

    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        // Each part matches as early as possible, the last one at the end.
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some(found) = rest.find(part) else { return false };
            rest = &rest[found + part.len()..];
        }
        true
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is a name of up to {MAX_PATTERN} characters, with * for any of them, such as shop/*")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_valid = !text.is_empty() && text.len() <= MAX_PATTERN && !text.contains(char::is_whitespace);
        is_valid.then(|| Self(text.to_owned())).ok_or(PatternError)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, expected) in [
            ("*", "shop/mtls-prod-payments", true),
            ("shop/*", "shop/mtls-prod-payments", true),
            ("shop/*", "shop2/mtls-prod-payments", false),
            ("*/mtls-prod-*", "shop/mtls-prod-payments", true),
            ("*payments", "shop/mtls-prod-payments", true),
            ("*pay*ments", "shop/mtls-prod-payments", true),
            ("shop/mtls-prod-payments", "shop/mtls-prod-payments", true),
            ("shop/mtls", "shop/mtls-prod-payments", false),
            ("*aa*a", "aa", false),
            ("a*a", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(name), expected, "{pattern} {name}");
        }
        for invalid in ["", "a b", &"x".repeat(513)] {
            assert_eq!(invalid.parse::<Pattern>(), Err(PatternError));
        }
    }

    #[test]
    fn a_topic_selects_by_event_name_and_severity() {
        let topic = Topic {
            name: "on-call".into(),
            events: BTreeSet::from([EventKind::Expiring, EventKind::Expired]),
            names: vec!["shop/*".parse().unwrap()],
            severity: Severity::Warning,
            subscriptions: vec!["on-call/pager".into(), "on-call/chat".into()],
        };
        let rules = NotificationRules { topics: vec![topic], ..NotificationRules::default() };
        let event = Event {
            id: "1".into(),
            kind: EventKind::Expiring,
            severity: Severity::Critical,
            subject: "shop/mtls-prod-payments".into(),
            at: UNIX_EPOCH,
            data: Map::new(),
        };
        let count = |event: Event| rules.subscriptions_for(&event).count();
        assert_eq!(count(event.clone()), 2);
        assert_eq!(count(Event { severity: Severity::Info, ..event.clone() }), 0);
        assert_eq!(count(Event { kind: EventKind::Issued, ..event.clone() }), 0);
        assert_eq!(count(Event { subject: "bank/mtls-prod-payments".into(), ..event }), 0);
    }

    #[test]
    fn names_are_parsed_back_and_unknown_ones_reported() {
        for kind in EventKind::all() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(EventKind::from_type(&kind.event_type()), Some(kind));
        }
        let error = "loud".parse::<Severity>().unwrap_err().to_string();
        assert_eq!(error, "\"loud\" is not one of info, warning, critical");
    }

    #[test]
    fn an_event_is_the_same_cloud_event_each_time() {
        let rules = NotificationRules { source: "urn:hotcert:prod".into(), ..NotificationRules::default() };
        let id = rules.event_id("uid", "version", "7");
        assert_eq!((id.len(), &id), (32, &rules.event_id("uid", "version", "7")));
        assert_ne!(id, rules.event_id("uid", "versio", "n7"));
        let event = Event {
            id,
            kind: EventKind::Renewed,
            severity: Severity::Info,
            subject: "shop/mtls-prod-payments".into(),
            at: UNIX_EPOCH + Duration::from_millis(1500),
            data: Map::from_iter([("version".to_owned(), json!(7))]),
        };
        let body = cloud_event(&rules.source, &event);
        assert_eq!(body["type"], "dev.hotcert.renewed");
        assert_eq!(
            (&body["source"], &body["time"]),
            (&json!("urn:hotcert:prod"), &json!("1970-01-01T00:00:01.500Z"))
        );
        assert_eq!(body["data"], json!({"version": 7, "severity": "info"}));
        assert_eq!(cloud_event(&rules.source, &event), body);
    }
}
