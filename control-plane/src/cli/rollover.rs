//! `hotcert rollover`: replaces the root of an authority, and follows the rollover on request; or reverses it,
//! overrides a pod, removes a root.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::api::condition::{Condition, ConditionType};
use crate::api::request::{self, RequestOutcome};
use crate::api::resource::{AuthorityStatus, ServiceCertificate};
use crate::cli::arguments::{WaitArgs, authority_name, pod_name, root_digits};
use crate::cli::backend::Backend;
use crate::cli::follow::{print_progress, request_id, wait_for_change};
use crate::cli::session::{CommandError, Session};
use crate::planner::grounds::grounds;
use crate::planner::observed::Request;
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct RolloverArgs {
    /// Name of the authority, such as root-prod-shop
    #[arg(value_parser = authority_name)]
    authority: String,
    /// Follow the rollover until it ends, and print what it waits for
    #[arg(long)]
    watch: bool,
    /// Why; recorded in the history. Required by --override and --remove-root
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Go back to the old root, with the same proofs
    #[arg(long, conflicts_with_all = ["override_pods", "remove_root"])]
    reverse: bool,
    /// Continue without waiting for this pod; repeatable. Peers may refuse its connections from then on
    #[arg(
        long = "override",
        value_name = "NAMESPACE/POD",
        value_parser = pod_name,
        requires = "reason",
        conflicts_with = "remove_root"
    )]
    override_pods: Vec<String>,
    /// Emergency: remove a compromised root at once, without waiting for pods. SHA256 is at least 8 digits of its
    /// fingerprint. Only prints what would be disrupted unless --yes is given
    #[arg(long, value_name = "SHA256", value_parser = root_digits, requires = "reason")]
    remove_root: Option<String>,
    /// Remove the root, instead of only printing what would be disrupted
    #[arg(long, requires = "remove_root")]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run<B: Backend>(
    session: &mut Session<B>,
    args: &RolloverArgs,
) -> Result<(), CommandError> {
    let before = session.backend.authority(&args.authority).await?.status.unwrap_or_default();
    if let (Some(root), false) = (&args.remove_root, args.yes) {
        let impact = removal_impact(session, &args.authority, root, &before).await?;
        if session.json {
            println!("{:#}", json!({"authority": args.authority, "cost": impact}));
        } else {
            println!("{impact}");
        }
        return Ok(());
    }
    let (verb, arguments) = request_of(args)?;
    let id = request_id()?;
    if id.len() + 1 + arguments.len() > Request::MAX_LENGTH {
        let longest = Request::MAX_LENGTH;
        return Err(CommandError::Failed(format!(
            "the request is longer than {longest} bytes: override fewer pods at a time, or shorten the reason"
        )));
    }
    session.backend.request(&ObjectRef::Authority(args.authority.clone()), verb, &id, &arguments).await?;
    follow_rollover(session, args, verb, &id).await
}

/// The verb of the request and its arguments.
fn request_of(args: &RolloverArgs) -> Result<(&'static str, String), CommandError> {
    if args.reverse {
        return Ok((request::REVERSE, args.reason.clone()));
    }
    if !args.override_pods.is_empty() {
        if args.reason.is_empty() {
            return Err(CommandError::Failed(
                "--override needs --reason, which is recorded in the history".into(),
            ));
        }
        return Ok((request::OVERRIDE, format!("{} {}", args.override_pods.join(","), args.reason)));
    }
    Ok(match &args.remove_root {
        Some(root) => (request::REMOVE_ROOT, format!("{root} {}", args.reason)),
        None => (request::ROLLOVER, args.reason.clone()),
    })
}

