//! Following a request until it is done, refused, or the timeout has passed; and printing the result.

use std::time::{Duration, Instant};

use hotcert_log::{errln, outln};
use serde_json::json;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::object_name::ObjectName;
use crate::api::resource::CertificateStatus;
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};

/// How many pods are named.
const MAX_NAMED: usize = 3;

pub(super) enum Progress {
    Done,
    Waiting(String),
    Refused(String),
}

/// Done when every pod serves what is published, or was given enough time to.
pub(super) fn serving_progress(status: &CertificateStatus) -> Progress {
    let current = status.served.as_ref().filter(|served| Some(served.revision) >= status.revision);
    let condition = Condition::find(&status.conditions, ConditionType::Served);
    match (current, condition) {
        (Some(_), Some(condition)) if condition.status != ConditionStatus::Unknown => Progress::Done,
        (_, Some(condition)) if condition.reason == Reason::PodsNotListed => {
            Progress::Waiting(condition.message.clone())
        }
        _ => Progress::Waiting("for every pod to serve what is published".into()),
    }
}

/// Prints the progress of a certificate until it is done.
pub(super) async fn follow<B: Backend>(
    session: &mut Session<B>,
    name: &ObjectName,
    timeout: Duration,
    progress: impl Fn(&CertificateStatus) -> Progress,
) -> Result<CertificateStatus, CommandError> {
    let deadline = Instant::now() + timeout;
    let mut printed = String::new();
    loop {
        let status = session.backend.certificate(name).await?.status.unwrap_or_default();
        let what = match progress(&status) {
            Progress::Done => return Ok(status),
            Progress::Refused(why) => return Err(CommandError::Refused(why)),
            Progress::Waiting(what) => what,
        };
        if what != printed {
            print_progress(session, &format!("{name}: waiting: {what}"));
            printed.clone_from(&what);
        }
        let waiting =
            pods_not_serving(&status).map_or_else(|| what.clone(), |late| format!("{what}; {late}"));
        let advice = "the request stays open; see hotcert status, or wait longer with --timeout";
        wait_for_change(session, deadline, &waiting, advice).await?;
    }
}

/// The first pods that do not serve yet what is published, and how many more there are.
fn pods_not_serving(status: &CertificateStatus) -> Option<String> {
    let served = status.served.as_ref().filter(|served| Some(served.revision) >= status.revision)?;
    let late = served.by_pod.iter().filter_map(|pod| Some(format!("{}: {}", pod.pod, pod.problem.as_ref()?)));
    let late: Vec<_> = late.take(MAX_NAMED).collect();
    let more = served.pods - served.serving - i64::try_from(late.len()).unwrap_or(0);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!late.is_empty()).then(|| format!("not served yet by {}{more}", late.join(", ")))
}

/// Waits until the backend may have changed. Fails at the deadline.
pub(super) async fn wait_for_change<B: Backend>(
    session: &mut Session<B>,
    deadline: Instant,
    what: &str,
    advice: &str,
) -> Result<(), CommandError> {
    let rest = deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(rest, session.backend.advance()).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CommandError::Failed(format!("timed out ({what}): {advice}"))),
    }
}

/// Prints what is published. Fails if some pod does not serve it.
pub(super) fn print_published<B: Backend>(
    session: &Session<B>,
    name: &ObjectName,
    status: &CertificateStatus,
) -> Result<(), CommandError> {
    let served = Condition::find(&status.conditions, ConditionType::Served);
    let not_served = served.is_some_and(|served| served.status == ConditionStatus::False);
    let result = if not_served { Err(CommandError::Reported) } else { Ok(()) };
    if session.json {
        outln!("{:#}", json!({"certificate": name.to_string(), "status": status}));
        return result;
    }
    let version = status.version.unwrap_or(0);
    let serial = status.serial.as_deref().unwrap_or("-");
    let end = status.not_after.as_deref().unwrap_or("-");
    let served = match &status.served {
        Some(served) if served.pods > 0 => format!(
            "served by {} of {} {}{}",
            served.serving,
            served.pods,
            session.backend.pods(),
            served.seconds.map(|seconds| format!(", the last after {seconds:.2} s")).unwrap_or_default()
        ),
        _ => format!(
            "published to {}; no {} registered, nothing to wait for",
            session.backend.target(&name.namespace, status.secret_name.as_deref().unwrap_or("-")),
            session.backend.pods(),
        ),
    };
    let late = pods_not_serving(status).map(|late| format!("; {late}")).unwrap_or_default();
    outln!("{name}: version {version}, serial {serial}, until {end}; {served}{late}");
    result
}

/// Progress goes to standard error; standard output has only the result.
pub(super) fn print_progress<B>(session: &Session<B>, what: &str) {
    if !session.json {
        errln!("{what}");
    }
}

/// Distinguishes a request from every other.
pub(super) fn request_id() -> Result<String, CommandError> {
    let mut random = [0; 6];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| CommandError::Failed("the system's random number generator failed".into()))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::resource::{PodServed, ServedStatus};

    #[test]
    fn the_first_pods_that_do_not_serve_are_named_and_the_others_counted() {
        let pod = |number: i64| PodServed {
            pod: format!("payments-{number}"),
            problem: Some("the agent serves another leaf".into()),
            ..PodServed::default()
        };
        let status = |late: i64, serving: i64| CertificateStatus {
            revision: Some(1),
            served: Some(ServedStatus {
                revision: 1,
                pods: late + serving,
                serving,
                by_pod: (0..late).map(pod).collect(),
                ..ServedStatus::default()
            }),
            ..CertificateStatus::default()
        };
        assert_eq!(pods_not_serving(&status(0, 2)), None);
        let one = pods_not_serving(&status(1, 2)).unwrap();
        assert_eq!(one, "not served yet by payments-0: the agent serves another leaf");
        let many = pods_not_serving(&status(5, 2)).unwrap();
        assert!(many.contains("payments-2: ") && !many.contains("payments-3"), "{many}");
        assert!(many.ends_with(", and 2 more"), "{many}");
        let before = CertificateStatus { revision: Some(2), ..status(1, 0) };
        assert_eq!(pods_not_serving(&before), None, "the pods were seen with the version before");
    }
}
