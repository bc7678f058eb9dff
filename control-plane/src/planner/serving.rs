//! A publication is complete when it is served: which pods are listed, nudged and probed after a Secret
//! was written, and what they were seen to serve.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::authority::{AuthorityPlan, DependentCertificate};
use super::certificate::{CertificateContext, CertificatePlan};
use super::nudge::nudge;
use super::observed::{HandshakeResult, Observed, Pod, Publication, Published};
use super::plan::{Plan, ProbeRequest};
use crate::api::object_name::ObjectName;
use crate::api::resource::{PodServed, ServedStatus};
use crate::pki::keyring::RootId;

/// A pod that does not serve the publication by then is named in the status.
const LATE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Between two lists of the pods of a publication that is late.
const RELIST_LATE: Duration = Duration::from_secs(5 * 60);
/// How many pods the status names.
const MAX_NAMED: usize = 20;

/// The pods that mount each Secret, by its namespace and name.
pub struct PodsBySecret<'a> {
    pub observed: &'a Observed,
    pods: BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>,
}

impl<'a> PodsBySecret<'a> {
    pub fn new(observed: &'a Observed) -> Self {
        let mut pods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (namespace, list) in &observed.pods {
            for pod in &list.pods {
                for secret in &pod.mounted_secrets {
                    pods.entry((namespace.as_str(), secret.as_str())).or_default().push(pod);
                }
            }
        }
        Self { observed, pods }
    }

    pub fn mounting<'s>(
        &'s self,
        namespace: &'s str,
        secret: &'s str,
    ) -> impl Iterator<Item = &'a Pod> + use<'s, 'a> {
        self.pods.get(&(namespace, secret)).into_iter().flatten().copied()
    }

    /// Whether every pod that mounts the Secret was seen to serve the publication, by clients of an authority. `is_ours` as in
    /// [`ServedContext`].
    pub fn all_serve(
        &self,
        dependent: &DependentCertificate<'_>,
        publication: &Publication,
        authority: &str,
        is_ours: &dyn Fn(&RootId) -> bool,
        now: SystemTime,
    ) -> bool {
        let DependentCertificate { name, secret, .. } = *dependent;
        let list = self.observed.pods.get(&name.namespace);
        let is_listed =
            list.is_some_and(|list| list.error.is_none() && is_since(list.listed_at, publication, now));
        let client = Some((authority, Vec::new()));
        let context = ServedContext { publication, secret, client, is_ours, now };
        is_listed && self.mounting(&name.namespace, secret).all(|pod| context.serving_after(pod).is_ok())
    }
}

/// What the pods of one certificate are to serve, and how that is seen.
pub struct ServedContext<'a> {
    pub publication: &'a Publication,
    pub secret: &'a str,
    /// The authority and the roots under which a client certificate is presented. Without one only the leaf is
    /// seen.
    pub client: Option<(&'a str, Vec<RootId>)>,
    /// Whether a root that an agent reports to trust is one that hotcert publishes in this Secret. Another comes
    /// from the agent's own settings.
    pub is_ours: &'a dyn Fn(&RootId) -> bool,
    pub now: SystemTime,
}

/// What was observed so far of one publication.
#[derive(Debug)]
pub struct Served {
    pub status: ServedStatus,
    /// Every pod was seen to serve it, or there are no pods.
    pub complete: bool,
    /// It takes longer than it should.
    pub late: bool,
    /// Why the pods could not be listed.
    pub error: Option<String>,
}

/// `None` while nothing is published, or nothing is known of its pods yet.
pub fn plan(
    pods: &PodsBySecret<'_>,
    context: &CertificateContext<'_>,
    authority_plan: Option<&AuthorityPlan<'_>>,
    certificate_plan: &CertificatePlan<'_>,
    plan: &mut Plan,
) -> Option<Served> {
    let CertificateContext { name, certificate, now } = *context;
    let (Published::Ours(publication), Some(secret), true) = (
        &certificate.published,
        certificate_plan.secret_name,
        certificate_plan.up_to_date || certificate_plan.awaits_pods,
    ) else {
        return None;
    };
    let revision = status_revision(publication);
    let before = certificate.status.served.as_ref().filter(|served| served.revision == revision);
    let age = now.duration_since(publication.written_at).unwrap_or_default();
    let late = age > LATE_AFTER;
    // A step that waits for pods counts them itself.
    let before_complete =
        before.filter(|before| before.serving == before.pods && !certificate_plan.awaits_pods);
    if let Some(before) = before_complete {
        return Some(Served { status: before.clone(), complete: true, late, error: None });
    }
    let list = pods.observed.pods.get(&name.namespace);
    let list = list.filter(|list| is_since(list.listed_at, publication, now));
    let is_old = list.is_none_or(|list| now.duration_since(list.listed_at).unwrap_or_default() > RELIST_LATE);
    if !late || is_old {
        plan.list_pods.insert(name.namespace.clone());
    } else {
        plan.retain_pods.insert(name.namespace.clone());
        plan.wake(now + RELIST_LATE);
    }
    let list = list?;
    if list.error.is_some() {
        let status = before.cloned().unwrap_or(ServedStatus { revision, ..ServedStatus::default() });
        return Some(Served { status, complete: false, late, error: list.error.clone() });
    }
    let keyring = authority_plan.and_then(|plan| plan.keyring);
    let moved_from = authority_plan.and_then(|plan| plan.moves.from(name));
    let is_ours = |root: &RootId| {
        keyring.is_some_and(|keyring| keyring.state.knows(root))
            || moved_from.is_some_and(|from| from.contains(root))
            || certificate_plan.moved_from.contains(root)
    };
    let client = match (keyring, &certificate_plan.client) {
        (_, Some((authority, roots))) => Some((authority.as_str(), roots.clone())),
        (Some(keyring), None) => {
            let version = certificate.published_version().map(|(_, version)| &version.root);
            let version = version.filter(|root| keyring.roots.contains_key(root));
            let root = version.unwrap_or_else(|| keyring.state.signing());
            Some((certificate.spec.authority.as_str(), vec![root.clone()]))
        }
        (None, None) => None,
    };
    let served = ServedContext { publication, secret, client, is_ours: &is_ours, now };
    let status = served_by(pods, context, &served, before, plan);
    let complete = status.serving == status.pods;
    Some(Served { status, complete, late, error: None })
}

