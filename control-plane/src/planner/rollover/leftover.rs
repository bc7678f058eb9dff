//! Secrets that roots of an authority were published in and that none of its certificates publishes any more:
//! the certificate was deleted, or it names another authority or another Secret. What pods serve from them is
//! written nowhere but in the [ledger](crate::pki::ledger).

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::api::object_name::ObjectName;
use crate::api::settings::CertificateSettings;
use crate::pki::keyring::RootId;
use crate::planner::observed::{Observed, Pod, Published, SecretListing};
use crate::planner::plan::ProbeRequest;

/// Such a Secret, as it is now.
pub struct Leftover<'a> {
    pub secret: ObjectName,
    /// `None` if there is no such Secret.
    pub contents: Option<Contents<'a>>,
    /// Since when it is known to be as it is. `None` while the Secrets of its namespace are not listed.
    since: Option<SystemTime>,
}

pub struct Contents<'a> {
    pub roots: &'a BTreeSet<RootId>,
    /// The certificate that publishes it now.
    pub certificate: Option<&'a ObjectName>,
    /// The authority that this certificate names.
    pub authority: &'a str,
}

/// Whether a pod still trusts any of these roots.
pub enum PodTrust {
    Gone,
    Unknown,
    Present,
}

impl<'a> Leftover<'a> {
    pub fn find(observed: &'a Observed, secret: ObjectName) -> Self {
        let listed = match observed.namespaces.get(&secret.namespace) {
            Some(SecretListing::Complete(since)) => Some(*since),
            Some(SecretListing::Failed(_)) | None => None,
        };
        let published = published_by_certificate(observed, &secret);
        let (contents, written_at) = match (published, observed.watched_secrets.get(&secret)) {
            (Some((contents, written_at)), _) => (Some(contents), Some(written_at)),
            (None, Some(orphan)) if orphan.orphan => {
                (Some(Contents { roots: &orphan.roots, certificate: None, authority: "" }), orphan.written_at)
            }
            (None, _) => (None, None),
        };
        let since = listed.map(|since| written_at.map_or(since, |at| at.max(since)));
        Self { secret, contents, since }
    }

    /// Whether it contains one of these roots, or may.
    pub fn contains_any(&self, roots: &[&RootId]) -> bool {
        match &self.contents {
            Some(contents) => roots.iter().any(|root| contents.roots.contains(*root)),
            None => self.since.is_none(),
        }
    }

    /// Since when it is without these roots; `None` if it is not known to be.
    pub fn without(&self, roots: &[&RootId]) -> Option<SystemTime> {
        self.since.filter(|_| !self.contains_any(roots))
    }

    /// What a pod that mounts it was seen to trust since then, by presenting a client certificate under each root.
    pub fn trust_of(
        &self,
        pod: &Pod,
        authority: &str,
        roots: &[&RootId],
        since: SystemTime,
        now: SystemTime,
    ) -> PodTrust {
        let proof = pod.proof_since(authority, since, now).filter(|_| pod.serves(&self.secret.name));
        let Some(Ok(handshake)) = proof.map(|proof| &proof.result) else { return PodTrust::Unknown };
        let mut accepts = roots.iter().map(|root| handshake.accepts.get(*root).copied());
        if accepts.clone().any(|accepts| accepts == Some(true)) {
            PodTrust::Present
        } else if accepts.all(|accepts| accepts == Some(false)) {
            PodTrust::Gone
        } else {
            PodTrust::Unknown
        }
    }

    /// The handshakes that show it.
    pub fn probe(&self, pod: &Pod, authority: &str, roots: &[&RootId]) -> Option<ProbeRequest> {
        let roots = roots.iter().map(|root| (*root).clone()).collect();
        let probe = ProbeRequest::of(&self.secret.namespace, pod, Some((authority, roots)));
        probe.filter(|_| pod.serves(&self.secret.name))
    }
}

fn published_by_certificate<'a>(
    observed: &'a Observed,
    secret: &ObjectName,
) -> Option<(Contents<'a>, SystemTime)> {
    let mut here = observed.certificates.in_namespace(&secret.namespace);
    here.find_map(|(name, certificate)| {
        let Published::Ours(publication) = &certificate.published else { return None };
        let is_it = CertificateSettings::secret_name(&name.name, &certificate.spec) == secret.name;
        let authority = certificate.spec.authority.as_str();
        let contents = Contents { roots: &publication.roots, certificate: Some(name), authority };
        is_it.then_some((contents, publication.written_at))
    })
}
