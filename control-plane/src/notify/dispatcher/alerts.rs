//! Alerts that last, and those that have ended: that is said until it was heard, or until they have ended by themselves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::api::notification::Event;
use crate::outbox::DeliveryKey;

/// By then an alert has ended by itself.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Default)]
pub struct Alerts {
    lasting: BTreeMap<DeliveryKey, Event>,
    ended: BTreeMap<DeliveryKey, (Event, SystemTime)>,
}

impl Alerts {
    /// `lasting`: all that last now.
    pub fn update(&mut self, lasting: BTreeMap<DeliveryKey, Event>, now: SystemTime) {
        let before = std::mem::replace(&mut self.lasting, lasting);
        for (key, event) in before {
            if !self.lasting.contains_key(&key) {
                self.ended.insert((key.0, format!("{}/end", key.1)), (event, now));
            }
        }
        let lasting = &self.lasting;
        self.ended.retain(|(subscription, _), (event, at)| {
            // The same alert may go on with another event, as at the next threshold.
            let goes_on =
                lasting.iter().any(|((other, _), lasts)| other == subscription && is_same(lasts, event));
            !goes_on && now.duration_since(*at).unwrap_or_default() < FORGET_AFTER
        });
    }

    /// Those whose end has yet to be said, under a key of its own each.
    pub fn ended(&self) -> impl Iterator<Item = (&DeliveryKey, &Event)> {
        self.ended.iter().map(|(key, (event, _))| (key, event))
    }

    /// It was said that this one has ended.
    pub fn forget(&mut self, key: &DeliveryKey) {
        self.ended.remove(key);
    }

    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.lasting.retain(|(subscription, _), _| keep(subscription));
        self.ended.retain(|(subscription, _), _| keep(subscription));
    }
}

fn is_same(a: &Event, b: &Event) -> bool {
    (a.kind, a.severity, &a.subject) == (b.kind, b.severity, &b.subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::notification::{EventKind, Severity};

    fn event(id: &str, severity: Severity) -> Event {
        Event { id: id.into(), kind: EventKind::Expiring, severity, ..Event::test() }
    }

    fn lasting(events: &[Event]) -> BTreeMap<DeliveryKey, Event> {
        events.iter().map(|event| (("all/alerts".to_owned(), event.id.clone()), event.clone())).collect()
    }

    fn ended(alerts: &Alerts) -> Vec<&str> {
        alerts.ended().map(|(_, event)| event.id.as_str()).collect()
    }

    #[test]
    fn an_alert_ends_once_and_goes_on_at_the_next_threshold() {
        let now = SystemTime::now();
        let mut alerts = Alerts::default();
        let (ten_days, two_days) = (event("10d", Severity::Warning), event("2d", Severity::Warning));
        let one_day = event("1d", Severity::Critical);
        alerts.update(lasting(std::slice::from_ref(&ten_days)), now);
        alerts.update(lasting(std::slice::from_ref(&two_days)), now);
        assert!(ended(&alerts).is_empty(), "the alert has the same labels");
        alerts.update(lasting(std::slice::from_ref(&one_day)), now);
        assert_eq!(ended(&alerts), ["2d"], "the critical alert is another one");
        let key = alerts.ended().next().unwrap().0.clone();
        assert_eq!(key, ("all/alerts".into(), "2d/end".into()));
        alerts.forget(&key);
        alerts.update(lasting(&[one_day]), now);
        assert!(ended(&alerts).is_empty(), "it is said once");
        alerts.update(BTreeMap::new(), now);
        assert_eq!(ended(&alerts), ["1d"]);
        alerts.update(BTreeMap::new(), now + FORGET_AFTER);
        assert!(ended(&alerts).is_empty(), "it has ended by itself");
    }
}
