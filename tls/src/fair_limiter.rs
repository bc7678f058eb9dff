//! Fair limiter: bounds what strangers hold of a listener at once, such as connections or bytes of request
//! bodies, and shares it between source addresses (max-min fair). Nobody is refused while there is room, so
//! that one source may have everything when it is alone; without room, the source that holds the most gives
//! way, so that no source can keep another out.

mod source;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub use source::Source;

/// Bounds what strangers hold at once, and shares it between source addresses. At the limit the source that
/// holds the most gives way: of its holders one that has not asked for anything yet, the longest waiting first;
/// then one that is idle after a request. One whose request is being answered gives way only to a source that
/// holds less.
///
/// A source is an IPv4 address, or an IPv6 network of 64 bits, which one host can have to itself.
#[derive(Clone, Debug)]
pub struct FairLimiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    /// For so long a holder does not give way to its own source.
    grace: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    next: u64,
    holders: HashMap<u64, Holder>,
    sources: HashMap<Source, Share>,
    /// Every source by what it holds; of equals, the one whose first holder gives way first is the last.
    by_share: BTreeSet<(usize, Reverse<Rank>, Source)>,
}

#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// Those who give way first are first.
    ranks: BTreeSet<Rank>,
}

#[derive(Debug)]
struct Holder {
    source: Source,
    amount: usize,
    rank: Rank,
    since: Instant,
    /// Requests that are being answered.
    answering: usize,
    /// Dropped to evict.
    _evict: oneshot::Sender<()>,
}

/// Who gives way first: by standing, then who has been in it the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    standing: Standing,
    turn: u64,
    id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// No request was completely received yet.
    Silent,
    /// Its last request was answered.
    Idle,
    /// A request was completely received and is being answered.
    Answering,
    /// It is being decided who gives way to it.
    New,
}

impl FairLimiter {
    /// A limiter of so much in all, at least one.
    pub fn new(capacity: usize) -> Self {
        Self::with_grace(capacity, Duration::ZERO)
    }

    /// What is held gives way to others of its own source only after `grace`; until then they are refused.
    pub fn with_grace(capacity: usize, grace: Duration) -> Self {
        Self(Arc::new(Shared { capacity: capacity.max(1), grace, state: Mutex::default() }))
    }

    /// A place for `source`. `None` if there is no room, and nobody who should give way to it.
    pub fn place(&self, source: IpAddr) -> Option<Place> {
        self.reserve(source, 1)
    }

    /// So much for `source`, for as long as the result lives. `None` as for [`FairLimiter::place`].
    pub fn reserve(&self, source: IpAddr, amount: usize) -> Option<Place> {
        self.reserve_for(source.into(), amount)
    }

    pub(crate) fn reserve_for(&self, source: Source, amount: usize) -> Option<Place> {
        if amount > self.0.capacity {
            return None;
        }
        let (evict, evicted) = oneshot::channel();
        let mut state = self.0.lock();
        let id = state.admit(source, amount, evict);
        // None is evicted until it is decided, because what they leave may not be enough.
        let mut leaving = Vec::new();
        while state.used > self.0.capacity {
            let next = state.gives_way_to(id, self.0.grace);
            match next.and_then(|next| state.remove(next)) {
                Some(holder) => leaving.push(holder),
                None => {
                    state.release(id);
                    leaving.into_iter().for_each(|holder| state.put(holder));
                    return None;
                }
            }
        }
        state.stand(id, Standing::Silent);
        drop(state);
        Some(Place { activity: Activity { limiter: Arc::clone(&self.0), id }, evicted })
    }

    /// How much is held now.
    pub fn held(&self) -> usize {
        self.0.lock().used
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves counts that can still be used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, source: Source, amount: usize, evict: oneshot::Sender<()>) -> u64 {
        let id = self.next_number();
        let rank = Rank { standing: Standing::New, turn: id, id };
        self.put(Holder { source, amount, rank, since: Instant::now(), answering: 0, _evict: evict });
        id
    }

