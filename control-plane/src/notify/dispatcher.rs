//! Delivers events to subscriptions, concurrently with the reconcile rounds: a receiver that is slow or gone delays
//! nothing else. What is to be delivered is decided by the plan alone; what was delivered is reported to the next
//! one, which records it in the objects' status.

mod alerts;
pub mod delivery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::api::notification::NotificationRules;
use crate::notify::config::{NotifyConfig, Rejected};
use crate::notify::format::Notice;
use crate::notify::subscription::Subscription;
use crate::outbox::{DeliveryKey, DeliveryOutcome, Outbox};
use crate::planner::PendingNotification;
use alerts::Alerts;
use delivery::deliver;

const MAX_CONCURRENT: usize = 32;

pub struct Dispatcher {
    config: watch::Receiver<Arc<NotifyConfig>>,
    rejected: Rejected,
    /// There are no settings in this process.
    disabled: bool,
    /// The channel has a value that is not in force here yet.
    stale: bool,
    /// The channel is closed.
    closed: bool,
    rules: Arc<NotificationRules>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
    outbox: Outbox<Notice>,
    alerts: Alerts,
    results: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    metrics: Metrics,
}

/// With the subscription as it was configured when the delivery began.
type Done = (DeliveryKey, DeliveryOutcome, Arc<Subscription>);

/// What ended [`Dispatcher::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// There is something to record: a delivery, or that there will never be one.
    Delivered,
    Failed,
    ConfigChanged,
}

/// Labels are bounded: subscriptions are those of the settings file.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sent: Family<SentLabels, Counter>,
    waiting: Family<SubscriptionLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    subscription: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubscriptionLabels {
    subscription: Arc<str>,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "notifications_sent",
            "Notifications sent, by subscription and outcome",
            self.sent.clone(),
        );
        registry.register(
            "notifications_waiting",
            "Notifications waiting to be delivered, by subscription",
            self.waiting.clone(),
        );
    }

    fn sent(&self, subscription: &str, outcome: &'static str) {
        self.sent.get_or_create(&SentLabels { subscription: Arc::from(subscription), outcome }).inc();
    }
}

impl Dispatcher {
    pub fn new(config: watch::Receiver<Arc<NotifyConfig>>, rejected: Rejected, metrics: Metrics) -> Self {
        let mut dispatcher = Self {
            config,
            rejected,
            disabled: false,
            stale: true,
            closed: false,
            rules: Arc::default(),
            subscriptions: BTreeMap::new(),
            outbox: Outbox::default(),
            alerts: Alerts::default(),
            results: mpsc::channel(MAX_CONCURRENT),
            metrics,
        };
        dispatcher.reload();
        dispatcher
    }

    /// Delivers nothing.
    pub fn disabled() -> Self {
        let (config, rejected) = (watch::channel(Arc::default()).1, watch::channel(None).1);
        Self { disabled: true, ..Self::new(config, rejected, Metrics::default()) }
    }

    /// The rules of the current settings.
    pub fn rules(&mut self) -> Arc<NotificationRules> {
        self.reload();
        Arc::clone(&self.rules)
    }

    /// Whether the settings file is valid, or why it is not; `None` if there are no settings in this process.
    pub fn settings(&mut self) -> Option<Result<(), String>> {
        let rejected = self.rejected.borrow_and_update().clone();
        (!self.disabled).then(|| rejected.map_or(Ok(()), |why| Err(why.to_string())))
    }

    fn reload(&mut self) {
        if !std::mem::take(&mut self.stale) && !self.config.has_changed().unwrap_or(false) {
            return;
        }
        let config = Arc::clone(&self.config.borrow_and_update());
        self.rules = Arc::clone(&config.rules);
        self.metrics.waiting.clear();
        // A subscription that changed is tried again at once.
        self.outbox.forget(|id| {
            let (before, now) = (self.subscriptions.get(id), config.subscriptions.get(id));
            matches!((before, now), (Some(before), Some(now)) if before.is_same(now))
        });
        self.subscriptions = config.subscriptions.clone();
        self.alerts.retain(|id| config.rules.alerting.contains(id));
    }

    pub fn delivered(&self) -> BTreeSet<DeliveryKey> {
        self.outbox.delivered()
    }

    /// What could not be delivered for a while, and why.
    pub fn undelivered(&self, now: SystemTime) -> BTreeMap<DeliveryKey, String> {
        self.outbox.overdue(now)
    }

    /// Removes the gauges: a replica that does not lead has nothing to deliver.
    pub fn clear_waiting(&self) {
        self.metrics.waiting.clear();
    }

