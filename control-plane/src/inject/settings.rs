//! What a pod's annotations ask for, judged by the agent's own parsers: what the agent would
//! refuse when it starts is refused here, before there is a pod.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::ValueEnum;
use hotcert_agent::proxy::authorization::Pattern;
use hotcert_agent::proxy::inbound::InboundRoute;
use hotcert_agent::proxy::outbound::OutboundRoute;
use hotcert_agent::tls::config::ClientAuth;
use serde_json::Value;

use super::nearest::nearest;
use super::pod::{LABEL, Problems, SidecarKind};
use super::resources::Resources;

pub const PREFIX: &str = "hotcert.dev/";
const KNOWN: [&str; 15] = [
    "secret",
    "inbound",
    "outbound",
    "http-proxy",
    "allow",
    "expect-name",
    "client-auth",
    "api",
    "sidecar",
    "cpu-request",
    "memory-request",
    "cpu-limit",
    "memory-limit",
    "log",
    "injected",
];
/// Bytes of an annotation's value; an API server judges them only when the pod is complete.
const MOST_BYTES: usize = 4 << 10;
const MOST_ITEMS: usize = 64;
/// Letters of an annotation's name after its prefix, as Kubernetes has it.
const MOST_OF_NAME: usize = 63;
const LOG_LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

#[derive(Clone, Debug)]
pub struct Settings {
    /// The identity Secret, in the pod's namespace.
    pub secret: String,
    pub inbound: Vec<InboundRoute>,
    pub outbound: Vec<OutboundRoute>,
    pub http_proxy: Option<SocketAddr>,
    pub allow: Vec<Pattern>,
    pub expect_name: Vec<Pattern>,
    pub client_auth: ClientAuth,
    /// The Secret is read through the API as well, with a token of the agent's own.
    pub api: bool,
    pub sidecar: SidecarKind,
    pub resources: Resources,
    pub log: Option<String>,
}

impl Settings {
    /// What is wrong goes to `problems`; only without any are the settings to be used.
    pub fn of(pod: &Value, sidecar: SidecarKind, problems: &mut Problems) -> Self {
        let mut annotations = Annotations { values: &pod["metadata"]["annotations"], problems };
        annotations.refuse_unknown();
        let settings = Self {
            secret: annotations.secret(),
            inbound: annotations.list("inbound", inbound),
            outbound: annotations.list("outbound", outbound),
            http_proxy: annotations.one("http-proxy", http_proxy),
            allow: annotations.list("allow", pattern),
            expect_name: annotations.list("expect-name", pattern),
            client_auth: annotations.one("client-auth", choice).unwrap_or(ClientAuth::Require),
            api: annotations.one("api", |text| one_of(text, &["enabled", "disabled"]))
                != Some("disabled".into()),
            sidecar: annotations.one("sidecar", choice).unwrap_or(sidecar),
            resources: Resources::of(&mut annotations),
            log: annotations.one("log", |text| one_of(text, &LOG_LEVELS)),
        };
        if settings.client_auth == ClientAuth::None && !settings.allow.is_empty() {
            annotations.refuse("allow", "with hotcert.dev/client-auth: none nobody shows a name to be allowed by: take out one of the two");
        }
        settings
    }

    /// Where apps listen on loopback for what comes in through the agent.
    pub fn targets(&self) -> impl Iterator<Item = SocketAddr> {
        self.inbound.iter().filter_map(target).filter(|target| target.ip().is_loopback())
    }
}

/// Refuses what is too large to be meant, before it is looked at more closely.
pub fn check_sizes(pod: &Value, problems: &mut Problems) {
    for (key, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let bytes = value.as_str().map_or(0, str::len);
        if key.starts_with(PREFIX) && bytes > MOST_BYTES {
            problems.add(
                format!("annotation {key}"),
                format!("{bytes} bytes are more than {MOST_BYTES}: say it with less"),
            );
        }
    }
}

/// The `hotcert.dev/` annotations of one pod, by their names without the prefix.
pub struct Annotations<'a> {
    values: &'a Value,
    problems: &'a mut Problems,
}

