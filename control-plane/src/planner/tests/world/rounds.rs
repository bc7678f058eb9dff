//! The controller: what it looks at, what it remembers between two rounds, and how a round may end.

use std::net::{Ipv4Addr, SocketAddr};

use super::super::super::plan;
use super::*;
use crate::pki::ledger::{Ledger, LedgerChange};
use crate::planner::observed::{
    Authority, Certificate, HandshakeResult, KeyringState, KeyringView, Observed, Pod, PodAgent, PodList,
    Publication, Published, SecretListing, WatchedSecret,
};

/// In one of so many rounds the plan is compared with one of everything: an object that is left out once is left out
/// in the next rounds, too.
const COMPARED: u64 = 4;

/// Lost in a restart.
pub(super) struct Memory {
    leading_since: SystemTime,
    looks: BTreeMap<String, PodList>,
    /// By uid and authority.
    proofs: BTreeMap<String, BTreeMap<String, Arc<Proof>>>,
    look: BTreeSet<String>,
    prove: Vec<ProbeRequest>,
    /// Earlier observed states, for a plan that is made on one of them.
    old: Vec<Planned>,
}

/// What a plan is made of.
#[derive(Clone)]
struct Planned {
    observed: Observed,
    at: SystemTime,
    rings: BTreeMap<String, u64>,
}

/// How far a round comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum RoundOutcome {
    Whole,
    /// After so many writes it is over, and the controller starts anew.
    Crash(usize),
    /// The same, but it lives on.
    Stop(usize),
    /// Every answer gets lost, so that every write is tried twice.
    Twice,
}

impl Memory {
    pub fn new(leading_since: SystemTime) -> Self {
        Self {
            leading_since,
            looks: BTreeMap::new(),
            proofs: BTreeMap::new(),
            look: BTreeSet::new(),
            prove: Vec::new(),
            old: Vec::new(),
        }
    }

    /// What a clock that was set back calls later is forgotten, or it would count as new when the clock goes on.
    fn forget_future(&mut self, now: SystemTime) {
        self.looks.retain(|_, look| look.listed_at <= now);
        self.proofs.values_mut().for_each(|of_pod| of_pod.retain(|_, proof| proof.taken_at <= now));
    }

    /// Whether it was seen what this pod has, since this controller leads.
    pub fn has_seen(&self, pod: &SimulatedPod, authority: &str) -> bool {
        let proof = self.proofs.get(&pod.uid).and_then(|proofs| proofs.get(authority));
        proof.is_some_and(|proof| proof.taken_at >= self.leading_since && proof.result.is_ok())
    }
}

impl World {
    /// `early`: pods are listed and asked at once, so that what they said is old in the next round.
    pub(super) fn round(&mut self, fate: RoundOutcome, early: bool) -> Vec<Action> {
        if !early {
            self.list_and_probe();
        }
        self.memory.forget_future(self.now);
        let planned_on = Planned { observed: self.observe(), at: self.now, rings: self.rings() };
        let planned = self.planner.plan(&planned_on.observed, self.now);
        self.rounds += 1;
        if self.rounds.is_multiple_of(COMPARED) {
            // What is left out because nothing touches it has nothing to do.
            assert_eq!(
                planned,
                plan(&planned_on.observed, self.now),
                "an object was not planned that should be"
            );
        }
        self.planned_on.clone_from(&planned_on.rings);
        self.memory.old.push(planned_on);
        if self.memory.old.len() > 8 {
            self.memory.old.remove(0);
        }
        self.memory.look = planned.list_pods;
        self.memory.prove = planned.probes;
        let many = match fate {
            RoundOutcome::Whole | RoundOutcome::Twice => usize::MAX,
            RoundOutcome::Crash(many) | RoundOutcome::Stop(many) => many,
        };
        for action in planned.actions.iter().take(many) {
            self.now += Duration::from_millis(1);
            let done = self.apply(action);
            if let (RoundOutcome::Twice, true) = (fate, done) {
                assert!(!self.apply(action) || is_idempotent(action), "done twice: {action:?}");
            }
        }
        self.planned_on.clear();
        if let RoundOutcome::Crash(_) = fate {
            self.restart();
        } else if early {
            self.list_and_probe();
        }
        planned.actions
    }

    fn rings(&self) -> BTreeMap<String, u64> {
        self.store.authorities.iter().map(|(name, authority)| (name.clone(), authority.stamp)).collect()
    }

    /// A controller that observed the state a while ago, and led then, applies its plan now.
    pub(super) fn stale(&mut self, back: usize) {
        let Some(Planned { observed, at, rings }) = self.memory.old.iter().rev().nth(back).cloned() else {
            return;
        };
        self.stale = true;
        self.planned_on = rings;
        for action in &plan(&observed, at).actions {
            self.apply(action);
        }
        self.planned_on.clear();
        self.stale = false;
    }

