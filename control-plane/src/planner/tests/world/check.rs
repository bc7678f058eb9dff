//! What holds after every step, and how it ends when nothing more happens.

use super::rounds::RoundOutcome;
use super::*;
use crate::api::condition::{ConditionStatus, ConditionType, Reason};

/// So long may it take until all is settled: longer than the clock was ever set back, and than
/// connections are waited for.
const MAX_ROUNDS: usize = 400;

impl World {
    pub(super) fn check(&mut self) {
        for (name, authority) in &self.store.authorities {
            let Some((state, roots)) = &authority.ring else { continue };
            if state.rollover().is_none() {
                self.forced.remove(name);
            }
            for needed in state.trusted().into_iter().chain([state.signing()]) {
                assert!(roots.contains_key(needed), "the key of {needed} is gone and it is still needed");
            }
            for (certificate, held) in &self.store.certificates {
                for version in held.versions.values() {
                    if let Some(root) = roots.get(&version.root) {
                        assert!(version.leaf.not_after <= root.not_after, "{certificate} outlives its root");
                    }
                }
            }
        }
        self.check_trust();
    }

    /// Every pod accepts the leaf that another pod shows, if both show one of the same authority or have the same
    /// certificate, and neither has expired: with an expired one on either side the handshake fails anyway.
    fn check_trust(&self) {
        // What a restored store says is not what pods have: until a person has decided, nothing is promised.
        if self.restored {
            return;
        }
        let live: Vec<_> = self.pods.iter().filter(|pod| self.counts(pod)).collect();
        for client in &live {
            let Some(shown) = self.content_of(client) else { continue };
            let home = self.made_for.get(&shown.root);
            let is_forced = |root: &RootId| {
                let home = self.made_for.get(root);
                self.removed.contains(root) || home.is_some_and(|home| self.forced.contains(home))
            };
            let has_expired = |content: &Content| self.now >= content.leaf.not_after;
            if has_expired(shown) || is_forced(&shown.root) {
                continue;
            }
            for server in &live {
                let Some(content) = self.content_of(server).filter(|content| !has_expired(content)) else {
                    continue;
                };
                let other = self.made_for.get(&content.root);
                let is_related = other == home || client.certificate == server.certificate;
                if is_related && !is_forced(&content.root) {
                    self.check_accepts(server, content, client, shown);
                }
            }
        }
    }

    fn check_accepts(
        &self,
        server: &SimulatedPod,
        content: &Content,
        client: &SimulatedPod,
        shown: &Content,
    ) {
        assert!(
            content.trust.contains(&shown.root),
            "{} of {} shows a leaf under {}, {} of {} trusts {:?} only; {:?}",
            client.name,
            client.certificate,
            shown.root,
            server.name,
            server.certificate,
            content.trust,
            self.store.authorities.iter().map(|(name, held)| (name, &held.ring)).collect::<Vec<_>>()
        );
    }

    /// Whether it is promised that this pod is not cut off: no person has let a rollover go on without it.
    fn counts(&self, pod: &SimulatedPod) -> bool {
        let names =
            [pod.uid.clone(), pod.certificate.to_string(), format!("{}/*", pod.certificate.namespace)];
        pod.agent && !names.iter().any(|name| self.overridden.contains(name))
    }

    pub(super) fn check_all_trust_each_other(&self) {
        self.check_trust();
        for client in &self.pods {
            for server in &self.pods {
                if let (Some(shown), Some(content)) = (self.content_of(client), self.content_of(server)) {
                    self.check_accepts(server, content, client, shown);
                }
            }
        }
    }

    /// After the store was restored: nothing is signed or retired while a pod that answers shows that there was
    /// another root since.
    pub(super) fn check_keyring_is_current(&self, authority: &str, what: &str) {
        let Some(state) = self.state_of(authority).filter(|_| self.restored && !self.stale) else { return };
        if state.accepted_at.is_some() {
            return;
        }
        for pod in self.pods.iter().filter(|pod| pod.agent && pod.reachable && !pod.was_unreachable) {
            let Some(held) = self.store.certificates.get(&pod.certificate) else { continue };
            let (true, Some(content)) = (held.spec.authority == authority, self.content_of(pod)) else {
                continue;
            };
            let is_seen = self.memory.has_seen(pod, authority) && self.now < content.leaf.not_after;
            // After a clock was set back, a newer leaf cannot be told from an older one.
            let is_newer = |version: &Version| version.leaf.not_before < content.leaf.not_before;
            let is_known = !held.versions.values().all(is_newer);
            let is_ours = |root: &&RootId| self.made_for.get(*root).is_some_and(|home| home == authority);
            let unknown = content.trust.iter().filter(is_ours).find(|root| !state.knows(root));
            if let (Some(root), true, false) = (unknown, is_seen, is_known) {
                panic!("{what}, and {} trusts {root}, which {authority} does not know", pod.name);
            }
        }
    }

    /// Every certificate is published and has pods.
    pub(super) fn set_up(&mut self) {
        for _ in 0..8 {
            self.round(RoundOutcome::Whole, false);
        }
        for pod in 0..6 {
            self.step(&Step::AddPod { certificate: pod, agent: true });
        }
        self.check();
        assert!(self.pods.iter().all(|pod| pod.serves.is_some()));
    }

