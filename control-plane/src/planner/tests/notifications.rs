//! Tables of which notifications are pending, and what the status records of them.

use std::sync::Arc;

use super::scene::{NEW, OLD, Scene};
use super::*;
use crate::api::notification::{EventKind, NotificationRules, Pattern, Severity, Topic};
use crate::pki::keyring::{Override, Phase};
use crate::planner::observed::Published;

const SUBSCRIPTION: &str = "all/one";

fn rules(topics: Vec<Topic>) -> Arc<NotificationRules> {
    let thresholds = [10 * DAY, DAY, HOUR].to_vec();
    let source = "urn:test".into();
    Arc::new(NotificationRules { source, thresholds, stuck_after: HOUR, topics, alerting: BTreeSet::new() })
}

fn topic(name: &str) -> Topic {
    Topic {
        name: name.into(),
        events: EventKind::all().collect(),
        names: vec![Pattern::any()],
        severity: Severity::Info,
        subscriptions: vec![format!("{name}/one")],
    }
}

fn with_rules(mut scene: Scene) -> Scene {
    scene.observed.notification_rules = rules(vec![topic("all")]);
    scene
}

impl Scene {
    /// Kind, subject, and what distinguishes it, of everything that is on its way.
    fn pending(&self) -> Vec<String> {
        let plan = self.plan();
        let open = plan.notifications.iter().filter(|delivery| {
            let key = (delivery.subscription.clone(), delivery.event.id.clone());
            !self.observed.delivered_notifications.contains(&key)
        });
        open.map(|PendingNotification { event, .. }| {
            let data = |key: &str| event.data.get(key).map(|value| format!(" {value}")).unwrap_or_default();
            let apart = ["version", "threshold", "days_past", "phase", "reason"].map(data).concat();
            format!("{} {}{}", event.kind, event.subject, apart.replace('"', ""))
        })
        .collect()
    }

    /// All of it arrives.
    fn deliver(&mut self) {
        for PendingNotification { subscription, event } in self.plan().notifications {
            self.observed.delivered_notifications.insert((subscription, event.id));
        }
    }

    /// What the plan says of status is written.
    fn record_status(&mut self) {
        let (certificate, authority) = (self.status(), self.authority_status());
        self.certificate().status = certificate;
        self.authority().status = authority;
        self.observed.delivered_notifications.clear();
    }
}

#[test]
fn nothing_is_pending_without_subscriptions() {
    let scene = Scene::settled();
    assert!(scene.pending().is_empty() && scene.status().last_notified.is_empty());
}

#[test]
fn a_notification_is_pending_until_the_status_records_its_delivery() {
    let mut scene = with_rules(Scene::settled());
    let expected = ["issued shop/mtls-prod-payments 1"];
    assert_eq!(
        (scene.pending(), scene.pending()),
        (vec![expected[0].to_owned()], vec![expected[0].to_owned()])
    );
    let id = scene.plan().notifications[0].event.id.clone();
    // A crash between the delivery and the writing: once more, and under the same id.
    scene.deliver();
    assert!(scene.pending().is_empty());
    scene.observed.delivered_notifications.clear();
    assert_eq!(
        (scene.pending(), &scene.plan().notifications[0].event.id),
        (vec![expected[0].to_owned()], &id)
    );
    scene.deliver();
    assert_eq!(scene.status().last_notified[SUBSCRIPTION]["version"], "1");
    scene.record_status();
    assert!(scene.pending().is_empty() && scene.plan().notifications.is_empty());
    assert_eq!(scene.status(), scene.certificate().status, "nothing more to write");
}

#[test]
fn versions_are_notified_in_order_one_after_the_other() {
    let mut scene = with_rules(Scene::settled());
    scene.deliver();
    scene.record_status();
    for number in 2..=4 {
        scene.version(number, OLD);
    }
    scene.version_mut(3).request = Some("r".into());
    scene.version_mut(4).copy_of = Some(2);
    scene.publish(3);
    assert_eq!(scene.pending(), ["renewed shop/mtls-prod-payments 2"]);
    scene.deliver();
    assert_eq!(scene.pending(), ["rotated shop/mtls-prod-payments 3"]);
    scene.deliver();
    assert!(scene.pending().is_empty(), "version 4 is not published yet");
    scene.publish(4);
    assert_eq!(scene.pending(), ["rolled_back shop/mtls-prod-payments 4"]);
    scene.deliver();
    scene.record_status();
    assert_eq!(scene.certificate().status.last_notified[SUBSCRIPTION]["version"], "4");
}