    pub(super) fn restart(&mut self) {
        self.now += Duration::from_millis(1);
        let old = std::mem::take(&mut self.memory.old);
        self.memory = Memory { old, ..Memory::new(self.now) };
        self.planner = Planner::default();
    }

    /// The store is as it was, and the controller starts anew on it. Pods keep what they have.
    pub(super) fn restore(&mut self, mut backup: SimulatedStore) {
        // What was in the Secrets since is what pods may still serve.
        for (name, target) in &self.store.targets {
            let held = backup.targets.entry(name.clone()).or_default();
            held.contents.clone_from(&target.contents);
        }
        self.store = backup;
        // The API server's versions go on, or a leader from before could write over what was restored.
        let stamp = self.count();
        self.store.authorities.values_mut().for_each(|authority| authority.stamp = stamp);
        for target in self.store.targets.values_mut() {
            target.vanished_at = Some(self.now);
            if let Some(secret) = &mut target.secret {
                secret.stamp = stamp;
            }
        }
        self.memory.old.clear();
        self.restored = true;
        for pod in &mut self.pods {
            pod.was_unreachable = !pod.reachable;
        }
        self.restart();
    }

    fn list_and_probe(&mut self) {
        self.now += Duration::from_millis(1);
        for prove in std::mem::take(&mut self.memory.prove) {
            if let Some(shown) = self.ask(&prove) {
                let proof = Proof { taken_at: self.now, leaf_since: self.now, result: shown };
                let of_pod = self.memory.proofs.entry(prove.uid).or_default();
                let authority = prove.authority.unwrap_or_default();
                let proof = proof.after(of_pod.get(&authority).map(Arc::as_ref));
                of_pod.insert(authority, proof.into());
            }
        }
        self.now += Duration::from_millis(1);
        for namespace in std::mem::take(&mut self.memory.look) {
            let error = self.closed.contains(&namespace).then(|| "not allowed (403)".to_owned());
            let pods = if error.is_some() { Vec::new() } else { self.list(&namespace) };
            self.memory.looks.insert(namespace, PodList { listed_at: self.now, error, pods });
        }
    }

    fn ask(&self, prove: &ProbeRequest) -> Option<Result<HandshakeResult, String>> {
        let pod = self.pods.iter().find(|pod| pod.uid == prove.uid)?;
        let Some(content) = self.content_of(pod).filter(|_| pod.reachable && pod.agent) else {
            return Some(Err("it does not answer".into()));
        };
        if self.now >= content.leaf.not_after {
            return Some(Err("its certificate has expired".into()));
        }
        let authority = self.store.authorities.get(prove.authority.as_ref()?)?;
        let roots = authority.ring.as_ref().map(|(_, roots)| roots)?;
        let valid = |root: &RootId| roots.get(root).is_some_and(|root| self.now < root.not_after);
        let known = prove.roots.iter().filter(|root| roots.contains_key(*root));
        let accepts: BTreeMap<_, _> =
            known.map(|root| (root.clone(), content.trust.contains(root) && valid(root))).collect();
        if accepts.is_empty() {
            return Some(Err("the authority has no such root any more".into()));
        }
        // The report is for a client that is let in.
        let is_let_in = accepts.values().any(|accepts| *accepts);
        let open = |root: &RootId| pod.connections.get(root).copied().unwrap_or(0);
        let reported = content.trust.iter().filter(|_| is_let_in);
        Some(Ok(HandshakeResult {
            leaf_sha256: content.leaf.sha256.clone(),
            leaf_not_before: Some(content.leaf.not_before),
            foreign: (!roots.contains_key(&content.root))
                .then(|| "this authority did not sign it".to_owned()),
            connections_under: reported.map(|root| (root.clone(), open(root))).collect(),
            accepts,
        }))
    }

    fn list(&self, namespace: &str) -> Vec<Pod> {
        let here = self.pods.iter().filter(|pod| pod.certificate.namespace == namespace);
        here.map(|pod| {
            let secret = secret_name(&pod.certificate);
            let address = pod.serves.map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            Pod {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                mounted_secrets: BTreeSet::from([secret.clone()]),
                agent: pod.agent.then_some(PodAgent { secret, watches_api: false, address }),
                nudged_revision: pod.nudged,
                proofs: BTreeMap::new(),
            }
        })
        .collect()
    }