    /// Nothing more happens but that pods take what is there and the clock goes on. People repair what is wrong.
    pub(super) fn settle(&mut self, one_pod_stays_unreachable: bool) {
        self.closed.clear();
        self.pods.retain(|pod| pod.agent && self.store.certificates.contains_key(&pod.certificate));
        self.pods.iter_mut().for_each(|pod| pod.reachable = true);
        self.store.authorities.values_mut().for_each(|authority| authority.deleted = false);
        for held in self.store.certificates.values_mut() {
            held.spec.lifetime = None;
            if held.spec.authority == MISTYPED {
                held.spec.authority = AUTHORITY.into();
            }
        }
        if self.restored {
            (0..self.store.certificates.len()).for_each(|one| self.step(&Step::Rotate(one)));
        }
        let unreachable =
            one_pod_stays_unreachable.then(|| self.pods.first().map(|pod| pod.uid.clone())).flatten();
        let mut last = Vec::new();
        for round in 0..MAX_ROUNDS {
            for pod in &mut self.pods {
                pod.reachable = unreachable.as_ref() != Some(&pod.uid);
            }
            self.step(&Step::AcceptKeyring);
            if round % 100 == 99 {
                self.go_back_where_history_is_lost();
            }
            let actions = self.round(RoundOutcome::Whole, false);
            self.check();
            for pod in 0..self.pods.len() {
                self.step(&Step::Sync { pod, lag: 0 });
                self.check();
            }
            if !actions.iter().any(|action| !is_answer(action)) && self.is_settled() {
                if unreachable.is_none() {
                    self.restored = false;
                    self.check();
                }
                return;
            }
            last = actions;
            self.now += 7 * MINUTE;
        }
        self.check_blocker_is_named(unreachable, &last);
    }

    /// As the status of these certificates asks for.
    fn go_back_where_history_is_lost(&mut self) {
        for held in self.store.certificates.values_mut() {
            let mut messages = held.status.conditions.iter().map(|condition| &condition.message);
            if messages.any(|message| message.contains("of which there is no version")) {
                let is_first = held.spec.authority == AUTHORITY;
                held.spec.authority = if is_first { OTHER } else { AUTHORITY }.into();
            }
        }
    }

    fn is_settled(&self) -> bool {
        let is_steady = |authority: &SimulatedAuthority| {
            authority.ring.as_ref().is_some_and(|(state, _)| state.rollover().is_none())
        };
        self.store.authorities.values().all(is_steady)
            && self.store.certificates.iter().all(|(name, held)| {
                self.state_of(&held.spec.authority)
                    .is_some_and(|state| held.is_settled(&self.store.targets[name], state))
            })
    }

    /// It is not settled: then a status says for whom it waits.
    fn check_blocker_is_named(&self, unreachable: Option<String>, last: &[Action]) {
        let stages: Vec<_> =
            [AUTHORITY, OTHER].map(|name| self.state_of(name).map(|state| &state.stage)).into();
        if !self.has_ledger {
            return;
        }
        let unreachable = self.pods.iter().find(|pod| unreachable.as_ref() == Some(&pod.uid));
        let Some(unreachable) = unreachable else {
            let held: Vec<_> =
                self.store.certificates.iter().map(|(name, held)| (name, &held.spec, &held.status)).collect();
            let waits: Vec<_> = self.store.authorities.values().map(|authority| &authority.status).collect();
            let pods: Vec<_> =
                self.pods.iter().map(|pod| (&pod.name, &pod.certificate, self.content_of(pod))).collect();
            panic!(
                "it never settles: {last:?} {stages:?}, {waits:#?}\n{held:#?}\n{pods:#?}\n{:#?}",
                self.state()
            );
        };
        let name = format!("{}/{}: ", unreachable.certificate.namespace, unreachable.name);
        let mut rollovers = self.store.authorities.values().filter_map(|held| held.status.rollover.as_ref());
        let is_named =
            rollovers.any(|rollover| rollover.waiting_for.iter().any(|line| line.starts_with(&name)));
        let mut served = self.store.certificates.values().filter_map(|held| held.status.served.as_ref());
        let is_named_by_move = served.any(|served| {
            served.by_pod.iter().any(|pod| pod.pod == unreachable.name && pod.problem.is_some())
        });
        assert!(is_named || is_named_by_move, "{name} holds {stages:?} and is not named");
    }
}

/// The answer to a request that came too late.
fn is_answer(action: &Action) -> bool {
    matches!(action, Action::Authority { transition: Transition::CloseRequest { .. }, .. })
        || matches!(action, Action::UpdateAuthorityStatus { .. })
}

impl SimulatedCertificate {
    fn is_settled(&self, target: &Target, state: &State) -> bool {
        let trusted: BTreeSet<_> = state.trusted().into_iter().cloned().collect();
        let (Some(secret), Some(newest)) = (&target.secret, self.versions.values().next_back()) else {
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