/// Which pods serve the publication. The others are nudged and probed.
fn served_by(
    pods: &PodsBySecret<'_>,
    context: &CertificateContext<'_>,
    served: &ServedContext<'_>,
    before: Option<&ServedStatus>,
    plan: &mut Plan,
) -> ServedStatus {
    let CertificateContext { name, now, .. } = *context;
    // A repeated handshake does not change when the pod served it first.
    let first: BTreeMap<_, _> = before
        .iter()
        .flat_map(|before| &before.by_pod)
        .filter_map(|pod| Some((pod.pod.as_str(), pod.seconds?)))
        .collect();
    let publication = served.publication;
    let mut status = ServedStatus { revision: status_revision(publication), ..ServedStatus::default() };
    for pod in pods.mounting(&name.namespace, served.secret) {
        status.pods += 1;
        match served.serving_after(pod) {
            Ok(seconds) => {
                let seconds = first.get(pod.name.as_str()).map_or(seconds, |first| first.min(seconds));
                status.serving += 1;
                status.seconds = Some(status.seconds.map_or(seconds, |slowest| slowest.max(seconds)));
                add_pod(&mut status, pod, Some(seconds), None);
            }
            Err(problem) => {
                add_pod(&mut status, pod, None, Some(problem));
                nudge(pods.observed, &name.namespace, pod, publication, now, plan);
                served.probe(&name.namespace, pod, plan);
            }
        }
    }
    status
}

/// What was seen before the publication says nothing of it, nor what a clock that was set back calls later.
fn is_since(seen_at: SystemTime, publication: &Publication, now: SystemTime) -> bool {
    publication.written_at <= seen_at && seen_at <= now
}

fn status_revision(publication: &Publication) -> i64 {
    i64::try_from(publication.revision).unwrap_or(i64::MAX)
}

/// Pods that do not serve it are named before those that do.
fn add_pod(status: &mut ServedStatus, pod: &Pod, seconds: Option<f64>, problem: Option<String>) {
    let served = PodServed { pod: pod.name.clone(), seconds, problem };
    if served.problem.is_some() {
        status.by_pod.insert(0, served);
    } else {
        status.by_pod.push(served);
    }
    status.by_pod.truncate(MAX_NAMED);
}

impl ServedContext<'_> {
    fn authority(&self) -> &str {
        self.client.as_ref().map_or("", |(authority, _)| authority)
    }

    /// Seconds from the write to the handshake, or why the pod is not known to serve the publication.
    fn serving_after(&self, pod: &Pod) -> Result<f64, String> {
        if !pod.serves(self.secret) {
            return Err("the pod has no agent for this Secret".into());
        }
        let proof =
            pod.proof(self.authority()).filter(|proof| is_since(proof.taken_at, self.publication, self.now));
        let Some(proof) = proof else {
            return Err("the agent has not been probed yet".into());
        };
        match &proof.result {
            Err(why) => Err(why.clone()),
            Ok(handshake) if handshake.leaf_sha256 != self.publication.leaf_sha256 => {
                Err(handshake.foreign.clone().unwrap_or_else(|| "the agent serves another leaf".into()))
            }
            // Which roots it reports. Whether it trusts no others is proved by handshakes, in a rollover.
            Ok(handshake) if !self.trusts_what_is_published(handshake) => {
                Err("the agent trusts other roots".into())
            }
            Ok(_) => {
                let after = proof.taken_at.duration_since(self.publication.written_at);
                Ok(after.unwrap_or_default().as_secs_f64())
            }
        }
    }

    fn trusts_what_is_published(&self, handshake: &HandshakeResult) -> bool {
        let trusted = &handshake.connections_under;
        // A client without a certificate sees no roots.
        let sees_roots = self.client.is_some() || !trusted.is_empty();
        let is_surplus = |root: &&RootId| !self.publication.roots.contains(root) && (self.is_ours)(root);
        !sees_roots
            || self.publication.roots.iter().all(|root| trusted.contains_key(root))
                && !trusted.keys().any(|root| is_surplus(&root))
    }

    fn probe(&self, namespace: &str, pod: &Pod, plan: &mut Plan) {
        let address = pod.agent.as_ref().and_then(|agent| agent.address);
        if let (Some(address), true) = (address, pod.serves(self.secret)) {
            plan.probes.push(ProbeRequest {
                pod: ObjectName::new(namespace, pod.name.clone()),
                uid: pod.uid.clone(),
                address,
                authority: self.client.as_ref().map(|(authority, _)| (*authority).to_owned()),
                roots: self.client.iter().flat_map(|(_, roots)| roots).cloned().collect(),
            });
        }
    }
}
