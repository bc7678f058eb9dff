//! What pods serve: which of them mount a Secret, and whether a handshake has shown a publication.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::dependent::DependentCertificate;
use super::observed::{HandshakeResult, Observed, Pod, Publication};
use super::plan::{Plan, ProbeRequest};
use crate::pki::keyring::RootId;

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

impl ServedContext<'_> {
    fn authority(&self) -> &str {
        self.client.as_ref().map_or("", |(authority, _)| authority)
    }

    /// Seconds from the write to the handshake, or why the pod is not known to serve the publication.
    pub fn serving_after(&self, pod: &Pod) -> Result<f64, String> {
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

    /// It can be probed, and was not since the publication.
    pub fn is_unprobed(&self, pod: &Pod) -> bool {
        let has_address = pod.agent.as_ref().is_some_and(|agent| agent.address.is_some());
        let proof = pod.proof(self.authority());
        let is_probed = proof.is_some_and(|proof| is_since(proof.taken_at, self.publication, self.now));
        pod.serves(self.secret) && has_address && !is_probed
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

    pub fn probe(&self, namespace: &str, pod: &Pod, plan: &mut Plan) {
        if pod.serves(self.secret) {
            plan.probes.extend(ProbeRequest::of(namespace, pod, self.client.clone()));
        }
    }
}

/// What was seen before the publication says nothing of it, nor what a clock that was set back calls later.
pub fn is_since(seen_at: SystemTime, publication: &Publication, now: SystemTime) -> bool {
    publication.written_at <= seen_at && seen_at <= now
}
