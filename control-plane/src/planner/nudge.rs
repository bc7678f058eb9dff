//! Nudging a pod: an annotation makes kubelet write the pod's volumes at once.

use std::time::{Duration, SystemTime};

use super::observed::{Observed, Pod, Publication};
use super::plan::{Action, Plan};
use crate::api::object_name::ObjectName;

/// A pod that watches the API has the Secret by then; one that has not may have lost the API.
const API_GRACE: Duration = Duration::from_secs(5);

/// If the pod may be waiting for its volume.
pub fn nudge(
    observed: &Observed,
    namespace: &str,
    pod: &Pod,
    publication: &Publication,
    now: SystemTime,
    plan: &mut Plan,
) {
    let watches_api = pod.agent.as_ref().is_some_and(|agent| agent.watches_api);
    let age = now.duration_since(publication.written_at).unwrap_or_default();
    let is_nudged = pod.nudged_revision.is_some_and(|nudged| nudged >= publication.revision);
    if observed.nudge && !is_nudged && (!watches_api || age > API_GRACE) {
        let pod = ObjectName::new(namespace, pod.name.clone());
        plan.actions.push(Action::Nudge { pod, revision: publication.revision });
    }
}
