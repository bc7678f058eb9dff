//! What is on its way to somebody outside, and when it is tried again. Pure: time is an argument, and what
//! carries it is elsewhere. Each delivery has a destination: one that fails is left alone for a while as a whole, and
//! holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotcert_agent::tls::hex::sha256_hex;

/// Between tries, doubled up to the longer; half of it is jitter.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// The same for a delivery that the receiver does not like, though it likes others.
const PAUSE_OF_ONE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60 * 60));
/// Of what a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(60 * 60);
/// To one receiver at the same time. To one that does not take anything, one.
const TO_ONE: usize = 4;
/// After so long it is worth to be said that something was not delivered.
const OVERDUE: Duration = Duration::from_secs(60);

/// Destination, and what it is there: a subscription and the event's id, a manager and what is done there.
pub type DeliveryKey = (String, String);

#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryOutcome {
    Delivered,
    /// It wants nothing more.
    Gone,
    Failed {
        why: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
        /// It would have come to the same with any delivery.
        of_all: bool,
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
    wanted: bool,
    under_way: bool,
    delivered: bool,
    tries: u32,
    again: SystemTime,
    /// Since when it does not arrive, and why.
    failing: Option<(SystemTime, String)>,
}

/// To one receiver.
#[derive(Debug)]
struct Destination {
    under_way: usize,
    /// That failed one after the other.
    tries: u32,
    again: SystemTime,
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
    /// All that is wanted now. What is not any more is forgotten, unless it is under way.
    pub fn want<'t>(&mut self, wanted: impl IntoIterator<Item = (DeliveryKey, &'t T)>)
    where
        T: 't,
    {
        for delivery in self.deliveries.values_mut() {
            delivery.wanted = false;
        }
        for (key, content) in wanted {
            self.destinations.entry(key.0.clone()).or_default();
            let delivery = self.deliveries.entry(key).or_insert_with(|| Delivery::new(content));
            delivery.wanted = true;
        }
        self.deliveries.retain(|_, delivery| delivery.wanted || delivery.under_way);
        let used: BTreeSet<_> = self.deliveries.keys().map(|(destination, _)| destination.clone()).collect();
        // How a destination fares is remembered while it fares badly.
        self.destinations
            .retain(|id, destination| used.contains(id) || destination.gone || destination.failing.is_some());
    }

    /// Routes, unless they are to be kept, and what is on its way there.
    pub fn forget(&mut self, keep: impl Fn(&str) -> bool) {
        self.destinations.retain(|id, _| keep(id));
        self.deliveries.retain(|(id, _), delivery| keep(id) || delivery.under_way);
    }

    /// What to send now, at most so many at once; it counts as under way until it is recorded.
    pub fn due(&mut self, now: SystemTime, at_once: usize) -> Vec<(DeliveryKey, Arc<T>)> {
        let mut room =
            at_once.saturating_sub(self.deliveries.values().filter(|delivery| delivery.under_way).count());
        let mut due = Vec::new();
        // Who fails for what one delivery says is not asked about that one again and again.
        let mut open: Vec<_> =
            self.deliveries.iter_mut().filter(|(_, delivery)| delivery.is_open()).collect();
        open.sort_by_key(|(_, delivery)| delivery.tries);
        for (key, delivery) in open {
            if room == 0 {
                break;
            }
            let destination = self.destinations.entry(key.0.clone()).or_default();
            if !destination.gone
                && is_due(delivery.again, now)
                && is_due(destination.again, now)
                && destination.has_room()
            {
                delivery.under_way = true;
                destination.under_way += 1;
                room -= 1;
                due.push((key.clone(), Arc::clone(&delivery.content)));
            }
        }
        due
    }

    /// What came of it does not count.
    pub fn recall(&mut self, key: &DeliveryKey) {
        if let Some(destination) = self.destinations.get_mut(&key.0) {
            destination.under_way = destination.under_way.saturating_sub(1);
        }
        if let Some(delivery) = self.deliveries.get_mut(key) {
            delivery.under_way = false;
        }
    }

    /// If it is wanted again, it goes again.
    pub fn forget_delivery(&mut self, key: &DeliveryKey) {
        self.deliveries.remove(key);
    }

    /// Whether how the destination fares has changed.
    pub fn record(&mut self, key: &DeliveryKey, outcome: &DeliveryOutcome, now: SystemTime) -> bool {
        let destination = self.destinations.entry(key.0.clone()).or_default();
        destination.under_way = destination.under_way.saturating_sub(1);
        let was_failing = destination.failing.is_some() || destination.gone;
        match outcome {
            DeliveryOutcome::Delivered => {
                (destination.tries, destination.again, destination.failing, destination.gone) =
                    (0, UNIX_EPOCH, None, false)
            }
            DeliveryOutcome::Gone => destination.gone = true,
            DeliveryOutcome::Failed { why, after, of_all: true } => {
                destination.tries = destination.tries.saturating_add(1);
                destination.again = now + pause(PAUSE, destination.tries, *after, &key.0);
                let since = destination.failing.as_ref().map_or(now, |(since, _)| *since);
                destination.failing = Some((since, why.clone()));
            }
            DeliveryOutcome::Failed { .. } => {}
        }
        let is_failing = destination.failing.is_some() || destination.gone;
        let Some(delivery) = self.deliveries.get_mut(key) else { return was_failing != is_failing };
        delivery.under_way = false;
        match outcome {
            DeliveryOutcome::Delivered => (delivery.delivered, delivery.failing) = (true, None),
            DeliveryOutcome::Gone => delivery.fail(now, "it answered that it is gone (410)"),
            DeliveryOutcome::Failed { why, after, of_all } => {
                delivery.fail(now, why);
                delivery.tries = delivery.tries.saturating_add(1);
                if !of_all {
                    delivery.again = now + pause(PAUSE_OF_ONE, delivery.tries, *after, &key.1);
                }
            }
        }
        was_failing != is_failing
    }

    pub fn delivered(&self) -> BTreeSet<DeliveryKey> {
        let delivered = self.deliveries.iter().filter(|(_, delivery)| delivery.delivered);
        delivered.map(|(key, _)| key.clone()).collect()
    }

    /// Since a while, and why.
    pub fn undelivered(&self, now: SystemTime) -> BTreeMap<DeliveryKey, String> {
        let mut late = BTreeMap::new();
        for (key, delivery) in self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered) {
            // Those behind it in the queue were not tried themselves: of them there is a number.
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

    /// What was tried and did not arrive, and why.
    pub fn failing(&self) -> BTreeMap<DeliveryKey, String> {
        let failing = self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered);
        failing
            .filter_map(|(key, delivery)| Some((key.clone(), delivery.failing.as_ref()?.1.clone())))
            .collect()
    }

    /// How many are owed, by destination.
    pub fn waiting(&self) -> BTreeMap<&str, usize> {
        let mut waiting: BTreeMap<_, _> = self.destinations.keys().map(|id| (id.as_str(), 0)).collect();
        for ((destination, _), _) in self.deliveries.iter().filter(|(_, delivery)| !delivery.delivered) {
            *waiting.entry(destination.as_str()).or_default() += 1;
        }
        waiting
    }

    /// When `due` has more, or something has become overdue. What waits for room is due when there is some.
    pub fn next_due(&self, at_once: usize) -> Option<SystemTime> {
        if self.deliveries.values().filter(|delivery| delivery.under_way).count() >= at_once {
            return None;
        }
        let open = self.deliveries.iter().filter(|(_, delivery)| delivery.is_open());
        open.filter_map(|(key, delivery)| {
            let destination = self.destinations.get(&key.0)?;
            (!destination.gone && destination.has_room()).then(|| delivery.again.max(destination.again))
        })
        .min()
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        !self.deliveries.values().any(|delivery| delivery.under_way)
    }
}

