//! A person's commands: they read what objects say of themselves, and write what is asked of them. The
//! work is the controller's; on one machine (`--dir`) it is done by the command itself, round by round.
//!
//! | module | what it is |
//! |---|---|
//! | [`desk`] | where objects are read and requests are left: a cluster, or a directory |
//! | [`status`], [`history`], [`check`] | what there is |
//! | [`ask`] | issue, rotate, rollback, rollover: ask, and follow what becomes of it |
//! | [`drill`] | a rotation for the sake of its numbers |
//! | [`table`] | rows for people |

mod ask;
mod check;
mod desk;
mod drill;
mod history;
mod status;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::observed::ObjectName;
use desk::{Cluster, Desk, DeskError, Directory};

/// What may be waited for, or looked ahead.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Where the objects are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Directory store on this machine, instead of a cluster
    #[arg(long, env = "HOTCERT_DIR", value_name = "DIR", conflicts_with = "kubeconfig")]
    dir: Option<PathBuf>,
    /// How to reach the cluster [default: $KUBECONFIG or ~/.kube/config, or as a pod in it]
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// A command's arguments, and where it is to be done.
#[derive(Debug, Args)]
pub struct At<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
pub enum Command {
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

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error("{0}")]
    Wrong(String),
    /// Said already, in the output itself.
    #[error("")]
    Trouble,
}

/// What a command needs besides its own arguments.
struct Session<D> {
    desk: D,
    json: bool,
}

pub fn main(command: &Command) -> ExitCode {
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

fn interrupted(command: &Command) -> &'static str {
    match command {
        Command::Status(_) | Command::History(_) | Command::Check(_) => "interrupted",
        _ if command.place().dir.is_some() => {
            "interrupted: what was asked for stays asked for, and goes on with the next command or controller on \
             this directory; see hotcert status"
        }
        _ => "interrupted: what was asked for goes on without this command; see hotcert status",
    }
}

async fn run(command: &Command) -> Result<(), CommandError> {
    let place = command.place();
    let json = place.json;
    match &place.dir {
        Some(dir) => {
            let create = matches!(command, Command::Issue(_));
            dispatch(Session { desk: Directory::open(dir, create)?, json }, command).await
        }
        None => {
            dispatch(Session { desk: Cluster::reach(place.kubeconfig.as_deref()).await?, json }, command)
                .await
        }
    }
}

impl Command {
    fn place(&self) -> &Place {
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

async fn dispatch<D: Desk>(mut session: Session<D>, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Status(At { args, .. }) => status::run(&mut session, args).await,
        Command::Issue(At { args, .. }) => ask::issue(&mut session, args).await,
        Command::Rotate(At { args, .. }) => ask::rotate(&mut session, args).await,
        Command::Rollback(At { args, .. }) => ask::rollback(&mut session, args).await,
        Command::Rollover(At { args, .. }) => ask::rollover(&mut session, args).await,
        Command::History(At { args, .. }) => history::run(&mut session, args).await,
        Command::Drill(At { args, .. }) => drill::run(&mut session, args).await,
        Command::Check(At { args, .. }) => check::run(&mut session, args).await,
    }
}

fn failed(error: &CommandError) -> ExitCode {
    if !matches!(error, CommandError::Trouble) {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}

/// NAMESPACE/NAME as an argument.
fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|error: crate::observed::ObjectNameError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("that is more than ten years".into()),
        Err(error) => Err(format!("{error}; write it like 30s or 5m")),
    }
}

/// Tells a request from every other.
fn request_id() -> Result<String, CommandError> {
    let mut random = [0; 6];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| CommandError::Wrong("the system's random number generator failed".into()))?;
    Ok(hotcert_agent::tls::hex::hex(&random))
}