    pub(super) fn observe(&self) -> Observed {
        let there = self.store.authorities.iter().filter(|(_, authority)| !authority.deleted);
        let authorities =
            there.map(|(name, held)| (name.clone(), Arc::new(self.observe_authority(name, held))));
        let certificates = self
            .store
            .certificates
            .iter()
            .map(|(name, cert)| (name.clone(), Arc::new(self.observe_certificate(name, cert))));
        let mut pods = self.memory.looks.clone();
        for look in pods.values_mut() {
            for pod in &mut look.pods {
                pod.proofs = self.memory.proofs.get(&pod.uid).cloned().unwrap_or_default();
            }
        }
        let orphaned = self.store.authorities.iter().filter(|(_, authority)| authority.deleted);
        let orphaned = orphaned.filter_map(|(name, held)| {
            let view = self.observe_authority(name, held).keyring.view()?.clone();
            Some((name.clone(), view))
        });
        Observed {
            orphaned_keyrings: orphaned.collect(),
            authorities: authorities.collect(),
            certificates: certificates.collect(),
            pods,
            watched_secrets: self.observe_orphans(),
            nudge: true,
            namespaces: ["shop", "bank"].map(|name| (name.to_owned(), self.listing(name))).into(),
            leading_since: Some(self.memory.leading_since),
            ..Observed::default()
        }
    }

    fn listing(&self, namespace: &str) -> SecretListing {
        if self.closed.contains(namespace) {
            return SecretListing::Failed("not allowed (403)".into());
        }
        let here = self.store.targets.iter().filter(|(name, _)| name.namespace == namespace);
        let vanished = here.filter_map(|(_, target)| target.vanished_at).max();
        SecretListing::Complete(vanished.unwrap_or(self.memory.leading_since).max(self.memory.leading_since))
    }

    fn observe_authority(&self, name: &str, held: &SimulatedAuthority) -> Authority {
        let ring = |(state, roots): &(State, BTreeMap<RootId, Root>)| {
            let mut state = state.clone();
            if !self.has_ledger {
                self.blot_ledger(name, &mut state);
            }
            KeyringState::Present(KeyringView {
                resource_version: stamp(held.stamp),
                state,
                roots: roots.clone(),
            })
        };
        Authority {
            uid: name.to_owned(),
            resource_version: ResourceVersion::default(),
            generation: 1,
            spec: authority_spec(),
            status: held.status.clone(),
            deleting: false,
            requests: held.requests.clone(),
            keyring: held.ring.as_ref().map_or(KeyringState::Absent, ring),
            import: None,
        }
    }

    /// What specs say now, in place of what was written down.
    fn blot_ledger(&self, authority: &str, state: &mut State) {
        let Some(ledger) = state.ledger.take() else { return };
        let mut change = LedgerChange::default();
        for (name, certificate) in &self.store.certificates {
            let entry = ledger.get(&name.namespace, &secret_name(name));
            if let (Some(entry), true) = (entry, certificate.spec.authority == authority) {
                let secret = ObjectName::new(name.namespace.clone(), secret_name(name));
                change.record.insert(secret, entry.clone());
            }
        }
        let mut blotted = Ledger::default();
        blotted.apply(&change);
        state.ledger = Some(Arc::new(blotted));
    }

    fn observe_certificate(&self, name: &ObjectName, held: &SimulatedCertificate) -> Certificate {
        let is_closed = self.closed.contains(&name.namespace);
        let secret = self.store.targets.get(name).and_then(|target| target.secret.as_ref());
        let published = match secret {
            _ if is_closed => Published::Inaccessible("not allowed (403)".into()),
            Some(secret) => Published::Ours(secret.observe()),
            None => Published::Absent,
        };
        Certificate {
            uid: "certificate".into(),
            resource_version: ResourceVersion::default(),
            generation: 1,
            spec: held.spec.clone(),
            status: held.status.clone(),
            deleting: false,
            requests: held.requests.clone(),
            versions: held.versions.iter().map(|(number, it)| (*number, Arc::new(it.clone()))).collect(),
            published,
        }
    }

    /// Secrets whose certificate is gone.
    fn observe_orphans(&self) -> BTreeMap<ObjectName, WatchedSecret> {
        let targets = self.store.targets.iter().filter(|(name, _)| {
            !self.store.certificates.contains_key(*name) && !self.closed.contains(&name.namespace)
        });
        let orphans = targets.filter_map(|(name, target)| {
            let Secret { roots, written_at, .. } = target.secret.clone()?;
            let secret = ObjectName::new(name.namespace.clone(), secret_name(name));
            Some((secret, WatchedSecret { leaf: None, roots, orphan: true, written_at: Some(written_at) }))
        });
        orphans.collect()
    }
}

impl Secret {
    fn observe(&self) -> Publication {
        Publication {
            resource_version: stamp(self.stamp),
            fingerprint: self.fingerprint,
            leaf_sha256: self.leaf_sha256.clone(),
            roots: self.roots.clone(),
            revision: self.revision,
            written_at: self.written_at,
        }
    }
}

fn is_idempotent(action: &Action) -> bool {
    matches!(
        action,
        Action::Prune { .. }
            | Action::RemoveKey { .. }
            | Action::Nudge { .. }
            | Action::UpdateAuthorityStatus { .. }
            | Action::UpdateCertificateStatus { .. }
    )
}
