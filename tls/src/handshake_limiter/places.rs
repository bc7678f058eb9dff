//! The places of tasks by source, and which of them gives way.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::sync::oneshot;

use super::source::Source;

#[derive(Debug, Default)]
pub(super) struct Places {
    next_id: u64,
    taken: usize,
    /// The tasks of each source, oldest first. Dropping the sender evicts the task.
    sources: HashMap<Source, VecDeque<(u64, oneshot::Sender<()>)>>,
    /// Every source by the number of its tasks; of those that have the same number, the one with the oldest task is
    /// the last.
    by_share: BTreeSet<(usize, Reverse<u64>, Source)>,
}

impl Places {
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Takes a place; with more than `limit` taken, one that is older gives way. Returns the number of the place, and
    /// what is closed when it has to give way itself.
    pub fn take(&mut self, source: Source, limit: usize) -> (u64, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        self.taken += 1;
        self.change(source, |tasks| tasks.push_back((id, sender)));
        if self.taken > limit
            && let Some((_, _, largest)) = self.by_share.last().copied()
        {
            self.taken -= 1;
            self.change(largest, |tasks| drop(tasks.pop_front()));
        }
        (id, evicted)
    }

    /// Does nothing if it was evicted.
    pub fn give_back(&mut self, source: Source, id: u64) {
        let tasks = self.sources.get(&source);
        let Some(index) = tasks.and_then(|tasks| tasks.binary_search_by_key(&id, |(id, _)| *id).ok()) else {
            return;
        };
        self.taken -= 1;
        self.change(source, |tasks| drop(tasks.remove(index)));
    }

    /// Changes the tasks of a source, and its rank with them. A source without tasks is forgotten.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut VecDeque<(u64, oneshot::Sender<()>)>)) {
        let rank = |tasks: &VecDeque<(u64, _)>| {
            tasks.front().map(|(oldest, _)| (tasks.len(), Reverse(*oldest), source))
        };
        let mut entry = match self.sources.entry(source) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(VecDeque::new()),
        };
        if let Some(before) = rank(entry.get()) {
            self.by_share.remove(&before);
        }
        change(entry.get_mut());
        match rank(entry.get()) {
            Some(after) => drop(self.by_share.insert(after)),
            None => drop(entry.remove()),
        }
        // What a flood of sources has taken is given back.
        if self.sources.is_empty() {
            self.sources.shrink_to(64);
        }
    }
}
