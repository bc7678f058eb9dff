//! `hotcert drill`: a rotation with a report. The agents' metrics before and after it show what it cost; the
//! control plane's own handshakes show whether every pod serves the new leaf, and how soon. It succeeds only if
//! there was something to measure, and all of it was.

use std::collections::BTreeMap;

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use crate::api::object_name::ObjectName;
use crate::api::resource::ServedStatus;
use crate::cli::arguments::{WaitArgs, object_name};
use crate::cli::backend::{Backend, PodMetrics};
use crate::cli::rotate::rotate_and_wait;
use crate::cli::session::{CommandError, Session};

#[derive(Debug, Args)]
pub struct DrillArgs {
    /// NAMESPACE/NAME of the certificate, such as shop/mtls-prod-payments
    #[arg(value_parser = object_name)]
    name: ObjectName,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The agents' counters of failures: the metric, the label with the outcome, and its values that are not failures.
const FAILURES: [(&str, &str, &[&str]); 3] = [
    ("hotcert_handshakes_total", "result", &["ok", "self_check"]),
    (
        "hotcert_connections_closed_total",
        "reason",
        &["done", "drained", "idle", "no_request", "gave_way", "max_age", "shutdown", "not_allowed"],
    ),
    ("hotcert_proxied_requests_total", "code", &["1xx", "2xx", "3xx", "4xx"]),
];

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &DrillArgs) -> Result<(), CommandError> {
    let certificate = session.backend.certificate(&args.name).await?;
    let secret = certificate.status.and_then(|status| status.secret_name);
    let secret = secret.ok_or_else(|| CommandError::Failed(format!("{} is not published yet", args.name)))?;
    let before = session.backend.metrics(&args.name.namespace, &secret).await?;
    let status = rotate_and_wait(session, &args.name, args.wait.timeout).await?;
    let after = session.backend.metrics(&args.name.namespace, &secret).await?;
    let (lost, unread) = compare(&before, &after);
    // Of another revision it says nothing about this one.
    let served = status.served.clone().filter(|served| Some(served.revision) >= status.revision);
    let served = served.unwrap_or_default();
    if session.json {
        outln!(
            "{:#}",
            json!({
                "certificate": args.name.to_string(),
                "serial": status.serial,
                "pods": served.pods,
                "serving": served.serving,
                "publishedToServedSeconds": served.seconds,
                "byPod": served.by_pod,
                "lost": lost,
                "unread": unread,
            })
        );
    } else {
        outln!(
            "{}: {} of {} {} serve {}",
            args.name,
            served.serving,
            served.pods,
            session.backend.pods(),
            status.serial.unwrap_or_default()
        );
        for pod in &served.by_pod {
            match (&pod.problem, pod.seconds) {
                (None, Some(seconds)) => outln!("  {}  published to served {seconds:.2} s", pod.pod),
                (problem, _) => outln!("  {}  {}", pod.pod, problem.as_deref().unwrap_or("-")),
            }
        }
        let mut unread_printed = false;
        if served.pods == 0 {
            outln!("  no {} registered: nothing was measured", session.backend.pods());
        } else if unread.len() >= after.len() {
            match unread.as_slice() {
                [] => outln!("  failures not counted: no running agent serves the Secret {secret}"),
                all => outln!("  failures not counted: {}", all.join("; ")),
            }
            unread_printed = true;
        } else if lost.is_empty() {
            outln!("  no failed handshakes, connections or requests, as counted by the agents");
        }
        for (what, count) in &lost {
            outln!("  {count} {what}");
        }
        for problem in unread.iter().filter(|_| !unread_printed) {
            outln!("  metrics not read: {problem}");
        }
    }
    if is_proved(&served, after.len(), &unread) && lost.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Reported)
    }
}

/// Whether there was something to measure, and all of it was.
fn is_proved(served: &ServedStatus, agents: usize, unread: &[String]) -> bool {
    served.pods > 0 && served.serving == served.pods && agents > 0 && unread.is_empty()
}

/// Failures between the two reads by kind, and the agents whose metrics could not be read twice.
fn compare(before: &[PodMetrics], after: &[PodMetrics]) -> (BTreeMap<String, u64>, Vec<String>) {
    let (mut lost, mut unread) = (BTreeMap::new(), Vec::new());
    for PodMetrics { pod, text } in after {
        let earlier = before.iter().find(|earlier| earlier.pod == *pod).map(|earlier| &earlier.text);
        match (earlier, text) {
            (Some(Ok(earlier)), Ok(text)) => {
                let earlier = failures(earlier);
                for (what, count) in failures(text) {
                    let more = count.saturating_sub(earlier.get(&what).copied().unwrap_or(0));
                    if more > 0 {
                        *lost.entry(what).or_insert(0) += more;
                    }
                }
            }
            (Some(Err(why)), _) | (_, Err(why)) => unread.push(format!("{pod}: {why}")),
            (None, Ok(_)) => unread.push(format!("{pod}: started during the drill")),
        }
    }
    let is_gone = |pod: &&PodMetrics| !after.iter().any(|later| later.pod == pod.pod);
    unread.extend(
        before.iter().filter(is_gone).map(|PodMetrics { pod, .. }| format!("{pod}: ended during the drill")),
    );
    (lost, unread)
}

/// Counters of failures, by metric and label.
fn failures(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Some((_, label, ok)) = FAILURES.iter().find(|(metric, ..)| *metric == name) else { continue };
        let outcome = labels.split(',').find_map(|pair| {
            let (key, value) = pair.trim_end_matches('}').split_once('=')?;
            (key == *label).then(|| value.trim_matches('"'))
        });
        // The control plane's own probes are not traffic.
        let is_probe = labels.contains(r#"side="proof""#);
        if let Some(outcome) = outcome
            && !is_probe
            && !ok.contains(&outcome)
            && let Ok(count) = value.parse()
        {
            found.insert(format!("{name} {label}={outcome}"), count);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_no_success() {
        let served = |pods, serving| ServedStatus { pods, serving, ..ServedStatus::default() };
        assert!(is_proved(&served(2, 2), 2, &[]));
        for (pods, serving, agents, unread) in
            [(0, 0, 0, &[][..]), (2, 1, 2, &[]), (2, 2, 0, &[]), (2, 2, 2, &["a: it ended".to_owned()])]
        {
            assert!(!is_proved(&served(pods, serving), agents, unread), "{pods} {serving} {agents}");
        }
    }

    #[test]
    fn only_failures_between_the_reads_are_counted() {
        let text = |ok: u64, expired: u64| PodMetrics {
            pod: "a".into(),
            text: Ok(format!(
                "# TYPE hotcert_handshakes counter\n\
                 hotcert_handshakes_total{{side=\"inbound\",result=\"ok\"}} {ok}\n\
                 hotcert_handshakes_total{{side=\"inbound\",result=\"expired\"}} {expired}\n"
            )),
        };
        let (lost, unread) = compare(&[text(1, 2)], &[text(90, 2)]);
        assert!(lost.is_empty() && unread.is_empty(), "{lost:?} {unread:?}");
        let (lost, _) = compare(&[text(1, 2)], &[text(90, 5)]);
        assert_eq!(
            lost.into_iter().collect::<Vec<_>>(),
            [("hotcert_handshakes_total result=expired".into(), 3)]
        );
        let (_, unread) = compare(&[], &[text(1, 0)]);
        assert_eq!(unread.len(), 1);
        let (_, unread) = compare(&[text(1, 0)], &[]);
        assert_eq!(unread, ["a: ended during the drill"]);
    }
}
