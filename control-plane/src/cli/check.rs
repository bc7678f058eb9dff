//! `hotcert check`: every problem that needs attention before it becomes an outage.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use super::status::Fleet;
use super::table::parse_time;
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::duration;
use crate::cli::arguments::parse_duration;
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};
use crate::notify::config::NotifyConfig;

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check only the certificates of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Report roots that expire within this time, such as 36h or 7d
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    within: Duration,
    /// Also read these notification settings, as a controller would, and report what is wrong with them
    #[arg(long, value_name = "FILE")]
    notifications: Option<PathBuf>,
}

/// How long after its due time a renewal counts as overdue.
const RENEWAL_TOLERANCE: Duration = Duration::from_secs(5 * 60);

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &CheckArgs) -> Result<(), CommandError> {
    let fleet = Fleet::read(&session.backend, args.namespace.as_deref()).await?;
    let mut problems = problems(&fleet, args.within, SystemTime::now());
    let settings = args.notifications.as_deref().map(NotifyConfig::read);
    problems.extend(settings.and_then(Result::err).map(|error| error.to_string()));
    if session.json {
        outln!(
            "{:#}",
            json!({
                "authorities": fleet.authorities.len(),
                "certificates": fleet.certificates.len(),
                "problems": problems,
            })
        );
    } else {
        for problem in &problems {
            outln!("{problem}");
        }
        outln!(
            "{}, {}: {}",
            counted(fleet.authorities.len(), "authority", "authorities"),
            counted(fleet.certificates.len(), "certificate", "certificates"),
            counted(problems.len(), "problem", "problems"),
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(CommandError::Reported) }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

fn problems(fleet: &Fleet, within: Duration, now: SystemTime) -> Vec<String> {
    let mut problems = fleet.read_errors.clone();
    problems.extend(fleet.empty_namespace());
    problems.extend(fleet.settings_rejected());
    let soon = |end: Option<&str>| parse_time(end).is_some_and(|end| end < now + within);
    for authority in &fleet.authorities {
        let name = authority.metadata.name.as_deref().unwrap_or_default();
        let Some(status) = &authority.status else {
            problems.push(format!("{name}: not reconciled yet: is the controller running?"));
            continue;
        };
        problems
            .extend(not_ready(&status.conditions, Reason::Usable).map(|cause| format!("{name}: {cause}")));
        if soon(status.root.as_ref().map(|root| root.not_after.as_str())) {
            problems.push(format!("{name}: its root expires within {}", duration::format(within)));
        }
        if let Some(rollover) = &status.rollover {
            problems.extend(
                rollover.waiting_for.iter().map(|hold| format!("{name}: its rollover waits for {hold}")),
            );
        }
    }
    for certificate in &fleet.certificates {
        let name = format!(
            "{}/{}",
            certificate.metadata.namespace.as_deref().unwrap_or_default(),
            certificate.metadata.name.as_deref().unwrap_or_default()
        );
        let Some(status) = &certificate.status else {
            problems.push(format!("{name}: not reconciled yet: is the controller running?"));
            continue;
        };
        problems
            .extend(not_ready(&status.conditions, Reason::Published).map(|cause| format!("{name}: {cause}")));
        let end = parse_time(status.not_after.as_deref());
        let due = parse_time(status.renew_at.as_deref());
        let overdue = due.is_some_and(|due| due + RENEWAL_TOLERANCE < now);
        if end.is_some_and(|end| end < now) {
            problems.push(format!("{name}: the published version has expired"));
        } else if overdue {
            let due = status.renew_at.as_deref().unwrap_or_default();
            problems.push(format!("{name}: it was due for renewal at {due}: is the controller running?"));
        }
        let not_served =
            |c: &&Condition| c.status == ConditionStatus::False || c.reason == Reason::PodsNotListed;
        if let Some(served) = Condition::find(&status.conditions, ConditionType::Served).filter(not_served) {
            problems.push(format!("{name}: {}", served.message));
            let pods = status.served.iter().flat_map(|served| &served.by_pod);
            problems.extend(
                pods.filter_map(|pod| Some(format!("{name}: pod {}: {}", pod.pod, pod.problem.as_ref()?))),
            );
        }
    }
    problems
}

/// A Ready condition that is not as it should be.
fn not_ready(conditions: &[Condition], good: Reason) -> Option<String> {
    match Condition::find(conditions, ConditionType::Ready) {
        Some(ready) if ready.status == ConditionStatus::True && ready.reason == good => None,
        Some(ready) => Some(format!("{}: {}", ready.reason, ready.message)),
        None => Some("not reconciled yet: is the controller running?".into()),
    }
}
