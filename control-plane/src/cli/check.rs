//! `hotcert check`: every problem that needs attention before it becomes an outage.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use super::status::Fleet;
use super::table::parse_time;
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::cli::arguments::duration;
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Certificates of this namespace only
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// A root that ends within this time is trouble; so is a leaf that was not renewed when it was due
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    within: Duration,
}

/// How long after its due time a renewal counts as overdue.
const RENEWAL_TOLERANCE: Duration = Duration::from_secs(5 * 60);

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &CheckArgs) -> Result<(), CommandError> {
    let fleet = Fleet::read(&session.backend, args.namespace.as_deref()).await?;
    let problems = problems(&fleet, args.within, SystemTime::now());
    if session.json {
        println!(
            "{:#}",
            json!({
                "authorities": fleet.authorities.len(),
                "certificates": fleet.certificates.len(),
                "troubles": problems,
            })
        );
    } else {
        for problem in &problems {
            println!("{problem}");
        }
        println!(
            "{} authorities, {} certificates: {}",
            fleet.authorities.len(),
            fleet.certificates.len(),
            if problems.is_empty() {
                "no trouble".into()
            } else {
                format!("trouble with {}", problems.len())
            }
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(CommandError::Reported) }
}

fn problems(fleet: &Fleet, within: Duration, now: SystemTime) -> Vec<String> {
    let mut problems = fleet.read_errors.clone();
    problems.extend(fleet.empty_namespace());
    let soon = |end: Option<&str>| parse_time(end).is_some_and(|end| end < now + within);
    for authority in &fleet.authorities {
        let name = authority.metadata.name.as_deref().unwrap_or_default();
        let Some(status) = &authority.status else {
            problems.push(format!("{name}: nobody has looked at it: is the controller running?"));
            continue;
        };
        problems
            .extend(not_ready(&status.conditions, Reason::Usable).map(|cause| format!("{name}: {cause}")));
        if soon(status.root.as_ref().map(|root| root.not_after.as_str())) {
            problems.push(format!("{name}: its root ends within {}", humantime::format_duration(within)));
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
            problems.push(format!("{name}: nobody has looked at it: is the controller running?"));
            continue;
        };
        problems
            .extend(not_ready(&status.conditions, Reason::Published).map(|cause| format!("{name}: {cause}")));
        let end = parse_time(status.not_after.as_deref());
        let due = parse_time(status.renew_at.as_deref());
        let overdue = due.is_some_and(|due| due + RENEWAL_TOLERANCE < now);
        if end.is_some_and(|end| end < now) {
            problems.push(format!("{name}: what is published has expired"));
        } else if overdue {
            let due = status.renew_at.as_deref().unwrap_or_default();
            problems
                .push(format!("{name}: it should have been renewed at {due}: is the controller running?"));
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
        None => Some("nobody has looked at it: is the controller running?".into()),
    }
}
