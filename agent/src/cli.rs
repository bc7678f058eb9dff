//! The command line: from arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{CheckArgs, Cli, Command, RunArgs};
use crate::identity::Policy;
use crate::settings::Settings;
use crate::{check, log};

/// Runs the program with `args`, its name first, to its exit code.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    log::start(args.log_format, "hotcert_agent");
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(errors) => return refuse(&errors),
    };
    match crate::agent::run(settings) {
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
            check::run(&args.dir, &args.files, &policy, args.json)
        }
        Err(errors) => refuse(&errors),
    }
}

fn refuse(errors: &[String]) -> ExitCode {
    for error in errors {
        eprintln!("error: {error}");
    }
    eprintln!("\nFor more information, try '--help'.");
    ExitCode::from(2)
}
