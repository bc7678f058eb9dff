//! `hotcert rollover`: begins to replace the root of an authority, or follows the rollover that is under way; or
//! reverses it, continues it without what holds it, removes a root, accepts a keyring that was restored.
//!
//! Following never begins anything, and nothing is begun while a rollover is under way.

mod progress;
mod removal;

use std::time::{Duration, Instant};

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use self::progress::{Progress, describe, override_hint};
use crate::api::condition::{Condition, ConditionType};
use crate::api::request::{self, RequestOutcome};
use crate::api::resource::{AuthorityStatus, CertificateAuthority};
use crate::api::settings::AuthoritySettings;
use crate::cli::arguments::{authority_name, override_target, parse_duration, root_digits, short_root};
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
    /// After the request, follow the rollover until it ends, and print what it waits for
    #[arg(long)]
    watch: bool,
    /// Begin nothing: follow the rollover that is under way until it ends, and print what it waits for
    #[arg(long, conflicts_with_all = ["watch", "reason", "reverse", "overrides", "remove_root", "accept_keyring"])]
    follow: bool,
    /// Why; recorded in the history. Required by --override, --remove-root and --accept-keyring
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Go back to the old root, with the same proofs
    #[arg(long, conflicts_with_all = ["overrides", "remove_root", "accept_keyring"])]
    reverse: bool,
    /// Continue without waiting for this pod, NAMESPACE/POD; for this certificate or its Secret, NAMESPACE/CERTIFICATE; or
    /// for a namespace that cannot be listed, 'NAMESPACE/*'. Repeatable. Peers may refuse its connections from then on
    #[arg(
        long = "override",
        value_name = "NAMESPACE/NAME",
        value_parser = override_target,
        requires = "reason",
        conflicts_with_all = ["remove_root", "accept_keyring"]
    )]
    overrides: Vec<String>,
    /// Emergency: remove a compromised root at once, without waiting for pods. ROOT is at least 8 digits of its SHA-256,
    /// as every command shows it. Only prints what would be disrupted unless --yes is given
    #[arg(
        long,
        value_name = "ROOT",
        value_parser = root_digits,
        requires = "reason",
        conflicts_with = "accept_keyring"
    )]
    remove_root: Option<String>,
    /// Remove the root, instead of only printing what would be disrupted
    #[arg(long, requires = "remove_root")]
    yes: bool,
    /// Go on with a keyring that was restored from before a root that is in use (condition KeyringOutdated), for which
    /// nothing is issued until then. Where a newer keyring can be restored, do that instead: pods that trust the newer
    /// root alone are cut off until they have a new Secret
    #[arg(long, requires = "reason", conflicts_with = "watch")]
    accept_keyring: bool,
    /// How long to wait, such as 30s, 5m or 1h; the request stays open afterwards [default: 5m for the request to be
    /// handled; with --watch or --follow, the authority's drainDeadline and 15m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// For a request to be handled.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// For what a rollover does beside draining connections.
const ROLLOVER_MARGIN: Duration = Duration::from_secs(15 * 60);

/// A request that is followed: its verb and id.
type FollowedRequest<'a> = Option<(&'static str, &'a str)>;

pub(super) async fn run<B: Backend>(
    session: &mut Session<B>,
    args: &RolloverArgs,
) -> Result<(), CommandError> {
    let authority = session.backend.authority(&args.authority).await?;
    let deadline = Instant::now() + timeout(args, &authority);
    let before = authority.status.unwrap_or_default();
    if args.follow {
        return follow_rollover(session, args, None, deadline).await;
    }
    if let (Some(root), false) = (&args.remove_root, args.yes) {
        let impact = removal::impact(session, &args.authority, root, &before).await?;
        if session.json {
            outln!("{:#}", json!({"authority": args.authority, "cost": impact}));
        } else {
            outln!("{impact}");
        }
        return Ok(());
    }
    let (verb, arguments) = request_of(args)?;
    if verb == request::ROLLOVER && before.rollover.is_some() {
        return Err(CommandError::Failed(request::rollover_under_way(&args.authority)));
    }
    let id = request_id()?;
    if id.len() + 1 + arguments.len() > Request::MAX_LENGTH {
        let longest = Request::MAX_LENGTH;
        return Err(CommandError::Failed(format!(
            "the request is longer than {longest} bytes: override fewer at a time, or shorten the reason"
        )));
    }
    session.backend.request(&ObjectRef::Authority(args.authority.clone()), verb, &id, &arguments).await?;
    follow_rollover(session, args, Some((verb, &id)), deadline).await
}

/// As long as the rollover may take, if it is followed.
fn timeout(args: &RolloverArgs, authority: &CertificateAuthority) -> Duration {
    args.timeout.unwrap_or_else(|| {
        if args.watch || args.follow {
            AuthoritySettings::drain_deadline(&authority.spec) + ROLLOVER_MARGIN
        } else {
            REQUEST_TIMEOUT
        }
    })
}

