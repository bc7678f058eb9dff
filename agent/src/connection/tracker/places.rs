//! The places of each side: how many connections may be open, whose they are, and which one gives way when a new
//! client finds none free.
//!
//! A place is taken from the peer that has most of them, and only for a peer that has no more. A connection that is
//! idle costs its peer a reconnect, so that is all it takes; one that is busy gives way only while its peer has more
//! than its share, to a peer that has less than half as many. What is allowed is decided by [`gives_way`] alone.

mod search;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use slab::Slab;

use super::entry::{CloseReason, CloseStage, Entry, Protocol, Side};
use super::limits::Limits;
use super::peer_id::PeerId;
use search::{Victim, Victims};

/// A peer keeps its busy connections up to one in so many places. With a quarter it takes four such peers to leave
/// nothing for a fifth; with less, connections would be cut of peers that do no harm.
const SHARE: usize = 4;
/// Connections that gave way and are not closed yet: so many descriptors are spared for them. Fewer of them are closed
/// gracefully, because their clients may take their time.
const MAX_LEAVING: usize = 64;
const MAX_LEAVING_GRACEFULLY: usize = MAX_LEAVING / 2;
/// Fewer still make room for a new connection of their own peer: a peer that connects again and again, without an end,
/// leaves the others theirs.
const MAX_LEAVING_FOR_THEIR_OWN: usize = MAX_LEAVING / 4;
/// From the request to give way to the cut. A client that reads takes one round trip.
const LEAVE_WITHIN_MILLIS: u64 = 1000;

/// Connections of an identity, and of one source of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    identity: usize,
    source: usize,
}

/// Whether a connection of a peer that has `held` of `places` gives way to a new one of a peer that has `asking`.
fn gives_way(places: usize, idle: bool, held: usize, asking: usize) -> bool {
    match idle {
        true => held >= asking,
        false => is_over_share(places, held) && held >= 2 * (asking + 1),
    }
}

fn is_over_share(places: usize, held: usize) -> bool {
    held > places / SHARE
}

#[derive(Default)]
pub(in crate::connection) struct Places {
    /// By side. A connection that gave way has none.
    taken: [usize; 2],
    leaving: usize,
    /// Inbound connections by identity, and by source of an identity.
    held: HashMap<u64, usize>,
    victims: Victims,
}

impl Places {
    pub fn taken(&self, side: Side) -> usize {
        self.taken[side as usize]
    }

    pub fn is_free(&self, side: Side, limits: &Limits) -> bool {
        let all: usize = self.taken.iter().sum();
        self.taken(side) < limits.places() && all < limits.max_connections
    }

    pub fn take(&mut self, entry: &Entry) {
        if entry.side == Side::App {
            return;
        }
        self.taken[entry.side as usize] += 1;
        if entry.side == Side::Inbound {
            for key in [entry.holder.identity, entry.holder.source] {
                *self.held.entry(key).or_default() += 1;
            }
        }
    }

    /// The connection has ended.
    pub fn remove(&mut self, entry: &Entry) {
        match entry.gave_way.load(Relaxed) {
            true => self.leaving -= 1,
            false => self.give_back(entry),
        }
        if self.held.is_empty() && self.leaving == 0 {
            // What a flood took room for is given back.
            (self.held, self.victims) = Default::default();
        }
    }

    fn give_back(&mut self, entry: &Entry) {
        if entry.side == Side::App {
            return;
        }
        self.taken[entry.side as usize] -= 1;
        if entry.side == Side::Inbound {
            for key in [entry.holder.identity, entry.holder.source] {
                if let Some(count) = self.held.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.held.remove(&key);
                    }
                }
            }
        }
    }

    fn held(&self, holder: PeerId) -> Held {
        let count = |key| self.held.get(&key).copied().unwrap_or_default();
        Held { identity: count(holder.identity), source: count(holder.source) }
    }

    /// Has one of the inbound connections give way to a new one of `newcomer`, if one of them has to: which, and why.
    pub fn make_room(
        &mut self,
        entries: &Slab<Arc<Entry>>,
        limits: &Limits,
        newcomer: PeerId,
        now: u64,
    ) -> Option<(Arc<Entry>, CloseReason)> {
        if self.leaving >= MAX_LEAVING {
            return None;
        }
        let places = limits.places();
        let mut taken = self.take_victim(entries, places, newcomer, now);
        if taken.is_none() && self.victims.may_search(now) {
            self.search(entries, places, now);
            taken = self.take_victim(entries, places, newcomer, now);
        }
        let victim = taken?;
        let reason = self.ask_to_leave(&victim, now);
        Some((victim.entry, reason))
    }

    /// The first of those found that has to give way to the newcomer.
    fn take_victim(
        &mut self,
        entries: &Slab<Arc<Entry>>,
        places: usize,
        newcomer: PeerId,
        now: u64,
    ) -> Option<Victim> {
        let mut victims = std::mem::take(&mut self.victims);
        let taken = victims.take(entries, now, |victim| self.may_take(places, victim, newcomer));
        self.victims = victims;
        taken
    }

    fn may_take(&self, places: usize, victim: &Victim, newcomer: PeerId) -> bool {
        let (holder, idle) = (victim.entry.holder, victim.idle);
        if holder == newcomer && self.leaving >= MAX_LEAVING_FOR_THEIR_OWN {
            return false;
        }
        let (held, asking) = (self.held(holder), self.held(newcomer));
        match holder.identity == newcomer.identity {
            // Who will only be refused holds nothing against those who are served.
            _ if !victim.entry.listed => true,
            true => gives_way(places, idle, held.source, asking.source),
            false => gives_way(places, idle, held.identity, asking.identity),
        }
    }

    fn ask_to_leave(&mut self, victim: &Victim, now: u64) -> CloseReason {
        let entry = &victim.entry;
        self.give_back(entry);
        self.leaving += 1;
        entry.gave_way.store(true, Relaxed);
        entry.cut_at.store(now + LEAVE_WITHIN_MILLIS, Relaxed);
        let graceful =
            victim.idle && entry.protocol() != Protocol::Tcp && self.leaving <= MAX_LEAVING_GRACEFULLY;
        let stage = if graceful { CloseStage::Finish } else { CloseStage::Cut };
        let reason = match victim.idle || !entry.listed {
            true => CloseReason::GaveWay,
            false => CloseReason::OverShare,
        };
        entry.close(stage, reason);
        reason
    }
}

#[cfg(test)]
mod tests;
