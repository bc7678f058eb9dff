//! The book of proofs: what each pod was seen to serve last, and when it is asked again. The plan says
//! what is wanted; the book paces it, so that a plan that wants the same proof at every look does not
//! knock at a pod without end. Each pod is asked by one at a time, so an answer never overwrites a newer
//! one. Pure: time is an argument, and those who do the asking are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pki::keyring::RootId;
use crate::planner::ProbeRequest;
use crate::planner::observed::{HandshakeResult, ObjectName, PodList, Proof};

/// How many pods are asked at the same time.
pub const AT_ONCE: usize = 64;
/// From one answer to the next asking, doubled while the answer stays the same.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// By pod uid.
#[derive(Debug, Default)]
pub struct ProofSchedule {
    pods: BTreeMap<String, Page>,
    under_way: BTreeSet<String>,
}

/// What is known of one pod.
#[derive(Debug)]
struct Page {
    pod: ObjectName,
    address: SocketAddr,
    authority: Option<String>,
    /// All that it was asked about, so that two who want different roots do not take turns at
    /// overwriting each other's answer.
    roots: BTreeSet<RootId>,
    /// The plan wants it now.
    wanted: bool,
    proof: Option<Proof>,
    pause: Duration,
    again: SystemTime,
}

impl ProofSchedule {
    /// Which of the proofs that were wanted last to ask for now. Those count as under way until they are
    /// recorded.
    pub fn due(&mut self, now: SystemTime) -> Vec<ProbeRequest> {
        let room = AT_ONCE.saturating_sub(self.under_way.len());
        if room < AT_ONCE / 2 {
            return Vec::new();
        }
        let mut due: Vec<_> = self
            .pods
            .iter()
            .filter(|(uid, page)| page.wanted && !self.under_way.contains(*uid) && page.is_due(now))
            .map(|(uid, page)| (page.again, uid.clone()))
            .collect();
        // Who has waited longest is first.
        due.sort();
        due.truncate(room);
        let mut asked = Vec::new();
        for (_, uid) in due {
            if let Some(page) = self.pods.get(&uid) {
                asked.push(ProbeRequest {
                    pod: page.pod.clone(),
                    uid: uid.clone(),
                    address: page.address,
                    authority: page.authority.clone(),
                    roots: page.roots.iter().cloned().collect(),
                });
                self.under_way.insert(uid);
            }
        }
        asked
    }

    /// An answer came.
    pub fn record(&mut self, uid: &str, proof: Proof, now: SystemTime) {
        self.under_way.remove(uid);
        // It may be gone by now.
        let Some(page) = self.pods.get_mut(uid) else { return };
        let proof = proof.after(page.proof.as_ref());
        let same = page.proof.as_ref().is_some_and(|before| says_the_same(before, &proof));
        page.pause = if same { (page.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) } else { FIRST_PAUSE };
        page.again = now + page.pause;
        page.proof = Some(proof);
    }

    /// Something was published: every pod of this authority (or of none) may have something new to show.
    pub fn reset(&mut self, authority: Option<&str>) {
        for page in self.pods.values_mut().filter(|page| page.authority.as_deref() == authority) {
            page.rest();
        }
    }

    /// Puts the proofs to the pods, and forgets the pods that are gone. Of a namespace that could not be
    /// listed nobody is known to be gone.
    pub fn attach(&mut self, pods: &mut BTreeMap<String, PodList>) {
        let mut listed = BTreeSet::new();
        for pod in pods.values_mut().flat_map(|look| &mut look.pods) {
            listed.insert(pod.uid.clone());
            pod.proof = self.pods.get(&pod.uid).and_then(|page| page.proof.clone());
        }
        let unclear = |namespace: &str| pods.get(namespace).is_some_and(|look| look.error.is_some());
        self.pods.retain(|uid, page| listed.contains(uid) || unclear(&page.pod.namespace));
    }

    /// When `due` will have more. Not while about as many are under way as may be: then it has more when
    /// some of them are recorded.
    pub fn next_due(&self) -> Option<SystemTime> {
        if self.under_way.len() > AT_ONCE / 2 {
            return None;
        }
        let waiting = self.pods.iter().filter(|(uid, page)| page.wanted && !self.under_way.contains(*uid));
        waiting.map(|(_, page)| page.again).min()
    }

    /// What the plan wants now. A pod has one agent, which serves one authority's Secret: of two
    /// authorities, the first counts.
    pub fn want(&mut self, wanted: &[ProbeRequest]) {
        for page in self.pods.values_mut() {
            page.wanted = false;
        }
        let mut by_pod: BTreeMap<&str, &ProbeRequest> = BTreeMap::new();
        for prove in wanted {
            let first = *by_pod.entry(&prove.uid).or_insert(prove);
            if first.authority != prove.authority {
                continue;
            }
            let page = self.pods.entry(prove.uid.clone()).or_insert_with(|| Page::new(prove));
            if page.authority != prove.authority {
                *page = Page::new(prove);
            }
            page.address = prove.address;
            page.wanted = true;
            for root in &prove.roots {
                if page.roots.insert(root.clone()) {
                    page.rest();
                }
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}

impl Page {
    fn new(prove: &ProbeRequest) -> Self {
        Self {
            pod: prove.pod.clone(),
            address: prove.address,
            authority: prove.authority.clone(),
            roots: BTreeSet::new(),
            wanted: true,
            proof: None,
            pause: Duration::ZERO,
            again: UNIX_EPOCH,
        }
    }

    /// Forgets how long it was quiet.
    fn rest(&mut self) {
        self.pause = Duration::ZERO;
        self.again = UNIX_EPOCH;
    }

    fn is_due(&self, now: SystemTime) -> bool {
        // Further away than any pause is a clock that was put back.
        self.again <= now || self.again > now + LONGEST_PAUSE
    }
}

/// Connections come and go: they alone are no news.
fn says_the_same(before: &Proof, after: &Proof) -> bool {
    match (&before.result, &after.result) {
        (Ok(before), Ok(after)) => {
            let of = |shown: &HandshakeResult| (shown.leaf_sha256.clone(), shown.accepts.clone());
            of(before) == of(after)
        }
        (Err(before), Err(after)) => before == after,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
