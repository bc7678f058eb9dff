//! What is on its way to somebody outside, and when it is tried again. Pure: time is an argument, and what
//! carries it is elsewhere. Each letter has a route: one that fails is left alone for a while as a whole, and
//! holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotcert_agent::tls::hex::sha256_hex;

/// Between tries, doubled up to the longer; half of it is jitter.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// The same for a letter that the receiver does not like, though it likes others.
const PAUSE_OF_ONE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60 * 60));
/// Of what a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(60 * 60);
/// To one receiver at the same time. To one that does not take anything, one.
const TO_ONE: usize = 4;
/// After so long it is worth to be said that something was not delivered.
const OVERDUE: Duration = Duration::from_secs(60);

/// Route, and what it is there: a subscription and the event's id, a manager and what is done there.
pub type Key = (String, String);

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Delivered,
    /// It wants nothing more.
    Gone,
    Failed {
        why: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
        /// It would have come to the same with any letter.
        of_all: bool,
    },
}

#[derive(Debug)]
pub struct Book<T> {
    letters: BTreeMap<Key, Letter<T>>,
    routes: BTreeMap<String, Route>,
}

#[derive(Debug)]
struct Letter<T> {
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
struct Route {
    under_way: usize,
    /// That failed one after the other.
    tries: u32,
    again: SystemTime,
    gone: bool,
    failing: Option<(SystemTime, String)>,
}

impl Outcome {
    /// The word for it in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Failed { .. } => "failed",
        }
    }
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self { letters: BTreeMap::new(), routes: BTreeMap::new() }
    }
}

