//! Recognises messages that were accepted before. In memory: a replay that a restart forgot is checked against the
//! objects like any other message, and changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

const CAPACITY: usize = 10_000;
/// Longer than a signature is accepted.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default)]
pub struct ReplayCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    accepted_at: BTreeMap<String, SystemTime>,
    /// Ids, the oldest first.
    order: VecDeque<String>,
}

impl ReplayCache {
    pub fn contains(&self, id: &str, now: SystemTime) -> bool {
        let entries = self.lock();
        entries.accepted_at.get(id).is_some_and(|at| now.duration_since(*at).unwrap_or_default() < LIFETIME)
    }

    pub fn insert(&self, id: &str, now: SystemTime) {
        let mut entries = self.lock();
        if entries.accepted_at.insert(id.to_owned(), now).is_none() {
            entries.order.push_back(id.to_owned());
        }
        while entries.order.len() > CAPACITY {
            if let Some(oldest) = entries.order.pop_front() {
                entries.accepted_at.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn ids_are_remembered_within_bounds() {
        let cache = ReplayCache::default();
        let now = UNIX_EPOCH + LIFETIME;
        assert!(!cache.contains("0", now));
        cache.insert("0", now);
        assert!(cache.contains("0", now) && !cache.contains("0", now + LIFETIME));
        for id in 1..=CAPACITY {
            cache.insert(&id.to_string(), now);
        }
        assert!(!cache.contains("0", now) && cache.contains("1", now));
        assert_eq!(cache.lock().accepted_at.len(), CAPACITY);
    }
}