/// The verb of the request and its arguments.
fn request_of(args: &RolloverArgs) -> Result<(&'static str, String), CommandError> {
    let recorded = |flag: &str| match args.reason.trim() {
        "" => Err(CommandError::Failed(format!("{flag} needs --reason, which is recorded in the history"))),
        reason => Ok(reason.to_owned()),
    };
    if args.reverse {
        return Ok((request::REVERSE, args.reason.clone()));
    }
    if !args.overrides.is_empty() {
        return Ok((request::OVERRIDE, format!("{} {}", args.overrides.join(","), recorded("--override")?)));
    }
    if args.accept_keyring {
        return Ok((request::ACCEPT_KEYRING, recorded("--accept-keyring")?));
    }
    Ok(match &args.remove_root {
        Some(root) => (request::REMOVE_ROOT, format!("{root} {}", recorded("--remove-root")?)),
        None => (request::ROLLOVER, args.reason.clone()),
    })
}

/// Until the request is handled, or with `--watch` or `--follow` until the rollover has ended.
async fn follow_rollover<B: Backend>(
    session: &mut Session<B>,
    args: &RolloverArgs,
    request: FollowedRequest<'_>,
    deadline: Instant,
) -> Result<(), CommandError> {
    let to_the_end = args.watch || args.follow;
    let mut progress = Progress::default();
    let mut was_under_way = false;
    loop {
        let status = session.backend.authority(&args.authority).await?.status.unwrap_or_default();
        let is_under_way = status.rollover.is_some();
        let handled = match request {
            Some((verb, id)) => is_handled(&status, verb, id)?,
            None => true,
        };
        if handled && !(to_the_end && is_under_way) {
            if request.is_none() && !was_under_way {
                print_progress(session, &format!("no rollover of {} is under way", args.authority));
            }
            print_rollover(session, args, request.map(|(verb, _)| verb), &status);
            return Ok(());
        }
        was_under_way |= is_under_way;
        // By a controller of 0.2, which begins it when the other one has ended.
        if let Some(queued) = Condition::find(&status.conditions, ConditionType::Queued)
            && !handled
            && !to_the_end
        {
            print_progress(session, &format!("{}: {}", args.authority, queued.message));
            print_rollover(session, args, request.map(|(verb, _)| verb), &status);
            return Ok(());
        }
        for line in progress.changes(&args.authority, &status, handled, Instant::now()) {
            print_progress(session, &line);
        }
        let hint =
            override_hint(&args.authority, &status).map(|hint| format!("; {hint}")).unwrap_or_default();
        let what = format!("{}{hint}", describe(&status, handled));
        let advice = advice(args, handled && is_under_way);
        wait_for_change(session, deadline, &what, &advice).await?;
    }
}

/// Fails if it was refused.
fn is_handled(status: &AuthorityStatus, verb: &str, id: &str) -> Result<bool, CommandError> {
    let Some(handled) = status.handled_requests.get(verb).filter(|handled| handled.id == id) else {
        return Ok(false);
    };
    match RequestOutcome::parse(&handled.outcome) {
        outcome @ RequestOutcome::Refused(_) => Err(CommandError::Failed(format!("{verb}: {outcome}"))),
        _ => Ok(true),
    }
}

/// What to do when the time is up.
fn advice(args: &RolloverArgs, is_under_way: bool) -> String {
    if is_under_way {
        let name = &args.authority;
        return format!("the rollover stays under way; follow it with hotcert rollover {name} --follow");
    }
    "the request stays open; see hotcert status, or wait longer with --timeout".into()
}

fn print_rollover<B: Backend>(
    session: &Session<B>,
    args: &RolloverArgs,
    verb: Option<&str>,
    status: &AuthorityStatus,
) {
    if session.json {
        outln!("{:#}", json!({"authority": args.authority, "status": status}));
    } else {
        outln!("{}", summary(&args.authority, verb, status, &session.backend.continuation()));
    }
}

/// What became of the request, and the state that it left.
fn summary(authority: &str, verb: Option<&str>, status: &AuthorityStatus, continuation: &str) -> String {
    let accepted = if verb == Some(request::ACCEPT_KEYRING) { "keyring accepted; " } else { "" };
    if status.rollover.is_some() {
        let state = match verb {
            Some(request::OVERRIDE) => "override recorded".into(),
            Some(request::REVERSE) => format!("reverse requested; {}", describe(status, true)),
            _ => describe(status, true),
        };
        return format!("{authority}: {accepted}{state}; {continuation}");
    }
    let root = status.root.clone().unwrap_or_default();
    let digits = short_root(&root.sha256);
    let ended = ended_on(status).filter(|_| accepted.is_empty());
    let grounds = ended.map(|grounds| format!("; {grounds}")).unwrap_or_default();
    format!("{authority}: {accepted}Steady under the root {digits} until {}{grounds}", root.not_after)
}