/// Until the request is handled, or with `--watch` until the rollover has ended.
async fn follow_rollover<B: Backend>(
    session: &mut Session<B>,
    args: &RolloverArgs,
    verb: &str,
    id: &str,
) -> Result<(), CommandError> {
    let deadline = Instant::now() + args.wait.timeout;
    let mut printed = String::new();
    loop {
        let status = session.backend.authority(&args.authority).await?.status.unwrap_or_default();
        let handled = status.handled_requests.get(verb).filter(|handled| handled.id == id);
        if let Some(handled) = handled {
            let outcome = RequestOutcome::parse(&handled.outcome);
            if matches!(outcome, RequestOutcome::Refused(_)) {
                return Err(CommandError::Failed(format!("{verb}: {outcome}")));
            }
            if !args.watch || status.rollover.is_none() {
                print_rollover(session, args, verb, &status);
                return Ok(());
            }
        } else if let Some(queued) = Condition::find(&status.conditions, ConditionType::Queued)
            && !args.watch
        {
            print_progress(session, &format!("{}: {}", args.authority, queued.message));
            print_rollover(session, args, verb, &status);
            return Ok(());
        }
        let progress = describe(&status, handled.is_some());
        if progress != printed {
            print_progress(session, &progress);
            printed = progress;
        }
        let blocked = status.rollover.is_some_and(|rollover| rollover.waiting_for_total > 0);
        let hint =
            if blocked { "; --override NAMESPACE/POD --reason TEXT continues without a pod" } else { "" };
        wait_for_change(session, deadline, &format!("{printed}{hint}")).await?;
    }
}

/// How many pods and certificates are named that a phase waits for.
const MAX_NAMED: usize = 5;

fn describe(status: &AuthorityStatus, handled: bool) -> String {
    match &status.rollover {
        Some(rollover) => {
            let phase = status.phase.as_deref().unwrap_or_default();
            let named: Vec<_> = rollover.waiting_for.iter().take(MAX_NAMED).map(String::as_str).collect();
            let more = rollover.waiting_for_total - i64::try_from(named.len()).unwrap_or(0);
            match named.as_slice() {
                [] if !rollover.overrides.is_empty() => {
                    format!(
                        "{phase}: nothing else blocks this phase; it continues without {}",
                        rollover.overrides.join(", ")
                    )
                }
                [] => format!("{phase}: nothing blocks this phase"),
                named if more > 0 => {
                    let named = named.join("; ");
                    format!("{phase}: waits for {named}; and {more} more, see hotcert status")
                }
                named => format!("{phase}: waits for {}", named.join("; ")),
            }
        }
        None if handled => "Steady".into(),
        None => "waiting for the control plane to handle the request".into(),
    }
}

/// What removing a root at once would disrupt.
async fn removal_impact<B: Backend>(
    session: &Session<B>,
    name: &str,
    root: &str,
    status: &AuthorityStatus,
) -> Result<String, CommandError> {
    let mut roots: Vec<_> = status.root.iter().map(|root| &root.sha256).collect();
    roots.extend(status.rollover.iter().flat_map(|rollover| [&rollover.from, &rollover.to]));
    if root.len() < 8 || !roots.iter().any(|known| known.starts_with(root)) {
        roots.dedup();
        let roots: Vec<_> = roots.into_iter().map(String::as_str).collect();
        return Err(CommandError::Failed(format!(
            "{name} has no root {root}: give at least 8 digits of the SHA-256 {}",
            if roots.is_empty() {
                "of a root; it has none yet".to_owned()
            } else {
                format!("of {}", roots.join(" or "))
            }
        )));
    }
    let certificates: Vec<_> = session.backend.certificates(None).await?;
    let of = |certificate: &&ServiceCertificate| certificate.spec.authority == name;
    let members: Vec<_> = certificates.iter().filter(of).collect();
    let under = members.iter().filter(|certificate| {
        certificate
            .status
            .as_ref()
            .and_then(|status| status.root.as_ref())
            .is_some_and(|own| own.starts_with(root))
    });
    let under = under.count();
    let pods: i64 = members
        .iter()
        .filter_map(|certificate| certificate.status.as_ref()?.served.as_ref())
        .map(|served| served.pods)
        .sum();
    let signs = status.root.as_ref().is_some_and(|own| own.sha256.starts_with(root));
    Ok(format!(
        "Removing the root {root} of {name} at once:\n\
         - {} certificates are published again, {under} of them with a new leaf{};\n\
         - about {pods} pods are affected: until a pod has loaded the new Secret, it and the pods that have loaded it\n  \
         reject each other's certificates. {};\n\
         - connections under the removed root are closed.\n\
         Nothing was done. Run it again with --yes to do it.",
        members.len(),
        if signs { " under a new root" } else { "" },
        session.backend.delivery(),
    ))
}

