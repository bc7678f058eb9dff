//! The rows of one certificate: what each of its pods was seen to serve, as far as that can still be so. The status
//! has what was proved after the last publication; a pod that is gone or not ready by now serves nobody.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::ready;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateStatus, PodServed, ServiceCertificate};
use crate::cli::backend::LivePod;
use crate::cli::table::{parse_time, rounded_span};

/// The pods of a namespace as they are now, by name. `None`: they cannot be listed.
pub type LivePods<'a> = Option<&'a BTreeMap<String, LivePod>>;

const NOT_PROBED: &str = "not probed yet: it started after the publication";

/// One line for each pod, or one without a pod.
pub fn rows(certificate: &ServiceCertificate, live: LivePods<'_>, now: SystemTime) -> Vec<Vec<String>> {
    let status = certificate.status.clone().unwrap_or_default();
    let metadata = &certificate.metadata;
    let name = ObjectName::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    );
    let not_after = parse_time(status.not_after.as_deref());
    let ready = ready(&status.conditions, not_after, now);
    let age = parse_time(status.published_at.as_deref())
        .map_or_else(|| "-".into(), |begin| rounded_span(begin, now));
    let end = not_after.map_or_else(|| "-".into(), |end| rounded_span(now, end));
    let cells = |Row { pod, serial, served }| {
        vec![name.to_string(), pod, serial, age.clone(), end.clone(), served, ready.clone()]
    };
    pod_rows(&status, live, now).into_iter().map(cells).collect()
}

struct Row {
    pod: String,
    serial: String,
    served: String,
}

fn pod_rows(status: &CertificateStatus, live: LivePods<'_>, now: SystemTime) -> Vec<Row> {
    let published = status.serial.as_deref().and_then(|serial| serial.get(..12)).unwrap_or("-");
    // Published, but no pod is known to serve it.
    let not_served = if status.serial.is_some() { format!("({published})") } else { "-".to_owned() };
    let without_pod =
        |served: &str| Row { pod: "-".into(), serial: not_served.clone(), served: served.into() };
    let current = status.served.as_ref().filter(|served| Some(served.revision) == status.revision);
    let Some(served) = current else {
        return vec![without_pod(if status.serial.is_some() { "probing" } else { "-" })];
    };
    let mut rows: Vec<_> = served
        .by_pod
        .iter()
        .filter_map(|pod| {
            let proved_at = proved_at(status, pod);
            let (is_serving, served) = describe(pod, live, proved_at, now)?;
            let serial = if is_serving { published } else { "-" }.to_owned();
            Some(Row { pod: pod.pod.clone(), serial, served })
        })
        .collect();
    let more = served.pods - i64::try_from(served.by_pod.len()).unwrap_or(0);
    if more > 0 {
        let pod = format!("({more} more)");
        let counted = format!("{} of {} after the publication", served.serving, served.pods);
        rows.push(Row { pod, serial: "-".into(), served: counted });
    } else {
        rows.extend(started_since(status, &served.by_pod, live));
    }
    if rows.is_empty() { vec![without_pod("no pods")] } else { rows }
}

/// Whether the pod serves what is published, and what is known of it. `None`: the pod is gone.
fn describe(
    PodServed { pod, seconds, problem }: &PodServed,
    live: LivePods<'_>,
    proved_at: Option<SystemTime>,
    now: SystemTime,
) -> Option<(bool, String)> {
    let live = match live {
        Some(live) => Some(live.get(pod)?),
        None => None,
    };
    let live_problem = live.and_then(|live| live.problem.as_ref());
    let created_at = live.and_then(|live| live.created_at);
    if live_problem.is_none() && proved_at.is_some_and(|proved_at| created_at > Some(proved_at)) {
        return Some((false, NOT_PROBED.to_owned()));
    }
    if let Some(problem) = problem.as_ref().or(live_problem) {
        let proved = proved_at.map(|at| format!("; last proved {} ago", rounded_span(at, now)));
        return Some((false, format!("no: {problem}{}", proved.unwrap_or_default())));
    }
    let proved = proved_at.map(|at| format!("; proved {} ago", rounded_span(at, now))).unwrap_or_default();
    Some((true, format!("yes, seen {:.2} s after publishing{proved}", seconds.unwrap_or(0.0))))
}