/// On what grounds the rollover to the present root ended.
fn ended_on(status: &AuthorityStatus) -> Option<String> {
    let last = status.rollover_history.last()?;
    let is_current = status.root.as_ref().is_some_and(|root| root.sha256 == last.to);
    is_current.then(|| grounds(last.forced, last.overrides.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::api::resource::{CertificateAuthoritySpec, RolloverRecordStatus, RolloverStatus, RootStatus};

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

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RolloverArgs,
    }

    fn parse(args: &[&str]) -> Result<RolloverArgs, clap::Error> {
        Line::try_parse_from([&["rollover", "root-prod-shop"], args].concat()).map(|line| line.args)
    }

    #[test]
    fn a_rollover_that_is_followed_may_take_as_long_as_its_connections_may_drain() {
        let authority = |drain_deadline: Option<&str>| {
            let drain_deadline = drain_deadline.map(str::to_owned);
            let spec = CertificateAuthoritySpec { drain_deadline, ..CertificateAuthoritySpec::default() };
            CertificateAuthority::new("root-prod-shop", spec)
        };
        let minutes = |args: &[&str], drain| timeout(&parse(args).unwrap(), &authority(drain)).as_secs() / 60;
        for (args, drain, expected) in [
            (&["--watch"][..], None, 75),
            (&["--follow"], Some("6h"), 375),
            (&["--follow"], Some("nonsense"), 75),
            (&["--watch", "--timeout", "2m"], Some("6h"), 2),
            (&[], Some("6h"), 5),
        ] {
            assert_eq!(minutes(args, drain), expected, "{args:?} {drain:?}");
        }
    }

    #[test]
    fn following_is_not_mixed_with_what_begins_or_changes() {
        assert!(parse(&["--follow"]).is_ok_and(|args| args.follow && !args.watch));
        for other in [
            &["--watch"][..],
            &["--reason", "why"],
            &["--reverse"],
            &["--override", "shop/a", "--reason", "why"],
            &["--remove-root", "01234567", "--reason", "why"],
            &["--accept-keyring", "--reason", "why"],
        ] {
            assert!(parse(&[&["--follow"], other].concat()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_keyring_is_accepted_by_itself_and_with_a_reason() {
        let accept = ["--accept-keyring", "--reason", "there is no newer backup"];
        let asked = request_of(&parse(&accept).unwrap()).unwrap();
        assert_eq!(asked, (request::ACCEPT_KEYRING, "there is no newer backup".into()));
        assert!(parse(&["--accept-keyring"]).is_err());
        assert!(request_of(&parse(&["--accept-keyring", "--reason", " "]).unwrap()).is_err());
        for other in
            [&["--watch"][..], &["--reverse"], &["--override", "shop/a"], &["--remove-root", "01234567"]]
        {
            assert!(parse(&[&accept, other].concat()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn what_became_of_an_accepted_keyring_is_said_in_one_line() {
        let root = RootStatus {
            sha256: "0123456789abcdef".into(),
            not_after: "2036-01-31T09:15:00Z".into(),
            ..RootStatus::default()
        };
        let steady = AuthorityStatus { root: Some(root), ..AuthorityStatus::default() };
        let said = |verb, status: &AuthorityStatus| summary("root-prod-shop", verb, status, "it goes on");
        let under = "Steady under the root 0123456789ab until 2036-01-31T09:15:00Z";
        let accepted = said(Some(request::ACCEPT_KEYRING), &steady);
        assert_eq!(accepted, format!("root-prod-shop: keyring accepted; {under}"));
        assert_eq!(said(None, &steady), format!("root-prod-shop: {under}"));
        let rolling = AuthorityStatus {
            phase: Some("Distributing".into()),
            rollover: Some(RolloverStatus::default()),
            ..steady
        };
        assert_eq!(
            said(Some(request::ACCEPT_KEYRING), &rolling),
            "root-prod-shop: keyring accepted; Distributing: nothing blocks this phase; it goes on"
        );
    }

    #[test]
    fn what_is_overridden_or_removed_has_a_reason() {
        let asked = |args: &[&str]| request_of(&parse(args).unwrap());
        let overrides = ["--override", "shop/a", "--override", "shop/*", "--reason", "it is gone"];
        assert_eq!(asked(&overrides).unwrap(), (request::OVERRIDE, "shop/a,shop/* it is gone".into()));
        assert!(parse(&["--override", "shop/a"]).is_err());
        assert!(asked(&["--override", "shop/a", "--reason", " "]).is_err());
        assert!(asked(&["--remove-root", "01234567", "--reason", ""]).is_err());
    }
}
