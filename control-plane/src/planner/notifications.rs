//! Which subscriptions have yet to be notified of what. That follows from the state of an object and from
//! the last milestone that each subscription was notified of, which is kept in the object's status: so a
//! crash loses nothing, and repeats an event once at most, under the same id.

mod channel;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

pub use channel::VERSION_CHANNEL;
use channel::{Channel, Milestone};

use super::authority::AuthorityPlan;
use super::observed::{Certificate, Observed, WatchedSecret};
use super::plan::{PendingNotification, Plan};
use crate::api::condition::Condition;
use crate::api::notification::{Event, NotificationRules};
use crate::api::object_name::ObjectName;
use crate::api::resource::{NotifiedMarks, UNDELIVERED};
use crate::outbox::DeliveryKey;

/// How many notifications of a subscription are planned at once; the next ones follow from the state later.
const MAX_PENDING: usize = 500;

/// Leaves so many of the notifications that are yet to be delivered.
pub fn limit(pending: &mut Vec<PendingNotification>, delivered: &BTreeSet<DeliveryKey>) {
    let mut by_subscription = BTreeMap::<String, usize>::new();
    pending.retain(|notification| {
        let key = (notification.subscription.clone(), notification.event.id.clone());
        let planned = by_subscription.entry(key.0.clone()).or_default();
        let fits = *planned < MAX_PENDING || delivered.contains(&key);
        *planned += usize::from(fits);
        fits
    });
}

/// The last milestones by subscription.
type Notified = BTreeMap<String, NotifiedMarks>;

/// The object that events are about, and the data that all of them carry.
struct Subject<'a> {
    observed: &'a Observed,
    uid: &'a str,
    name: String,
    data: Map<String, Value>,
}

/// `conditions` are those of the status that is about to be written.
pub fn certificate(
    observed: &Observed,
    (name, certificate): (&ObjectName, &Certificate),
    conditions: &[Condition],
    now: SystemTime,
    plan: &mut Plan,
) -> Notified {
    let rules = observed.notification_rules.as_ref();
    if rules.topics.is_empty() || certificate.deleting {
        // A command, which has no rules, keeps what the controller recorded.
        return certificate.status.last_notified.clone();
    }
    let mut data = Map::from_iter([
        ("namespace".to_owned(), json!(name.namespace)),
        ("name".to_owned(), json!(name.name)),
    ]);
    let (authority, manager) = (&certificate.spec.authority, &certificate.spec.manager);
    if !authority.is_empty() {
        data.insert("authority".to_owned(), json!(authority));
    }
    if let Some(manager) = manager {
        data.insert("manager".to_owned(), json!(manager));
    }
    let subject = Subject { observed, uid: &certificate.uid, name: name.to_string(), data };
    let published = certificate.published_version().map(|(_, version)| version);
    let leaf = published.map(|version| (&version.leaf, version.created_at));
    let channels = [
        channel::versions(certificate, rules.subscriptions_about(&subject.name)),
        channel::expiry(rules, leaf, now, plan),
        channel::problem(conditions, leaf.map(|(leaf, _)| leaf), now, plan),
    ];
    subject.notify(&certificate.status.last_notified, &channels, plan)
}

pub fn authority(
    observed: &Observed,
    name: &str,
    authority_plan: &AuthorityPlan<'_>,
    conditions: &[Condition],
    now: SystemTime,
    plan: &mut Plan,
) -> Notified {
    let rules = observed.notification_rules.as_ref();
    let authority = authority_plan.authority;
    if rules.topics.is_empty() || authority.deleting {
        return authority.status.last_notified.clone();
    }
    let data = Map::from_iter([("authority".to_owned(), json!(name))]);
    let subject = Subject { observed, uid: &authority.uid, name: name.to_owned(), data };
    let root = authority_plan.keyring.and_then(|keyring| {
        let id = keyring.state.signing();
        Some(keyring.roots.get(id)?.leaf(id))
    });
    let channels = [
        channel::rollovers(authority_plan),
        channel::stuck(rules, authority_plan, now, plan),
        channel::expiry(rules, root.as_ref().map(|root| (root, root.not_before)), now, plan),
        channel::problem(conditions, root.as_ref(), now, plan),
    ];
    subject.notify(&authority.status.last_notified, &channels, plan)
}

