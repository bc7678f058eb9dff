//! The command line: from arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory as _, Parser};

use crate::config::args::{CheckArgs, Cli, Command, RunArgs};
use crate::config::descriptors;
use crate::config::effective::effective;
use crate::config::ineffective;
use crate::config::settings::Settings;
use crate::runtime::check_command;
use hotcert_log::terminal;
use hotcert_tls::identity::Policy;
use tracing::{info, warn};

/// Runs the program with `args`, of which the first is its name.
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let words: Vec<OsString> = args.into_iter().collect();
    let result = match parse(words.clone()).map(|cli: Cli| cli.command) {
        Ok(Command::Run(args)) => run(&args, &words),
        Ok(Command::Check(args)) => check(&args),
        Err(code) => return code,
    };
    let code = result.unwrap_or_else(|errors| refuse(&with_sources(command(), &words, &errors)));
    terminal::exit_code(code)
}

/// The command line as clap knows it, for help and documents.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The parsed arguments, or the exit code after help or an error was printed.
pub fn parse<P: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<P, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    P::try_parse_from(&args).map_err(|error| {
        let error = without_environment(P::command(), &args, error);
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

/// The same error with the usage of a command line alone: clap's usage has every option that an environment variable
/// sets, as if it were required.
fn without_environment(command: clap::Command, args: &[OsString], error: clap::Error) -> clap::Error {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    // Help names the environment variables.
    if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        return error;
    }
    let clear = |command: clap::Command| command.mut_args(|arg| arg.env(Resettable::Reset));
    let plain = clear(command).mut_subcommands(clear).try_get_matches_from(args).err();
    // Without the environment, something else may be wrong.
    let is_same = |plain: &clap::Error| {
        plain.kind() == error.kind()
            && plain.get(ContextKind::InvalidArg) == error.get(ContextKind::InvalidArg)
    };
    plain.filter(is_same).unwrap_or(error)
}

/// The errors or warnings, which begin with a flag, with the environment variable in its place if that has the value.
fn with_sources(command: clap::Command, words: &[OsString], errors: &[String]) -> Vec<String> {
    let matches = command.clone().try_get_matches_from(words).ok();
    let (name, matches) = match matches.as_ref().and_then(clap::ArgMatches::subcommand) {
        Some(subcommand) => subcommand,
        None => return errors.to_vec(),
    };
    let variable = |flag: &str| {
        let mut arguments = command.find_subcommand(name)?.get_arguments();
        let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"))?;
        let source = matches.value_source(argument.get_id().as_str())?;
        let variable = (source == ValueSource::EnvVariable).then(|| argument.get_env())??;
        Some(variable.to_string_lossy().into_owned())
    };
    let named = |error: &String| {
        let (flag, rest) = error.split_once(": ")?;
        Some(format!("{}: {rest}", variable(flag)?))
    };
    errors.iter().map(|error| named(error).unwrap_or_else(|| error.clone())).collect()
}

/// An error is everything that is wrong with the arguments.
fn run(args: &RunArgs, words: &[OsString]) -> Result<ExitCode, Vec<String>> {
    let _log = match hotcert_log::start(args.log_format) {
        Ok(log) => log,
        Err(error) => {
            hotcert_log::last_words(&format!("error: cannot start the log: {error}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let settings = Settings::from_args(args, descriptors::raise_limit())?;
    let warnings = with_sources(command(), words, &ineffective::find(args, &settings));
    info!(version = env!("CARGO_PKG_VERSION"), settings = effective(words, &settings), "starting");
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(crate::runtime::agent::run(settings).unwrap_or_else(|error| {
        hotcert_log::last_words(&format!("error: {error}"));
        ExitCode::FAILURE
    }))
}

/// An error is everything that is wrong with the arguments.
fn check(args: &CheckArgs) -> Result<ExitCode, Vec<String>> {
    let policy = Policy { serves: !args.client_only, ..Settings::policy(&args.files)? };
    Ok(check_command::run(&args.dir, &args.files, &policy, args.json))
}

/// Prints everything that is wrong with the arguments.
pub fn refuse(errors: &[String]) -> ExitCode {
    let errors: String = errors.iter().map(|error| format!("error: {error}\n")).collect();
    hotcert_log::last_words(&format!("{errors}\nFor more information, try '--help'."));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn an_error_of_a_value_from_the_environment_names_the_variable() {
        let path = Arg::new("path").long("path").env("PATH");
        let sub = Command::new("run").arg(path).arg(Arg::new("admin").long("admin"));
        let command = Command::new("hotcert-agent").subcommand(sub);
        let errors = ["--path: it is long".to_owned(), "--admin: \"x\" is no address: it is".to_owned()];
        let named = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            with_sources(command.clone(), &words, &errors)
        };
        assert_eq!(named(&["a", "run", "--admin=x"]), ["PATH: it is long".to_owned(), errors[1].clone()]);
        assert_eq!(named(&["a", "run", "--path=x", "--admin=x"]), errors);
    }

    #[test]
    fn usage_of_an_error_has_no_options_of_the_environment() {
        let command = |required| {
            let dir = Arg::new("dir").long("dir").env("PATH");
            let sub = Command::new("rotate").arg(dir).arg(Arg::new(required).required(true));
            Command::new("hotcert").subcommand(sub)
        };
        let args: Vec<OsString> = ["hotcert", "rotate"].map(Into::into).into();
        let error = command("name").try_get_matches_from(&args).err().unwrap();
        assert!(error.to_string().contains("--dir"), "{error}");
        let plain = without_environment(command("name"), &args, error);
        assert!(!plain.to_string().contains("--dir") && plain.to_string().contains("<name>"), "{plain}");
        let other = command("other").try_get_matches_from(&args).err().unwrap();
        let kept = without_environment(command("name"), &args, other).to_string();
        assert!(kept.contains("<other>"), "{kept}");
        let args: Vec<OsString> = ["hotcert", "rotate", "--help"].map(Into::into).into();
        let help = command("name").try_get_matches_from(&args).err().unwrap();
        assert!(without_environment(command("name"), &args, help).to_string().contains("PATH="));
    }
}
