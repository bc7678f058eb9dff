//! Asking for something, and following what becomes of it until it is so, or was refused.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::resource::{
    AuthorityStatus, CertificateAuthority, CertificateAuthoritySpec, CertificateStatus, ManagerRef,
    ServiceCertificate, ServiceCertificateSpec,
};
use crate::api::settings::{AuthoritySettings, CertificateSettings, FetchedSettings};
use crate::cli::backend::{Backend, BackendError};
use crate::cli::session::{CommandError, Session, duration, object_name, request_id};
use crate::planner::observed::{ObjectName, Request};
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// NAMESPACE/TYPE-CLUSTER-MICROSERVICE, such as shop/mtls-prod-payments
    #[arg(value_parser = object_name)]
    name: ObjectName,
    /// The authority that signs, such as root-prod-shop
    #[arg(long, value_name = "NAME", required_unless_present = "manager")]
    authority: Option<String>,
    /// Create the authority as well if there is none, for this namespace
    #[arg(long, requires = "authority")]
    create_authority: bool,
    /// A manager outside, and the certificate's id there: each version is brought to it, or, without an
    /// authority, fetched from it
    #[arg(long, value_name = "MANAGER/ID", value_parser = manager)]
    manager: Option<ManagerRef>,
    /// Secret to publish it as [default: MICROSERVICE-tls]
    #[arg(long, value_name = "NAME")]
    secret_name: Option<String>,
    /// DNS name to carry, once or more [default: MICROSERVICE.NAMESPACE.svc, also with .cluster.local]
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// Life of each leaf, such as 30d
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<String>,
    #[command(flatten)]
    patience: WaitArgs,
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// NAMESPACE/NAME
    #[arg(value_parser = object_name)]
    name: ObjectName,
    #[command(flatten)]
    patience: WaitArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// NAMESPACE/NAME
    #[arg(value_parser = object_name)]
    name: ObjectName,
    /// The version to go back to [default: the one before]; see hotcert history
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    patience: WaitArgs,
}

