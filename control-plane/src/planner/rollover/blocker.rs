//! Who holds the step that a rollover is at: certificates whose Secret is not yet what it should be, and
//! pods that have not shown what the step needs. Whoever is not known to be ready holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::super::{Plan, Prove, serving};
use crate::pki::keyring::{Phase, Rollover};
use crate::planner::observed::{Certificate, ObjectName, Observed, Pod, Published, Shown, Version};

/// Somebody who holds a step, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocker {
    /// Pod or certificate, NAMESPACE/NAME.
    pub who: String,
    /// Of a pod; empty otherwise.
    pub uid: String,
    pub why: String,
    /// It is not known to trust the new root: no leaf under that may be published.
    pub trust: bool,
}

/// A member and the Secret it is published as.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub name: &'a ObjectName,
    pub certificate: &'a Certificate,
    pub secret: &'a str,
    /// Its spec can be acted on.
    pub valid: bool,
}

/// How a namespace is named whose pods have not been listed.
pub(super) const NAMESPACE: &str = "namespace ";

impl Rollover {
    /// Whether a leaf was made since it began, so that whoever shows it has what was published since.
    pub(in crate::planner) fn is_since(&self, version: &Version) -> bool {
        version.created_at >= self.started_at && version.copy_of.is_none()
    }
}

impl Member<'_> {
    /// Pods may have it: it is there, or was before it was lost or closed.
    fn may_be_mounted(&self) -> bool {
        match self.certificate.published {
            Published::Ours(_) => true,
            Published::Absent | Published::Closed(_) | Published::Foreign(_) => {
                self.certificate.status.revision.is_some()
            }
        }
    }

    fn is_published_soon(&self) -> bool {
        self.valid && !self.certificate.deleting && !self.certificate.versions.is_empty()
    }
}

/// Once the old root has expired nobody is let in under it anywhere: there is no trust left to lose, and
/// nobody who could prove anything before there are leaves under the new one.
pub(super) fn without_the_expired(holds: &mut Vec<Blocker>, phase: Phase) {
    if phase == Phase::Distributing {
        holds.clear();
    }
    holds.iter_mut().for_each(|hold| hold.trust = false);
}

/// The step that a rollover is at.
pub(super) struct Step<'a> {
    pub observed: &'a Observed,
    pub authority: &'a str,
    pub rollover: &'a Rollover,
    pub drain: Duration,
    pub now: SystemTime,
}