#[test]
fn a_new_subscription_is_notified_of_later_versions_only() {
    let mut scene = Scene::settled();
    scene.record_status();
    let mut scene = with_rules(scene);
    assert!(scene.pending().is_empty());
    scene.record_status();
    scene.version(2, OLD);
    scene.publish(2);
    assert_eq!(scene.pending(), ["renewed shop/mtls-prod-payments 2"]);
    scene.observed.notification_rules = rules(vec![topic("all"), topic("other")]);
    assert_eq!(scene.pending(), ["renewed shop/mtls-prod-payments 2"], "the other is new");
    scene.record_status();
    assert_eq!(scene.certificate().status.last_notified["other/one"]["version"], "2");
    scene.observed.notification_rules = rules(vec![topic("other")]);
    scene.record_status();
    assert!(!scene.certificate().status.last_notified.contains_key(SUBSCRIPTION), "who is gone is forgotten");
}

#[test]
fn expiry_thresholds_are_notified_when_a_leaf_was_not_renewed_in_time() {
    let mut scene = with_rules(Scene::settled());
    scene.deliver();
    scene.record_status();
    let end = start() + LEAF_LIFE;
    let mut at = |left: Duration, pending: &[&str]| {
        scene.now = end - left;
        assert_eq!(scene.pending(), pending, "{left:?}");
        let wakes = scene.plan().wake_at;
        scene.deliver();
        assert!(scene.pending().is_empty());
        wakes
    };
    let wakes = at(12 * DAY, &[]);
    assert!(wakes.is_some_and(|at| at <= end - 10 * DAY));
    at(9 * DAY, &["expiring shop/mtls-prod-payments 10d"]);
    at(2 * DAY, &[]);
    // A controller that was away tells the latest alone.
    at(MINUTE, &["expiring shop/mtls-prod-payments 1h"]);
    let severity = |scene: &Scene| scene.plan().notifications.last().unwrap().event.severity;
    assert_eq!(severity(&scene), Severity::Critical);
    scene.now = end + MINUTE;
    let expired = |days: u64| vec![format!("expired shop/mtls-prod-payments {days}")];
    assert_eq!(scene.pending().last(), expired(0).last());
    scene.deliver();
    assert!(scene.pending().is_empty());
    scene.now = end + DAY + MINUTE;
    assert_eq!(scene.pending().last(), expired(1).last());
    assert!(scene.plan().wake_at.is_some_and(|at| at <= end + 2 * DAY));
}

#[test]
fn an_alert_is_pending_as_long_as_its_state_lasts() {
    let mut scene = with_rules(Scene::settled());
    let alerting = BTreeSet::from([SUBSCRIPTION.to_owned()]);
    let rules = (*scene.observed.notification_rules).clone();
    scene.observed.notification_rules = Arc::new(NotificationRules { alerting, ..rules });
    assert!(scene.pending().is_empty(), "a new version is no state");
    scene.record_status();
    scene.now = start() + LEAF_LIFE - 9 * DAY;
    let planned = |scene: &Scene| {
        let planned = scene.plan().notifications;
        planned.into_iter().map(|planned| (planned.event.kind, planned.event.id)).collect::<Vec<_>>()
    };
    let first = planned(&scene);
    assert!(matches!(first.as_slice(), [(EventKind::Expiring, _)]), "{first:?}");
    // Delivered or not, recorded or not, and by another controller: the same alert.
    scene.deliver();
    assert_eq!(planned(&scene), first);
    scene.record_status();
    assert_eq!(planned(&scene), first);
    let marks = &scene.certificate().status.last_notified[SUBSCRIPTION];
    assert!(marks.keys().eq(["version"]), "{marks:?}");
    scene.now = start();
    assert!(planned(&scene).is_empty());
}

