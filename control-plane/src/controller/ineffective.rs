//! Flags that are given and have no effect beside the others: warnings, each of which begins with its flag.

use clap::{Args as _, Command};

use super::args::ControllerArgs;

const DIRECTORY: &str = "with --dir there is no cluster, and no webhook that adds agents to pods";
const COMMANDS_PLAN_TOO: &str =
    "with --dir commands plan as well, and do not know it: write clusterDomain into the authority";
const NO_RECEIVER: &str = "there is no --receiver-listen whose senders it could concern";

/// A warning for each flag that is not at its default and changes nothing.
pub fn find(args: &ControllerArgs) -> Vec<String> {
    let defaults = ControllerArgs::augment_args(Command::new("controller"));
    let is_given = |flag: &str, value: &str| {
        let mut arguments = defaults.get_arguments();
        let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"));
        let default = argument.and_then(|argument| argument.get_default_values().first()?.to_str());
        !value.is_empty() && default != Some(value)
    };
    let is_empty = |value: Option<&str>| value.is_none_or(str::is_empty);
    let in_directory = args.dir.as_ref().is_some_and(|dir| !dir.as_os_str().is_empty());
    let no_receiver = is_empty(args.receiver_listen.as_deref());
    let without_effect = [
        ("--webhook-listen", args.webhook_listen.as_str(), in_directory, DIRECTORY),
        ("--namespace", args.namespace.as_deref().unwrap_or_default(), in_directory, DIRECTORY),
        ("--cluster-domain", &args.cluster_domain, in_directory, COMMANDS_PLAN_TOO),
        ("--agent-image", &args.agent_image, in_directory, DIRECTORY),
        ("--sidecar", args.sidecar.as_str(), in_directory, DIRECTORY),
        ("--webhook-name", &args.webhook_name, in_directory, DIRECTORY),
        ("--webhook-service", &args.webhook_service, in_directory, DIRECTORY),
        ("--webhook-lifetime", &args.webhook_lifetime, in_directory, DIRECTORY),
        ("--webhook-overlap", &args.webhook_overlap, in_directory, DIRECTORY),
        ("--receiver-client-auth", args.receiver_client_auth.as_str(), no_receiver, NO_RECEIVER),
    ];
    let without_effect = without_effect
        .into_iter()
        .filter(|(flag, value, ineffective, _)| *ineffective && is_given(flag, value));
    without_effect.map(|(flag, _, _, why)| format!("{flag}: it has no effect: {why}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn warned(flags: &[&str]) -> Vec<String> {
        let args = Cli::try_parse_from(["hotcert"].iter().chain(flags)).unwrap().args;
        let flag = |warning: &String| warning.split_once(": it has no effect: ").unwrap().0.to_owned();
        find(&args).iter().map(flag).collect()
    }

    #[test]
    fn flags_that_have_no_effect_are_warned_of() {
        let all = [
            "--webhook-listen=127.0.0.1:0",
            "--namespace=a",
            "--cluster-domain=a",
            "--agent-image=a",
            "--sidecar=native",
            "--webhook-name=a",
            "--webhook-service=a",
            "--webhook-lifetime=1d",
            "--webhook-overlap=1m",
            "--receiver-client-auth=require",
        ];
        let flags = all.map(|flag| flag.split('=').next().unwrap());
        assert_eq!(warned(&[&all, &["--dir=a"][..]].concat()), flags);
        assert_eq!(warned(&all), ["--receiver-client-auth"]);
        assert!(warned(&[&all, &["--receiver-listen=127.0.0.1:0"][..]].concat()).is_empty());
        assert!(warned(&["--dir=a"]).is_empty());
    }
}