fn print_rollover<B: Backend>(
    session: &Session<B>,
    args: &RolloverArgs,
    verb: &str,
    status: &AuthorityStatus,
) {
    if session.json {
        println!("{:#}", json!({"authority": args.authority, "status": status}));
    } else if status.rollover.is_some() {
        let state = match verb {
            request::OVERRIDE => "override recorded".into(),
            request::REVERSE => format!("reverse requested; {}", describe(status, true)),
            _ => describe(status, true),
        };
        println!("{}: {state}; {}", args.authority, session.backend.continuation());
    } else {
        let root = status.root.clone().unwrap_or_default();
        let digits = root.sha256.get(..12).unwrap_or("-");
        let grounds = ended_on(status).map(|grounds| format!("; {grounds}")).unwrap_or_default();
        println!("{}: Steady under the root {digits} until {}{grounds}", args.authority, root.not_after);
    }
}

/// On what grounds the rollover to the present root ended.
fn ended_on(status: &AuthorityStatus) -> Option<String> {
    let last = status.rollover_history.last()?;
    let is_current = status.root.as_ref().is_some_and(|root| root.sha256 == last.to);
    is_current.then(|| grounds(last.forced, last.overrides.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource::{RolloverRecordStatus, RolloverStatus, RootStatus};

    #[test]
    fn the_end_of_a_rollover_names_the_proof_or_its_lack() {
        let status = |forced: bool, overrides: &[&str]| AuthorityStatus {
            root: Some(RootStatus { sha256: "new".into(), ..RootStatus::default() }),
            rollover_history: vec![RolloverRecordStatus {
                to: "new".into(),
                forced,
                overrides: overrides.iter().map(ToString::to_string).collect(),
                ..RolloverRecordStatus::default()
            }],
            ..AuthorityStatus::default()
        };
        assert_eq!(ended_on(&status(false, &[])).unwrap(), "proved by every pod");
        let overridden = ended_on(&status(false, &["shop/late: dead"])).unwrap();
        assert_eq!(overridden, "proved by every pod except 1 override");
        assert_eq!(ended_on(&status(true, &[])).unwrap(), "forced, without waiting for pods");
        assert_eq!(ended_on(&AuthorityStatus::default()), None);
    }

    #[test]
    fn a_step_that_nothing_blocks_claims_no_proof() {
        let status = |overrides: &[&str]| AuthorityStatus {
            phase: Some("Distributing".into()),
            rollover: Some(RolloverStatus {
                overrides: overrides.iter().map(ToString::to_string).collect(),
                ..RolloverStatus::default()
            }),
            ..AuthorityStatus::default()
        };
        assert_eq!(describe(&status(&[]), true), "Distributing: nothing blocks this phase");
        assert!(describe(&status(&["shop/late: dead"]), true).ends_with("continues without shop/late: dead"));
    }

    #[test]
    fn what_a_phase_waits_for_is_named_and_the_rest_counted() {
        let status = |total: i64| AuthorityStatus {
            phase: Some("Retiring".into()),
            rollover: Some(RolloverStatus {
                waiting_for: (0..total.min(20)).map(|number| format!("shop/p{number}: late")).collect(),
                waiting_for_total: total,
                ..RolloverStatus::default()
            }),
            ..AuthorityStatus::default()
        };
        assert_eq!(describe(&status(2), true), "Retiring: waits for shop/p0: late; shop/p1: late");
        let many = describe(&status(30), true);
        assert!(many.ends_with("shop/p4: late; and 25 more, see hotcert status"), "{many}");
    }
}
