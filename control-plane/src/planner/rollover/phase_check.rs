//! What blocks the phase that a rollover is in: certificates whose Secret is not yet what it should be,
//! and pods that have not shown what the phase needs. Whatever is not known to be ready blocks it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::api::object_name::ObjectName;
use crate::pki::keyring::{Phase, Rollover};
use crate::planner::authority::{Blocker, DependentCertificate};
use crate::planner::nudge::nudge;
use crate::planner::observed::{HandshakeResult, Observed, Pod, Published};
use crate::planner::plan::{Plan, ProbeRequest};

/// The phase that a rollover is in, and what it is checked against.
pub struct PhaseCheck<'a> {
    pub observed: &'a Observed,
    pub authority: &'a str,
    pub rollover: &'a Rollover,
    pub drain_deadline: Duration,
    pub now: SystemTime,
}

/// The certificates whose Secret may be mounted, by its namespace and name.
type BySecret<'a> = BTreeMap<(&'a str, &'a str), &'a DependentCertificate<'a>>;

/// Once the old root has expired no client under it is accepted anywhere: there is no trust left to lose,
/// and no pod can prove anything before it has a leaf under the new root.
pub fn without_expired_root(blockers: &mut Vec<Blocker>, phase: Phase) {
    if phase == Phase::Distributing {
        blockers.clear();
    }
    blockers.iter_mut().for_each(|blocker| blocker.trust_unproven = false);
}

