//! The sweeper: judges every open connection against the clock, and against each new snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::tracker::connection::{CloseStage, Entry, Protocol, Reason, Side};
use super::tracker::{ConnectionTracker, Limits, TrackerState, millis};
use crate::tls::snapshot::{Current, Snapshot};

/// The resolution of every limit kept here.
const TICK: Duration = Duration::from_millis(100);
/// From "the next response is the last" to the end of a connection that has no next request.
const LINGER: Duration = Duration::from_secs(30);
/// Before a certificate's not-after, connections made under it should be gone.
const BEFORE_EXPIRY: Duration = Duration::from_secs(30);

impl ConnectionTracker {
    /// Runs until dropped. Stands still while there is no connection.
    pub async fn sweep(self, mut current: Current) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                snapshot = current.changed() => match snapshot {
                    Some(snapshot) => {
                        self.catch_up();
                        self.judge(snapshot);
                    }
                    None => return,
                },
                () = self.shared.opened.notified(), if self.is_empty() => tick.reset(),
                _ = tick.tick(), if !self.is_empty() => {
                    self.catch_up();
                    self.expire(SystemTime::now());
                }
            }
        }
    }

    /// A new snapshot: connections whose peers it does not trust end, those under an older leaf
    /// will be asked to.
    pub(super) fn judge(&self, snapshot: Arc<Snapshot>) {
        let mut state = self.state();
        let before = state.judged_by.replace(Arc::clone(&snapshot));
        let same_leaf = |before: &Arc<Snapshot>| before.identity.leaf.same_as(&snapshot.identity.leaf);
        if !before.as_ref().is_some_and(same_leaf) {
            let now = self.now();
            for leaf_state in
                state.leaves.iter_mut().filter(|(generation, _)| **generation < snapshot.generation)
            {
                leaf_state.1.superseded.get_or_insert(now);
            }
        }
        let lost_a_root =
            match (before.as_ref().map(|before| &before.identity.trust), &snapshot.identity.trust) {
                (Some(Some(before)), Some(after)) => after.lost_a_root_of(before),
                (Some(Some(_)), None) => true,
                _ => false,
            };
        if !lost_a_root {
            return;
        }
        let entries: Vec<_> = state.entries.iter().map(|(_, entry)| Arc::clone(entry)).collect();
        drop(state);
        // A chain is verified once per peer, not once per connection.
        let mut trusted = HashMap::new();
        for entry in entries {
            let trusted = *trusted.entry(entry.peer_key()).or_insert_with(|| entry.trusted_under(&snapshot));
            if !trusted {
                self.end_untrusted(&entry);
            }
        }
    }

    pub(super) fn expire(&self, wall: SystemTime) {
        let now = self.now();
        let mut state = self.state();
        let TrackerState { entries, leaves, judged_by } = &mut *state;
        for (_, entry) in entries.iter() {
            let leaf_state = leaves.get(&entry.generation);
            let leaf = leaf_state.and_then(|leaf_state| Some((leaf_state.superseded?, leaf_state.not_after)));
            if let Some((stage, reason)) = due(entry, leaf, &self.shared.limits, now, wall) {
                entry.close(stage, reason);
            }
        }
        let current = judged_by.as_ref().map_or(0, |snapshot| snapshot.generation);
        if leaves.len() > 1 {
            let alive: HashSet<u64> = entries.iter().map(|(_, entry)| entry.generation).collect();
            leaves.retain(|generation, _| *generation >= current || alive.contains(generation));
        }
    }
}

/// What a connection is to be asked now. `leaf`: when the leaf it was made under was superseded,
/// and that leaf's not-after.
fn due(
    entry: &Entry,
    leaf: Option<(u64, SystemTime)>,
    limits: &Limits,
    now: u64,
    wall: SystemTime,
) -> Option<(CloseStage, Reason)> {
    let untrusted = entry.untrusted_since.load(Relaxed);
    if untrusted > 0 && now >= untrusted + millis(limits.root_drain) {
        return Some((CloseStage::Cut, Reason::RootRemoved));
    }
    let head = entry.head_since.load(Relaxed);
    if head > 0 && now >= head + millis(limits.request_head) {
        return Some((CloseStage::Cut, Reason::SlowRequest));
    }
    let http = entry.kind != Protocol::Tcp;
    if http && entry.side == Side::Outbound {
        // The pool's, which ends it when it has been idle or the generation is over.
        return None;
    }
    let idle_since = entry.activity.load(Relaxed);
    if now >= idle_since + millis(limits.idle) {
        return Some((CloseStage::Cut, Reason::Idle));
    }
    let jitter = u64::from(entry.jitter);
    let age = now.saturating_sub(entry.opened);
    // Up to a tenth earlier, so that what was opened together does not end together.
    let max_age = millis(limits.max_age).saturating_sub(millis(limits.max_age) / 10 * jitter / 255);
    if age >= max_age {
        let over = age - max_age;
        return Some((if http { last_then_finish(over) } else { CloseStage::Cut }, Reason::MaxAge));
    }
    let (superseded, not_after) = leaf.filter(|_| http)?;
    let drain_after = millis(limits.drain_after);
    let due = superseded + drain_after + drain_after / 2 * jitter / 255;
    if now >= due {
        return Some((last_then_finish(now - due), Reason::LeafChanged));
    }
    match not_after.duration_since(wall) {
        Ok(left) if left > 2 * BEFORE_EXPIRY => None,
        Ok(left) if left > BEFORE_EXPIRY => Some((CloseStage::LastRequest, Reason::LeafChanged)),
        _ => Some((CloseStage::Finish, Reason::LeafChanged)),
    }
}

fn last_then_finish(over: u64) -> CloseStage {
    if over < millis(LINGER) { CloseStage::LastRequest } else { CloseStage::Finish }
}