#[test]
fn a_short_lifetime_has_short_thresholds() {
    let mut scene = with_rules(Scene::settled());
    scene.deliver();
    scene.version_mut(1).leaf.not_after = start() + 3 * HOUR;
    scene.now = start() + 2 * HOUR + MINUTE;
    assert!(scene.pending().contains(&"expiring shop/mtls-prod-payments 1h".to_owned()));
    scene.version_mut(1).leaf.not_after = start() + 2 * HOUR + 2 * MINUTE;
    assert!(!scene.pending().iter().any(|pending| pending.starts_with("expiring")), "it is renewed before");
}

#[test]
fn a_lasting_problem_is_notified_once_and_the_next_one_again() {
    let mut scene = with_rules(Scene::settled());
    scene.deliver();
    scene.record_status();
    scene.certificate().published = Published::Inaccessible("no rights".into());
    scene.record_status();
    assert!(scene.pending().is_empty(), "it may pass");
    assert!(scene.plan().wake_at.is_some());
    scene.now += MINUTE;
    assert_eq!(scene.pending(), ["rotation_failed shop/mtls-prod-payments NoAccess"]);
    scene.deliver();
    scene.record_status();
    scene.now += DAY;
    assert!(scene.pending().is_empty());
    scene.publish(1);
    scene.record_status();
    assert_eq!(scene.condition("Degraded"), None);
    scene.certificate().published = Published::Inaccessible("no rights".into());
    scene.record_status();
    scene.now += MINUTE;
    assert_eq!(scene.pending(), ["rotation_failed shop/mtls-prod-payments NoAccess"]);
}

#[test]
fn rollover_phases_and_long_blocked_phases_are_notified() {
    let mut scene = Scene::settled();
    scene.record_status();
    let mut scene = with_rules(scene);
    scene.record_status();
    let now = scene.now;
    let ring = scene.ring();
    ring.roots.insert(root_id(NEW), root(now));
    assert!(ring.state.begin(root_id(NEW), "why".into(), now));
    scene.proven("late", 1, &[OLD]);
    let phase = |phase: &str| vec![format!("rollover {AUTHORITY} {phase}")];
    assert_eq!(scene.pending(), phase("Distributing"));
    scene.deliver();
    scene.record_status();
    scene.now += 2 * HOUR;
    scene.publish(1);
    scene.list_pods();
    assert_eq!(scene.pending(), [format!("rollover_stuck {AUTHORITY} Distributing")]);
    let plan = scene.plan();
    let waiting = plan.notifications[0].event.data["waiting"].to_string();
    assert!(waiting.contains("shop/late"), "{waiting}");
    scene.deliver();
    scene.record_status();
    let later = scene.now + MINUTE;
    let ring = scene.ring();
    for (number, out_of) in [Phase::Distributing, Phase::Reissuing, Phase::Retiring].into_iter().enumerate() {
        assert!(ring.state.advance(out_of, later + SECOND * number as u32));
    }
    scene.now = later + MINUTE;
    // It went on faster than anybody could be told: the end is what counts.
    assert!(scene.pending().contains(&format!("rollover_ended {AUTHORITY} ended")), "{:?}", scene.pending());
}

