//! The command line: from arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use crate::config::args::{CheckArgs, Cli, Command, RunArgs};
use crate::config::settings::Settings;
use crate::runtime::{check_command, log};
use crate::tls::identity::Policy;

/// Runs the program with `args`, of which the first is its name.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    match parse(args).map(|cli: Cli| cli.command) {
        Ok(Command::Run(args)) => run(&args),
        Ok(Command::Check(args)) => check(&args),
        Err(code) => code,
    }
}

/// The command line as clap knows it, for help and documents.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The parsed arguments, or the exit code after help or an error was printed.
pub fn parse<P: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<P, ExitCode> {
    P::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

fn run(args: &RunArgs) -> ExitCode {
    log::start(args.log_format, "hotcert_agent");
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(errors) => return refuse(&errors),
    };
    match crate::runtime::agent::run(settings) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    match Settings::policy(&args.files) {
        Ok(policy) => {
            let policy = Policy { serves: !args.client_only, ..policy };
            check_command::run(&args.dir, &args.files, &policy, args.json)
        }
        Err(errors) => refuse(&errors),
    }
}

/// Prints everything that is wrong with the arguments.
pub fn refuse(errors: &[String]) -> ExitCode {
    for error in errors {
        eprintln!("error: {error}");
    }
    eprintln!("\nFor more information, try '--help'.");
    ExitCode::from(2)
}
