//! What a pod's annotations ask for, validated as the agent validates its arguments: what it would reject when
//! it starts is rejected here, before the pod exists.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::ValueEnum;
use hotcert_tls::{ClientAuth, SanPattern};
use serde_json::Value;

use super::allow::{self, AllowItem};
use super::annotations::Annotations;
use super::problem::Problems;
use super::resources::Resources;
use super::route::{self, InboundRoute, OutboundRoute, RouteCause, RouteError};
use super::sidecar_kind::SidecarKind;

const ACCESS_LOGS: [&str; 2] = ["off", "stdout"];
const LOG_LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

#[derive(Clone, Debug)]
pub struct PodSettings {
    /// The identity Secret, in the pod's namespace.
    pub secret: String,
    pub inbound: Vec<InboundRoute>,
    pub outbound: Vec<OutboundRoute>,
    pub http_proxy: Option<SocketAddr>,
    pub allow: Vec<AllowItem>,
    pub trust_forwarded: Vec<SanPattern>,
    pub expect_name: Vec<SanPattern>,
    pub client_auth: ClientAuth,
    /// The Secret is read through the API as well, with a token of the agent's own.
    pub api: bool,
    pub sidecar: SidecarKind,
    pub resources: Resources,
    pub log: Option<String>,
    pub access_log: Option<String>,
}

impl PodSettings {
    /// Reports what is invalid to `problems`; the settings are usable only if there are none.
    pub fn parse(pod: &Value, sidecar: SidecarKind, problems: &mut Problems) -> Self {
        let mut annotations = Annotations::of(pod, problems);
        annotations.reject_unknown();
        let secret = secret(&mut annotations);
        let inbound = annotations.parse_list("inbound", parse_inbound);
        let settings = Self {
            secret,
            allow: allow::parse(&mut annotations, &inbound),
            inbound,
            outbound: annotations.parse_list("outbound", parse_outbound),
            http_proxy: annotations.parse("http-proxy", parse_http_proxy),
            trust_forwarded: annotations.parse_list("trust-forwarded", parse_pattern),
            expect_name: annotations.parse_list("expect-name", parse_pattern),
            client_auth: annotations
                .parse("client-auth", |text| text.parse::<ClientAuth>())
                .unwrap_or(ClientAuth::Require),
            api: annotations.parse("api", |text| one_of(text, &["enabled", "disabled"]))
                != Some("disabled".into()),
            sidecar: annotations.parse("sidecar", parse_variant).unwrap_or(sidecar),
            resources: Resources::parse(&mut annotations),
            log: annotations.parse("log", |text| one_of(text, &LOG_LEVELS)),
            access_log: annotations.parse("access-log", |text| one_of(text, &ACCESS_LOGS)),
        };
        let by_name =
            [("allow", settings.allow.is_empty()), ("trust-forwarded", settings.trust_forwarded.is_empty())];
        for (name, _) in by_name.into_iter().filter(|(_, is_empty)| !is_empty) {
            if settings.client_auth == ClientAuth::None {
                annotations.reject(name, "it has no effect with hotcert.dev/client-auth: none, because clients present no certificate: remove one of the two");
            }
        }
        settings
    }

    /// The app's loopback addresses to which the agent forwards inbound connections.
    pub fn app_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.inbound.iter().map(|route| route.app).filter(|app| app.ip().is_loopback())
    }
}

fn secret(annotations: &mut Annotations<'_>) -> String {
    if !annotations.contains("secret") {
        annotations.reject("secret", "it is missing: give the name of the Secret with the pod's tls.crt, tls.key and ca.crt, such as payments-tls");
    }
    annotations.parse("secret", parse_secret_name).unwrap_or_default()
}

fn parse_inbound(text: &str) -> Result<InboundRoute, String> {
    let parsed = expand(text, "[::]", "127.0.0.1").parse();
    let route: InboundRoute = parsed.map_err(|error: RouteError| match error.cause {
        cause @ (RouteCause::UnixSocket
        | RouteCause::Prefix(_)
        | RouteCause::UnknownOption(_)
        | RouteCause::ProxyV2OfHttp) => format!("{text:?}: {cause}"),
        _ => format!("{error}, or in short [http:|h2c:|alpn=NAME:]PORT=APPPORT, such as http:8443=8080"),
    })?;
    nonzero_port(text, route.listen).map(|_| route)
}

fn parse_outbound(text: &str) -> Result<OutboundRoute, String> {
    let parsed = expand(text, "127.0.0.1", "").parse();
    let route: OutboundRoute = parsed.map_err(|error: RouteError| match error.cause {
        cause @ RouteCause::Prefix(_) => format!("{text:?}: {cause}"),
        _ => format!("{error}, or in short [http:|alpn=NAME:]PORT=HOST:PORT[#SAN], such as http:9001=payments.shop.svc:8443"),
    })?;
    nonzero_port(text, route.listen).map(|_| route)
}

fn parse_http_proxy(text: &str) -> Result<SocketAddr, String> {
    let long = if is_number(text) { format!("127.0.0.1:{text}") } else { text.to_owned() };
    let listen: SocketAddr =
        long.parse().map_err(|_| format!("{text:?} is not PORT or 127.0.0.1:PORT, such as 9000"))?;
    if !listen.ip().is_loopback() {
        return Err(format!(
            "{listen} is not a loopback address, so other pods could use this pod's identity: give only the port"
        ));
    }
    nonzero_port(text, listen)
}

/// Port 0 would be any port, and peers could not know which.
fn nonzero_port(text: &str, listen: SocketAddr) -> Result<SocketAddr, String> {
    match listen.port() {
        0 => Err(format!("{text:?}: port 0 cannot be connected to: give a port from 1 to 65535")),
        _ => Ok(listen),
    }
}

/// Ports alone, on either side of the `=`, become addresses.
fn expand(text: &str, listen: &str, target: &str) -> String {
    let (prefix, rest) = route::split_prefix(text);
    let Some((from, to)) = rest.split_once('=') else {
        return text.to_owned();
    };
    let (to, option) = to.split_at(to.find('#').unwrap_or(to.len()));
    let address = |host: &str, port: &str| match is_number(port) && !host.is_empty() {
        true => format!("{host}:{port}"),
        false => port.to_owned(),
    };
    format!("{prefix}{}={}{option}", address(listen, from), address(target, to))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_pattern(text: &str) -> Result<SanPattern, String> {
    SanPattern::from_str(text).map_err(|error| error.to_string())
}

fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    match choices.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not one of {}", choices.join(", "))),
    }
}

fn parse_variant<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let choices = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        format!(
            "{text:?} is not one of {}",
            choices.map(|choice| choice.get_name().to_owned()).collect::<Vec<_>>().join(", ")
        )
    })
}

/// The API server's rule for names of Secrets: a DNS subdomain.
fn parse_secret_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.contains('/') {
        return Err(format!("{text:?}: the Secret must be in the pod's own namespace: give only its name"));
    }
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not a name of a Secret: use lower-case letters, digits, `-` and `.`, at most 253 characters"
        )),
    }
}

#[cfg(test)]
mod tests;
