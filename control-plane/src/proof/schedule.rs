//! The last proofs of each pod, one for each authority that asks, and when the pod is probed again. The plan requests proofs, in every round
//! that needs them; the schedule paces the probes, less often while the results stay the same. There is one
//! probe of a pod at a time, so a result never overwrites a newer one. Pure: time is an argument, and the
//! probes run elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::object_name::ObjectName;
use crate::pki::keyring::RootId;
use crate::planner::ProbeRequest;
use crate::planner::observed::{PodList, Proof};

/// How many probes run at the same time.
pub const MAX_CONCURRENT: usize = 64;
/// Between two probes of a pod, doubled while the result stays the same.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
const MAX_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct ProofSchedule {
    probes: BTreeMap<ProbeKey, ProbeEntry>,
    running: BTreeSet<ProbeKey>,
    /// Those that are requested and not running, by the time when each is due.
    waiting: Waiting,
}

type Waiting = BTreeSet<(SystemTime, ProbeKey)>;

/// One kind of proof: what a pod shows to the clients of one authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeKey {
    pub uid: String,
    /// `None`: a client without a certificate.
    pub authority: Option<String>,
}

#[derive(Debug)]
struct ProbeEntry {
    pod: ObjectName,
    address: SocketAddr,
    /// Those that a plan asked for when it last asked for another one: what no later step asks for costs no handshake.
    /// While plans ask for some of these, all are asked for, so that requests for different roots do not overwrite each
    /// other's results in turn.
    roots: BTreeSet<RootId>,
    /// The last plan requests it.
    requested: bool,
    proof: Option<Arc<Proof>>,
    interval: Duration,
    next_probe: SystemTime,
    /// As it is in [`ProofSchedule::waiting`].
    waits_until: Option<SystemTime>,
}

impl ProofSchedule {
    /// The probes to start now. Each counts as running until its result is recorded.
    pub fn due(&mut self, now: SystemTime) -> Vec<ProbeRequest> {
        let room = MAX_CONCURRENT.saturating_sub(self.running.len());
        if room < MAX_CONCURRENT / 2 {
            return Vec::new();
        }
        // The pod that has waited longest comes first. Further away than any interval: the clock was set back.
        let due = self.waiting.iter().take_while(|(at, _)| *at <= now);
        let far = self.waiting.iter().rev().take_while(|(at, _)| *at > now + MAX_INTERVAL);
        let due: Vec<_> = due.chain(far).take(room).map(|(_, key)| key.clone()).collect();
        let mut probes = Vec::new();
        for key in due {
            if let Some(entry) = self.probes.get_mut(&key) {
                entry.wait(&key, true, &mut self.waiting);
                probes.push(ProbeRequest {
                    pod: entry.pod.clone(),
                    uid: key.uid.clone(),
                    address: entry.address,
                    authority: key.authority.clone(),
                    roots: entry.roots.iter().cloned().collect(),
                });
                self.running.insert(key);
            }
        }
        probes
    }

    pub fn record(&mut self, key: &ProbeKey, proof: Proof, now: SystemTime) {
        self.running.remove(key);
        // The pod may be gone by now.
        let Some(entry) = self.probes.get_mut(key) else { return };
        let proof = proof.after(entry.proof.as_deref());
        let is_unchanged = entry.proof.as_ref().is_some_and(|before| has_same_result(before, &proof));
        entry.interval =
            if is_unchanged { (entry.interval * 2).clamp(MIN_INTERVAL, MAX_INTERVAL) } else { MIN_INTERVAL };
        entry.next_probe = now + entry.interval;
        entry.proof = Some(Arc::new(proof));
        entry.wait(key, false, &mut self.waiting);
    }

    /// Probes these pods as soon as it is requested: a Secret that they mount was published, so they may have
    /// something new to show.
    pub fn reset(&mut self, pods: &BTreeSet<&str>) {
        for (key, entry) in self.probes.iter_mut().filter(|(key, _)| pods.contains(key.uid.as_str())) {
            entry.reset();
            entry.wait(key, self.running.contains(key), &mut self.waiting);
        }
    }

