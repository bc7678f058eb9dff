//! Flags that are given and have no effect beside the others. They were accepted by earlier versions, so they are
//! warnings, each of which begins with its flag as errors do.

use clap::{Args as _, Command};

use crate::config::args::RunArgs;
use crate::config::settings::Settings;

/// Why a flag has no effect.
const NO_ALLOWED_CLIENT: &str = "there is no --inbound whose clients it could decide";
const NO_SECRET: &str = "there is no --secret that is read through the Kubernetes API";
const BUNDLE: &str = "--bundle-file has certificate and key";
const NO_REQUESTS: &str =
    "no route carries requests: write http: or h2c: in --inbound or http: in --outbound, or set --http-proxy";
const NO_SERVERS: &str = "there is neither --outbound nor --http-proxy";

/// A warning for each flag that is not at its default and changes nothing.
pub fn find(args: &RunArgs, settings: &Settings) -> Vec<String> {
    let defaults = RunArgs::augment_args(Command::new("run"));
    let is_given = |flag: &str, value: &str| {
        let argument =
            defaults.get_arguments().find(|argument| argument.get_long() == flag.strip_prefix("--"));
        let default = argument.and_then(|argument| argument.get_default_values().first()?.to_str());
        !value.is_empty() && default != Some(value)
    };
    let (files, text) = (&args.files, |value: &Option<String>| value.clone().unwrap_or_default());
    let kubeconfig = args.kubeconfig.as_ref().map(|path| path.display().to_string());
    let (no_secret, bundle) = (settings.secret.is_none(), !text(&files.bundle_file).is_empty());
    let (no_requests, no_servers) = (!carries_requests(settings), settings.has_no_outbound());
    let without_effect = [
        ("--allow", args.allow.concat(), settings.inbound.is_empty(), NO_ALLOWED_CLIENT),
        ("--kubeconfig", text(&kubeconfig), no_secret, NO_SECRET),
        ("--api-silence", args.api_silence.clone(), no_secret, NO_SECRET),
        ("--cert-file", files.cert_file.clone(), bundle, BUNDLE),
        ("--key-file", files.key_file.clone(), bundle, BUNDLE),
        ("--trust-forwarded", args.trust_forwarded.concat(), !takes_requests(settings), NO_REQUESTS),
        ("--response-timeout", text(&args.response_timeout), no_requests, NO_REQUESTS),
        ("--request-timeout", args.request_timeout.clone(), no_requests, NO_REQUESTS),
        ("--max-age-grace", args.max_age_grace.clone(), no_requests, NO_REQUESTS),
        ("--drain-after", args.drain_after.clone(), no_requests, NO_REQUESTS),
        ("--root-drain", args.root_drain.clone(), no_requests, NO_REQUESTS),
        ("--outbound-linger", args.outbound_linger.clone(), no_servers, NO_SERVERS),
    ];
    let without_effect = without_effect
        .into_iter()
        .filter(|(flag, value, ineffective, _)| *ineffective && is_given(flag, value));
    without_effect.map(|(flag, _, _, why)| format!("{flag}: it has no effect: {why}")).collect()
}

fn takes_requests(settings: &Settings) -> bool {
    settings.inbound.iter().any(|route| route.protocol.is_http())
}

fn carries_requests(settings: &Settings) -> bool {
    settings.http_proxy.is_some()
        || settings.inbound.iter().any(|route| route.protocol.is_http())
        || settings.outbound.iter().any(|route| route.protocol.is_http())
}
