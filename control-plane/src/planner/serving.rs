//! A publication is complete when it is served: which pods are listed, nudged and probed after a Secret
//! was written, and what they were seen to serve.

use std::collections::BTreeMap;
use std::time::Duration;

use super::authority::AuthorityPlan;
use super::certificate::{CertificatePlan, CertificateState};
use super::nudge::nudge;
use super::observed::{Pod, Publication, Published};
use super::plan::Plan;
use super::pods::{ServedContext, is_since};
use crate::api::resource::{PodServed, ServedStatus};
use crate::pki::keyring::RootId;

/// A pod that does not serve the publication by then is named in the status.
const LATE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Between two lists of the pods of a publication that is late.
const RELIST_LATE: Duration = Duration::from_secs(5 * 60);
/// How many pods the status names.
const MAX_NAMED: usize = 20;

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
    /// Some pod is about to be probed for the first time since.
    pub unprobed: bool,
}

/// `None` while nothing is published, or nothing is known of its pods yet.
pub fn plan(
    context: &CertificateState<'_>,
    authority_plan: Option<&AuthorityPlan<'_>>,
    certificate_plan: &CertificatePlan,
    plan: &mut Plan,
) -> Option<Served> {
    let CertificateState { name, certificate, pods, now } = *context;
    let (Published::Ours(publication), Some(secret), true) = (
        &certificate.published,
        certificate_plan.secret_name.as_deref(),
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
        return Some(Served { status: before.clone(), complete: true, late, error: None, unprobed: false });
    }
    let list = pods.observed.pods.get(&name.namespace);
    let list = list.filter(|list| is_since(list.listed_at, publication, now));
    let is_old = list.is_none_or(|list| now.duration_since(list.listed_at).unwrap_or_default() > RELIST_LATE);
    let list_pods = |plan: &mut Plan| {
        if !late || is_old {
            plan.list_pods.insert(name.namespace.clone());
        } else {
            plan.retain_pods.insert(name.namespace.clone());
            plan.wake(now + RELIST_LATE);
        }
    };
    if list.is_none_or(|list| list.error.is_some()) {
        list_pods(plan);
        let error = list?.error.clone();
        let status = before.cloned().unwrap_or(ServedStatus { revision, ..ServedStatus::default() });
        return Some(Served { status, complete: false, late, error, unprobed: false });
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
            // What a rollover asks a pod is asked here as well, so that one handshake answers both.
            let new = keyring.state.rollover().map(|rollover| &rollover.to);
            let new = new.filter(|root| publication.roots.contains(*root));
            let version = certificate.published_version().map(|(_, version)| &version.root);
            let root = new.or(version).filter(|root| keyring.roots.contains_key(*root));
            let root = root.unwrap_or_else(|| keyring.state.signing());
            Some((certificate.spec.authority.as_str(), vec![root.clone()]))
        }
        (None, None) => None,
    };
    let served = ServedContext { publication, secret, client, is_ours: &is_ours, now };
    let (status, unprobed) = served_by(context, &served, before, plan);
    let complete = status.serving == status.pods;
    if complete {
        // Pods that come later find it.
        plan.retain_pods.insert(name.namespace.clone());
    } else {
        list_pods(plan);
    }
    Some(Served { status, complete, late, error: None, unprobed })
}

/// Which pods serve the publication, and whether some pod was not probed yet. The others are nudged and probed.
fn served_by(
    context: &CertificateState<'_>,
    served: &ServedContext<'_>,
    before: Option<&ServedStatus>,
    plan: &mut Plan,
) -> (ServedStatus, bool) {
    let CertificateState { name, pods, now, .. } = *context;
    // A repeated handshake does not change when the pod served it first.
    let first: BTreeMap<_, _> = before
        .iter()
        .flat_map(|before| &before.by_pod)
        .filter_map(|pod| Some((pod.pod.as_str(), pod.seconds?)))
        .collect();
    let publication = served.publication;
    let mut status = ServedStatus { revision: status_revision(publication), ..ServedStatus::default() };
    let mut unprobed = false;
    for pod in pods.mounting(&name.namespace, served.secret) {
        status.pods += 1;
        unprobed |= served.is_unprobed(pod);
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
    (status, unprobed)
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
