//! The search for connections that give way. One look at all of them finds many, so that a flood of new clients costs a
//! look now and then, not one each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use slab::Slab;

use super::{Places, is_over_share};
use crate::connection::tracker::entry::{Entry, Protocol, Side};

/// One look finds so many, or one in `PART` of all connections if that is more.
const FEWEST: usize = 16;
const MOST: usize = 1024;
const PART: usize = 64;
/// Of those found, so many are held against a newcomer.
const TRIED: usize = 16;
/// What a look found is not relied on for longer.
const STALE_AFTER_MILLIS: u64 = 1000;

/// A connection that gives way to those that may take its place.
#[derive(Clone)]
pub(super) struct Victim {
    pub entry: Arc<Entry>,
    pub idle: bool,
    key: usize,
    last_activity: u64,
}

impl Victim {
    /// It is still open, and as it was found.
    fn is_current(&self, entries: &Slab<Arc<Entry>>, now: u64) -> bool {
        let open = entries.get(self.key).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry));
        open && !self.entry.gave_way.load(Relaxed)
            && (!self.idle
                || self.entry.is_idle(now) && self.entry.last_activity.load(Relaxed) == self.last_activity)
    }
}

/// Those that the last look found, the first to give way first.
#[derive(Default)]
pub(super) struct Victims {
    found: VecDeque<Victim>,
    /// By the tracker's clock, which moves ten times a second.
    searched_at: Option<u64>,
    /// Of the last look, something was of use.
    useful: bool,
    #[cfg(test)]
    pub searches: usize,
}

impl Victims {
    /// The first that is still as it was found and that `may_take` accepts, of a few.
    pub fn take(
        &mut self,
        entries: &Slab<Arc<Entry>>,
        now: u64,
        may_take: impl Fn(&Victim) -> bool,
    ) -> Option<Victim> {
        if self.searched_at.is_some_and(|at| now > at + STALE_AFTER_MILLIS) {
            self.found.clear();
        }
        while self.found.front().is_some_and(|victim| !victim.is_current(entries, now)) {
            self.found.pop_front();
        }
        let is_fit = |victim: &Victim| victim.is_current(entries, now) && may_take(victim);
        let at = self.found.iter().take(TRIED).position(is_fit)?;
        self.useful = true;
        self.found.remove(at)
    }

    /// A look that was of no use is not repeated before the clock has moved.
    pub fn may_search(&self, now: u64) -> bool {
        self.useful || self.searched_at != Some(now)
    }
}

/// The least is the first to give way: unlisted; idle; of a peer over its share; of the identity, and the source, that
/// has most; HTTP, whose clients connect again by themselves; unused for longest.
type Rank = (bool, bool, bool, Reverse<usize>, Reverse<usize>, bool, u64);

impl Places {
    pub(super) fn search(&mut self, entries: &Slab<Arc<Entry>>, places: usize, now: u64) {
        let most = (entries.len() / PART).clamp(FEWEST, MOST);
        let mut first: BinaryHeap<(Rank, usize)> = BinaryHeap::with_capacity(most + 1);
        for (key, entry) in entries {
            if let Some(rank) = self.rank(entry, places, now)
                && (first.len() < most || first.peek().is_some_and(|(last, _)| rank < *last))
            {
                first.push((rank, key));
                if first.len() > most {
                    first.pop();
                }
            }
        }
        let victim = |(rank, key): (Rank, usize)| {
            let entry = Arc::clone(entries.get(key)?);
            Some(Victim { entry, idle: !rank.1, key, last_activity: rank.6 })
        };
        self.victims = Victims {
            found: first.into_sorted_vec().into_iter().filter_map(victim).collect(),
            searched_at: Some(now),
            useful: false,
            #[cfg(test)]
            searches: self.victims.searches + 1,
        };
    }

    /// `None` for a connection that gives way to nobody.
    fn rank(&self, entry: &Entry, places: usize, now: u64) -> Option<Rank> {
        if entry.side != Side::Inbound || entry.gave_way.load(Relaxed) {
            return None;
        }
        let (held, idle) = (self.held(entry.holder), entry.is_idle(now));
        let over = is_over_share(places, held.identity);
        let tcp = entry.protocol() == Protocol::Tcp;
        (idle || over || !entry.listed).then(|| {
            let last_activity = entry.last_activity.load(Relaxed);
            (entry.listed, !idle, !over, Reverse(held.identity), Reverse(held.source), tcp, last_activity)
        })
    }
}