impl Step<'_> {
    /// Everybody who holds it. Pods that may have something new to show are asked again.
    pub fn holds(&self, members: &[Member<'_>], plan: &mut Plan) -> Vec<Blocker> {
        let mut holds = Vec::new();
        let mut by_secret: BTreeMap<(&str, &str), &Member<'_>> = BTreeMap::new();
        for member in members {
            holds.extend(self.certificate(member));
            if member.may_be_mounted() {
                plan.look.insert(member.name.namespace.clone());
                by_secret.insert((&member.name.namespace, member.secret), member);
            }
        }
        let left = self.left_behind();
        plan.look.extend(left.iter().map(|secret| secret.namespace.clone()));
        let namespaces: BTreeSet<&str> = by_secret
            .keys()
            .map(|(namespace, _)| *namespace)
            .chain(left.iter().map(|secret| secret.namespace.as_str()))
            .collect();
        for namespace in namespaces {
            // A pod that came before the last writing and after the look may serve what was there before.
            let here = by_secret.range((namespace, "")..).take_while(|((other, _), _)| *other == namespace);
            let written = here.filter_map(|(_, member)| match &member.certificate.published {
                Published::Ours(publication) => Some(publication.written_at),
                _ => None,
            });
            let since = written.max().unwrap_or(self.rollover.started_at).max(self.rollover.started_at);
            let fresh = since..=self.now;
            match self.observed.pods.get(namespace) {
                Some(look) if look.problem.is_none() && fresh.contains(&look.at) => {}
                look => {
                    let why = look.and_then(|look| look.problem.clone());
                    let why = why.unwrap_or_else(|| "its pods have not been listed since".into());
                    let who = format!("{NAMESPACE}{namespace}");
                    holds.push(Blocker { who, uid: String::new(), why, trust: true });
                }
            }
            for pod in self.observed.pods_of(namespace) {
                for secret in &pod.mounts {
                    if let Some(member) = by_secret.get(&(namespace, secret)) {
                        holds.extend(self.pod(namespace, pod, member, plan));
                    } else if left.contains(&ObjectName::new(namespace, secret.clone())) {
                        holds.extend(self.left(namespace, pod, secret));
                    }
                }
            }
        }
        if holds.is_empty() && self.rollover.phase == Phase::Reissuing {
            holds = self.not_counted_since(&by_secret, plan);
        }
        holds
    }

    /// Secrets under the old root that no certificate publishes any more: nobody will write the new root
    /// into them.
    fn left_behind(&self) -> BTreeSet<ObjectName> {
        let left = self
            .observed
            .foreign
            .iter()
            .filter(|(_, foreign)| foreign.orphan && foreign.roots.contains(&self.rollover.from));
        left.map(|(name, _)| name.clone()).collect()
    }

    fn left(&self, namespace: &str, pod: &Pod, secret: &str) -> Option<Blocker> {
        let why = format!("it mounts {secret}, which no certificate publishes any more");
        let who = format!("{namespace}/{}", pod.name);
        (!self.rollover.is_overridden(&pod.uid)).then(|| Blocker {
            who,
            uid: pod.uid.clone(),
            why,
            trust: true,
        })
    }

    /// While one pod still showed its old leaf it may have opened connections to others, which they had
    /// not when they were asked: so each is asked once more after the last one has shown its new leaf.
    fn not_counted_since(
        &self,
        by_secret: &BTreeMap<(&str, &str), &Member<'_>>,
        plan: &mut Plan,
    ) -> Vec<Blocker> {
        let Rollover { to, phase_started_at, .. } = self.rollover;
        if phase_started_at.checked_add(self.drain).is_some_and(|deadline| self.now >= deadline) {
            return Vec::new();
        }
        let mut asked = Vec::new();
        for (namespace, look) in &self.observed.pods {
            for pod in look.pods.iter().filter(|pod| !self.rollover.is_overridden(&pod.uid)) {
                let ours = |secret: &String| by_secret.contains_key(&(namespace.as_str(), secret.as_str()));
                let address = pod.agent.as_ref().and_then(|agent| agent.address);
                if let (Some(proof), Some(address), true) = (&pod.proof, address, pod.mounts.iter().any(ours))
                {
                    asked.push((namespace, pod, address, proof));
                }
            }
        }
        let last = asked.iter().map(|(.., proof)| proof.since).max();
        let before = asked.into_iter().filter(|(.., proof)| Some(proof.at) < last);
        before
            .map(|(namespace, pod, address, _)| {
                plan.prove.push(Prove {
                    pod: ObjectName::new(namespace, pod.name.clone()),
                    uid: pod.uid.clone(),
                    address,
                    authority: Some(self.authority.to_owned()),
                    roots: vec![to.clone()],
                });
                Blocker {
                    who: format!("{namespace}/{}", pod.name),
                    uid: pod.uid.clone(),
                    why: "its connections are counted again, now that no pod opens one under the old root"
                        .into(),
                    trust: false,
                }
            })
            .collect()
    }

    /// What is published, before what is served. A certificate that was never published holds nobody.
    fn certificate(&self, member: &Member<'_>) -> Option<Blocker> {
        let Rollover { to, phase, .. } = self.rollover;
        let hold = |why: String, trust: bool| {
            Some(Blocker { who: member.name.to_string(), uid: String::new(), why, trust })
        };
        let publication = match &member.certificate.published {
            Published::Ours(publication) => publication,
            Published::Closed(why) if member.may_be_mounted() => return hold(why.clone(), true),
            // It is about to be written, or again.
            Published::Absent if member.is_published_soon() => {
                return hold("its Secret has not been written yet".into(), false);
            }
            Published::Absent | Published::Closed(_) | Published::Foreign(_) => return None,
        };
        let published = member.certificate.published_version();
        let made_since = || published.is_some_and(|(_, version)| self.rollover.is_since(version));
        let under_new = || published.is_some_and(|(_, version)| version.root == *to);
        let why = match phase {
            Phase::Distributing if !publication.roots.contains(to) => {
                "its Secret has not been written with the new root yet"
            }
            Phase::Distributing if self.rollover.redistributing && !made_since() => {
                "its Secret has no leaf that was made since the rollover was turned around"
            }
            Phase::Reissuing | Phase::Retiring if !under_new() => {
                "its Secret has no leaf under the new root yet"
            }
            Phase::Retiring if publication.roots.iter().any(|root| root != to) => {
                "its Secret has not been written without the old root yet"
            }
            _ => return None,
        };
        let trust = !publication.roots.contains(to);
        hold(why.into(), trust)
    }

    fn pod(&self, namespace: &str, pod: &Pod, member: &Member<'_>, plan: &mut Plan) -> Option<Blocker> {
        let Rollover { to, from, phase, started_at, .. } = self.rollover;
        if self.rollover.is_overridden(&pod.uid) {
            return None;
        }
        let hold = |why: String, trust: bool| {
            Some(Blocker { who: format!("{namespace}/{}", pod.name), uid: pod.uid.clone(), why, trust })
        };
        let Some(agent) = pod.agent.as_ref().filter(|_| pod.serves(member.secret)) else {
            return hold(
                format!(
                    "it mounts {} without an agent, so nothing can be seen of what it serves",
                    member.secret
                ),
                true,
            );
        };
        let Some(address) = agent.address else {
            return hold("it has no address yet".into(), true);
        };
        // What was seen before says nothing, nor does what a clock that was set back calls later.
        let proof = pod.proof.as_ref().filter(|proof| *started_at <= proof.at && proof.at <= self.now);
        let held = match proof.map(|proof| &proof.shown) {
            None => hold("it has not been asked yet".into(), true),
            Some(Err(why)) => hold(why.clone(), true),
            Some(Ok(shown)) => self.shown(member, shown, plan).and_then(|(why, trust)| hold(why, trust)),
        }?;
        if let Published::Ours(publication) = &member.certificate.published {
            serving::nudge(self.observed, namespace, pod, publication, self.now, plan);
        }
        let roots = match phase {
            Phase::Distributing | Phase::Reissuing => vec![to.clone()],
            Phase::Retiring => vec![to.clone(), from.clone()],
        };
        plan.prove.push(Prove {
            pod: ObjectName::new(namespace, pod.name.clone()),
            uid: pod.uid.clone(),
            address,
            authority: Some(self.authority.to_owned()),
            roots,
        });
        Some(held)
    }

    /// Why what a pod showed does not do, and whether that is for want of trust in the new root.
    fn shown(&self, member: &Member<'_>, shown: &Shown, plan: &mut Plan) -> Option<(String, bool)> {
        let Rollover { to, from, phase, phase_started_at, .. } = self.rollover;
        if shown.lets_in.get(to) != Some(&true) {
            return Some(("it does not let in clients under the new root yet".into(), true));
        }
        let published = member.certificate.published_version();
        if *phase == Phase::Distributing {
            let shows = published.is_some_and(|(_, version)| version.leaf.sha256 == shown.leaf_sha256);
            return (!shows).then(|| ("it does not show the leaf that is published".into(), false));
        }
        if !published
            .is_some_and(|(_, version)| version.root == *to && version.leaf.sha256 == shown.leaf_sha256)
        {
            return Some(("it does not show its leaf under the new root yet".into(), false));
        }
        if *phase == Phase::Retiring {
            let refused = shown.lets_in.get(from) == Some(&false);
            return (!refused).then(|| ("it still lets in clients under the old root".into(), false));
        }
        let open = shown.connections_under.get(from).copied().unwrap_or(0);
        let deadline = phase_started_at.checked_add(self.drain);
        if open > 0 && deadline.is_none_or(|deadline| self.now < deadline) {
            if let Some(deadline) = deadline {
                plan.wake(deadline);
            }
            return Some((format!("{open} of its connections came in under the old root"), false));
        }
        None
    }
}
