//! The reaper: compares every open connection with the clock and with each new snapshot, and asks those
//! that are due to close. One task keeps the time for all connections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use tokio::time::{Interval, MissedTickBehavior};

use super::tracker::ConnectionTracker;
use super::tracker::Limits;
use super::tracker::entry::{CloseReason, CloseStage, Entry, Protocol, Side};
use super::tracker::state::{TrackerState, millis};
use hotcert_tls::{Snapshot, Snapshots};

/// The resolution of every limit that is kept here.
const TICK: Duration = Duration::from_millis(100);
/// From "the next response is the last" to the close of a connection that has no next request.
const FINISH_AFTER: Duration = Duration::from_secs(30);
/// From "no request came" to the cut of a connection that does not end by itself. A client that reads takes one round
/// trip.
const UNUSED_GRACE_MILLIS: u64 = 1000;
/// Connections made under a certificate are closed this long before its not-after.
const BEFORE_EXPIRY: Duration = Duration::from_secs(30);

impl ConnectionTracker {
    /// Runs until dropped. Pauses while there is no connection.
    pub async fn reap(self, mut snapshots: Snapshots) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                snapshot = snapshots.changed() => match snapshot {
                    Some(snapshot) => {
                        self.shared.catch_up();
                        self.apply_snapshot(snapshot);
                    }
                    None => return,
                },
                () = self.next_round(&mut tick) => {
                    self.shared.catch_up();
                    self.close_due(SystemTime::now());
                }
            }
        }
    }

    /// Waits for the first connection if there is none, and then for the next tick. Whether there is one is asked
    /// once for each wait: it may change at any moment, and a wait for neither would never end.
    async fn next_round(&self, tick: &mut Interval) {
        while self.is_empty() {
            self.shared.first_opened.notified().await;
            tick.reset();
        }
        tick.tick().await;
    }

    /// Marks older leaves as superseded, and closes connections whose peer `snapshot` does not trust.
    pub(super) fn apply_snapshot(&self, snapshot: Arc<Snapshot>) {
        let mut state = self.state();
        let before = state.applied.replace(Arc::clone(&snapshot));
        let same_leaf = |before: &Arc<Snapshot>| before.identity.leaf.same_as(&snapshot.identity.leaf);
        if !before.as_ref().is_some_and(same_leaf) {
            let now = self.shared.now();
            for (_, leaf) in
                state.leaves.iter_mut().filter(|(generation, _)| **generation < snapshot.generation)
            {
                leaf.superseded_at.get_or_insert(now);
            }
        }
        if !before.is_some_and(|before| snapshot.trusts_less_than(&before)) {
            return;
        }
        let entries: Vec<_> = state.entries.iter().map(|(_, entry)| Arc::clone(entry)).collect();
        drop(state);
        // A chain is verified once per peer, not once per connection.
        let mut trusted = HashMap::new();
        for entry in entries {
            if !*trusted.entry(entry.chain_key()).or_insert_with(|| entry.is_trusted_under(&snapshot)) {
                self.close_untrusted(&entry, &snapshot);
            }
        }
    }

    /// Asks every connection that is due to close; `wall_clock` is compared with not-after times.
    pub(super) fn close_due(&self, wall_clock: SystemTime) {
        let now = self.shared.now();
        let mut state = self.state();
        let TrackerState { entries, leaves, applied, .. } = &mut *state;
        for (_, entry) in entries.iter() {
            let leaf = leaves.get(&entry.generation);
            let superseded = leaf.and_then(|leaf| Some((leaf.superseded_at?, leaf.not_after)));
            if let Some((stage, reason)) = due_close(entry, superseded, &self.shared.limits, now, wall_clock)
                && entry.close(stage, reason)
                && reason == CloseReason::NoRequest
            {
                self.shared.log_no_request(entry);
            }
        }
        let current = applied.as_ref().map_or(0, |snapshot| snapshot.generation);
        if leaves.len() > 1 {
            let in_use: HashSet<u64> = entries.iter().map(|(_, entry)| entry.generation).collect();
            leaves.retain(|generation, _| *generation >= current || in_use.contains(generation));
        }
    }
}

/// The close that is due for a connection. `superseded`: when the leaf it was made under was superseded,
/// and that leaf's not-after.
fn due_close(
    entry: &Entry,
    superseded: Option<(u64, SystemTime)>,
    limits: &Limits,
    now: u64,
    wall_clock: SystemTime,
) -> Option<(CloseStage, CloseReason)> {
    let untrusted = entry.untrusted_since.load(Relaxed);
    if untrusted > 0 && now >= untrusted + millis(limits.root_drain) {
        return Some((CloseStage::Cut, CloseReason::RootRemoved));
    }
    let head = entry.head_since.load(Relaxed);
    if head > 0 && now >= head + millis(limits.request_head) {
        return Some((CloseStage::Cut, CloseReason::SlowRequest));
    }
    if now >= entry.cut_at.load(Relaxed) {
        let reason = if entry.listed { entry.close_reason() } else { CloseReason::NotAllowed };
        return Some((CloseStage::Cut, reason));
    }
    let http = entry.protocol() != Protocol::Tcp;
    if http && entry.side == Side::Inbound && !entry.requested.load(Relaxed) {
        let overdue = now.checked_sub(entry.opened_at + millis(limits.first_request));
        if let Some(overdue) = overdue {
            // HTTP/2 says that it goes away, so that a request that is on its way can be sent again elsewhere.
            let stage = if overdue < UNUSED_GRACE_MILLIS { CloseStage::Finish } else { CloseStage::Cut };
            return Some((stage, CloseReason::NoRequest));
        }
    }
    let idle_since = entry.last_activity.load(Relaxed);
    if now >= idle_since + millis(limits.idle) {
        return Some((CloseStage::Cut, CloseReason::Idle));
    }
    if entry.side == Side::App {
        // What it is carried over has an age and a leaf.
        return None;
    }
    let jitter = u64::from(entry.jitter);
    let age = now.saturating_sub(entry.opened_at);
    // Up to a tenth earlier, so that connections opened together do not end together.
    let max_age = millis(limits.max_age).saturating_sub(millis(limits.max_age) / 10 * jitter / 255);
    if age >= max_age {
        let overdue = age - max_age;
        let stage = match http && overdue < millis(limits.max_age_grace) {
            true => last_then_finish(overdue),
            false => CloseStage::Cut,
        };
        return Some((stage, CloseReason::MaxAge));
    }
    let (superseded_at, not_after) = superseded.filter(|_| http)?;
    let drain_after = millis(limits.drain_after);
    let due = superseded_at + drain_after + drain_after / 2 * jitter / 255;
    if now >= due {
        return Some((last_then_finish(now - due), CloseReason::LeafChanged));
    }
    match not_after.duration_since(wall_clock) {
        Ok(left) if left > 2 * BEFORE_EXPIRY => None,
        Ok(left) if left > BEFORE_EXPIRY => Some((CloseStage::LastRequest, CloseReason::LeafChanged)),
        _ => Some((CloseStage::Finish, CloseReason::LeafChanged)),
    }
}

fn last_then_finish(overdue: u64) -> CloseStage {
    if overdue < millis(FINISH_AFTER) { CloseStage::LastRequest } else { CloseStage::Finish }
}
