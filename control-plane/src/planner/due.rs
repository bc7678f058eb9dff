//! When each object is planned again although nothing about it changed: a delay queue on the clock of the wall, which
//! certificates expire by. One that counts on a monotonic clock would be late after a suspend.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::index::Key;

#[derive(Debug, Default)]
pub struct DueQueue {
    by_time: BTreeSet<(SystemTime, Key)>,
    by_key: BTreeMap<Key, SystemTime>,
}

impl DueQueue {
    /// `None`: not before something changes.
    pub fn set(&mut self, key: &Key, at: Option<SystemTime>) {
        if self.by_key.get(key) == at.as_ref() {
            return;
        }
        if let Some(before) = self.by_key.remove(key) {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// Those whose time has come. Each stays until it is set again.
    pub fn due(&self, now: SystemTime) -> impl Iterator<Item = &Key> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key)
    }

    pub fn next(&self) -> Option<SystemTime> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_are_due_in_time_and_a_key_has_one_time() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let key = |name: &str| Key::Authority(name.into());
        let due = |queue: &DueQueue, now| queue.due(at(now)).cloned().collect::<Vec<_>>();
        let mut queue = DueQueue::default();
        queue.set(&key("a"), Some(at(20)));
        queue.set(&key("b"), Some(at(10)));
        assert_eq!((queue.next(), due(&queue, 9)), (Some(at(10)), vec![]));
        assert_eq!(due(&queue, 20), [key("b"), key("a")]);
        queue.set(&key("b"), Some(at(30)));
        assert_eq!((queue.next(), due(&queue, 29)), (Some(at(20)), vec![key("a")]));
        queue.set(&key("a"), None);
        queue.set(&key("b"), None);
        assert_eq!((queue.next(), due(&queue, 99)), (None, vec![]));
    }
}
