//! Deliveries to external receivers and managers, and when each is tried again. Time is an argument, and
//! the requests are sent elsewhere. Each delivery has a destination: one that fails backs off as a whole, and
//! delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backoff::Backoff;

/// Between attempts.
const DESTINATION_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5 * 60));
/// The same for a delivery that its destination rejects while it accepts others.
const DELIVERY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(60 * 60));
/// The longest Retry-After that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// Concurrent deliveries to one destination; to one that is failing, a single one.
const MAX_PER_DESTINATION: usize = 4;
/// How long a delivery may fail before it is reported.
const OVERDUE: Duration = Duration::from_secs(60);

/// A destination, and an id that is unique there: a subscription and an event id, or a manager and a task.
pub type DeliveryKey = (String, String);

#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryOutcome {
    Delivered,
    /// The destination wants no more deliveries.
    Gone,
    Failed {
        why: String,
        /// From a Retry-After header.
        retry_after: Option<Duration>,
        /// Any other delivery to this destination would have failed as well.
        is_destination_failing: bool,
    },
}

#[derive(Debug)]
pub struct Outbox<T> {
    deliveries: BTreeMap<DeliveryKey, Delivery<T>>,
    destinations: BTreeMap<String, Destination>,
}

#[derive(Debug)]
struct Delivery<T> {
    content: Arc<T>,
    desired: bool,
    in_flight: bool,
    delivered: bool,
    /// Sent again at `retry_at` though it was delivered.
    repeats: bool,
    attempts: u32,
    retry_at: SystemTime,
    /// Since when it fails, and why.
    failing: Option<(SystemTime, String)>,
}

#[derive(Debug)]
struct Destination {
    in_flight: usize,
    /// Failed attempts in a row.
    attempts: u32,
    retry_at: SystemTime,
    gone: bool,
    failing: Option<(SystemTime, String)>,
}

impl DeliveryOutcome {
    /// The word for it in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Failed { .. } => "failed",
        }
    }
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { deliveries: BTreeMap::new(), destinations: BTreeMap::new() }
    }
}

