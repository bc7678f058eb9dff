//! What blocks the phase that a rollover is in: certificates whose Secret is not yet what it should be,
//! and pods that have not shown what the phase needs. Whatever is not known to be ready blocks it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::ledger;
use super::leftover::{Contents, Leftover, PodTrust};
use crate::api::object_name::ObjectName;
use crate::pki::keyring::{Phase, Rollover};
use crate::planner::authority::{Blocker, everything_in};
use crate::planner::dependent::DependentCertificate;
use crate::planner::nudge::nudge;
use crate::planner::observed::{HandshakeResult, KeyringView, Observed, Pod, Published, SecretListing};
use crate::planner::plan::{Plan, ProbeRequest};

/// The phase that a rollover is in, and what it is checked against.
pub struct PhaseCheck<'a> {
    pub observed: &'a Observed,
    pub authority: &'a str,
    pub keyring: &'a KeyringView,
    pub rollover: &'a Rollover,
    pub drain_deadline: Duration,
    pub now: SystemTime,
}

/// The certificates whose Secret may be mounted, by its namespace and name.
type BySecret<'a> = BTreeMap<(&'a str, &'a str), &'a DependentCertificate<'a>>;

fn secrets_in<'a>(
    by_secret: &'a BySecret<'a>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a DependentCertificate<'a>> {
    let here = by_secret.range((namespace, "")..).take_while(move |((other, _), _)| *other == namespace);
    here.map(|(_, dependent)| *dependent)
}

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
        let (mut by_secret, mut unwritten) = (BySecret::new(), BTreeSet::new());
        for dependent in dependents.iter().filter(|dependent| !self.is_skipped(dependent)) {
            if let Some(blocker) = self.check_certificate(dependent) {
                unwritten.insert(dependent.name.namespace.as_str());
                blockers.push(blocker);
            }
            if dependent.may_be_mounted() || self.is_in_ledger(dependent) {
                by_secret.insert((&dependent.name.namespace, dependent.secret), dependent);
            }
        }
        let leftovers = self.leftovers(dependents);
        let namespaces: BTreeSet<&str> = by_secret
            .keys()
            .map(|(namespace, _)| *namespace)
            .chain(leftovers.iter().map(|leftover| leftover.secret.namespace.as_str()))
            .collect();
        for namespace in namespaces {
            let before = blockers.len();
            let here: Vec<_> =
                leftovers.iter().filter(|leftover| leftover.secret.namespace == namespace).collect();
            let outdated = self.check_listings(namespace, &by_secret, &here);
            blockers.extend(outdated);
            blockers.extend(here.iter().filter_map(|leftover| self.check_moving_certificate(leftover)));
            for pod in self.observed.pods_of(namespace) {
                if self.rollover.is_overridden(&pod.uid) {
                    continue;
                }
                for secret in &pod.mounted_secrets {
                    if let Some(dependent) = by_secret.get(&(namespace, secret)) {
                        blockers.extend(self.check_pod(namespace, pod, dependent, plan));
                    }
                }
                let mounted =
                    here.iter().filter(|leftover| pod.mounted_secrets.contains(&leftover.secret.name));
                blockers.extend(mounted.filter_map(|leftover| self.check_leftover_user(pod, leftover, plan)));
            }
            let found = blockers.get(before..).unwrap_or_default();
            // What is not written yet cannot be seen; but no leaf is written under the new root before the pods are known.
            let is_pointless = unwritten.contains(namespace)
                && !(self.rollover.phase == Phase::Reissuing
                    && found.iter().any(|blocker| blocker.trust_unproven));
            // Where all is proven since the last write, a pod that comes later finds what was written; but not in a Secret
            // that this authority does not write.
            let is_written = here.is_empty()
                && secrets_in(&by_secret, namespace).all(|dependent| dependent.publication().is_some());
            let is_needed = !is_written || !found.is_empty() && !is_pointless;
            let pods = if is_needed { &mut plan.list_pods } else { &mut plan.retain_pods };
            pods.insert(namespace.to_owned());
        }
        if blockers.is_empty() && self.rollover.phase == Phase::Reissuing {
            blockers = self.connections_to_recount(&by_secret, plan);
        }
        blockers
    }

    /// A person lets the rollover go on without this certificate and its pods.
    fn is_skipped(&self, dependent: &DependentCertificate<'_>) -> bool {
        let DependentCertificate { name, .. } = *dependent;
        self.rollover.is_overridden(&name.to_string())
            || self.rollover.is_overridden(&everything_in(&name.namespace))
    }

    fn is_in_ledger(&self, dependent: &DependentCertificate<'_>) -> bool {
        let ledger = self.keyring.state.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.get(&dependent.name.namespace, dependent.secret).is_some())
    }

    /// Secrets with the old root that no certificate of this authority publishes any more: the new root will not be
    /// written into them.
    fn leftovers(&self, dependents: &[DependentCertificate<'_>]) -> Vec<Leftover<'_>> {
        let ledger = self.keyring.state.ledger.as_deref();
        let mut leftovers =
            ledger.map_or_else(Vec::new, |ledger| ledger::leftovers(self.observed, ledger, dependents));
        let is_known = |secret: &ObjectName| {
            ledger.is_some_and(|ledger| ledger.get(&secret.namespace, &secret.name).is_some())
        };
        let orphans = self.observed.watched_secrets.iter();
        let orphans = orphans.filter(|(name, secret)| {
            secret.orphan && secret.roots.contains(&self.rollover.from) && !is_known(name)
        });
        leftovers.extend(orphans.map(|(name, _)| Leftover::find(self.observed, name.clone())));
        leftovers.retain(|leftover| {
            let certificate = leftover.contents.as_ref().and_then(|contents| contents.certificate);
            let is_skipped = certificate.is_some_and(|name| self.rollover.is_overridden(&name.to_string()));
            !is_skipped && !self.rollover.is_overridden(&everything_in(&leftover.secret.namespace))
        });
        leftovers
    }

    /// A pod that was created before the last write and after the list may serve what was there before.
    fn check_listings(
        &self,
        namespace: &str,
        by_secret: &BySecret<'_>,
        leftovers: &[&Leftover<'_>],
    ) -> Option<Blocker> {
        if !leftovers.is_empty() {
            match self.observed.namespaces.get(namespace) {
                Some(SecretListing::Complete(_)) => {}
                Some(SecretListing::Failed(why)) => {
                    let reason =
                        format!("its Secrets, of which some have this root, cannot be listed: {why}");
                    return Some(Blocker::namespace(namespace, reason));
                }
                None => {
                    let reason = "its Secrets, of which some have this root, are not listed yet".into();
                    return Some(Blocker::namespace(namespace, reason));
                }
            }
        }
        let here = secrets_in(by_secret, namespace);
        let written = here.filter_map(|dependent| Some(dependent.publication()?.written_at));
        let without = leftovers.iter().filter_map(|leftover| leftover.without(&[&self.rollover.from]));
        let since = written.chain(without).fold(self.rollover.started_at, SystemTime::max);
        let fresh = since..=self.now;
        match self.observed.pods.get(namespace) {
            Some(list) if list.error.is_none() && fresh.contains(&list.listed_at) => None,
            list => {
                let reason = list.and_then(|list| list.error.clone());
                let reason = reason.unwrap_or_else(|| {
                    "the pods have not been listed since the rollover began or a Secret was written".into()
                });
                Some(Blocker::namespace(namespace, reason))
            }
        }
    }

    /// Until the Secret was seen without the old root, and then the pod as well.
    fn check_leftover_user(&self, pod: &Pod, leftover: &Leftover<'_>, plan: &mut Plan) -> Option<Blocker> {
        let Rollover { from, to, started_at, .. } = self.rollover;
        let secret = &leftover.secret;
        let trusts_new = leftover.contents.as_ref().is_some_and(|contents| contents.roots.contains(to));
        let blocker = |reason: String| Some(Blocker::pod(&secret.namespace, pod, reason, !trusts_new));
        let name = &secret.name;
        if let Some(since) = leftover.without(&[from]) {
            let since = since.max(*started_at);
            return match leftover.trust_of(pod, self.authority, &[from], since, self.now) {
                PodTrust::Gone => None,
                trust => {
                    plan.probes.extend(leftover.probe(pod, self.authority, &[from]));
                    let seen = match trust {
                        PodTrust::Present => "still accepts clients under the old root",
                        _ => "has not been seen to refuse clients under the old root",
                    };
                    blocker(format!("the pod mounts {name}, which had the old root, and {seen}"))
                }
            };
        }
        // One that a certificate publishes blocks by that certificate.
        let is_published = leftover.contents.as_ref().is_some_and(|contents| contents.certificate.is_some());
        if is_published {
            return None;
        }
        blocker(format!(
            "the pod mounts {name}, which no certificate publishes any more: remove the mount, or override the pod"
        ))
    }

    /// Its Secret has the old root and none of this rollover writes it, whether or not a pod mounts it now: one may
    /// be created at any time.
    fn check_moving_certificate(&self, leftover: &Leftover<'_>) -> Option<Blocker> {
        let Rollover { from, to, .. } = self.rollover;
        let Contents { certificate, authority, roots } =
            leftover.contents.as_ref().filter(|_| leftover.contains_any(&[from]))?;
        let (certificate, secret) = ((*certificate)?, &leftover.secret.name);
        let reason = if authority.is_empty() {
            format!("its Secret {secret} has the old root until it is served as its manager has it")
        } else {
            format!(
                "its Secret {secret} has the old root until it is served under the authority {authority:?} that it names: \
                 is that the right one?"
            )
        };
        Some(Blocker::certificate(certificate, reason, !roots.contains(to)))
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
                let has_address = pod.agent.as_ref().is_some_and(|agent| agent.address.is_some());
                if let (Some(proof), true, true) =
                    (pod.proof(self.authority), has_address, pod.mounted_secrets.iter().any(is_dependent))
                {
                    probed.push((namespace, pod, proof));
                }
            }
        }
        let last = probed.iter().map(|(.., proof)| proof.leaf_since).max();
        let outdated = probed.into_iter().filter(|(.., proof)| Some(proof.taken_at) < last);
        outdated
            .map(|(namespace, pod, _)| {
                let client = Some((self.authority, vec![to.clone()]));
                plan.probes.extend(ProbeRequest::of(namespace, pod, client));
                let reason =
                    "the agent's connections are counted again, now that no pod opens one under the old root";
                Blocker::pod(namespace, pod, reason.into(), false)
            })
            .collect()
    }

    /// Checks what is published, before what is served. A certificate that was never published blocks nothing.
    fn check_certificate(&self, dependent: &DependentCertificate<'_>) -> Option<Blocker> {
        let Rollover { to, phase, .. } = self.rollover;
        let blocker = |reason: String, trust_unproven: bool| {
            Some(Blocker::certificate(dependent.name, reason, trust_unproven))
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
        let blocker =
            |reason: String, trust_unproven: bool| Some(Blocker::pod(namespace, pod, reason, trust_unproven));
        let Some(agent) = pod.agent.as_ref().filter(|_| pod.serves(dependent.secret)) else {
            let secret = dependent.secret;
            let reason = format!(
                "the pod mounts {secret} without an agent, so it cannot be probed: add the agent, or override the pod"
            );
            return blocker(reason, true);
        };
        if agent.address.is_none() {
            return blocker("the pod has no address yet".into(), true);
        }
        // A proof from before the rollover, or its reversal, says nothing, nor does one that a clock which was set back calls later.
        let proof = pod
            .proof(self.authority)
            .filter(|proof| *started_at <= proof.taken_at && proof.taken_at <= self.now);
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
        // What is not published yet cannot be seen. Whether a pod trusts the new root is asked all the same, once that
        // may have been published: nothing is issued under it before.
        let is_pointless = *phase == Phase::Distributing || !found.trust_unproven;
        if is_pointless && self.check_certificate(dependent).is_some() {
            return Some(found);
        }
        let roots = match phase {
            Phase::Distributing | Phase::Reissuing => vec![to.clone()],
            Phase::Retiring => vec![to.clone(), from.clone()],
        };
        plan.probes.extend(ProbeRequest::of(namespace, pod, Some((self.authority, roots))));
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
        let published = dependent.certificate.published_version().map(|(_, version)| version);
        let shown = published.filter(|version| version.leaf.sha256 == handshake.leaf_sha256);
        if let (Some(why), None) = (&handshake.foreign, shown) {
            return Some((why.clone(), true));
        }
        if handshake.accepts.get(to) != Some(&true) {
            return Some(("the agent does not accept clients under the new root yet".into(), true));
        }
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