#[derive(Debug, Args)]
pub struct RolloverArgs {
    /// The authority
    authority: String,
    /// Follow it to its end, and say what it waits for
    #[arg(long)]
    watch: bool,
    /// Why; recorded, and needed to override and to remove
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Go back to the old root
    #[arg(long, conflicts_with_all = ["go_on_without", "remove_root"])]
    reverse: bool,
    /// Go on without this pod, NAMESPACE/POD, once or more; who is left out may be cut off
    #[arg(long = "override", value_name = "POD", requires = "reason", conflicts_with = "remove_root")]
    go_on_without: Vec<String>,
    /// Emergency: take out this root (SHA-256, 8 digits at least) at once; says what that cuts, does it with --yes
    #[arg(long, value_name = "SHA256", requires = "reason")]
    remove_root: Option<String>,
    /// Do what was only described otherwise
    #[arg(long, requires = "remove_root")]
    yes: bool,
    #[command(flatten)]
    patience: WaitArgs,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn issue<D: Backend>(
    session: &mut Session<D>,
    args: &IssueArgs,
) -> Result<(), CommandError> {
    let spec = ServiceCertificateSpec {
        authority: args.authority.clone().unwrap_or_default(),
        manager: args.manager.clone(),
        secret_name: args.secret_name.clone(),
        dns_names: (!args.dns_names.is_empty()).then(|| args.dns_names.clone()),
        lifetime: args.lifetime.clone(),
        ..Default::default()
    };
    judge(session, args, &spec).await?;
    if let (Some(authority), true) = (&args.authority, args.create_authority) {
        let spec = authority_of(args);
        match session.backend.create_authority(&CertificateAuthority::new(authority, spec)).await {
            Ok(()) => say(session, &format!("created the authority {authority}")),
            Err(BackendError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut object = ServiceCertificate::new(&args.name.name, spec);
    object.metadata.namespace = Some(args.name.namespace.clone());
    session.backend.create_certificate(&object).await?;
    say(session, &format!("created the certificate {}", args.name));
    let status = follow(session, &args.name, args.patience.timeout, |status| {
        let ready = Condition::find(&status.conditions, ConditionType::Ready);
        match ready {
            Some(ready) if ready.status == ConditionStatus::True => served(status),
            Some(ready) if matches!(ready.reason, Reason::InvalidSpec | Reason::ForeignSecret) => {
                Progress::Refused(ready.message.clone())
            }
            Some(ready) => Progress::Waits(format!("{}: {}", ready.reason, ready.message)),
            None => Progress::Waits("the controller has not looked at it yet".into()),
        }
    })
    .await?;
    conclude(session, &args.name, &status)
}

fn manager(text: &str) -> Result<ManagerRef, String> {
    match text.split_once('/') {
        Some((name, id)) if !name.is_empty() && !id.is_empty() => {
            Ok(ManagerRef { name: name.to_owned(), id: id.to_owned() })
        }
        _ => Err(format!("{text:?} is no MANAGER/ID, such as ibm/payments")),
    }
}

fn authority_of(args: &IssueArgs) -> CertificateAuthoritySpec {
    CertificateAuthoritySpec { namespaces: vec![args.name.namespace.clone()], ..Default::default() }
}

/// What would be refused afterwards is not created.
async fn judge<D: Backend>(
    session: &Session<D>,
    args: &IssueArgs,
    spec: &ServiceCertificateSpec,
) -> Result<(), CommandError> {
    let wrong = |wrong: Vec<String>| CommandError::Wrong(wrong.join("; "));
    let ObjectName { namespace, name } = &args.name;
    let Some(asked) = &args.authority else {
        FetchedSettings::validate(name, spec).map_err(wrong)?;
        return Ok(());
    };
    let authority = match session.backend.authority(asked).await {
        Ok(authority) => authority.spec,
        Err(BackendError::Missing(_)) if args.create_authority => authority_of(args),
        Err(BackendError::Missing(_)) => {
            let said = format!("there is no authority {asked}: --create-authority makes it");
            return Err(CommandError::Wrong(said));
        }
        // Whoever may not look at it may still create a certificate: then the controller judges.
        Err(_) => return Ok(()),
    };
    let authority = AuthoritySettings::validate(asked, &authority).map_err(wrong)?;
    CertificateSettings::validate(namespace, name, spec, &authority).map_err(wrong)?;
    Ok(())
}

pub(super) async fn rotate<D: Backend>(
    session: &mut Session<D>,
    args: &RotateArgs,
) -> Result<(), CommandError> {
    let status = rotate_and_wait(session, &args.name, args.patience.timeout).await?;
    conclude(session, &args.name, &status)
}

/// Returns when every pod serves the new leaf, or took too long.
pub(super) async fn rotate_and_wait<D: Backend>(
    session: &mut Session<D>,
    name: &ObjectName,
    timeout: Duration,
) -> Result<CertificateStatus, CommandError> {
    session.backend.certificate(name).await?;
    let id = request_id()?;
    session.backend.ask(&ObjectRef::Certificate(name.clone()), "rotate", &id, "").await?;
    follow(session, name, timeout, |status| {
        let answered =
            status.handled_requests.as_ref().and_then(|answered| answered.rotate.as_ref()) == Some(&id);
        let failing = Condition::find(&status.conditions, ConditionType::Degraded);
        match failing {
            _ if answered => served(status),
            Some(failing) => Progress::Waits(format!("{}: {}", failing.reason, failing.message)),
            None => Progress::Waits("a new leaf".into()),
        }
    })
    .await
}

pub(super) async fn rollback<D: Backend>(
    session: &mut Session<D>,
    args: &RollbackArgs,
) -> Result<(), CommandError> {
    session.backend.certificate(&args.name).await?;
    let id = request_id()?;
    let words = args.to.map(|to| format!("to={to}")).unwrap_or_default();
    session.backend.ask(&ObjectRef::Certificate(args.name.clone()), "rollback", &id, &words).await?;
    let status = follow(session, &args.name, args.patience.timeout, |status| {
        let answered =
            status.handled_requests.as_ref().and_then(|answered| answered.rollback.as_ref()) == Some(&id);
        let refused = Condition::find(&status.conditions, ConditionType::RollbackRefused);
        match (answered, refused) {
            (false, _) => Progress::Waits("an answer".into()),
            (true, Some(refused)) => Progress::Refused(refused.message.clone()),
            (true, None) => served(status),
        }
    })
    .await?;
    conclude(session, &args.name, &status)
}

pub(super) async fn rollover<D: Backend>(
    session: &mut Session<D>,
    args: &RolloverArgs,
) -> Result<(), CommandError> {
    let before = session.backend.authority(&args.authority).await?.status.unwrap_or_default();
    let (verb, words) = if args.reverse {
        ("reverse", args.reason.clone())
    } else if !args.go_on_without.is_empty() {
        ("override", format!("{} {}", args.go_on_without.join(","), args.reason))
    } else if let Some(root) = &args.remove_root {
        if !args.yes {
            let cost = cost(session, &args.authority, root, &before).await?;
            if session.json {
                println!("{:#}", json!({"authority": args.authority, "cost": cost}));
            } else {
                println!("{cost}");
            }
            return Ok(());
        }
        ("remove-root", format!("{root} {}", args.reason))
    } else {
        ("rollover", args.reason.clone())
    };
    if verb == "override" && args.reason.is_empty() {
        return Err(CommandError::Wrong("--override needs a --reason: it is recorded".into()));
    }
    let id = request_id()?;
    if id.len() + 1 + words.len() > Request::LONGEST {
        let longest = Request::LONGEST;
        return Err(CommandError::Wrong(format!(
            "that is longer than {longest} bytes: ask for fewer pods at a time"
        )));
    }
    session.backend.ask(&ObjectRef::Authority(args.authority.clone()), verb, &id, &words).await?;
    let deadline = Instant::now() + args.patience.timeout;
    let mut said = String::new();
    loop {
        let status = session.backend.authority(&args.authority).await?.status.unwrap_or_default();
        let answer = status.handled_requests.get(verb).filter(|answer| answer.id == id);
        if let Some(answer) = answer {
            if answer.outcome.starts_with("refused") {
                return Err(CommandError::Wrong(format!("{verb}: {}", answer.outcome)));
            }
            if !args.watch || status.rollover.is_none() {
                report(session, args, &status);
                return Ok(());
            }
        } else if let Some(queued) = Condition::find(&status.conditions, ConditionType::Queued)
            && !args.watch
        {
            say(session, &format!("{}: {}", args.authority, queued.message));
            report(session, args, &status);
            return Ok(());
        }
        let now_at = describe(&status, answer.is_some());
        if now_at != said {
            say(session, &now_at);
            said = now_at;
        }
        wait(session, deadline, &said).await?;
    }
}

fn describe(status: &AuthorityStatus, answered: bool) -> String {
    match &status.rollover {
        Some(rollover) => {
            let phase = status.phase.as_deref().unwrap_or_default();
            match rollover.waiting_for.first() {
                Some(first) if rollover.waiting_for_total > 1 => {
                    format!("{phase}: waits for {first} (and for {} more)", rollover.waiting_for_total - 1)
                }
                Some(first) => format!("{phase}: waits for {first}"),
                None => format!("{phase}: every pod has proved it"),
            }
        }
        None if answered => "Steady".into(),
        None => "waits for an answer".into(),
    }
}

/// What taking a root out at once would cut.
async fn cost<D: Backend>(
    session: &Session<D>,
    name: &str,
    root: &str,
    status: &AuthorityStatus,
) -> Result<String, CommandError> {
    let mut roots: Vec<_> = status.root.iter().map(|root| &root.sha256).collect();
    roots.extend(status.rollover.iter().flat_map(|rollover| [&rollover.from, &rollover.to]));
    if root.len() < 8 || !roots.iter().any(|known| known.starts_with(root)) {
        roots.dedup();
        let roots: Vec<_> = roots.into_iter().map(String::as_str).collect();
        return Err(CommandError::Wrong(format!(
            "{name} has no root {root}: give at least 8 digits of a SHA-256, of {}",
            if roots.is_empty() { "which there is none yet".to_owned() } else { roots.join(" or ") }
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
         - {} certificates are published anew, {under} of which get a new leaf{};\n\
         - about {pods} pods are affected; until each has the new Secret (a moment through the API, a minute or so\n  \
         through the volume alone, never without an agent) it and those that have it refuse each other;\n\
         - connections under the removed root are cut.\n\
         Nothing was done. Run it again with --yes to do it.",
        members.len(),
        if signs { " under a new root" } else { "" },
    ))
}

fn report<D>(session: &Session<D>, args: &RolloverArgs, status: &AuthorityStatus) {
    if session.json {
        println!("{:#}", json!({"authority": args.authority, "status": status}));
    } else if status.rollover.is_some() {
        println!("{}: {}; follow it with --watch or hotcert status", args.authority, describe(status, true));
    } else {
        let root = status.root.clone().unwrap_or_default();
        println!("{}: Steady under the root {} until {}", args.authority, root.serial, root.not_after);
    }
}

enum Progress {
    Done,
    Waits(String),
    Refused(String),
}

fn served(status: &CertificateStatus) -> Progress {
    let current = status.served.as_ref().filter(|served| Some(served.revision) >= status.revision);
    let condition = Condition::find(&status.conditions, ConditionType::Served);
    match (current, condition) {
        (Some(_), Some(condition)) if condition.status != ConditionStatus::Unknown => Progress::Done,
        (_, Some(condition)) => Progress::Waits(condition.message.clone()),
        _ => Progress::Waits("the Secret to be written".into()),
    }
}

/// Looks again and again until there is nothing to wait for.
async fn follow<D: Backend>(
    session: &mut Session<D>,
    name: &ObjectName,
    timeout: Duration,
    judge: impl Fn(&CertificateStatus) -> Progress,
) -> Result<CertificateStatus, CommandError> {
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    loop {
        let status = session.backend.certificate(name).await?.status.unwrap_or_default();
        match judge(&status) {
            Progress::Done => return Ok(status),
            Progress::Refused(why) => return Err(CommandError::Wrong(format!("{name}: refused: {why}"))),
            Progress::Waits(what) => {
                if what != said {
                    say(session, &format!("{name}: waiting: {what}"));
                    said = what;
                }
            }
        }
        wait(session, deadline, &said).await?;
    }
}

async fn wait<D: Backend>(
    session: &mut Session<D>,
    deadline: Instant,
    what: &str,
) -> Result<(), CommandError> {
    let rest = deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(rest, session.backend.go_on()).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CommandError::Wrong(format!(
            "gave up waiting ({what}); what was asked for is still open: see hotcert status, or wait longer with --timeout"
        ))),
    }
}

/// Trouble if some pod does not serve it, as far as anybody has seen.
fn conclude<D>(
    session: &Session<D>,
    name: &ObjectName,
    status: &CertificateStatus,
) -> Result<(), CommandError> {
    let served = Condition::find(&status.conditions, ConditionType::Served);
    let is_late = served.is_some_and(|served| served.status == ConditionStatus::False);
    let done = if is_late { Err(CommandError::Trouble) } else { Ok(()) };
    if session.json {
        println!("{:#}", json!({"certificate": name.to_string(), "status": status}));
        return done;
    }
    let version = status.version.unwrap_or(0);
    let serial = status.serial.as_deref().unwrap_or("-");
    let end = status.not_after.as_deref().unwrap_or("-");
    let served = match &status.served {
        Some(served) if served.pods > 0 => format!(
            "served by {} of {} pods{}",
            served.serving,
            served.pods,
            served.seconds.map(|seconds| format!(", the last after {seconds:.2} s")).unwrap_or_default()
        ),
        _ => format!("published as the Secret {}", status.secret_name.as_deref().unwrap_or("-")),
    };
    println!("{name}: version {version}, serial {serial}, until {end}; {served}");
    done
}

/// Progress, for whoever watches; the result alone goes to standard output.
fn say<D>(session: &Session<D>, what: &str) {
    if !session.json {
        eprintln!("{what}");
    }
}