impl<T: Clone> Outbox<T> {
    /// Replaces the deliveries that are due. One that is not due any more is forgotten, unless it is in flight.
    pub fn set_desired<'t>(&mut self, desired: impl IntoIterator<Item = (DeliveryKey, &'t T)>)
    where
        T: 't,
    {
        for delivery in self.deliveries.values_mut() {
            delivery.desired = false;
        }
        for (key, content) in desired {
            self.destinations.entry(key.0.clone()).or_default();
            let delivery = self.deliveries.entry(key).or_insert_with(|| Delivery::new(content));
            delivery.desired = true;
        }
        self.deliveries.retain(|_, delivery| delivery.desired || delivery.in_flight);
        let used: BTreeSet<_> = self.deliveries.keys().map(|(destination, _)| destination.clone()).collect();
        // The state of a destination is kept while it fails.
        self.destinations
            .retain(|id, destination| used.contains(id) || destination.gone || destination.failing.is_some());
    }

    /// Forgets every destination that `keep` rejects, with its deliveries.
    pub fn forget(&mut self, keep: impl Fn(&str) -> bool) {
        self.destinations.retain(|id, _| keep(id));
        self.deliveries.retain(|(id, _), delivery| keep(id) || delivery.in_flight);
    }

    /// What to send now, with at most `max_concurrent` in flight; each counts as in flight until its outcome is
    /// recorded.
    pub fn due(&mut self, now: SystemTime, max_concurrent: usize) -> Vec<(DeliveryKey, Arc<T>)> {
        let mut room = max_concurrent
            .saturating_sub(self.deliveries.values().filter(|delivery| delivery.in_flight).count());
        let mut due = Vec::new();
        // A delivery that is rejected for its content does not keep the others waiting.
        let mut open: Vec<_> =
            self.deliveries.iter_mut().filter(|(_, delivery)| delivery.is_open()).collect();
        open.sort_by_key(|(_, delivery)| delivery.attempts);
        for (key, delivery) in open {
            if room == 0 {
                break;
            }
            let destination = self.destinations.entry(key.0.clone()).or_default();
            if !destination.gone
                && is_due(delivery.retry_at, now)
                && is_due(destination.retry_at, now)
                && destination.has_room()
            {
                delivery.in_flight = true;
                destination.in_flight += 1;
                room -= 1;
                due.push((key.clone(), Arc::clone(&delivery.content)));
            }
        }
        due
    }

    /// The outcome of an attempt does not count.
    pub fn recall(&mut self, key: &DeliveryKey) {
        if let Some(destination) = self.destinations.get_mut(&key.0) {
            destination.in_flight = destination.in_flight.saturating_sub(1);
        }
        if let Some(delivery) = self.deliveries.get_mut(key) {
            delivery.in_flight = false;
        }
    }

    /// Sends what was delivered again at this time, if it is still desired.
    pub fn repeat(&mut self, key: &DeliveryKey, at: SystemTime) {
        if let Some(delivery) = self.deliveries.get_mut(key) {
            (delivery.repeats, delivery.retry_at) = (true, at);
        }
    }

    /// If it is due again, it is sent again.
    pub fn forget_delivery(&mut self, key: &DeliveryKey) {
        self.deliveries.remove(key);
    }

    /// Returns whether the destination began or ceased to fail.
    pub fn record(&mut self, key: &DeliveryKey, outcome: &DeliveryOutcome, now: SystemTime) -> bool {
        let destination = self.destinations.entry(key.0.clone()).or_default();
        destination.in_flight = destination.in_flight.saturating_sub(1);
        let was_failing = destination.failing.is_some() || destination.gone;
        match outcome {
            DeliveryOutcome::Delivered => {
                (destination.attempts, destination.retry_at, destination.failing, destination.gone) =
                    (0, UNIX_EPOCH, None, false)
            }
            DeliveryOutcome::Gone => destination.gone = true,
            DeliveryOutcome::Failed { why, retry_after, is_destination_failing: true } => {
                destination.attempts = destination.attempts.saturating_add(1);
                let delay = DESTINATION_BACKOFF.delay(destination.attempts);
                destination.retry_at = now + delay.max(respected(*retry_after));
                let since = destination.failing.as_ref().map_or(now, |(since, _)| *since);
                destination.failing = Some((since, why.clone()));
            }
            DeliveryOutcome::Failed { .. } => {}
        }
        let is_failing = destination.failing.is_some() || destination.gone;
        let Some(delivery) = self.deliveries.get_mut(key) else { return was_failing != is_failing };
        delivery.in_flight = false;
        match outcome {
            DeliveryOutcome::Delivered => (delivery.delivered, delivery.failing) = (true, None),
            DeliveryOutcome::Gone => delivery.fail(now, "it answered that it is gone (410)"),
            DeliveryOutcome::Failed { why, retry_after, is_destination_failing } => {
                delivery.fail(now, why);
                delivery.attempts = delivery.attempts.saturating_add(1);
                if !is_destination_failing {
                    let delay = DELIVERY_BACKOFF.delay(delivery.attempts);
                    delivery.retry_at = now + delay.max(respected(*retry_after));
                }
            }
        }
        was_failing != is_failing
    }

    pub fn delivered(&self) -> BTreeSet<DeliveryKey> {
        let delivered = self.deliveries.iter().filter(|(_, delivery)| delivery.delivered);
        delivered.map(|(key, _)| key.clone()).collect()
    }

    /// The deliveries that have failed for a while, and why.
    pub fn overdue(&self, now: SystemTime) -> BTreeMap<DeliveryKey, String> {
        let mut late = BTreeMap::new();
        for (key, delivery) in self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered) {
            // Deliveries that wait behind it were not attempted themselves, and are only counted.
            if let Some((_, why)) = delivery
                .failing
                .as_ref()
                .filter(|(since, _)| now.duration_since(*since).unwrap_or(OVERDUE) >= OVERDUE)
            {
                late.insert(key.clone(), why.clone());
            }
        }
        late
    }

    /// The deliveries that failed, and why.
    pub fn failing(&self) -> BTreeMap<DeliveryKey, String> {
        let failing = self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered);
        failing
            .filter_map(|(key, delivery)| Some((key.clone(), delivery.failing.as_ref()?.1.clone())))
            .collect()
    }

    /// The number of deliveries that are not delivered yet, by destination.
    pub fn pending(&self) -> BTreeMap<&str, usize> {
        let mut pending: BTreeMap<_, _> = self.destinations.keys().map(|id| (id.as_str(), 0)).collect();
        for ((destination, _), _) in self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered) {
            *pending.entry(destination.as_str()).or_default() += 1;
        }
        pending
    }

    /// When [`due`](Self::due) returns more. `None` while it waits for a delivery in flight.
    pub fn next_due(&self, max_concurrent: usize) -> Option<SystemTime> {
        if self.deliveries.values().filter(|delivery| delivery.in_flight).count() >= max_concurrent {
            return None;
        }
        let open = self.deliveries.iter().filter(|(_, delivery)| delivery.is_open());
        open.filter_map(|(key, delivery)| {
            let destination = self.destinations.get(&key.0)?;
            (!destination.gone && destination.has_room()).then(|| delivery.retry_at.max(destination.retry_at))
        })
        .min()
    }

    /// Nothing is in flight.
    pub fn is_idle(&self) -> bool {
        !self.deliveries.values().any(|delivery| delivery.in_flight)
    }
}

impl<T: Clone> Delivery<T> {
    fn new(content: &T) -> Self {
        Self {
            content: Arc::new(content.clone()),
            desired: true,
            in_flight: false,
            delivered: false,
            repeats: false,
            attempts: 0,
            retry_at: UNIX_EPOCH,
            failing: None,
        }
    }

    fn is_open(&self) -> bool {
        self.desired && !self.in_flight && (self.repeats || !self.delivered)
    }

    fn fail(&mut self, now: SystemTime, why: &str) {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, why.to_owned()));
        self.delivered = false;
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self { in_flight: 0, attempts: 0, retry_at: UNIX_EPOCH, gone: false, failing: None }
    }
}

impl Destination {
    fn has_room(&self) -> bool {
        self.in_flight < if self.failing.is_some() { 1 } else { MAX_PER_DESTINATION }
    }
}

/// Further away than any backoff: the clock was set back.
fn is_due(retry_at: SystemTime, now: SystemTime) -> bool {
    retry_at <= now || retry_at > now + MAX_RETRY_AFTER
}

fn respected(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests;
