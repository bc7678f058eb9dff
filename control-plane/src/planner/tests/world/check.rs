//! What holds after every step, and how it ends when nothing more happens.

use super::rounds::RoundOutcome;
use super::*;
use crate::api::condition::{ConditionStatus, ConditionType, Reason};

/// So long may it take until all is settled: longer than the clock was ever set back, and than
/// connections are waited for.
const MAX_ROUNDS: usize = 400;

impl World {
    pub(super) fn check(&mut self) {
        let Some((state, roots)) = &self.ca.ring else { return };
        let forced_now = state.rollover().is_some_and(|rollover| rollover.forced);
        if !forced_now && self.forced && state.rollover().is_none() {
            self.forced = false;
        }
        for needed in state.trusted().into_iter().chain([state.signing()]) {
            assert!(roots.contains_key(needed), "the key of {needed} is gone and it is still needed");
        }
        for (name, held) in &self.certificates {
            for version in held.versions.values() {
                if let Some(root) = roots.get(&version.root) {
                    assert!(version.leaf.not_after <= root.not_after, "{name} outlives its root");
                }
            }
            if let (Some(newest), None) = (held.versions.keys().next_back(), held.secret.as_ref()) {
                assert!(*newest <= held.newest);
            }
        }
        if !self.forced {
            self.check_trust();
        }
    }

    /// Every pod accepts the leaf that every other pod shows.
    fn check_trust(&self) {
        let live = |pod: &&SimulatedPod| pod.agent && !self.overridden.contains(&pod.uid);
        let live: Vec<_> = self.pods.iter().filter(live).collect();
        for client in &live {
            let Some(shown) = self.content_of(client) else { continue };
            if self.now >= shown.leaf.not_after {
                continue;
            }
            for server in &live {
                let Some(content) = self.content_of(server) else { continue };
                assert!(
                    content.trust.contains(&shown.root),
                    "{} of {} shows a leaf under {}, {} of {} trusts {:?} only; {:?}",
                    client.name,
                    client.certificate,
                    shown.root,
                    server.name,
                    server.certificate,
                    content.trust,
                    self.state().map(|state| &state.stage)
                );
            }
        }
    }

    /// Every certificate is published and has pods.
    pub(super) fn set_up(&mut self) {
        for _ in 0..6 {
            self.round(RoundOutcome::Whole, false);
        }
        for pod in 0..6 {
            self.step(&Step::AddPod { certificate: pod, agent: true });
        }
        self.check();
        assert!(self.pods.iter().all(|pod| pod.serves.is_some()));
    }

    /// Nothing more happens but that pods take what is there and the clock goes on.
    pub(super) fn settle(&mut self, one_pod_stays_unreachable: bool) {
        self.pods.retain(|pod| pod.agent && self.certificates.contains_key(&pod.certificate));
        self.pods.iter_mut().for_each(|pod| pod.reachable = true);
        for held in self.certificates.values_mut() {
            held.spec.lifetime = None;
        }
        let unreachable =
            one_pod_stays_unreachable.then(|| self.pods.first().map(|pod| pod.uid.clone())).flatten();
        for _ in 0..MAX_ROUNDS {
            for pod in &mut self.pods {
                pod.reachable = unreachable.as_ref() != Some(&pod.uid);
            }
            let actions = self.round(RoundOutcome::Whole, false);
            self.check();
            for pod in 0..self.pods.len() {
                self.step(&Step::Sync { pod, lag: 0 });
                self.check();
            }
            if actions.is_empty() && self.is_settled() {
                return;
            }
            self.now += 7 * MINUTE;
        }
        self.check_blocker_is_named(unreachable);
    }

    fn is_settled(&self) -> bool {
        let Some(state) = self.state() else { return false };
        state.rollover().is_none() && self.certificates.values().all(|held| held.is_settled(state))
    }

    /// It is not settled: then the status says for whom it waits.
    fn check_blocker_is_named(&self, unreachable: Option<String>) {
        let stage = self.state().map(|state| &state.stage);
        let waiting = self.ca.status.rollover.as_ref().map(|rollover| &rollover.waiting_for);
        let unreachable = self.pods.iter().find(|pod| unreachable.as_ref() == Some(&pod.uid));
        let Some(unreachable) = unreachable else {
            let held: Vec<_> = self.certificates.iter().map(|(name, held)| (name, &held.status)).collect();
            panic!("it never settles: {stage:?}, {:?}\n{held:#?}", self.ca.status);
        };
        let name = format!("{}/{}: ", unreachable.certificate.namespace, unreachable.name);
        let named = waiting.is_some_and(|waiting| waiting.iter().any(|line| line.starts_with(&name)));
        assert!(named, "{name} holds {stage:?} and is not named: {waiting:?}");
    }
}

impl SimulatedCertificate {
    fn is_settled(&self, state: &State) -> bool {
        let trusted: BTreeSet<_> = state.trusted().into_iter().cloned().collect();
        let (Some(secret), Some(newest)) = (&self.secret, self.versions.values().next_back()) else {
            return false;
        };
        let ready = self.status.conditions.iter().any(|condition| {
            condition.r#type == ConditionType::Ready
                && condition.status == ConditionStatus::True
                && condition.reason == Reason::Published
        });
        ready && secret.fingerprint == newest.fingerprint && secret.roots == trusted
    }
}