impl PhaseCheck<'_> {
    /// Everything that blocks it. Pods that may have something new to show are probed again.
    pub fn blockers(&self, dependents: &[DependentCertificate<'_>], plan: &mut Plan) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        let mut by_secret = BySecret::new();
        for dependent in dependents {
            blockers.extend(self.check_certificate(dependent));
            if dependent.may_be_mounted() {
                plan.list_pods.insert(dependent.name.namespace.clone());
                by_secret.insert((&dependent.name.namespace, dependent.secret), dependent);
            }
        }
        let orphans = self.orphaned_secrets();
        plan.list_pods.extend(orphans.iter().map(|secret| secret.namespace.clone()));
        let namespaces: BTreeSet<&str> = by_secret
            .keys()
            .map(|(namespace, _)| *namespace)
            .chain(orphans.iter().map(|secret| secret.namespace.as_str()))
            .collect();
        for namespace in namespaces {
            blockers.extend(self.check_pod_list(namespace, &by_secret));
            for pod in self.observed.pods_of(namespace) {
                for secret in &pod.mounted_secrets {
                    if let Some(dependent) = by_secret.get(&(namespace, secret)) {
                        blockers.extend(self.check_pod(namespace, pod, dependent, plan));
                    } else if orphans.contains(&ObjectName::new(namespace, secret.clone())) {
                        blockers.extend(self.check_orphan_user(namespace, pod, secret));
                    }
                }
            }
        }
        if blockers.is_empty() && self.rollover.phase == Phase::Reissuing {
            blockers = self.connections_to_recount(&by_secret, plan);
        }
        blockers
    }

    /// Secrets with the old root that no certificate publishes any more: the new root will not be written
    /// into them.
    fn orphaned_secrets(&self) -> BTreeSet<ObjectName> {
        let watched = self.observed.watched_secrets.iter();
        let orphans =
            watched.filter(|(_, secret)| secret.orphan && secret.roots.contains(&self.rollover.from));
        orphans.map(|(name, _)| name.clone()).collect()
    }

    /// A pod that was created before the last write and after the list may serve what was there before.
    fn check_pod_list(&self, namespace: &str, by_secret: &BySecret<'_>) -> Option<Blocker> {
        let here = by_secret.range((namespace, "")..).take_while(|((other, _), _)| *other == namespace);
        let written = here.filter_map(|(_, dependent)| match &dependent.certificate.published {
            Published::Ours(publication) => Some(publication.written_at),
            _ => None,
        });
        let since = written.max().unwrap_or(self.rollover.started_at).max(self.rollover.started_at);
        let fresh = since..=self.now;
        match self.observed.pods.get(namespace) {
            Some(list) if list.error.is_none() && fresh.contains(&list.listed_at) => None,
            list => {
                let reason = list.and_then(|list| list.error.clone());
                let reason =
                    reason.unwrap_or_else(|| "the pods have not been listed since this phase began".into());
                Some(Blocker::namespace(namespace, reason))
            }
        }
    }

    fn check_orphan_user(&self, namespace: &str, pod: &Pod, secret: &str) -> Option<Blocker> {
        let reason = format!(
            "the pod mounts {secret}, which no certificate publishes any more: remove the mount, or override the pod"
        );
        (!self.rollover.is_overridden(&pod.uid)).then(|| pod_blocker(namespace, pod, reason, true))
    }

    /// While one pod still showed its old leaf it may have opened connections to others, after those were
    /// asked for theirs: so each is asked once more after the last one has shown its new leaf.
    fn connections_to_recount(&self, by_secret: &BySecret<'_>, plan: &mut Plan) -> Vec<Blocker> {
        let Rollover { to, phase_started_at, .. } = self.rollover;
        if phase_started_at.checked_add(self.drain_deadline).is_some_and(|deadline| self.now >= deadline) {
            return Vec::new();
        }
        let mut probed = Vec::new();
        for (namespace, list) in &self.observed.pods {
            for pod in list.pods.iter().filter(|pod| !self.rollover.is_overridden(&pod.uid)) {
                let is_dependent =
                    |secret: &String| by_secret.contains_key(&(namespace.as_str(), secret.as_str()));
                let address = pod.agent.as_ref().and_then(|agent| agent.address);
                if let (Some(proof), Some(address), true) =
                    (&pod.proof, address, pod.mounted_secrets.iter().any(is_dependent))
                {
                    probed.push((namespace, pod, address, proof));
                }
            }
        }
        let last = probed.iter().map(|(.., proof)| proof.leaf_since).max();
        let outdated = probed.into_iter().filter(|(.., proof)| Some(proof.taken_at) < last);
        outdated
            .map(|(namespace, pod, address, _)| {
                plan.probes.push(ProbeRequest {
                    pod: ObjectName::new(namespace, pod.name.clone()),
                    uid: pod.uid.clone(),
                    address,
                    authority: Some(self.authority.to_owned()),
                    roots: vec![to.clone()],
                });
                let reason =
                    "the agent's connections are counted again, now that no pod opens one under the old root";
                pod_blocker(namespace, pod, reason.into(), false)
            })
            .collect()
    }

    /// Checks what is published, before what is served. A certificate that was never published blocks nothing.
    fn check_certificate(&self, dependent: &DependentCertificate<'_>) -> Option<Blocker> {
        let Rollover { to, phase, .. } = self.rollover;
        let blocker = |reason: String, trust_unproven: bool| {
            let name = dependent.name.to_string();
            Some(Blocker { name, pod_uid: String::new(), reason, trust_unproven })
        };
        let publication = match &dependent.certificate.published {
            Published::Ours(publication) => publication,
            Published::Inaccessible(why) if dependent.may_be_mounted() => return blocker(why.clone(), true),
            // It is about to be written, for the first time or again.
            Published::Absent if dependent.is_published_soon() => {
                return blocker("its Secret has not been written yet".into(), false);
            }
            Published::Absent | Published::Inaccessible(_) | Published::OwnedByOther(_) => return None,
        };
        let published = dependent.certificate.published_version();
        let is_issued_since =
            || published.is_some_and(|(_, version)| version.is_issued_since(self.rollover.started_at));
        let is_under_new_root = || published.is_some_and(|(_, version)| version.root == *to);
        let reason = match phase {
            Phase::Distributing if !publication.roots.contains(to) => {
                "its Secret has not been written with the new root yet"
            }
            Phase::Distributing if self.rollover.redistributing && !is_issued_since() => {
                "its Secret has no leaf that was issued since the rollover was reversed"
            }
            Phase::Reissuing | Phase::Retiring if !is_under_new_root() => {
                "its Secret has no leaf under the new root yet"
            }
            Phase::Retiring if publication.roots.iter().any(|root| root != to) => {
                "its Secret has not been written without the old root yet"
            }
            _ => return None,
        };
        blocker(reason.into(), !publication.roots.contains(to))
    }

    fn check_pod(
        &self,
        namespace: &str,
        pod: &Pod,
        dependent: &DependentCertificate<'_>,
        plan: &mut Plan,
    ) -> Option<Blocker> {
        let Rollover { to, from, phase, started_at, .. } = self.rollover;
        if self.rollover.is_overridden(&pod.uid) {
            return None;
        }
        let blocker =
            |reason: String, trust_unproven: bool| Some(pod_blocker(namespace, pod, reason, trust_unproven));
        let Some(agent) = pod.agent.as_ref().filter(|_| pod.serves(dependent.secret)) else {
            let secret = dependent.secret;
            let reason = format!(
                "the pod mounts {secret} without an agent, so it cannot be probed: add the agent, or override the pod"
            );
            return blocker(reason, true);
        };
        let Some(address) = agent.address else {
            return blocker("the pod has no address yet".into(), true);
        };
        // A proof from before the phase says nothing, nor does one that a clock which was set back calls later.
        let proof =
            pod.proof.as_ref().filter(|proof| *started_at <= proof.taken_at && proof.taken_at <= self.now);
        let found = match proof.map(|proof| &proof.result) {
            None => blocker("the agent has not been probed yet".into(), true),
            Some(Err(why)) => blocker(why.clone(), true),
            Some(Ok(handshake)) => {
                let missing = self.missing_proof(dependent, handshake, plan);
                missing.and_then(|(reason, trust_unproven)| blocker(reason, trust_unproven))
            }
        }?;
        if let Published::Ours(publication) = &dependent.certificate.published {
            nudge(self.observed, namespace, pod, publication, self.now, plan);
        }
        let roots = match phase {
            Phase::Distributing | Phase::Reissuing => vec![to.clone()],
            Phase::Retiring => vec![to.clone(), from.clone()],
        };
        plan.probes.push(ProbeRequest {
            pod: ObjectName::new(namespace, pod.name.clone()),
            uid: pod.uid.clone(),
            address,
            authority: Some(self.authority.to_owned()),
            roots,
        });
        Some(found)
    }

    /// Why a handshake does not prove what the phase needs, and whether trust in the new root is unproven.
    fn missing_proof(
        &self,
        dependent: &DependentCertificate<'_>,
        handshake: &HandshakeResult,
        plan: &mut Plan,
    ) -> Option<(String, bool)> {
        let Rollover { to, from, phase, phase_started_at, .. } = self.rollover;
        if handshake.accepts.get(to) != Some(&true) {
            return Some(("the agent does not accept clients under the new root yet".into(), true));
        }
        let published = dependent.certificate.published_version().map(|(_, version)| version);
        let shown = published.filter(|version| version.leaf.sha256 == handshake.leaf_sha256);
        if *phase == Phase::Distributing {
            let is_missing = shown.is_none();
            return is_missing.then(|| ("the agent does not serve the published leaf yet".into(), false));
        }
        if shown.is_none_or(|version| version.root != *to) {
            return Some(("the agent does not serve its leaf under the new root yet".into(), false));
        }
        if *phase == Phase::Retiring {
            let is_refused = handshake.accepts.get(from) == Some(&false);
            return (!is_refused)
                .then(|| ("the agent still accepts clients under the old root".into(), false));
        }
        let open = handshake.connections_under.get(from).copied().unwrap_or(0);
        let deadline = phase_started_at.checked_add(self.drain_deadline);
        if open > 0 && deadline.is_none_or(|deadline| self.now < deadline) {
            if let Some(deadline) = deadline {
                plan.wake(deadline);
            }
            return Some((format!("{open} open connections were accepted under the old root"), false));
        }
        None
    }
}

fn pod_blocker(namespace: &str, pod: &Pod, reason: String, trust_unproven: bool) -> Blocker {
    let name = format!("{namespace}/{}", pod.name);
    Blocker { name, pod_uid: pod.uid.clone(), reason, trust_unproven }
}