/// It has no status of ours: after a restart an event is repeated once, under the same id.
pub fn watched_secret(
    observed: &Observed,
    name: &ObjectName,
    secret: &WatchedSecret,
    now: SystemTime,
    plan: &mut Plan,
) {
    let rules = observed.notification_rules.as_ref();
    let Some(leaf) = secret.leaf.as_ref().filter(|_| !rules.topics.is_empty() && !secret.orphan) else {
        return;
    };
    let data = Map::from_iter([
        ("namespace".to_owned(), json!(name.namespace)),
        ("secret".to_owned(), json!(name.name)),
    ]);
    // When the Secret is replaced its leaf is another, and so is the milestone.
    let subject = Subject { observed, uid: &leaf.sha256, name: name.to_string(), data };
    let channel = channel::expiry(rules, Some((leaf, leaf.not_before)), now, plan);
    subject.notify(&Notified::new(), &[channel], plan);
}

impl Subject<'_> {
    /// Plans what each subscription is still to be notified of. Returns what the status records.
    fn notify(&self, before: &Notified, channels: &[Channel<'_>], plan: &mut Plan) -> Notified {
        let subscriptions = self.rules().subscriptions_about(&self.name);
        let notified = subscriptions.map(|subscription| {
            let before = before.get(subscription);
            let holds_alerts = self.rules().alerting.contains(subscription);
            let mut marks = NotifiedMarks::new();
            for channel in channels {
                // What lasts is told for as long as it does, and that it was told need not be remembered.
                if holds_alerts && channel.start.is_none() {
                    self.notify_channel(subscription, channel, None, &mut marks, plan);
                    continue;
                }
                let last = before.and_then(|marks| marks.get(channel.name)).or(channel.start.as_ref());
                let last = self.notify_channel(subscription, channel, last.cloned(), &mut marks, plan);
                marks.extend(last.map(|last| (channel.name.to_owned(), last)));
            }
            (subscription.to_owned(), marks)
        });
        notified.collect()
    }

    /// One milestone after the other: the next is due when the one before was delivered. `last` is the last
    /// that the subscription was notified of; returns the same as of now.
    fn notify_channel(
        &self,
        subscription: &str,
        channel: &Channel<'_>,
        mut last: Option<String>,
        marks: &mut NotifiedMarks,
        plan: &mut Plan,
    ) -> Option<String> {
        for milestone in channel.after(last.clone().as_deref()) {
            let event = self.event(channel.name, milestone);
            if !self.rules().subscriptions_for(&event).any(|selected| selected == subscription) {
                // In an ordered channel a milestone does not come again.
                if channel.start.is_some() {
                    last = Some(milestone.value.clone());
                }
                continue;
            }
            let key = (subscription.to_owned(), event.id.clone());
            let is_delivered = self.observed.delivered_notifications.contains(&key);
            if let Some(why) = self.observed.overdue_notifications.get(&key) {
                marks.insert(UNDELIVERED.to_owned(), format!("{}: {why}", event.kind));
            }
            // A notification that was delivered is repeated here as well, until the status records it.
            plan.notifications.push(PendingNotification { subscription: key.0, event });
            if !is_delivered {
                break;
            }
            last = Some(milestone.value.clone());
        }
        last
    }

    fn event(&self, channel: &str, milestone: &Milestone<'_>) -> Event {
        let mut data = self.data.clone();
        data.extend(milestone.data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Event {
            id: self.rules().event_id(self.uid, channel, &milestone.value),
            kind: milestone.kind,
            severity: milestone.severity,
            subject: self.name.clone(),
            at: milestone.at,
            data,
        }
    }

    fn rules(&self) -> &NotificationRules {
        &self.observed.notification_rules
    }
}
