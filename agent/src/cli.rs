//! The command line: from arguments to an exit code.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{CheckArgs, Cli, Command, LogFormat, RunArgs};
use crate::check;
use crate::identity::Policy;
use crate::settings::Settings;

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
    start_log(args.log_format);
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

fn start_log(format: LogFormat) {
    let wanted = std::env::var("HOTCERT_LOG").unwrap_or_default();
    // A bare level is about the agent: what its libraries say at that level would drown it.
    let filter = match wanted.parse::<LevelFilter>() {
        Ok(level) if !wanted.is_empty() => EnvFilter::new(format!("warn,hotcert_agent={level}")),
        _ => EnvFilter::try_new(&wanted)
            .ok()
            .filter(|_| !wanted.is_empty())
            .unwrap_or_else(|| EnvFilter::new("info")),
    };
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call in one process keeps the first log.
    let _ = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}
