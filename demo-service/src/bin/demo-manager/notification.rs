//! Which notifications about a certificate are due: a pure function of its newest version, of what was delivered and of
//! the time.

use std::time::{Duration, SystemTime};

use crate::inventory::{DeliveryState, Version};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a notification is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Channel {
    Events,
    Callback,
}

/// A notification about one certificate.
#[derive(Debug, PartialEq)]
pub enum Notification {
    Rotated,
    /// A new version was pushed.
    Reimported,
    /// The threshold that was reached, `None` if only a request made it due; and the type of the callback.
    Expiry(Option<String>, &'static str),
}

impl Notification {
    pub fn channel(&self) -> Channel {
        match self {
            Self::Rotated => Channel::Events,
            Self::Reimported | Self::Expiry(..) => Channel::Callback,
        }
    }

    /// Records that it was delivered.
    pub fn record(self, version: u64, delivery: &mut DeliveryState) {
        match self {
            Self::Rotated => delivery.rotated = version,
            Self::Reimported => delivery.reimported = version,
            Self::Expiry(reached, _) => {
                if let Some(reached) = reached {
                    delivery.expiry = Some((version, reached));
                }
                if delivery.requested_expiry == Some(version) {
                    delivery.requested_expiry = None;
                }
            }
        }
    }
}

/// The notifications that are due, in the order in which they are sent.
pub fn due(
    version: &Version,
    is_issued_here: bool,
    delivery: &DeliveryState,
    thresholds: &[Duration],
    now: SystemTime,
) -> Vec<Notification> {
    let mut due = Vec::new();
    if delivery.rotated < version.number {
        due.push(Notification::Rotated);
    }
    if !is_issued_here && delivery.reimported < version.number {
        due.push(Notification::Reimported);
    }
    let (reached, kind) = if let Ok(past) = now.duration_since(version.leaf.not_after) {
        (Some(format!("expired {}", past.as_secs() / DAY.as_secs())), "cert_expired_reimport_required")
    } else {
        let left = version.leaf.not_after.duration_since(now).unwrap_or_default();
        let reached = thresholds.iter().filter(|threshold| left <= **threshold).min();
        let reached = reached.map(|threshold| format!("{}s", threshold.as_secs()));
        (reached, "cert_about_to_expire_reimport_required")
    };
    let was_reported = |reached: &String| {
        delivery
            .expiry
            .as_ref()
            .is_some_and(|(number, threshold)| *number == version.number && threshold == reached)
    };
    let new = reached.filter(|reached| !was_reported(reached));
    if new.is_some() || delivery.requested_expiry == Some(version.number) {
        due.push(Notification::Expiry(new, kind));
    }
    due
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hotcert::pki::x509_facts::Leaf;
    use zeroize::Zeroizing;

    use super::*;

    fn version() -> Version {
        let leaf = Leaf {
            sha256: "ab".into(),
            serial: "0a".into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + 100 * DAY,
        };
        let created = UNIX_EPOCH;
        Version { number: 3, created, certificate: String::new(), key: Zeroizing::default(), leaf }
    }

    #[test]
    fn each_notification_is_due_until_it_was_delivered() {
        let thresholds = [90, 30, 1].map(|days| DAY * days);
        let delivered = DeliveryState { rotated: 3, reimported: 3, ..DeliveryState::default() };
        let expiry = |reached: &str| DeliveryState { expiry: Some((3, reached.into())), ..delivered.clone() };
        for (day, delivery, expected) in [
            (5, DeliveryState::default(), vec![Notification::Rotated, Notification::Reimported]),
            (5, DeliveryState { rotated: 3, ..DeliveryState::default() }, vec![Notification::Reimported]),
            (5, DeliveryState { reimported: 3, ..DeliveryState::default() }, vec![Notification::Rotated]),
            (5, delivered.clone(), vec![]),
            (10, delivered.clone(), vec![expiring(Some("7776000s"))]),
            (
                10,
                DeliveryState { expiry: Some((2, "7776000s".into())), ..delivered.clone() },
                vec![expiring(Some("7776000s"))],
            ),
            (10, expiry("7776000s"), vec![]),
            (70, expiry("7776000s"), vec![expiring(Some("2592000s"))]),
            (
                99,
                DeliveryState::default(),
                vec![Notification::Rotated, Notification::Reimported, expiring(Some("86400s"))],
            ),
            (102, expiry("86400s"), vec![expired("expired 2")]),
            (102, expiry("expired 2"), vec![]),
        ] {
            check(day, delivery, &thresholds, expected);
        }
    }

    #[test]
    fn a_requested_expiry_is_due_whatever_was_delivered() {
        let thresholds = [DAY * 90];
        let delivered = DeliveryState {
            rotated: 3,
            reimported: 3,
            requested_expiry: Some(3),
            ..DeliveryState::default()
        };
        let reached = DeliveryState { expiry: Some((3, "7776000s".into())), ..delivered.clone() };
        check(5, delivered.clone(), &thresholds, vec![expiring(None)]);
        check(10, delivered.clone(), &thresholds, vec![expiring(Some("7776000s"))]);
        check(10, reached, &thresholds, vec![expiring(None)]);
        check(5, DeliveryState { requested_expiry: Some(2), ..delivered }, &thresholds, vec![]);
    }

    /// That these are due at that time, and none once they were delivered.
    #[track_caller]
    fn check(day: u32, mut delivery: DeliveryState, thresholds: &[Duration], expected: Vec<Notification>) {
        let now = UNIX_EPOCH + DAY * day + Duration::from_secs(1);
        let due = super::due(&version(), false, &delivery, thresholds, now);
        assert_eq!(due, expected, "day {day}, {delivery:?}");
        due.into_iter().for_each(|notification| notification.record(3, &mut delivery));
        assert_eq!(super::due(&version(), false, &delivery, thresholds, now), [], "day {day}, {delivery:?}");
    }

    #[test]
    fn a_certificate_that_is_issued_here_is_not_reimported() {
        let now = UNIX_EPOCH + DAY;
        assert_eq!(due(&version(), true, &DeliveryState::default(), &[], now), [Notification::Rotated]);
    }

    fn expiring(reached: Option<&str>) -> Notification {
        Notification::Expiry(reached.map(str::to_owned), "cert_about_to_expire_reimport_required")
    }

    fn expired(reached: &str) -> Notification {
        Notification::Expiry(Some(reached.to_owned()), "cert_expired_reimport_required")
    }
}
