//! Publishing is done when it is served: which pods are to be listed, nudged and asked after a Secret
//! was written, and what they were seen to serve.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::lifecycle::CertificatePlan;
use super::{Action, Plan, Prove};
use crate::api::resource::{PodServed, ServedStatus};
use crate::planner::observed::{Certificate, ObjectName, Observed, Pod, Publication, Published};

/// A pod that follows the API has it by then; one that has not may have lost the API.
const BY_API: Duration = Duration::from_secs(5);
/// Who does not serve it by then is named in the status, and asked now and then only.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How many pods the status names.
const NAMED: usize = 20;

/// Which pods mount a Secret, by namespace and name.
pub struct Users<'a> {
    pub observed: &'a Observed,
    by_secret: BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>,
}

impl<'a> Users<'a> {
    pub fn of(observed: &'a Observed) -> Self {
        let mut by_secret: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (namespace, look) in &observed.pods {
            for pod in &look.pods {
                for secret in &pod.mounts {
                    by_secret.entry((namespace.as_str(), secret.as_str())).or_default().push(pod);
                }
            }
        }
        Self { observed, by_secret }
    }
}

/// What was seen so far of one publication.
#[derive(Debug)]
pub struct Served {
    pub status: ServedStatus,
    /// Every pod was seen to serve it, or there are none.
    pub complete: bool,
    /// Longer than anybody should take.
    pub late: bool,
    /// Why the pods could not be listed.
    pub problem: Option<String>,
}

/// `None` while there is nothing to look for.
pub fn plan(
    users: &Users<'_>,
    name: &ObjectName,
    certificate: &Certificate,
    certificate_plan: &CertificatePlan<'_>,
    now: SystemTime,
    plan: &mut Plan,
) -> Option<Served> {
    let (Published::Ours(publication), Some(secret), true) =
        (&certificate.published, certificate_plan.secret, certificate_plan.settled)
    else {
        return None;
    };
    let revision = i64::try_from(publication.revision).unwrap_or(i64::MAX);
    let before = certificate.status.served.as_ref().filter(|served| served.revision == revision);
    let age = now.duration_since(publication.written_at).unwrap_or_default();
    let late = age > PATIENCE;
    if let Some(before) = before {
        let complete = before.serving == before.pods;
        if complete {
            return Some(Served { status: before.clone(), complete, late, problem: None });
        }
    }
    let look = users.observed.pods.get(&name.namespace).filter(|look| look.at >= publication.written_at);
    let rested = look.is_none_or(|look| now.duration_since(look.at).unwrap_or_default() > ASK_AGAIN);
    if !late || rested {
        plan.look.insert(name.namespace.clone());
    } else {
        plan.keep.insert(name.namespace.clone());
        plan.wake(now + ASK_AGAIN);
    }
    let look = look?;
    if look.problem.is_some() {
        let status = before.cloned().unwrap_or(ServedStatus { revision, ..ServedStatus::default() });
        return Some(Served { status, complete: false, late, problem: look.problem.clone() });
    }

    // A handshake that is repeated says nothing about when it was served first.
    let first: BTreeMap<_, _> = before
        .iter()
        .flat_map(|before| &before.by_pod)
        .filter_map(|pod| Some((pod.pod.as_str(), pod.seconds?)))
        .collect();
    let authority = Some(&certificate.spec.authority).filter(|authority| !authority.is_empty());
    let mut status = ServedStatus { revision, ..ServedStatus::default() };
    let mounting = users.by_secret.get(&(name.namespace.as_str(), secret));
    for pod in mounting.into_iter().flatten().copied() {
        status.pods += 1;
        let seen = Seen { pod, publication, secret, authority };
        match seen.judge() {
            Ok(seconds) => {
                let seconds = first.get(pod.name.as_str()).map_or(seconds, |first| first.min(seconds));
                status.serving += 1;
                status.seconds = Some(status.seconds.map_or(seconds, |slowest| slowest.max(seconds)));
                name_pod(&mut status, pod, Some(seconds), None);
            }
            Err(problem) => {
                name_pod(&mut status, pod, None, Some(problem));
                nudge(users.observed, &name.namespace, pod, publication, now, plan);
                seen.ask(name, certificate, plan);
            }
        }
    }
    let complete = status.serving == status.pods;
    Some(Served { status, complete, late, problem: None })
}

fn name_pod(status: &mut ServedStatus, pod: &Pod, seconds: Option<f64>, problem: Option<String>) {
    // Those who do not serve it are named before those who do.
    let named = PodServed { pod: pod.name.clone(), seconds, problem };
    if named.problem.is_some() {
        status.by_pod.insert(0, named);
    } else {
        status.by_pod.push(named);
    }
    status.by_pod.truncate(NAMED);
}

struct Seen<'a> {
    pod: &'a Pod,
    publication: &'a Publication,
    secret: &'a str,
    /// Without one nobody here can be a client, and what is seen is the leaf alone.
    authority: Option<&'a String>,
}

impl Seen<'_> {
    /// Seconds from writing to the handshake, or why it is not seen to serve it.
    fn judge(&self) -> Result<f64, String> {
        if !self.pod.serves(self.secret) {
            return Err("it has no agent for this Secret".into());
        }
        let Some(proof) = self.pod.proof.as_ref().filter(|proof| proof.at >= self.publication.written_at)
        else {
            return Err("it has not been asked yet".into());
        };
        match &proof.shown {
            Err(why) => Err(why.clone()),
            Ok(shown) if shown.leaf_sha256 != self.publication.leaf_sha256 => {
                Err("it shows another leaf".into())
            }
            // What it says of its bundle: whether that is so is a matter for a rollover, and its handshakes.
            Ok(shown)
                if self.authority.is_some()
                    && !shown.connections_under.keys().eq(&self.publication.roots) =>
            {
                Err("it trusts other roots".into())
            }
            Ok(_) => {
                Ok(proof.at.duration_since(self.publication.written_at).unwrap_or_default().as_secs_f64())
            }
        }
    }

    fn ask(&self, name: &ObjectName, certificate: &Certificate, plan: &mut Plan) {
        let address = self.pod.agent.as_ref().and_then(|agent| agent.address);
        if let (Some(address), true, Some((_, version))) =
            (address, self.pod.serves(self.secret), certificate.published_version())
        {
            plan.prove.push(Prove {
                pod: ObjectName::new(name.namespace.clone(), self.pod.name.clone()),
                uid: self.pod.uid.clone(),
                address,
                authority: self.authority.cloned(),
                roots: self.authority.map(|_| version.root.clone()).into_iter().collect(),
            });
        }
    }
}

/// Has kubelet write the pod's volume at once, if that is what the pod may be waiting for.
pub(super) fn nudge(
    observed: &Observed,
    namespace: &str,
    pod: &Pod,
    publication: &Publication,
    now: SystemTime,
    plan: &mut Plan,
) {
    let by_api = pod.agent.as_ref().is_some_and(|agent| agent.follows_api);
    let age = now.duration_since(publication.written_at).unwrap_or_default();
    let nudged = pod.nudged.is_some_and(|nudged| nudged >= publication.revision);
    if observed.nudge && !nudged && (!by_api || age > BY_API) {
        let pod = ObjectName::new(namespace, pod.name.clone());
        plan.actions.push(Action::Nudge { pod, revision: publication.revision });
    }
}
