//! The settings in force, for the log: every flag of `run` with its value, whether it was given, is a default or follows
//! from the machine. It goes through what the command line defines, so that no flag is missing.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _};

use crate::config::args::Cli;
use crate::config::settings::Settings;

/// `NAME=VALUE` for each flag, in the order of `--help`, of the command line that `settings` were made from.
pub fn effective(command_line: &[OsString], settings: &Settings) -> String {
    let command = Cli::command();
    let matches = command.clone().try_get_matches_from(command_line).ok();
    let Some((run, matches)) = matches.as_ref().and_then(ArgMatches::subcommand) else {
        return String::new();
    };
    let Some(run) = command.find_subcommand(run) else { return String::new() };
    let flags = run.get_arguments().filter(|flag| !is_help(flag));
    let named = flags.filter_map(|flag| Some((flag.get_long()?, value(flag, matches))));
    let of = |(name, value): (&str, Option<String>)| {
        let value = value.or_else(|| computed(name, settings)).unwrap_or_else(|| "none".into());
        format!("{name}={value}")
    };
    named.map(of).collect::<Vec<_>>().join(" ")
}

fn is_help(flag: &Arg) -> bool {
    matches!(
        flag.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    )
}

/// As it was given, or its default. An empty value counts as none.
fn value(flag: &Arg, matches: &ArgMatches) -> Option<String> {
    let values = matches.get_raw(flag.get_id().as_str())?;
    let text = values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
    // Help does not show it either.
    let text = if flag.is_hide_env_values_set() { "(not shown)".into() } else { text };
    (!text.is_empty()).then_some(text)
}

/// Defaults that follow from the machine.
fn computed(name: &str, settings: &Settings) -> Option<String> {
    let value = match name {
        "workers" => settings.workers,
        "max-connections" => settings.limits.max_connections,
        "memory-budget" => settings.memory_budget,
        _ => return None,
    };
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;
    use crate::config::args::Command;

    fn of(args: &[&str]) -> String {
        let words: Vec<OsString> =
            [&["hotcert-agent", "run"], args].concat().iter().map(Into::into).collect();
        let Command::Run(args) = Cli::try_parse_from(&words).unwrap().command else { unreachable!() };
        effective(&words, &Settings::from_args(&args, 1024).unwrap())
    }

    #[test]
    fn every_flag_of_the_help_is_in_the_settings_that_are_logged() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        let flags = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        // Of the text of other flags, some are written with their value or a full stop.
        let name = |flag: &str| flag.trim_end_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
        let logged = of(&["--identity=/id"]);
        let is_logged = |flag: &String| logged.split(' ').any(|one| one.starts_with(&format!("{flag}=")));
        let flags: Vec<String> = flags.map(name).filter(|flag| flag != "help").collect();
        assert!(flags.len() > 30, "{flags:?}");
        let missing: Vec<_> = flags.iter().filter(|flag| !is_logged(flag)).collect();
        assert_eq!(missing, [""; 0], "{logged}");
    }

    #[test]
    fn values_are_those_that_were_given_defaults_and_what_follows_from_the_machine() {
        let logged = of(&[
            "--identity=/id",
            "--inbound=http:127.0.0.1:4=127.0.0.1:5",
            "--outbound=127.0.0.1:1=a.test:1,127.0.0.1:2=a.test:2",
            "--client-auth=none",
            "--hsts=1d",
            "--max-age-grace=0s",
            "--http-proxy=127.0.0.1:3",
        ]);
        for expected in [
            "identity=/id ",
            "outbound=127.0.0.1:1=a.test:1,127.0.0.1:2=a.test:2 ",
            "client-auth=none ",
            "hsts=1d ",
            "max-age-grace=0s ",
            "http-proxy=127.0.0.1:3 ",
            "secret=none ",
            "idle-timeout=1h ",
        ] {
            assert!(logged.contains(expected), "{expected}: {logged}");
        }
        let connections = crate::config::descriptors::Descriptors::by_default(1024).unwrap().connections;
        assert!(logged.contains(&format!("max-connections={connections} ")), "{logged}");
        let budget = crate::config::memory::default_budget();
        assert!(logged.contains(&format!("memory-budget={budget} ")), "{logged}");
    }
}
