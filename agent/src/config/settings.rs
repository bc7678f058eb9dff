//! Settings: the validated command line. A value that exists can be run with. All errors are collected and
//! reported together.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::admin::app_probe::Probe;
use crate::config::access_log::AccessLogSettings;
use crate::config::args::{IdentityArgs, RunArgs};
use crate::config::circles;
use crate::config::descriptors::Descriptors;
use crate::config::memory;
use crate::connection::tracker::Limits;
use crate::proxy::address;
use crate::proxy::authorization::AllowLists;
use crate::proxy::context::Timeouts;
use crate::proxy::inbound::{InboundRoute, TrustedClients};
use crate::proxy::outbound::{OutboundRoute, ProxyPolicy};
use crate::proxy::own_listeners::{INBOUND, OwnListeners};
use hotcert_tls::ClientAuth;
use hotcert_tls::SecretRef;
use hotcert_tls::credential::{Layout, LeafFiles};
use hotcert_tls::identity::Policy;

const MAX_WORKERS: usize = 4;
/// With traffic on both sides, one in so many connections is kept for each, and one in so many bytes of the memory.
const KEPT_SHARE: usize = 4;
/// Browsers and gRPC channels connect before there is a request, and connect again at no cost but a handshake when such
/// a connection is closed: by default after 30 seconds.
const FIRST_REQUEST_TIMEOUTS: u32 = 2;

#[derive(Clone, Debug)]
pub struct Settings {
    pub identity: Option<PathBuf>,
    pub secret: Option<SecretSource>,
    pub layout: Layout,
    pub policy: Policy,
    pub client_auth: ClientAuth,
    pub poll: Duration,
    pub inbound: Vec<InboundRoute>,
    pub hsts: Option<Duration>,
    pub allow: AllowLists,
    pub trusted_clients: TrustedClients,
    pub outbound: Vec<OutboundRoute>,
    pub http_proxy: Option<SocketAddr>,
    pub proxy_policy: ProxyPolicy,
    pub admin: SocketAddr,
    pub probes: Vec<Probe>,
    pub proof: SocketAddr,
    pub workers: usize,
    pub limits: Limits,
    pub descriptors: Descriptors,
    /// In bytes.
    pub memory_budget: usize,
    /// Of these, each side may count on so many, whatever the other takes.
    pub memory_kept_for_each_side: usize,
    pub timeouts: Timeouts,
    pub shutdown: ShutdownTimes,
    pub access_log: AccessLogSettings,
}

/// The Secret to read through the Kubernetes API, and how.
#[derive(Clone, Debug)]
pub struct SecretSource {
    pub secret: SecretRef,
    /// In place of the service account that is mounted in the pod.
    pub kubeconfig: Option<PathBuf>,
    /// A watch without an event for longer is taken for dead.
    pub silence: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct ShutdownTimes {
    pub delay: Duration,
    pub grace: Duration,
    pub outbound_linger: Duration,
}

impl Settings {
    /// Settings that can be run with by a process that may have so many file descriptors, or everything that is
    /// wrong with the arguments.
    pub fn from_args(args: &RunArgs, descriptors: u64) -> Result<Self, Vec<String>> {
        let mut errors = Errors::default();
        let listeners = Listeners::from_args(args, &mut errors);
        let has_outbound = !listeners.outbound.is_empty() || listeners.http_proxy.is_some();
        let both_sides = has_outbound && !listeners.inbound.is_empty();
        let descriptors = allotted(args, descriptors, &mut errors);
        let mut policy = policy(&args.files, &mut errors);
        policy.serves = !listeners.inbound.is_empty();
        let memory_budget = memory_budget(args, &mut errors);
        let hsts = hsts(args, &listeners.inbound, &mut errors);
        let settings = Self {
            identity: args.identity.clone(),
            secret: secret(args, &mut errors),
            layout: layout(&args.files),
            policy,
            client_auth: args.files.client_auth,
            poll: errors.positive_duration("--poll-interval", &args.poll_interval),
            hsts,
            allow: allow(args, &listeners.inbound, &mut errors),
            trusted_clients: trusted_clients(args, &mut errors),
            proxy_policy: proxy_policy(args, &mut errors),
            probes: probes(args, &listeners.inbound, &mut errors),
            workers: match given(&args.workers) {
                Some(text) => errors.positive_number("--workers", text),
                None => half_of_cpus(),
            },
            limits: limits(args, descriptors.connections, both_sides, &mut errors),
            descriptors,
            memory_budget,
            memory_kept_for_each_side: kept_for_each_side(memory_budget, both_sides),
            timeouts: Timeouts {
                handshake: errors.positive_duration("--handshake-timeout", &args.handshake_timeout),
                connect: errors.positive_duration("--connect-timeout", &args.connect_timeout),
                response: given(&args.response_timeout)
                    .map(|text| errors.positive_duration("--response-timeout", text)),
            },
            shutdown: shutdown(args, &mut errors),
            access_log: AccessLogSettings { target: args.access_log, queries: args.access_log_query },
            inbound: listeners.inbound,
            outbound: listeners.outbound,
            http_proxy: listeners.http_proxy,
            admin: listeners.admin,
            proof: listeners.proof,
        };
        if errors.0.is_empty() { Ok(settings) } else { Err(errors.0) }
    }

