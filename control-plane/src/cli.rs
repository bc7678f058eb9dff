//! The command line: from arguments to an exit code.

mod arguments;
mod backend;
mod check;
mod delete;
mod drill;
mod follow;
mod history;
mod inject;
mod issue;
mod notify;
mod rollback;
mod rollover;
mod rotate;
pub mod session;
mod setup;
mod status;
mod table;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use hotcert_log::{errln, terminal};

use self::backend::Backend;
use self::backend::directory::DirectoryBackend;
use self::backend::kubernetes::KubernetesBackend;
use self::inject::InjectArgs;
use self::notify::NotifyArgs;
use self::session::{CommandError, GlobalArgs, Session, WithGlobals};
use self::setup::{SetupArgs, TeardownArgs};

use crate::controller::{self, ControllerArgs};

/// TLS certificates that rotate while services serve: the control plane and its commands.
#[derive(Debug, Parser)]
#[command(name = "hotcert", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples, on a directory of this machine instead of a cluster:

  export HOTCERT_DIR=/tmp/hotcert
  hotcert issue shop/mtls-local-payments --authority root-local-shop --create-authority
  hotcert status
  hotcert rotate shop/mtls-local-payments
  hotcert rollover root-local-shop --watch --reason 'yearly rollover'
  hotcert delete shop/mtls-local-payments";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Client(ClientCommand),
    /// Add the agent to workloads in YAML, from standard input to standard output
    Inject(InjectArgs),
    /// Try the notifications of a settings file
    Notify(NotifyArgs),
    /// Run the control plane in a cluster, or on a directory of this machine with --dir
    Controller(ControllerArgs),
    /// Make what a provider's events need, at the provider, and print the settings for it
    Setup(SetupArgs),
    /// Remove what setup has made, at the provider
    Teardown(TeardownArgs),
    /// Print the definitions of CertificateAuthority and ServiceCertificate as YAML
    #[command(hide = true)]
    Crds,
}

/// Runs the program with `args`, its name first, to its exit code.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    terminal::exit_code(match usage::parse(args).map(|cli: Cli| cli.command) {
        Ok(Command::Client(command)) => run_client_command(&command),
        Ok(Command::Inject(args)) => inject::run(&args),
        Ok(Command::Notify(args)) => notify::run(&args),
        Ok(Command::Controller(args)) => controller::main(&args),
        Ok(Command::Setup(args)) => setup::run_setup(&args),
        Ok(Command::Teardown(args)) => setup::run_teardown(&args),
        Ok(Command::Crds) => crds(),
        Err(code) => code,
    })
}

/// The command line as clap knows it, for help and documents.
pub fn command() -> clap::Command {
    Cli::command()
}

fn crds() -> ExitCode {
    match crate::api::resource::definitions() {
        Ok(yaml) => {
            terminal::print(format_args!("{yaml}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            errln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Show every authority and certificate, which pods serve it, and what a rollover waits for
    Status(WithGlobals<status::StatusArgs>),
    /// Create a certificate, and its authority with --create-authority; wait until it is served
    Issue(Box<WithGlobals<issue::IssueArgs>>),
    /// Issue a new version of a certificate now; wait until every pod serves it
    Rotate(WithGlobals<rotate::RotateArgs>),
    /// Publish an earlier version of a certificate again; wait until every pod serves it
    Rollback(WithGlobals<rollback::RollbackArgs>),
    /// Replace the root of an authority, each step only when every pod has proved the one before or was overridden
    Rollover(WithGlobals<rollover::RolloverArgs>),
    /// Delete a certificate or an authority, after a look at what that means; what is published stays
    Delete(WithGlobals<delete::DeleteArgs>),
    /// Show the stored versions of a certificate, or the past rollovers of an authority
    History(WithGlobals<history::HistoryArgs>),
    /// Rotate a certificate and report what it cost: time until served, failed handshakes, cut connections
    Drill(WithGlobals<drill::DrillArgs>),
    /// Report every problem: certificates that expire or are not served, rollovers that wait; exit 1 if any
    Check(WithGlobals<check::CheckArgs>),
}

fn run_client_command(command: &ClientCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CommandError::Failed(format!("cannot start: {error}"))),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = run(command) => result,
            _ = tokio::signal::ctrl_c() => Err(CommandError::Failed(interrupted(command).into())),
        }
    });
    runtime.shutdown_background();
    result.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn interrupted(command: &ClientCommand) -> &'static str {
    match command {
        ClientCommand::Status(_)
        | ClientCommand::Delete(_)
        | ClientCommand::History(_)
        | ClientCommand::Check(_) => "interrupted",
        _ if command.global().dir.is_some() => {
            "interrupted: the request stays open, and the next command or controller on this directory continues it; \
             see hotcert status"
        }
        _ => "interrupted: the controller continues the request without this command; see hotcert status",
    }
}

async fn run(command: &ClientCommand) -> Result<(), CommandError> {
    let global = command.global();
    let json = global.json;
    match &global.dir {
        Some(dir) => {
            let create = matches!(command, ClientCommand::Issue(_));
            dispatch(Session { backend: DirectoryBackend::open(dir, create)?, json }, command).await
        }
        None => {
            let (kubeconfig, context) = (global.kubeconfig.as_deref(), global.context.as_deref());
            let backend = KubernetesBackend::connect(kubeconfig, context).await?;
            dispatch(Session { backend, json }, command).await
        }
    }
}

impl ClientCommand {
    fn global(&self) -> &GlobalArgs {
        match self {
            Self::Status(WithGlobals { global, .. })
            | Self::Rotate(WithGlobals { global, .. })
            | Self::Rollback(WithGlobals { global, .. })
            | Self::Rollover(WithGlobals { global, .. })
            | Self::Delete(WithGlobals { global, .. })
            | Self::History(WithGlobals { global, .. })
            | Self::Drill(WithGlobals { global, .. })
            | Self::Check(WithGlobals { global, .. }) => global,
            Self::Issue(command) => &command.global,
        }
    }
}

async fn dispatch<B: Backend>(mut session: Session<B>, command: &ClientCommand) -> Result<(), CommandError> {
    match command {
        ClientCommand::Status(WithGlobals { args, .. }) => status::run(&mut session, args).await,
        ClientCommand::Issue(command) => issue::run(&mut session, &command.args).await,
        ClientCommand::Rotate(WithGlobals { args, .. }) => rotate::run(&mut session, args).await,
        ClientCommand::Rollback(WithGlobals { args, .. }) => rollback::run(&mut session, args).await,
        ClientCommand::Rollover(WithGlobals { args, .. }) => rollover::run(&mut session, args).await,
        ClientCommand::Delete(WithGlobals { args, .. }) => delete::run(&mut session, args).await,
        ClientCommand::History(WithGlobals { args, .. }) => history::run(&mut session, args).await,
        ClientCommand::Drill(WithGlobals { args, .. }) => drill::run(&mut session, args).await,
        ClientCommand::Check(WithGlobals { args, .. }) => check::run(&mut session, args).await,
    }
}

fn failed(error: &CommandError) -> ExitCode {
    if !matches!(error, CommandError::Reported) {
        errln!("error: {error}");
    }
    ExitCode::FAILURE
}