    /// Takes what the plan wants delivered.
    pub fn set_desired(&mut self, deliveries: &[PendingNotification], now: SystemTime) {
        let key = |PendingNotification { subscription, event }: &PendingNotification| {
            (subscription.clone(), event.id.clone())
        };
        let holds = |delivery: &&PendingNotification| self.rules.alerting.contains(&delivery.subscription);
        let lasting = deliveries.iter().filter(holds);
        self.alerts.update(lasting.map(|it| (key(it), it.event.clone())).collect(), now);
        let ended = self.alerts.ended().map(|(key, event)| (key.clone(), event, true));
        let desired = deliveries.iter().map(|delivery| (key(delivery), &delivery.event, false)).chain(ended);
        let desired = desired
            .map(|(key, event, is_resolved)| (key, Notice { event: event.clone(), is_resolved }))
            .collect::<Vec<_>>();
        self.outbox.set_desired(desired.iter().map(|(key, notice)| (key.clone(), notice)));
        for (subscription, waiting) in self.outbox.pending() {
            let labels = SubscriptionLabels { subscription: Arc::from(subscription) };
            self.metrics.waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.outbox.next_due(MAX_CONCURRENT)
    }

    pub fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// Starts the deliveries that are due.
    pub fn send(&mut self, now: SystemTime) {
        for (key, notice) in self.outbox.due(now, MAX_CONCURRENT) {
            let results = self.results.0.clone();
            let Some(subscription) = self.subscriptions.get(&key.0).cloned() else {
                let why = "the subscription was removed from the settings".to_owned();
                self.outbox.record(
                    &key,
                    &DeliveryOutcome::Failed { why, retry_after: None, is_destination_failing: true },
                    now,
                );
                continue;
            };
            let rules = Arc::clone(&self.rules);
            tokio::spawn(async move {
                let outcome = deliver(&subscription, &rules.source, &notice).await;
                let _ = results.send((key, outcome, subscription)).await;
            });
        }
    }

    /// Waits for a delivery to end, successfully or not, or for the settings to change, which calls for a new plan.
    pub async fn wait(&mut self) -> WaitOutcome {
        loop {
            tokio::select! {
                Some(done) = self.results.1.recv() => {
                    let delivered = self.record(done);
                    return if self.collect_results() || delivered { WaitOutcome::Delivered } else { WaitOutcome::Failed };
                }
                // An invalid file does not replace the settings, and is reported all the same.
                Ok(()) = self.rejected.changed() => return WaitOutcome::ConfigChanged,
                changed = self.config.changed(), if !self.closed => {
                    self.closed = changed.is_err();
                    self.stale = !self.closed;
                    if self.stale {
                        return WaitOutcome::ConfigChanged;
                    }
                }
            }
        }
    }

    /// Records the deliveries that have ended. Returns whether the plan has something to record.
    pub fn collect_results(&mut self) -> bool {
        let mut delivered = false;
        while let Ok(done) = self.results.1.try_recv() {
            delivered |= self.record(done);
        }
        delivered
    }

    fn record(&mut self, (key, outcome, sent): Done) -> bool {
        // The subscription changed meanwhile: the result says nothing about the new one.
        if !self.subscriptions.get(&key.0).is_some_and(|now| now.is_same(&sent)) {
            self.outbox.recall(&key);
            return false;
        }
        self.metrics.sent(&key.0, outcome.as_str());
        let now = SystemTime::now();
        let has_changed = self.outbox.record(&key, &outcome, now);
        if outcome == DeliveryOutcome::Delivered {
            self.alerts.forget(&key);
            if let Some(repeat) = sent.format.repeat() {
                self.outbox.repeat(&key, now + repeat);
            }
        }
        let (subscription, event) = (&key.0, &key.1);
        match outcome {
            DeliveryOutcome::Delivered if has_changed => {
                info!(subscription, event, "notifications are delivered again")
            }
            DeliveryOutcome::Delivered => debug!(subscription, event, "notification delivered"),
            DeliveryOutcome::Gone => warn!(
                subscription,
                "the receiver answered 410 Gone: nothing more is sent to it \
                until the subscription changes in the settings"
            ),
            DeliveryOutcome::Failed { ref why, .. } if has_changed => {
                warn!(subscription, event, "notification could not be delivered and will be retried: {why}")
            }
            DeliveryOutcome::Failed { ref why, .. } => {
                debug!(subscription, event, why, "notification not delivered")
            }
        }
        // Of an alert there is nothing to record.
        let is_recorded = matches!(outcome, DeliveryOutcome::Delivered) && sent.format.repeat().is_none();
        has_changed || is_recorded
    }
}