    fn put(&mut self, holder: Holder) {
        let Holder { source, amount, rank, .. } = holder;
        self.holders.insert(rank.id, holder);
        self.used += amount;
        self.change(source, |share| {
            share.held += amount;
            share.ranks.insert(rank);
        });
    }

    /// The holder that gives way to the newcomer, which counts already. `None` if the newcomer is refused.
    fn gives_way_to(&self, newcomer: u64, grace: Duration) -> Option<u64> {
        let (most, Reverse(rank), _) = *self.by_share.last()?;
        let (holder, source) = (self.holders.get(&rank.id)?, self.holders.get(&newcomer)?.source);
        let keeps = rank.standing == Standing::Answering || holder.since.elapsed() < grace;
        let is_equal = self.sources.get(&source).is_some_and(|own| most <= own.held);
        if rank.id == newcomer || keeps && is_equal { None } else { Some(rank.id) }
    }

    /// Does nothing if it was evicted.
    fn release(&mut self, id: u64) {
        drop(self.remove(id));
    }

    /// The holder, which is evicted when the result is dropped.
    fn remove(&mut self, id: u64) -> Option<Holder> {
        let holder = self.holders.remove(&id)?;
        self.used -= holder.amount;
        self.change(holder.source, |share| {
            share.held -= holder.amount;
            share.ranks.remove(&holder.rank);
        });
        Some(holder)
    }

    /// One more request that is being answered, or one less. Does nothing if it was evicted.
    fn count_answers(&mut self, id: u64, count: impl FnOnce(&mut usize)) {
        let Some(holder) = self.holders.get_mut(&id) else { return };
        count(&mut holder.answering);
        let standing = if holder.answering > 0 { Standing::Answering } else { Standing::Idle };
        if standing != holder.rank.standing {
            self.stand(id, standing);
        }
    }

    fn stand(&mut self, id: u64, standing: Standing) {
        let after = Rank { standing, turn: self.next_number(), id };
        let Some(holder) = self.holders.get_mut(&id) else { return };
        let before = std::mem::replace(&mut holder.rank, after);
        let source = holder.source;
        self.change(source, |share| {
            share.ranks.remove(&before);
            share.ranks.insert(after);
        });
    }

    /// Changes what a source holds, and its rank with it. A source that holds nothing is forgotten.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut Share)) {
        let share = self.sources.entry(source).or_default();
        if let Some(before) = share.among_sources(source) {
            self.by_share.remove(&before);
        }
        change(share);
        match share.among_sources(source) {
            Some(after) => drop(self.by_share.insert(after)),
            None => drop(self.sources.remove(&source)),
        }
        // What a flood has taken is given back.
        if self.sources.is_empty() {
            self.sources.shrink_to(64);
            self.holders.shrink_to(64);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Share {
    fn among_sources(&self, source: Source) -> Option<(usize, Reverse<Rank>, Source)> {
        self.ranks.first().map(|first| (self.held, Reverse(*first), source))
    }
}

/// What a source holds of a limiter, until it is dropped.
#[derive(Debug)]
pub struct Place {
    activity: Activity,
    evicted: oneshot::Receiver<()>,
}

impl Place {
    /// Runs `task` in this place. `None` if it had to give way before it was done.
    pub async fn run<F: Future>(&mut self, task: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = task => Some(output),
            () = closed(&mut self.evicted) => None,
        }
    }

    /// To tell when a request is being answered.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }
}

/// Completes when the sender was dropped, as often as it is awaited.
async fn closed(receiver: &mut oneshot::Receiver<()>) {
    if !receiver.is_terminated() {
        let _ = receiver.await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.activity.limiter.lock().release(self.activity.id);
    }
}

/// What the holder of a place does, which decides who gives way first.
#[derive(Clone, Debug)]
pub struct Activity {
    limiter: Arc<Shared>,
    id: u64,
}

impl Activity {
    /// A request was completely received, and is being answered until the result is dropped.
    pub fn answer(&self) -> Answering {
        self.limiter.lock().count_answers(self.id, |count| *count += 1);
        Answering(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        let Activity { limiter, id } = &self.0;
        limiter.lock().count_answers(*id, |count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