impl Annotations<'_> {
    pub fn refuse(&mut self, name: &str, cause: impl AsRef<str>) {
        self.problems.add(format!("annotation {PREFIX}{name}"), cause);
    }

    pub fn one<T, E: Display>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|error| self.refuse(name, error.to_string())).ok()
    }

    fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let count = text.split(',').count();
        if count > MOST_ITEMS {
            self.refuse(name, format!("{count} items are more than {MOST_ITEMS}: say it with fewer"));
            return Vec::new();
        }
        let mut values = Vec::new();
        for part in text.split(',').map(str::trim) {
            match parse(part) {
                _ if part.is_empty() => self.refuse(
                    name,
                    "there is nothing between two commas, or after the last: take the comma out",
                ),
                Ok(value) => values.push(value),
                Err(error) => self.refuse(name, error),
            }
        }
        values
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.values.get(format!("{PREFIX}{name}"))?;
        match value.as_str().map(str::trim) {
            None => self.refuse(name, format!("{value} is no string: put it in quotes")),
            Some("") => self.refuse(name, "it is empty: give a value or take it out"),
            Some(text) => return Some(text.to_owned()),
        }
        None
    }

    fn secret(&mut self) -> String {
        if self.values.get(format!("{PREFIX}secret")).is_none() {
            self.refuse("secret", "it is missing: give the name of the Secret with the pod's tls.crt, tls.key and ca.crt, such as payments-tls");
        }
        self.one("secret", secret_name).unwrap_or_default()
    }

    fn refuse_unknown(&mut self) {
        let unknown =
            self.values.as_object().into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(PREFIX));
        for name in unknown.filter(|name| !KNOWN.contains(name)) {
            let hint = match format!("{PREFIX}{name}") == LABEL {
                true => "it is a label: write it under labels".to_owned(),
                false if name.len() > MOST_OF_NAME => "it is not known: take it out".to_owned(),
                false => format!("it is not known: did you mean {PREFIX}{}?", nearest(name, &KNOWN)),
            };
            self.problems.add(format!("annotation {PREFIX}{name}"), hint);
        }
    }
}

/// The address an inbound route leads to; `None` for a Unix socket.
pub fn target(route: &InboundRoute) -> Option<SocketAddr> {
    route.target.to_string().parse().ok()
}

fn inbound(text: &str) -> Result<InboundRoute, String> {
    let route: InboundRoute = expand(text, "0.0.0.0", "127.0.0.1")
        .parse()
        .map_err(|error| format!("{error}, or in short [http:]PORT=APPPORT, such as http:8443=8080"))?;
    if target(&route).is_none() {
        return Err(format!(
            "{text:?}: the agent's container cannot see the app's Unix sockets: let the app listen on a port of 127.0.0.1"
        ));
    }
    some_port(text, route.listen).map(|_| route)
}

fn outbound(text: &str) -> Result<OutboundRoute, String> {
    let route: OutboundRoute = expand(text, "127.0.0.1", "").parse().map_err(|error| {
        format!("{error}, or in short [http:]PORT=HOST:PORT[#SAN], such as http:9001=payments.shop.svc:8443")
    })?;
    some_port(text, route.listen).map(|_| route)
}

fn http_proxy(text: &str) -> Result<SocketAddr, String> {
    let long = if is_number(text) { format!("127.0.0.1:{text}") } else { text.to_owned() };
    let listen: SocketAddr =
        long.parse().map_err(|_| format!("{text:?} is neither PORT nor 127.0.0.1:PORT, such as 9000"))?;
    if !listen.ip().is_loopback() {
        return Err(format!(
            "{listen} is not a loopback address: whoever reached it would speak with this pod's identity; write the port alone"
        ));
    }
    some_port(text, listen)
}

/// Port 0 means any, and nobody could be told which.
fn some_port(text: &str, listen: SocketAddr) -> Result<SocketAddr, String> {
    match listen.port() {
        0 => Err(format!("{text:?}: port 0 is none that could be connected to: give one from 1 to 65535")),
        _ => Ok(listen),
    }
}

/// Ports alone, on either side of the `=`, become addresses.
fn expand(text: &str, listen: &str, target: &str) -> String {
    let (mode, rest) = text.strip_prefix("http:").map_or(("", text), |rest| ("http:", rest));
    let Some((from, to)) = rest.split_once('=') else {
        return text.to_owned();
    };
    let address = |host: &str, port: &str| match is_number(port) && !host.is_empty() {
        true => format!("{host}:{port}"),
        false => port.to_owned(),
    };
    format!("{mode}{}={}", address(listen, from), address(target, to))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::from_str(text).map_err(|error| error.to_string())
}

fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    match choices.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is none of {}", choices.join(", "))),
    }
}

fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let choices = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        format!(
            "{text:?} is none of {}",
            choices.map(|choice| choice.get_name().to_owned()).collect::<Vec<_>>().join(", ")
        )
    })
}

/// As the API server judges names of Secrets: a DNS subdomain.
fn secret_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.contains('/') {
        return Err(format!("{text:?}: the Secret is in the pod's own namespace: give its name alone"));
    }
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is no name of a Secret: lower-case letters, digits, `-` and `.`, at most 253"
        )),
    }
}

#[cfg(test)]
mod tests;
