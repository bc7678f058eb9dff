//! Flags and their environment variables, as clap knows them.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::cell;

pub const AGENT: &str = "`hotcert-agent run` serves; `hotcert-agent check` validates a directory as the agent would. \
     Every flag can be given in the environment instead; the flag wins. All invalid addresses, \
     patterns, durations and numbers are reported at once, and the program exits with 2.";
pub const CONTROLLER: &str = "`hotcert controller` runs the control plane: in a cluster, or on a directory of one \
     machine with `--dir`. Every flag can be given in the environment instead; the flag wins.";
pub const COMMANDS: &str = "Commands read what the objects report, and leave requests on them; the controller carries \
     them out. With `--dir` the command does the work itself. A command exits with 0 when it is done, 1 when it failed \
     or found a problem, 2 when its arguments are wrong.";

/// All subcommands of a program.
pub fn program(command: &Command, title: &str, about: &str) -> String {
    let mut text = format!("# {title}\n\n{about}\n");
    for subcommand in visible(command) {
        section(&mut text, command.get_name(), subcommand);
    }
    text
}

/// One subcommand alone.
pub fn one(command: &Command, name: &str, about: &str) -> String {
    let subcommand = command.find_subcommand(name).expect("the subcommand exists");
    let mut text = format!("# The {name}'s flags\n\n{about}\n");
    section(&mut text, command.get_name(), subcommand);
    text
}

/// All subcommands but one.
pub fn commands(command: &Command, without: &str, about: &str) -> String {
    let mut text = format!("# The commands of {}\n\n{about}\n", command.get_name());
    for subcommand in visible(command).filter(|subcommand| subcommand.get_name() != without) {
        if subcommand.has_subcommands() {
            let name = format!("{} {}", command.get_name(), subcommand.get_name());
            visible(subcommand).for_each(|inner| section(&mut text, &name, inner));
        } else {
            section(&mut text, command.get_name(), subcommand);
        }
    }
    text
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn section(text: &mut String, program: &str, command: &Command) {
    if visible(command).next().is_some() {
        let program = format!("{program} {}", command.get_name());
        return visible(command).for_each(|subcommand| section(text, &program, subcommand));
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "\n## {program} {}\n\n{}\n", command.get_name(), sentence(&about));
    let _ = writeln!(text, "| flag | environment | default | what it does |\n|---|---|---|---|");
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong) {
            continue;
        }
        row(text, argument);
    }
}

fn row(text: &mut String, argument: &Arg) {
    let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = value.map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
    let name = match (argument.get_long(), value) {
        (Some(long), Some(value)) => format!("`--{long} {value}`"),
        (Some(long), None) => format!("`--{long}`"),
        (None, value) => format!("`{}`", value.unwrap_or_else(|| argument.get_id().to_string())),
    };
    let environment =
        argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let default = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = default.filter(|_| argument.get_action().takes_values()).collect::<Vec<_>>().join(", ");
    let default = if default.is_empty() { default } else { format!("`{default}`") };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let choices: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set() && argument.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {help}", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    let mut help = sentence(&help);
    if !choices.is_empty() {
        let _ = write!(help, " One of {}.", choices.join("; "));
    }
    let _ =
        writeln!(text, "| {} | {} | {} | {} |", cell(&name), cell(&environment), cell(&default), cell(&help));
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', '?']) { text.to_owned() } else { format!("{text}.") }
}
