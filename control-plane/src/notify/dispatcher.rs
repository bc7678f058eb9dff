//! Brings events to those who subscribed. Beside the rounds, as the handshakes are: a receiver that is slow
//! or gone delays nobody. What was delivered is told to the next plan, which writes it down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::api::events::{Event, NotificationRules};
use crate::external::http_client::{HttpRequest, WebError};
use crate::notify::config::{NotifyConfig, Subscription};
use crate::planner::PendingNotification;
use crate::planner::outbox::{Key, Outbox, Outcome};

/// A receiver answers first and works later.
const WITHIN: Duration = Duration::from_secs(15);
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// Deliveries under way at the same time.
const AT_ONCE: usize = 32;

pub struct Dispatcher {
    settings: watch::Receiver<Arc<NotifyConfig>>,
    /// They are others than those that are in force here.
    stale: bool,
    /// Nobody changes them any more.
    last: bool,
    rules: Arc<NotificationRules>,
    subscriptions: BTreeMap<String, Arc<Subscription>>,
    outbox: Outbox<Event>,
    results: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    counts: Counts,
}

/// And how the subscription was written down when it was sent.
type Done = (Key, Outcome, Arc<Subscription>);

/// What a dispatcher may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Something did, or it is clear that it never will.
    Delivered,
    Failed,
    ConfigChanged,
}

/// By subscription, of which there are as many as a person wrote down.
#[derive(Clone, Debug, Default)]
pub struct Counts {
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

impl Counts {
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
    pub fn new(settings: watch::Receiver<Arc<NotifyConfig>>, counts: Counts) -> Self {
        let mut dispatcher = Self {
            settings,
            stale: true,
            last: false,
            rules: Arc::default(),
            subscriptions: BTreeMap::new(),
            outbox: Outbox::default(),
            results: mpsc::channel(AT_ONCE),
            counts,
        };
        dispatcher.reload();
        dispatcher
    }

    /// Who has nobody to tell anything.
    pub fn disabled() -> Self {
        Self::new(watch::channel(Arc::default()).1, Counts::default())
    }

    /// As the settings are now.
    pub fn rules(&mut self) -> Arc<NotificationRules> {
        self.reload();
        Arc::clone(&self.rules)
    }

    fn reload(&mut self) {
        if !std::mem::take(&mut self.stale) && !self.settings.has_changed().unwrap_or(false) {
            return;
        }
        let settings = Arc::clone(&self.settings.borrow_and_update());
        self.rules = Arc::clone(&settings.rules);
        self.counts.waiting.clear();
        // One that was written anew is tried anew.
        self.outbox.forget(|id| {
            let (before, now) = (self.subscriptions.get(id), settings.subscriptions.get(id));
            matches!((before, now), (Some(before), Some(now)) if before.is_like(now))
        });
        self.subscriptions = settings.subscriptions.clone();
    }

    pub fn delivered(&self) -> BTreeSet<Key> {
        self.outbox.delivered()
    }

    /// What could not be said for a while, and why.
    pub fn undelivered(&self, now: SystemTime) -> BTreeMap<Key, String> {
        self.outbox.undelivered(now)
    }

