//! Which news of a Secret count. They come from a watch, in order, and from answers to requests of ours, which may
//! arrive late: one must not bring back what was deleted meanwhile, and a list that began before a write must not
//! take away what was written.
//!
//! Resource versions decide wherever both are known. Where a list says of something only that it is not there, an
//! answer to an earlier request does not count: if it is right, the watch brings the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{is_newer, is_older};
use crate::planner::observed::ResourceVersion;

/// Longer than any request takes, so that no answer arrives after its tombstone has gone.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(120);
const MAX_TOMBSTONES: usize = 1_000;

/// By the name of a Secret.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// When the last list ended.
    listed_at: Option<Instant>,
    /// What was written here, until the watch has caught up with it.
    written: BTreeMap<String, Event>,
    /// What is gone, and the newest resource version that is known to be.
    tombstones: BTreeMap<String, Event>,
}

#[derive(Debug)]
struct Event {
    resource_version: ResourceVersion,
    at: Instant,
}

/// Where news come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Watch,
    Answer {
        /// Before the request was sent.
        asked_at: Instant,
    },
}

/// One list, as far as the order of events goes.
#[derive(Clone, Copy, Debug)]
pub struct ListSpan {
    /// Before it began.
    pub since: Instant,
    /// The newest resource version in it: it shows everything up to there. 0: nothing is known.
    pub newest: u64,
}

impl Source {
    /// Of a request that is sent next.
    pub fn answer_from_now() -> Self {
        Self::Answer { asked_at: Instant::now() }
    }
}

impl Arrivals {
    /// Whether an object of this version is to be taken. `known` is the version that the cache has.
    pub fn accept(
        &mut self,
        name: &str,
        version: &ResourceVersion,
        known: Option<&ResourceVersion>,
        source: Source,
    ) -> bool {
        if known.is_some_and(|known| is_older(version, known)) || self.is_buried(name, version) {
            return false;
        }
        match source {
            Source::Watch => drop(self.written.remove(name)),
            Source::Answer { asked_at } => {
                if known.is_none() && self.listed_at.is_some_and(|listed| listed > asked_at) {
                    return false;
                }
                let event = Event { resource_version: version.clone(), at: Instant::now() };
                self.written.insert(name.to_owned(), event);
            }
        }
        self.tombstones.remove(name);
        true
    }

    /// Nothing of this name up to this version is there any more.
    pub fn bury(&mut self, name: &str, version: ResourceVersion) {
        self.written.remove(name);
        if self.tombstones.get(name).is_some_and(|before| is_older(&version, &before.resource_version)) {
            return;
        }
        if self.tombstones.len() >= MAX_TOMBSTONES {
            self.tombstones.retain(|_, tombstone| tombstone.at.elapsed() < KEEP_TOMBSTONES);
        }
        if self.tombstones.len() >= MAX_TOMBSTONES {
            let oldest = self.tombstones.iter().min_by_key(|(_, tombstone)| tombstone.at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.tombstones.remove(&oldest));
        }
        self.tombstones.insert(name.to_owned(), Event { resource_version: version, at: Instant::now() });
    }

    /// Whether something that a list does not show may still be there: it was written while the list was made.
    pub fn may_be_newer(&self, name: &str, list: ListSpan) -> bool {
        self.written.get(name).is_some_and(|written| {
            let is_shown =
                written.resource_version.0.parse::<u64>().is_ok_and(|written| written <= list.newest);
            written.at >= list.since && !is_shown
        })
    }

    pub fn list_ended(&mut self, list: ListSpan) {
        self.written.retain(|_, written| written.at >= list.since);
        self.listed_at = Some(Instant::now());
    }

    fn is_buried(&self, name: &str, version: &ResourceVersion) -> bool {
        let tombstone = self.tombstones.get(name).filter(|it| it.at.elapsed() < KEEP_TOMBSTONES);
        tombstone.is_some_and(|tombstone| !is_newer(version, &tombstone.resource_version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "payments-tls";

    fn version(number: u64) -> ResourceVersion {
        ResourceVersion(number.to_string())
    }

    fn list(newest: u64) -> ListSpan {
        ListSpan { since: Instant::now(), newest }
    }

    #[test]
    fn late_answer_does_not_bring_back_what_was_deleted_and_a_new_object_is_taken() {
        let mut arrivals = Arrivals::default();
        let source = Source::answer_from_now();
        assert!(arrivals.accept(NAME, &version(10), None, Source::Watch));
        arrivals.bury(NAME, version(12));
        arrivals.bury(NAME, version(9));
        for number in [11, 12] {
            assert!(!arrivals.accept(NAME, &version(number), None, source));
            assert!(!arrivals.accept(NAME, &version(number), None, Source::Watch));
        }
        assert!(arrivals.accept(NAME, &version(13), None, source), "made again");
        assert!(arrivals.accept(NAME, &version(12), None, Source::Watch), "its tombstone has gone");
    }

    #[test]
    fn answer_to_a_request_from_before_a_list_does_not_add_to_the_list() {
        let mut arrivals = Arrivals::default();
        let source = Source::answer_from_now();
        arrivals.list_ended(list(0));
        assert!(!arrivals.accept(NAME, &version(11), None, source), "the list did not show it");
        assert!(arrivals.accept(NAME, &version(11), Some(&version(10)), source), "the list showed it");
        assert!(arrivals.accept(NAME, &version(11), None, Source::answer_from_now()));
        assert!(arrivals.accept(NAME, &version(11), None, Source::Watch));
    }

    #[test]
    fn list_does_not_take_away_what_was_written_after_it_was_made() {
        let mut arrivals = Arrivals::default();
        let during = list(9);
        assert!(arrivals.accept(NAME, &version(10), None, Source::answer_from_now()));
        assert!(arrivals.may_be_newer(NAME, during));
        assert!(!arrivals.may_be_newer(NAME, ListSpan { newest: 11, ..during }), "it shows what is newer");
        arrivals.list_ended(during);
        assert!(!arrivals.may_be_newer(NAME, list(9)), "the next list is made after it");
    }

    #[test]
    fn tombstones_are_bounded_and_the_oldest_goes_first() {
        let mut arrivals = Arrivals::default();
        for number in 0..=MAX_TOMBSTONES {
            arrivals.bury(&format!("{number:04}"), version(10));
        }
        assert_eq!(arrivals.tombstones.len(), MAX_TOMBSTONES);
        assert!(!arrivals.is_buried("0000", &version(10)) && arrivals.is_buried("0001", &version(10)));
    }
}
