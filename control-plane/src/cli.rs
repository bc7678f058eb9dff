//! The command line: from arguments to an exit code.

mod ask;
mod backend;
mod check;
mod drill;
mod history;
mod inject;
pub mod session;
mod status;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::backend::{Backend, Cluster, Directory};
use self::inject::InjectArgs;
use self::session::{At, BackendArgs, CommandError, Session};

use crate::controller::{self, ControllerArgs};

/// Certificates that rotate while services serve: the control plane and its commands.
#[derive(Debug, Parser)]
#[command(name = "hotcert", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Person(PersonCommand),
    /// Add the agent to workloads in YAML: standard input to standard output
    Inject(InjectArgs),
    /// Run the control plane in a cluster, or on a directory of this machine with --dir
    Controller(ControllerArgs),
    /// Print the definitions of CertificateAuthority and ServiceCertificate as YAML
    #[command(hide = true)]
    Crds,
}

/// Runs the program with `args`, its name first, to its exit code.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    match hotcert_agent::cli::parse(args).map(|cli: Cli| cli.command) {
        Ok(Command::Person(command)) => run_person(&command),
        Ok(Command::Inject(args)) => inject::run(&args),
        Ok(Command::Controller(args)) => controller::main(&args),
        Ok(Command::Crds) => crds(),
        Err(code) => code,
    }
}

fn crds() -> ExitCode {
    match crate::api::resource::definitions() {
        Ok(yaml) => {
            print!("{yaml}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Subcommand)]
enum PersonCommand {
    /// Show the fleet: every certificate, which pods serve it, and every rollover
    Status(At<status::StatusArgs>),
    /// Create a certificate (with --create-authority an authority too), and wait until it is published
    Issue(At<ask::IssueArgs>),
    /// Replace a certificate now, and wait until every pod serves the new one
    Rotate(At<ask::RotateArgs>),
    /// Go back to an earlier version of a certificate
    Rollback(At<ask::RollbackArgs>),
    /// Replace the root of an authority, step by step on proof; or reverse, override, remove
    Rollover(At<ask::RolloverArgs>),
    /// Show the kept versions of a certificate, or the past rollovers of an authority
    History(At<history::HistoryArgs>),
    /// Rotate a certificate and tell what it cost: publish to served, refused and cut connections
    Drill(At<drill::DrillArgs>),
    /// Look for trouble: what expires, what is not served, what cannot be reached; exits with 1 if there is some
    Check(At<check::CheckArgs>),
}

fn run_person(command: &PersonCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CommandError::Wrong(format!("cannot start: {error}"))),
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(command) => done,
            _ = tokio::signal::ctrl_c() => Err(CommandError::Wrong(interrupted(command).into())),
        }
    });
    runtime.shutdown_background();
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn interrupted(command: &PersonCommand) -> &'static str {
    match command {
        PersonCommand::Status(_) | PersonCommand::History(_) | PersonCommand::Check(_) => "interrupted",
        _ if command.place().dir.is_some() => {
            "interrupted: what was asked for stays asked for, and goes on with the next command or controller on \
             this directory; see hotcert status"
        }
        _ => "interrupted: what was asked for goes on without this command; see hotcert status",
    }
}

async fn run(command: &PersonCommand) -> Result<(), CommandError> {
    let place = command.place();
    let json = place.json;
    match &place.dir {
        Some(dir) => {
            let create = matches!(command, PersonCommand::Issue(_));
            dispatch(Session { backend: Directory::open(dir, create)?, json }, command).await
        }
        None => {
            dispatch(Session { backend: Cluster::reach(place.kubeconfig.as_deref()).await?, json }, command)
                .await
        }
    }
}

impl PersonCommand {
    fn place(&self) -> &BackendArgs {
        match self {
            Self::Status(At { place, .. })
            | Self::Issue(At { place, .. })
            | Self::Rotate(At { place, .. })
            | Self::Rollback(At { place, .. })
            | Self::Rollover(At { place, .. })
            | Self::History(At { place, .. })
            | Self::Drill(At { place, .. })
            | Self::Check(At { place, .. }) => place,
        }
    }
}

async fn dispatch<D: Backend>(mut session: Session<D>, command: &PersonCommand) -> Result<(), CommandError> {
    match command {
        PersonCommand::Status(At { args, .. }) => status::run(&mut session, args).await,
        PersonCommand::Issue(At { args, .. }) => ask::issue(&mut session, args).await,
        PersonCommand::Rotate(At { args, .. }) => ask::rotate(&mut session, args).await,
        PersonCommand::Rollback(At { args, .. }) => ask::rollback(&mut session, args).await,
        PersonCommand::Rollover(At { args, .. }) => ask::rollover(&mut session, args).await,
        PersonCommand::History(At { args, .. }) => history::run(&mut session, args).await,
        PersonCommand::Drill(At { args, .. }) => drill::run(&mut session, args).await,
        PersonCommand::Check(At { args, .. }) => check::run(&mut session, args).await,
    }
}

fn failed(error: &CommandError) -> ExitCode {
    if !matches!(error, CommandError::Trouble) {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}