    /// What the plan wants now.
    pub fn set_desired(&mut self, deliveries: &[PendingNotification]) {
        self.outbox.want(deliveries.iter().map(|PendingNotification { subscription, event }| {
            ((subscription.clone(), event.id.clone()), event)
        }));
        for (subscription, waiting) in self.outbox.waiting() {
            let labels = SubscriptionLabels { subscription: Arc::from(subscription) };
            self.counts.waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.outbox.next_due(AT_ONCE)
    }

    pub fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// Begins what is due.
    pub fn send(&mut self, now: SystemTime) {
        for (key, event) in self.outbox.due(now, AT_ONCE) {
            let results = self.results.0.clone();
            let Some(subscription) = self.subscriptions.get(&key.0).cloned() else {
                let why = "there is no such subscription any more".to_owned();
                self.outbox.record(&key, &Outcome::Failed { why, after: None, of_all: true }, now);
                continue;
            };
            let body = self.rules.body(&event);
            tokio::spawn(async move {
                let outcome = deliver(&subscription, &event, body).await;
                let _ = results.send((key, outcome, subscription)).await;
            });
        }
    }

    /// Waits for a delivery to end, well or not; or for the settings to change, after which all is to be
    /// planned anew.
    pub async fn wait(&mut self) -> WaitOutcome {
        loop {
            tokio::select! {
                Some(done) = self.results.1.recv() => {
                    let arrived = self.record(done);
                    return if self.collect_results() || arrived { WaitOutcome::Delivered } else { WaitOutcome::Failed };
                }
                changed = self.settings.changed(), if !self.last => {
                    self.last = changed.is_err();
                    self.stale = !self.last;
                    if self.stale {
                        return WaitOutcome::ConfigChanged;
                    }
                }
            }
        }
    }

    /// Takes down what has ended by now: whether something of it is worth to be written down.
    pub fn collect_results(&mut self) -> bool {
        let mut arrived = false;
        while let Ok(done) = self.results.1.try_recv() {
            arrived |= self.record(done);
        }
        arrived
    }

    fn record(&mut self, (key, outcome, sent): Done) -> bool {
        // What another address answered says nothing about this one.
        if !self.subscriptions.get(&key.0).is_some_and(|now| now.is_like(&sent)) {
            self.outbox.recall(&key);
            return false;
        }
        self.counts.sent(&key.0, outcome.as_str());
        let is_news = self.outbox.record(&key, &outcome, SystemTime::now());
        let (subscription, event) = (&key.0, &key.1);
        match outcome {
            Outcome::Delivered if is_news => info!(subscription, event, "notifications arrive again"),
            Outcome::Delivered => debug!(subscription, event, "notified"),
            Outcome::Gone => warn!(
                subscription,
                "it answers that it is gone (410): it is told nothing more \
                until it is changed in the settings"
            ),
            Outcome::Failed { ref why, .. } if is_news => {
                warn!(subscription, event, "a notification could not be delivered: {why}; trying again")
            }
            Outcome::Failed { ref why, .. } => debug!(subscription, event, why, "not delivered"),
        }
        is_news || matches!(outcome, Outcome::Delivered)
    }
}

async fn deliver(subscription: &Subscription, event: &Event, body: Vec<u8>) -> Outcome {
    match post(subscription, event, body).await {
        Ok((status, _)) if status.is_success() => Outcome::Delivered,
        Ok((StatusCode::GONE, _)) => Outcome::Gone,
        Ok((status, after)) => {
            // Of this event it may not like what it says; the next may be welcome.
            let of_all = status.is_server_error()
                || status.is_redirection()
                || matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT
                        | StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::UNAUTHORIZED
                        | StatusCode::FORBIDDEN
                        | StatusCode::NOT_FOUND
                );
            let endpoint = subscription.endpoint.shown();
            Outcome::Failed { why: format!("{endpoint} answers {status}"), after, of_all }
        }
        Err(error) => Outcome::Failed { why: error.to_string(), after: None, of_all: true },
    }
}

async fn post(
    subscription: &Subscription,
    event: &Event,
    body: Vec<u8>,
) -> Result<(StatusCode, Option<Duration>), WebError> {
    let mut call = HttpRequest::new(Method::POST)
        .header("content-type", CONTENT_TYPE)?
        .header("user-agent", concat!("hotcert/", env!("CARGO_PKG_VERSION")))?;
    for (name, value) in &subscription.headers {
        call = call.header(name, value)?;
    }
    for (name, value) in subscription.signer.headers(&event.id, &body, SystemTime::now()) {
        call = call.header(name, &value)?;
    }
    // Whatever it says after its status.
    let answer = subscription.endpoint.send(call.body(body), WITHIN, 0).await?;
    Ok((answer.status, answer.retry_after))
}
