//! `hotcert check`: everything that a person would want to know before it is an outage.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use super::status::Fleet;
use super::table::moment;
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session, duration};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Certificates of this namespace only
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// A root that ends within this time is trouble; so is a leaf that was not renewed when it was due
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    within: Duration,
}

/// A renewal that was due so long ago is not on its way any more.
const OVERDUE: Duration = Duration::from_secs(5 * 60);

pub(super) async fn run<D: Backend>(session: &mut Session<D>, args: &CheckArgs) -> Result<(), CommandError> {
    let fleet = Fleet::read(&session.backend, args.namespace.as_deref()).await?;
    let troubles = troubles(&fleet, args.within, SystemTime::now());
    if session.json {
        println!(
            "{:#}",
            json!({
                "authorities": fleet.authorities.len(),
                "certificates": fleet.certificates.len(),
                "troubles": troubles,
            })
        );
    } else {
        for trouble in &troubles {
            println!("{trouble}");
        }
        println!(
            "{} authorities, {} certificates: {}",
            fleet.authorities.len(),
            fleet.certificates.len(),
            if troubles.is_empty() {
                "no trouble".into()
            } else {
                format!("trouble with {}", troubles.len())
            }
        );
    }
    if troubles.is_empty() { Ok(()) } else { Err(CommandError::Trouble) }
}

fn troubles(fleet: &Fleet, within: Duration, now: SystemTime) -> Vec<String> {
    let mut troubles = fleet.problems.clone();
    troubles.extend(fleet.nothing());
    let soon = |end: Option<&str>| moment(end).is_some_and(|end| end < now + within);
    for authority in &fleet.authorities {
        let name = authority.metadata.name.as_deref().unwrap_or_default();
        let Some(status) = &authority.status else {
            troubles.push(format!("{name}: nobody has looked at it: is the controller running?"));
            continue;
        };
        troubles.extend(bad(&status.conditions, Reason::Usable).map(|said| format!("{name}: {said}")));
        if soon(status.root.as_ref().map(|root| root.not_after.as_str())) {
            troubles.push(format!("{name}: its root ends within {}", humantime::format_duration(within)));
        }
        if let Some(rollover) = &status.rollover {
            troubles.extend(
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
            troubles.push(format!("{name}: nobody has looked at it: is the controller running?"));
            continue;
        };
        troubles.extend(bad(&status.conditions, Reason::Published).map(|said| format!("{name}: {said}")));
        let end = moment(status.not_after.as_deref());
        let due = moment(status.renew_at.as_deref());
        let overdue = due.is_some_and(|due| due + OVERDUE < now);
        if end.is_some_and(|end| end < now) {
            troubles.push(format!("{name}: what is published has expired"));
        } else if overdue {
            let due = status.renew_at.as_deref().unwrap_or_default();
            troubles
                .push(format!("{name}: it should have been renewed at {due}: is the controller running?"));
        }
        let is_bad = |c: &&Condition| c.status == ConditionStatus::False || c.reason == Reason::PodsNotListed;
        if let Some(served) = Condition::find(&status.conditions, ConditionType::Served).filter(is_bad) {
            troubles.push(format!("{name}: {}", served.message));
            let pods = status.served.iter().flat_map(|served| &served.by_pod);
            troubles.extend(
                pods.filter_map(|pod| Some(format!("{name}: pod {}: {}", pod.pod, pod.problem.as_ref()?))),
            );
        }
    }
    troubles
}

/// A Ready condition that is not as it should be.
fn bad(conditions: &[Condition], good: Reason) -> Option<String> {
    match Condition::find(conditions, ConditionType::Ready) {
        Some(ready) if ready.status == ConditionStatus::True && ready.reason == good => None,
        Some(ready) => Some(format!("{}: {}", ready.reason, ready.message)),
        None => Some("nobody has looked at it: is the controller running?".into()),
    }
}