    /// Adds the proofs to the pods, and forgets pods that are gone. In a namespace that could not be listed,
    /// no pod is known to be gone. A proof from the future is forgotten: the clock was set back, and when it has come
    /// so far again the proof would seem to be newer than what was published meanwhile.
    pub fn attach(&mut self, pods: &mut BTreeMap<String, PodList>, now: SystemTime) {
        for entry in self.probes.values_mut() {
            entry.proof = entry.proof.take().filter(|proof| proof.taken_at <= now);
        }
        let mut listed = BTreeSet::new();
        for pod in pods.values_mut().flat_map(|list| &mut list.pods) {
            listed.insert(pod.uid.clone());
            let first = ProbeKey { uid: pod.uid.clone(), authority: None };
            let of_pod = self.probes.range(first..).take_while(|(key, _)| key.uid == pod.uid);
            let proofs = of_pod.filter_map(|(key, entry)| {
                Some((key.authority.clone().unwrap_or_default(), entry.proof.clone()?))
            });
            pod.proofs = proofs.collect();
        }
        let is_unknown = |namespace: &str| pods.get(namespace).is_some_and(|list| list.error.is_some());
        self.probes.retain(|key, entry| {
            let is_there = listed.contains(&key.uid) || is_unknown(&entry.pod.namespace);
            if !is_there {
                entry.wait(key, true, &mut self.waiting);
            }
            is_there
        });
    }

    /// When [`due`](Self::due) returns more. `None` while about as many probes run as may: then it returns more
    /// when some of their results are recorded.
    pub fn next_due(&self) -> Option<SystemTime> {
        if self.running.len() > MAX_CONCURRENT / 2 {
            return None;
        }
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Replaces the requests.
    pub fn request(&mut self, requests: &[ProbeRequest]) {
        for entry in self.probes.values_mut() {
            entry.requested = false;
        }
        let mut wanted: BTreeMap<ProbeKey, BTreeSet<RootId>> = BTreeMap::new();
        for request in requests {
            let entry = self.probes.entry(ProbeKey::of(request)).or_insert_with(|| ProbeEntry::new(request));
            entry.address = request.address;
            entry.requested = true;
            wanted.entry(ProbeKey::of(request)).or_default().extend(request.roots.iter().cloned());
        }
        for (key, roots) in wanted {
            if let Some(entry) = self.probes.get_mut(&key)
                && !roots.is_subset(&entry.roots)
            {
                entry.roots = roots;
                entry.reset();
            }
        }
        for (key, entry) in &mut self.probes {
            entry.wait(key, self.running.contains(key), &mut self.waiting);
        }
    }

    /// No probe is running.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}

impl ProbeKey {
    pub fn of(request: &ProbeRequest) -> Self {
        Self { uid: request.uid.clone(), authority: request.authority.clone() }
    }
}

impl ProbeEntry {
    fn new(request: &ProbeRequest) -> Self {
        Self {
            pod: request.pod.clone(),
            address: request.address,
            roots: BTreeSet::new(),
            requested: true,
            proof: None,
            interval: Duration::ZERO,
            next_probe: UNIX_EPOCH,
            waits_until: None,
        }
    }

    /// Probes it as soon as it is requested.
    fn reset(&mut self) {
        self.interval = Duration::ZERO;
        self.next_probe = UNIX_EPOCH;
    }

    /// Takes its place among those that wait, or gives it up.
    fn wait(&mut self, key: &ProbeKey, is_running: bool, waiting: &mut Waiting) {
        let until = (self.requested && !is_running).then_some(self.next_probe);
        if until == self.waits_until {
            return;
        }
        if let Some(before) = self.waits_until {
            waiting.remove(&(before, key.clone()));
        }
        waiting.extend(until.map(|until| (until, key.clone())));
        self.waits_until = until;
    }
}

/// Connections come and go: their counts are not compared.
fn has_same_result(before: &Proof, after: &Proof) -> bool {
    match (&before.result, &after.result) {
        (Ok(before), Ok(after)) => before.leaf_sha256 == after.leaf_sha256 && before.accepts == after.accepts,
        (Err(before), Err(after)) => before == after,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
