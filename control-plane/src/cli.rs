//! The command line: from arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::controller::{self, ControllerArgs};
use crate::inject::{self, InjectArgs};

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
    Person(commands::Command),
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
        Ok(Command::Person(command)) => commands::main(&command),
        Ok(Command::Inject(args)) => inject::main(&args),
        Ok(Command::Controller(args)) => controller::main(&args),
        Ok(Command::Crds) => crds(),
        Err(code) => code,
    }
}

fn crds() -> ExitCode {
    match crate::resource::definitions() {
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