impl<T: Clone> Book<T> {
    /// All that is wanted now. What is not any more is forgotten, unless it is under way.
    pub fn want<'t>(&mut self, wanted: impl IntoIterator<Item = (Key, &'t T)>)
    where
        T: 't,
    {
        for letter in self.letters.values_mut() {
            letter.wanted = false;
        }
        for (key, content) in wanted {
            self.routes.entry(key.0.clone()).or_default();
            let letter = self.letters.entry(key).or_insert_with(|| Letter::new(content));
            letter.wanted = true;
        }
        self.letters.retain(|_, letter| letter.wanted || letter.under_way);
        let used: BTreeSet<_> = self.letters.keys().map(|(route, _)| route.clone()).collect();
        // How a route fares is remembered while it fares badly.
        self.routes.retain(|id, route| used.contains(id) || route.gone || route.failing.is_some());
    }

    /// Routes, unless they are to be kept, and what is on its way there.
    pub fn forget(&mut self, keep: impl Fn(&str) -> bool) {
        self.routes.retain(|id, _| keep(id));
        self.letters.retain(|(id, _), letter| keep(id) || letter.under_way);
    }

    /// What to send now, at most so many at once; it counts as under way until it is recorded.
    pub fn due(&mut self, now: SystemTime, at_once: usize) -> Vec<(Key, Arc<T>)> {
        let mut room =
            at_once.saturating_sub(self.letters.values().filter(|letter| letter.under_way).count());
        let mut due = Vec::new();
        // Who fails for what one letter says is not asked about that one again and again.
        let mut open: Vec<_> = self.letters.iter_mut().filter(|(_, letter)| letter.is_open()).collect();
        open.sort_by_key(|(_, letter)| letter.tries);
        for (key, letter) in open {
            if room == 0 {
                break;
            }
            let route = self.routes.entry(key.0.clone()).or_default();
            if !route.gone && is_due(letter.again, now) && is_due(route.again, now) && route.has_room() {
                letter.under_way = true;
                route.under_way += 1;
                room -= 1;
                due.push((key.clone(), Arc::clone(&letter.content)));
            }
        }
        due
    }

    /// What came of it does not count.
    pub fn recall(&mut self, key: &Key) {
        if let Some(route) = self.routes.get_mut(&key.0) {
            route.under_way = route.under_way.saturating_sub(1);
        }
        if let Some(letter) = self.letters.get_mut(key) {
            letter.under_way = false;
        }
    }

    /// If it is wanted again, it goes again.
    pub fn forget_letter(&mut self, key: &Key) {
        self.letters.remove(key);
    }

    /// Whether how the route fares has changed.
    pub fn record(&mut self, key: &Key, outcome: &Outcome, now: SystemTime) -> bool {
        let route = self.routes.entry(key.0.clone()).or_default();
        route.under_way = route.under_way.saturating_sub(1);
        let was_failing = route.failing.is_some() || route.gone;
        match outcome {
            Outcome::Delivered => {
                (route.tries, route.again, route.failing, route.gone) = (0, UNIX_EPOCH, None, false)
            }
            Outcome::Gone => route.gone = true,
            Outcome::Failed { why, after, of_all: true } => {
                route.tries = route.tries.saturating_add(1);
                route.again = now + pause(PAUSE, route.tries, *after, &key.0);
                let since = route.failing.as_ref().map_or(now, |(since, _)| *since);
                route.failing = Some((since, why.clone()));
            }
            Outcome::Failed { .. } => {}
        }
        let is_failing = route.failing.is_some() || route.gone;
        let Some(letter) = self.letters.get_mut(key) else { return was_failing != is_failing };
        letter.under_way = false;
        match outcome {
            Outcome::Delivered => (letter.delivered, letter.failing) = (true, None),
            Outcome::Gone => letter.fail(now, "it answered that it is gone (410)"),
            Outcome::Failed { why, after, of_all } => {
                letter.fail(now, why);
                letter.tries = letter.tries.saturating_add(1);
                if !of_all {
                    letter.again = now + pause(PAUSE_OF_ONE, letter.tries, *after, &key.1);
                }
            }
        }
        was_failing != is_failing
    }

    pub fn delivered(&self) -> BTreeSet<Key> {
        let delivered = self.letters.iter().filter(|(_, letter)| letter.delivered);
        delivered.map(|(key, _)| key.clone()).collect()
    }

    /// Since a while, and why.
    pub fn undelivered(&self, now: SystemTime) -> BTreeMap<Key, String> {
        let mut late = BTreeMap::new();
        for (key, letter) in self.letters.iter().filter(|(_, letter)| !letter.delivered) {
            // Those behind it in the queue were not tried themselves: of them there is a number.
            if let Some((_, why)) = letter
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
    pub fn failing(&self) -> BTreeMap<Key, String> {
        let failing = self.letters.iter().filter(|(_, letter)| !letter.delivered);
        failing.filter_map(|(key, letter)| Some((key.clone(), letter.failing.as_ref()?.1.clone()))).collect()
    }

    /// How many are owed, by route.
    pub fn waiting(&self) -> BTreeMap<&str, usize> {
        let mut waiting: BTreeMap<_, _> = self.routes.keys().map(|id| (id.as_str(), 0)).collect();
        for ((route, _), _) in self.letters.iter().filter(|(_, letter)| !letter.delivered) {
            *waiting.entry(route.as_str()).or_default() += 1;
        }
        waiting
    }

    /// When `due` has more, or something has become overdue. What waits for room is due when there is some.
    pub fn next_due(&self, at_once: usize) -> Option<SystemTime> {
        if self.letters.values().filter(|letter| letter.under_way).count() >= at_once {
            return None;
        }
        let open = self.letters.iter().filter(|(_, letter)| letter.is_open());
        open.filter_map(|(key, letter)| {
            let route = self.routes.get(&key.0)?;
            (!route.gone && route.has_room()).then(|| letter.again.max(route.again))
        })
        .min()
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        !self.letters.values().any(|letter| letter.under_way)
    }
}

impl<T: Clone> Letter<T> {
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

impl Default for Route {
    fn default() -> Self {
        Self { under_way: 0, tries: 0, again: UNIX_EPOCH, gone: false, failing: None }
    }
}

impl Route {
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
