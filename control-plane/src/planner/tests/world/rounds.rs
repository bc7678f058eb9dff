//! The controller: what it looks at, what it remembers between two rounds, and how a round may end.

use std::net::{Ipv4Addr, SocketAddr};

use super::super::super::plan;
use super::*;
use crate::planner::observed::{
    Authority, Certificate, HandshakeResult, KeyringState, KeyringView, Observed, Pod, PodAgent, PodList,
    Publication, Published,
};

/// Lost in a restart.
#[derive(Default)]
pub(super) struct Memory {
    looks: BTreeMap<String, PodList>,
    /// By uid.
    proofs: BTreeMap<String, Proof>,
    look: BTreeSet<String>,
    prove: Vec<ProbeRequest>,
    /// Earlier observed states, for a plan that is made on one of them.
    old: Vec<(Observed, SystemTime)>,
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

impl World {
    /// `early`: pods are listed and asked at once, so that what they said is old in the next round.
    pub(super) fn round(&mut self, fate: RoundOutcome, early: bool) -> Vec<Action> {
        if !early {
            self.list_and_probe();
        }
        let observed = self.observe();
        let planned = plan(&observed, self.now);
        self.memory.old.push((observed, self.now));
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
        if let RoundOutcome::Crash(_) = fate {
            self.memory = Memory::default();
        } else if early {
            self.list_and_probe();
        }
        planned.actions
    }

    /// A controller that observed the state a while ago applies its plan now.
    pub(super) fn stale(&mut self, back: usize) {
        let Some((observed, at)) = self.memory.old.iter().rev().nth(back).cloned() else { return };
        self.stale = true;
        for action in &plan(&observed, at).actions {
            self.apply(action);
        }
        self.stale = false;
    }

    pub(super) fn restart(&mut self) {
        self.memory = Memory::default();
    }

    fn list_and_probe(&mut self) {
        self.now += Duration::from_millis(1);
        for prove in std::mem::take(&mut self.memory.prove) {
            if let Some(shown) = self.ask(&prove) {
                let proof = Proof { taken_at: self.now, leaf_since: self.now, result: shown };
                let proof = proof.after(self.memory.proofs.get(&prove.uid));
                self.memory.proofs.insert(prove.uid, proof);
            }
        }
        for namespace in std::mem::take(&mut self.memory.look) {
            let look = PodList { listed_at: self.now, error: None, pods: self.list(&namespace) };
            self.memory.looks.insert(namespace, look);
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
        let roots = self.ca.ring.as_ref().map(|(_, roots)| roots)?;
        let valid = |root: &RootId| roots.get(root).is_some_and(|root| self.now < root.not_after);
        let lets_in = |root: &RootId| (root.clone(), content.trust.contains(root) && valid(root));
        Some(Ok(HandshakeResult {
            leaf_sha256: content.leaf.sha256.clone(),
            accepts: prove.roots.iter().map(lets_in).collect(),
            connections_under: {
                let open = |root: &RootId| pod.connections.get(root).copied().unwrap_or(0);
                content.trust.iter().map(|root| (root.clone(), open(root))).collect()
            },
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
                proof: None,
            }
        })
        .collect()
    }

    pub(super) fn observe(&self) -> Observed {
        let ring = |(state, roots): &(State, BTreeMap<RootId, Root>)| {
            KeyringState::Present(KeyringView {
                resource_version: stamp(self.ca.stamp),
                state: state.clone(),
                roots: roots.clone(),
            })
        };
        let authority = Authority {
            uid: "ca".into(),
            resource_version: ResourceVersion::default(),
            generation: 1,
            spec: authority_spec(),
            status: self.ca.status.clone(),
            deleting: false,
            requests: self.ca.requests.clone(),
            keyring: self.ca.ring.as_ref().map_or(KeyringState::Absent, ring),
            import: None,
        };
        let certificates =
            self.certificates.iter().map(|(name, cert)| (name.clone(), Arc::new(cert.observe())));
        let mut pods = self.memory.looks.clone();
        for look in pods.values_mut() {
            for pod in &mut look.pods {
                pod.proof = self.memory.proofs.get(&pod.uid).cloned();
            }
        }
        Observed {
            failed_actions: BTreeMap::new(),
            authorities: BTreeMap::from([(AUTHORITY.to_owned(), Arc::new(authority))]),
            certificates: certificates.collect(),
            pods,
            watched_secrets: BTreeMap::new(),
            nudge: true,
            ..Observed::default()
        }
    }
}

impl SimulatedCertificate {
    fn observe(&self) -> Certificate {
        let publication = |secret: &Secret| {
            Published::Ours(Publication {
                resource_version: stamp(secret.stamp),
                fingerprint: secret.fingerprint,
                leaf_sha256: secret.leaf_sha256.clone(),
                roots: secret.roots.clone(),
                revision: secret.revision,
                written_at: secret.written_at,
            })
        };
        Certificate {
            uid: "certificate".into(),
            resource_version: ResourceVersion::default(),
            generation: 1,
            spec: self.spec.clone(),
            status: self.status.clone(),
            deleting: false,
            requests: self.requests.clone(),
            versions: self.versions.iter().map(|(number, it)| (*number, Arc::new(it.clone()))).collect(),
            published: self.secret.as_ref().map_or(Published::Absent, publication),
        }
    }
}

fn is_idempotent(action: &Action) -> bool {
    matches!(
        action,
        Action::Prune { .. }
            | Action::Nudge { .. }
            | Action::UpdateAuthorityStatus { .. }
            | Action::UpdateCertificateStatus { .. }
    )
}
