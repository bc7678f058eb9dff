//! Parses the command line, with a usage in errors that has only what the command line can have.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::Resettable;
use clap::error::{ContextKind, ErrorKind};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{Arg, Command};

    use super::*;

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