impl<T: Clone> Delivery<T> {
    fn new(content: &T) -> Self {
        Self {
            content: Arc::new(content.clone()),
            wanted: true,
            under_way: false,
            delivered: false,
            tries: 0,
            again: UNIX_EPOCH,
            failing: None,
        }
    }

    fn is_open(&self) -> bool {
        self.wanted && !self.under_way && !self.delivered
    }

    fn fail(&mut self, now: SystemTime, why: &str) {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, why.to_owned()));
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self { under_way: 0, tries: 0, again: UNIX_EPOCH, gone: false, failing: None }
    }
}

impl Destination {
    fn has_room(&self) -> bool {
        self.under_way < if self.failing.is_some() { 1 } else { TO_ONE }
    }
}

/// Further away than anybody may ask for is a clock that was put back.
fn is_due(again: SystemTime, now: SystemTime) -> bool {
    again <= now || again > now + LONGEST_WISH
}

fn pause((first, longest): (Duration, Duration), tries: u32, wish: Option<Duration>, of: &str) -> Duration {
    let full = (first * 2_u32.pow(tries.saturating_sub(1).min(16))).min(longest);
    let digits = sha256_hex(format!("{of} {tries}").as_bytes());
    let part = u32::from_str_radix(&digits[..8], 16).unwrap_or(0);
    let jittered = full / 2 + (full / 2).mul_f64(f64::from(part) / f64::from(u32::MAX));
    jittered.max(wish.unwrap_or_default().min(LONGEST_WISH))
}

#[cfg(test)]
mod tests;