#[test]
fn the_end_of_a_rollover_says_which_pods_did_not_prove_it() {
    type End = fn(&mut State, SystemTime);
    let rows: [(End, &str, usize, Severity); 3] = [
        (|_, _| {}, "proved by every pod", 0, Severity::Info),
        (
            |state, now| {
                let (pod, uid, reason) =
                    ("shop/late".to_owned(), "uid-late".to_owned(), "it is dead".to_owned());
                assert!(state.add_overrides([Override { pod, uid, reason, at: now }]));
            },
            "proved by every pod except 1 override",
            1,
            Severity::Warning,
        ),
        (
            |state, now| assert!(state.remove(&root_id(OLD), None, "copied".into(), now)),
            "forced, without waiting for pods",
            0,
            Severity::Warning,
        ),
    ];
    for (end, grounds, overrides, severity) in rows {
        let mut scene = Scene::settled();
        scene.record_status();
        let mut scene = with_rules(scene);
        scene.record_status();
        let now = scene.now;
        let ring = scene.ring();
        ring.roots.insert(root_id(NEW), root(now));
        assert!(ring.state.begin(root_id(NEW), "why".into(), now));
        end(&mut ring.state, now);
        for out_of in [Phase::Distributing, Phase::Reissuing, Phase::Retiring] {
            ring.state.advance(out_of, now + SECOND);
        }
        scene.now += MINUTE;
        let plan = scene.plan();
        let mut events = plan.notifications.iter().map(|pending| &pending.event);
        let ended = events.find(|event| event.kind == EventKind::RolloverEnded).unwrap();
        assert_eq!((ended.data["grounds"].as_str(), ended.severity), (Some(grounds), severity));
        assert_eq!(ended.data["overrides"].as_array().unwrap().len(), overrides);
    }
}

#[test]
fn an_overdue_notification_is_in_the_status() {
    let mut scene = with_rules(Scene::settled());
    let id = scene.plan().notifications[0].event.id.clone();
    scene.observed.overdue_notifications.insert((SUBSCRIPTION.to_owned(), id), "it answers 503".into());
    assert_eq!(scene.status().last_notified[SUBSCRIPTION]["undelivered"], "issued: it answers 503");
    scene.record_status();
    scene.observed.overdue_notifications.clear();
    scene.deliver();
    assert!(!scene.status().last_notified[SUBSCRIPTION].contains_key("undelivered"));
}

#[test]
fn an_event_that_no_topic_selects_does_not_delay_the_next() {
    let mut scene = Scene::settled();
    scene.record_status();
    let only_rollbacks = Topic { events: BTreeSet::from([EventKind::RolledBack]), ..topic("all") };
    scene.observed.notification_rules = rules(vec![only_rollbacks]);
    scene.record_status();
    for number in 2..=3 {
        scene.version(number, OLD);
    }
    scene.version_mut(3).copy_of = Some(1);
    scene.publish(3);
    assert_eq!(scene.pending(), ["rolled_back shop/mtls-prod-payments 3"]);
    let elsewhere = Topic { names: vec!["bank/*".parse().unwrap()], ..topic("all") };
    scene.observed.notification_rules = rules(vec![elsewhere]);
    assert!(scene.pending().is_empty() && scene.status().last_notified.is_empty());
}

#[test]
fn a_widened_topic_does_not_notify_of_earlier_versions() {
    let mut scene = Scene::settled();
    scene.record_status();
    let narrow = Topic { events: BTreeSet::from([EventKind::Expiring]), ..topic("all") };
    scene.observed.notification_rules = rules(vec![narrow]);
    scene.version(2, OLD);
    scene.publish(2);
    scene.record_status();
    assert_eq!(scene.certificate().status.last_notified[SUBSCRIPTION]["version"], "2");
    scene.observed.notification_rules = rules(vec![topic("all")]);
    assert!(scene.pending().is_empty());
}

#[test]
fn a_version_with_a_pending_notification_is_kept_for_a_while() {
    let mut scene = with_rules(Scene::settled());
    scene.deliver();
    scene.record_status();
    let versions = |scene: &mut Scene, upto: u64| {
        for number in 2..=upto {
            scene.version(number, OLD);
        }
        scene.publish(upto);
    };
    scene.certificate().spec.rollback_versions = Some(49);
    versions(&mut scene, 8);
    assert_eq!(scene.does(), ["prune 1"], "of 2 to 8 nobody has heard yet");
    scene.deliver();
    for _ in 3..=8 {
        scene.deliver();
    }
    scene.record_status();
    assert_eq!(scene.does(), ["prune 1", "prune 2", "prune 3"]);
    let mut deaf = with_rules(Scene::settled());
    deaf.deliver();
    deaf.record_status();
    deaf.certificate().spec.rollback_versions = Some(49);
    versions(&mut deaf, 27);
    assert_eq!(deaf.does(), ["prune 1", "prune 2"], "and not for ever");
}
