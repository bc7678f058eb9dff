//! A keyring that is older than what is in use: it was restored from a backup, and a root that was made since is in
//! none of its phases. To issue under it, or to retire a root, would cut off every pod that has come further.

use crate::pki::keyring::{RootId, UnknownRoot};
use crate::planner::dependent::DependentCertificate;
use crate::planner::observed::{KeyringView, Observed, Pod};
use crate::planner::pods::PodsBySecret;
use crate::planner::rollover::ledger::is_of_another;

/// A root that this authority must have had after the time that its keyring is of.
pub fn find(
    observed: &Observed,
    authority: &str,
    keyring: &KeyringView,
    dependents: &[DependentCertificate<'_>],
    pods: &PodsBySecret<'_>,
) -> Option<UnknownRoot> {
    let ledger = keyring.state.ledger.as_ref()?;
    dependents.iter().find_map(|dependent| {
        // A Secret that is published for the first time may come from anywhere.
        let entry = ledger.get(&dependent.name.namespace, dependent.secret)?;
        if entry.is_overridden() {
            return None;
        }
        let is_unknown = |root: &RootId| {
            // A version that cannot be read has none.
            !root.0.is_empty()
                && !keyring.state.knows(root)
                && !entry.moved_from.contains(root)
                && !is_of_another(observed, authority, dependent.certificate, root)
        };
        in_versions(dependent, &is_unknown).or_else(|| {
            let mut pods = pods.mounting(&dependent.name.namespace, dependent.secret);
            pods.find_map(|pod| in_pod((authority, keyring), dependent, pod, &is_unknown))
        })
    })
}

/// A version that was signed by such a root. The bundle in the Secret says nothing: others may write into it.
fn in_versions(
    dependent: &DependentCertificate<'_>,
    is_unknown: &dyn Fn(&RootId) -> bool,
) -> Option<UnknownRoot> {
    let certificate = dependent.certificate;
    let versions = [certificate.published_version(), certificate.newest()];
    let mut signed_here = versions.into_iter().flatten().filter(|(_, version)| version.own_bundle.is_none());
    let (_, version) = signed_here.find(|(_, version)| is_unknown(&version.root))?;
    Some(UnknownRoot { root: Some(version.root.clone()), seen_at: dependent.name.to_string() })
}

/// A pod that shows a leaf of which there is no version has something from another time. One that trusts more than
/// its Secret has, but shows a leaf from it, was told to by its own settings.
fn in_pod(
    (authority, keyring): (&str, &KeyringView),
    dependent: &DependentCertificate<'_>,
    pod: &Pod,
    is_unknown: &dyn Fn(&RootId) -> bool,
) -> Option<UnknownRoot> {
    let handshake = pod.proof(authority).filter(|_| pod.serves(dependent.secret))?.result.as_ref().ok()?;
    let mut versions = dependent.certificate.versions.values();
    let is_version = versions.any(|version| version.leaf.sha256 == handshake.leaf_sha256);
    // What was issued before a person accepted the keyring was accepted with it.
    let is_accepted = keyring.state.accepted_at.is_some_and(|at| handshake.leaf_not_before < Some(at));
    if is_version || is_accepted {
        return None;
    }
    let seen_at = format!("{}/{}", dependent.name.namespace, pod.name);
    if let Some(root) = handshake.connections_under.keys().find(|root| is_unknown(root)) {
        return Some(UnknownRoot { root: Some(root.clone()), seen_at });
    }
    // It does not let us in, so it does not say what it trusts.
    let newest = dependent.certificate.newest().map(|(_, version)| version.leaf.not_before)?;
    // Certificates know whole seconds, in which there is time for another.
    let is_newer = handshake.leaf_not_before >= Some(newest);
    (is_newer && handshake.foreign.is_some()).then_some(UnknownRoot { root: None, seen_at })
}