    pub fn has_no_outbound(&self) -> bool {
        self.outbound.is_empty() && self.http_proxy.is_none()
    }

    /// What `check` needs: the policy alone.
    pub fn policy(args: &IdentityArgs) -> Result<Policy, Vec<String>> {
        let mut errors = Errors::default();
        let policy = policy(args, &mut errors);
        if errors.0.is_empty() { Ok(policy) } else { Err(errors.0) }
    }
}

/// Everything that listens. After an error, an address may be a placeholder.
struct Listeners {
    inbound: Vec<InboundRoute>,
    outbound: Vec<OutboundRoute>,
    http_proxy: Option<SocketAddr>,
    admin: SocketAddr,
    proof: SocketAddr,
}

impl Listeners {
    fn from_args(args: &RunArgs, errors: &mut Errors) -> Self {
        let (any, loopback) = (Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into());
        let inbound: Vec<InboundRoute> = errors.parse_all("--inbound", &args.inbound);
        let outbound: Vec<OutboundRoute> = errors.parse_all("--outbound", &args.outbound);
        let http_proxy =
            given(&args.http_proxy).and_then(|text| errors.listen("--http-proxy", text, loopback));
        if let Some(listen) = http_proxy.filter(|listen| !listen.ip().is_loopback()) {
            errors.add("--http-proxy", format!("{listen} is not a loopback address: other pods could use this pod's identity through it; use 127.0.0.1 or [::1]"));
        }
        let admin = errors.listen("--admin", &args.admin, any);
        let proof = errors.listen("--proof", &args.proof, any);
        let listens: Vec<(&'static str, SocketAddr)> = inbound
            .iter()
            .map(|route| (INBOUND, route.listen))
            .chain(outbound.iter().map(|route| ("--outbound", route.listen)))
            .chain(http_proxy.map(|listen| ("--http-proxy", listen)))
            .chain(admin.map(|listen| ("--admin", listen)))
            .chain(proof.map(|listen| ("--proof", listen)))
            .collect();
        for (index, (flag, listen)) in listens.iter().enumerate().filter(|(_, (_, l))| l.port() != 0) {
            if let Some((other, _)) = listens[..index].iter().find(|(_, earlier)| earlier == listen) {
                errors.add(flag, format!("{listen} is used by {other} already; choose another port"));
            }
        }
        for (flag, error) in circles::find(&inbound, &outbound, &OwnListeners::new(listens)) {
            errors.add(flag, error);
        }
        let placeholder = SocketAddr::new(any, 0);
        Self {
            inbound,
            outbound,
            http_proxy,
            admin: admin.unwrap_or(placeholder),
            proof: proof.unwrap_or(placeholder),
        }
    }
}

fn proxy_policy(args: &RunArgs, errors: &mut Errors) -> ProxyPolicy {
    let flags =
        [("--http-proxy-allow", &args.http_proxy_allow), ("--http-proxy-deny", &args.http_proxy_deny)];
    for (flag, given) in flags {
        if given.iter().any(|text| !text.is_empty()) && self::given(&args.http_proxy).is_none() {
            errors
                .add(flag, "it decides where --http-proxy connects, and there is none; add it, or omit this");
        }
    }
    ProxyPolicy {
        allow: errors.parse_all("--http-proxy-allow", &args.http_proxy_allow),
        deny: errors.parse_all("--http-proxy-deny", &args.http_proxy_deny),
    }
}

fn secret(args: &RunArgs, errors: &mut Errors) -> Option<SecretSource> {
    let silence = errors.positive_duration("--api-silence", &args.api_silence);
    if args.identity.is_none() && given(&args.secret).is_none() {
        errors.add("--identity", "give a directory, or a Secret with --secret, or both");
    }
    let secret = errors.keep("--secret", given(&args.secret)?.parse::<SecretRef>())?;
    let kubeconfig = args.kubeconfig.clone();
    Some(SecretSource { secret, kubeconfig, silence })
}

fn allow(args: &RunArgs, inbound: &[InboundRoute], errors: &mut Errors) -> AllowLists {
    let allow = AllowLists::new(errors.parse_all("--allow", &args.allow));
    let routes: Vec<_> = inbound.iter().map(|route| route.listen).collect();
    for error in allow.check(&routes) {
        errors.add("--allow", error);
    }
    if args.files.client_auth == ClientAuth::None && !allow.is_empty() {
        errors
            .add("--allow", "clients present no certificate with --client-auth none; remove one of the two");
    }
    if args.allow.iter().any(String::is_empty) {
        errors.add(
            "--allow",
            "the value is empty; omit it to admit every client that the trust bundle verifies",
        );
    }
    allow
}

fn trusted_clients(args: &RunArgs, errors: &mut Errors) -> TrustedClients {
    let trusted = TrustedClients(errors.parse_all("--trust-forwarded", &args.trust_forwarded));
    if args.files.client_auth == ClientAuth::None && !trusted.0.is_empty() {
        errors.add(
            "--trust-forwarded",
            "clients present no certificate with --client-auth none, so that none can be told from others; remove one of the two",
        );
    }
    trusted
}

/// An app that is told of each client is told that a probe is none.
fn probes(args: &RunArgs, inbound: &[InboundRoute], errors: &mut Errors) -> Vec<Probe> {
    let mut probes: Vec<Probe> = errors.parse_all("--probe", &args.probe);
    for probe in &mut probes {
        probe.proxy_v2 = inbound.iter().any(|route| route.proxy_v2 && probe.is_of(&route.target));
    }
    probes
}

fn hsts(args: &RunArgs, inbound: &[InboundRoute], errors: &mut Errors) -> Option<Duration> {
    let duration = errors.duration("--hsts", given(&args.hsts)?);
    if args.files.client_auth != ClientAuth::None {
        errors.add("--hsts", "browsers are no clients of mutual TLS; add --client-auth none, or omit it");
    } else if !inbound.iter().any(|route| route.protocol.is_http()) {
        errors.add(
            "--hsts",
            "no route has responses that it could be sent in; write http: or h2c: in --inbound, or omit it",
        );
    }
    if !duration.is_zero() && duration.as_secs() == 0 {
        errors
            .add("--hsts", "it is sent in whole seconds; write 1s or more, or 0s to have browsers forget it");
    }
    Some(duration)
}

fn limits(args: &RunArgs, max_connections: usize, both_sides: bool, errors: &mut Errors) -> Limits {
    let request_head = errors.positive_duration("--request-timeout", &args.request_timeout);
    Limits {
        max_connections,
        kept_for_each_side: kept_for_each_side(max_connections, both_sides),
        idle: errors.positive_duration("--idle-timeout", &args.idle_timeout),
        max_age: errors.positive_duration("--max-age", &args.max_age),
        max_age_grace: errors.duration("--max-age-grace", &args.max_age_grace),
        request_head,
        first_request: request_head.saturating_mul(FIRST_REQUEST_TIMEOUTS),
        drain_after: errors.duration("--drain-after", &args.drain_after),
        root_drain: errors.duration("--root-drain", &args.root_drain),
    }
}

/// What so many file descriptors are for. After an error, a placeholder.
fn allotted(args: &RunArgs, available: u64, errors: &mut Errors) -> Descriptors {
    let descriptors = match given(&args.max_connections) {
        Some(text) => {
            let connections = errors.positive_number("--max-connections", text);
            Descriptors::for_connections(connections, available)
        }
        None => Descriptors::by_default(available),
    };
    let placeholder = Descriptors { connections: 1, handshakes: 1, admin: 1 };
    errors.keep("--max-connections", descriptors).unwrap_or(placeholder)
}

/// So that clients cannot keep the app from its servers, nor the app its clients from it.
fn kept_for_each_side(all: usize, both_sides: bool) -> usize {
    if both_sides { all.div_ceil(KEPT_SHARE).min(all / 2) } else { 0 }
}

fn memory_budget(args: &RunArgs, errors: &mut Errors) -> usize {
    match given(&args.memory_budget) {
        Some(text) => errors.keep("--memory-budget", memory::parse(text)).unwrap_or_default(),
        None => memory::default_budget(),
    }
}

fn shutdown(args: &RunArgs, errors: &mut Errors) -> ShutdownTimes {
    let times = ShutdownTimes {
        delay: errors.duration("--shutdown-delay", &args.shutdown_delay),
        grace: errors.duration("--shutdown-grace", &args.shutdown_grace),
        outbound_linger: errors.duration("--outbound-linger", &args.outbound_linger),
    };
    if times.delay > times.grace {
        errors.add("--shutdown-delay", "it is longer than --shutdown-grace, after which the agent exits");
    }
    times
}

pub fn layout(args: &IdentityArgs) -> Layout {
    let leaf = match given(&args.bundle_file) {
        Some(file) => LeafFiles::Bundle { file: file.to_owned() },
        None => LeafFiles::Pair { certificate: args.cert_file.clone(), key: args.key_file.clone() },
    };
    Layout { leaf, trust: args.ca_file.clone(), revocation: args.crl_file.clone() }
}

fn policy(args: &IdentityArgs, errors: &mut Errors) -> Policy {
    for (flag, name) in [
        ("--cert-file", Some(args.cert_file.as_str())),
        ("--key-file", Some(&args.key_file)),
        ("--ca-file", Some(&args.ca_file)),
        ("--crl-file", Some(&args.crl_file)),
        ("--bundle-file", given(&args.bundle_file)),
    ] {
        if name.is_some_and(|name| name.is_empty() || name.contains('/') || name.starts_with("..")) {
            errors.add(flag, "give the name of a file in the identity directory, not a path");
        }
    }
    Policy {
        public_server: args.client_auth == ClientAuth::None,
        serves: false,
        expected_names: errors.parse_all("--expect-name", &args.expect_name),
        revocation_grace: errors.duration("--crl-grace", &args.crl_grace),
    }
}

/// An empty value counts as unset, because a manifest cannot omit an environment variable conditionally.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, flag: &str, error: impl Display) {
        self.0.push(format!("{flag}: {error}"));
    }