/// When the handshake with the pod was that showed the leaf.
fn proved_at(status: &CertificateStatus, pod: &PodServed) -> Option<SystemTime> {
    let after = Duration::try_from_secs_f64(pod.seconds?).ok()?;
    parse_time(status.published_at.as_deref())?.checked_add(after)
}

/// Pods that mount the Secret and were not there when it was published: they are probed with the next publication.
fn started_since(status: &CertificateStatus, by_pod: &[PodServed], live: LivePods<'_>) -> Vec<Row> {
    let known = |name: &String| by_pod.iter().any(|pod| pod.pod == *name);
    let serves = |pod: &LivePod| pod.secret.is_some() && pod.secret == status.secret_name;
    let new = live.into_iter().flatten().filter(|(name, pod)| serves(pod) && !known(name));
    new.map(|(name, pod)| {
        let served = match &pod.problem {
            Some(problem) => format!("no: {problem}"),
            None => NOT_PROBED.to_owned(),
        };
        Row { pod: name.clone(), serial: "-".into(), served }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
    use crate::api::date;
    use crate::api::resource::{ServedStatus, ServiceCertificateSpec};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// Published at the beginning for a day, and served by `payments-1` after two seconds.
    fn certificate() -> ServiceCertificate {
        let pod = PodServed { pod: "payments-1".into(), seconds: Some(2.0), problem: None };
        let ready = Condition {
            r#type: ConditionType::Ready,
            status: ConditionStatus::True,
            reason: Reason::Published,
            ..Condition::default()
        };
        let mut object = ServiceCertificate::new("mtls-prod-payments", ServiceCertificateSpec::default());
        object.metadata.namespace = Some("shop".into());
        object.status = Some(CertificateStatus {
            secret_name: Some("payments-tls".into()),
            serial: Some("0123456789abcdef".into()),
            revision: Some(1),
            published_at: Some(date::seconds(at(0))),
            not_after: Some(date::seconds(at(86_400))),
            conditions: vec![ready],
            served: Some(ServedStatus {
                revision: 1,
                pods: 1,
                serving: 1,
                by_pod: vec![pod],
                ..ServedStatus::default()
            }),
            ..CertificateStatus::default()
        });
        object
    }

    fn live(pods: &[(&str, Option<&str>)]) -> BTreeMap<String, LivePod> {
        let pod = |problem: &Option<&str>| LivePod {
            secret: Some("payments-tls".into()),
            created_at: Some(at(0)),
            problem: problem.map(str::to_owned),
        };
        pods.iter().map(|(name, problem)| ((*name).to_owned(), pod(problem))).collect()
    }

    /// Pod, serial and what is served.
    fn shown(pods: LivePods<'_>) -> Vec<[String; 3]> {
        let rows = rows(&certificate(), pods, at(3_602));
        rows.into_iter().map(|row| [row[1].clone(), row[2].clone(), row[5].clone()]).collect()
    }

    #[test]
    fn a_pod_that_is_gone_or_not_ready_is_not_shown_as_serving() {
        let served = "yes, seen 2.00 s after publishing; proved 60m ago";
        assert_eq!(shown(None), [["payments-1", "0123456789ab", served]]);
        let there = live(&[("payments-1", None)]);
        assert_eq!(shown(Some(&there)), [["payments-1", "0123456789ab", served]]);
        let broken = live(&[("payments-1", Some("the pod is not ready"))]);
        let not = "no: the pod is not ready; last proved 60m ago";
        assert_eq!(shown(Some(&broken)), [["payments-1", "-", not]]);
        assert_eq!(shown(Some(&live(&[]))), [["-", "(0123456789ab)", "no pods"]]);
        let replaced = live(&[("payments-2", None)]);
        assert_eq!(shown(Some(&replaced)), [["payments-2", "-", NOT_PROBED]]);
        // Of a StatefulSet the next pod has the same name.
        let mut next = live(&[("payments-1", None)]);
        next.get_mut("payments-1").unwrap().created_at = Some(at(60));
        assert_eq!(shown(Some(&next)), [["payments-1", "-", NOT_PROBED]]);
    }

    #[test]
    fn an_expired_leaf_is_not_ready_whatever_the_status_says() {
        let ready = |now| rows(&certificate(), None, now)[0][6].clone();
        assert_eq!(ready(at(86_399)), "yes");
        assert_eq!(ready(at(86_460)), "no, Expired: it expired 60s ago; is the controller running?");
    }
}