    fn parse_all<T: FromStr<Err: Display>>(&mut self, flag: &str, texts: &[String]) -> Vec<T> {
        let given = texts.iter().filter(|text| !text.is_empty());
        given.filter_map(|text| self.keep(flag, text.parse())).collect()
    }

    /// The value, or `None` with its error recorded.
    fn keep<T, E: Display>(&mut self, flag: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(flag, error)).ok()
    }

    fn listen(&mut self, flag: &str, text: &str, default: IpAddr) -> Option<SocketAddr> {
        self.keep(flag, address::parse(text, default))
    }

    fn duration(&mut self, flag: &str, text: &str) -> Duration {
        let parsed = humantime::parse_duration(text).map_err(|_| {
            format!("{text:?} is not a duration: write a number and a unit, such as 500ms, 5s or 24h")
        });
        self.keep(flag, parsed).unwrap_or_default()
    }

    /// A duration above zero.
    fn positive_duration(&mut self, flag: &str, text: &str) -> Duration {
        let before = self.0.len();
        let duration = self.duration(flag, text);
        if duration.is_zero() && self.0.len() == before {
            self.add(flag, "it must be longer than 0s");
        }
        duration
    }

    fn positive_number(&mut self, flag: &str, text: &str) -> usize {
        let parsed = text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("{text:?} is not a number above 0"));
        self.keep(flag, parsed).unwrap_or(1)
    }
}

/// The other half is left to the app. Unneeded workers are a cost: each wakes for fewer connections.
fn half_of_cpus() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus / 2).clamp(1, MAX_WORKERS)
}

#[cfg(test)]
mod tests;
