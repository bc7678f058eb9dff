//! Settings: the command line, judged. A value that exists can be run with; every mistake on the
//! way is collected, so that a person fixes them in one go.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::admin::probe::Probe;
use crate::config::args::{IdentityArgs, RunArgs};
use crate::connection::tracker::Limits;
use crate::proxy::authorization::AllowList;
use crate::proxy::context::Timeouts;
use crate::proxy::inbound::InboundRoute;
use crate::proxy::outbound::OutboundRoute;
use crate::tls::config::ClientAuth;
use crate::tls::credential::{Layout, LeafFiles};
use crate::tls::identity::Policy;
use crate::tls::source::kubernetes::{SecretRef, SecretWatcher};

/// Descriptors kept for what is not a proxied connection.
const SPARE_DESCRIPTORS: u64 = 128;
const MOST_CONNECTIONS: u64 = 100_000;
const MOST_WORKERS: usize = 4;

#[derive(Clone, Debug)]
pub struct Settings {
    pub identity: Option<PathBuf>,
    pub secret: Option<SecretWatcher>,
    pub layout: Layout,
    pub policy: Policy,
    pub client_auth: ClientAuth,
    pub poll: Duration,
    pub inbound: Vec<InboundRoute>,
    pub allow: AllowList,
    pub outbound: Vec<OutboundRoute>,
    pub http_proxy: Option<SocketAddr>,
    pub admin: SocketAddr,
    pub probes: Vec<Probe>,
    pub proof: SocketAddr,
    pub workers: usize,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub shutdown: ShutdownTimes,
}

#[derive(Clone, Copy, Debug)]
pub struct ShutdownTimes {
    pub delay: Duration,
    pub grace: Duration,
    pub outbound_linger: Duration,
}

impl Settings {
    /// All that is wrong with the arguments, or settings that can be run with.
    pub fn from_args(args: &RunArgs) -> Result<Self, Vec<String>> {
        let mut errors = Errors::default();
        let mut policy = policy(&args.files, &mut errors);
        let silence = errors.some_duration("--api-silence", &args.api_silence);
        let secret = given(&args.secret)
            .and_then(|text| errors.one("--secret", text.parse::<SecretRef>()))
            .map(|secret| SecretWatcher {
                secret,
                layout: layout(&args.files),
                kubeconfig: args.kubeconfig.clone(),
                silence,
            });
        if args.identity.is_none() && given(&args.secret).is_none() {
            errors.add("--identity", "give a directory, or a Secret with --secret, or both");
        }
        let inbound: Vec<InboundRoute> = errors.all("--inbound", &args.inbound);
        let outbound: Vec<OutboundRoute> = errors.all("--outbound", &args.outbound);
        let allow = AllowList(errors.all("--allow", &args.allow));
        let http_proxy: Option<SocketAddr> =
            given(&args.http_proxy).and_then(|text| errors.listen("--http-proxy", text));
        if let Some(listen) = http_proxy.filter(|listen| !listen.ip().is_loopback()) {
            errors.add("--http-proxy", format!("{listen} is not a loopback address: whoever reached it would speak with this pod's identity"));
        }
        if args.files.client_auth == ClientAuth::None && !allow.0.is_empty() {
            errors.add("--allow", "with --client-auth none nobody shows a name to be allowed by");
        }
        let admin = errors.listen("--admin", &args.admin);
        let probes = errors.all("--probe", &args.probe);
        let proof = errors.listen("--proof", &args.proof);
        let workers = match given(&args.workers) {
            Some(text) => errors.positive("--workers", text),
            None => half_the_cpus(),
        };
        let max_connections = match given(&args.max_connections) {
            Some(text) => errors.positive("--max-connections", text),
            None => connections_by_descriptors(),
        };
        let limits = Limits {
            max_connections,
            idle: errors.some_duration("--idle-timeout", &args.idle_timeout),
            max_age: errors.some_duration("--max-age", &args.max_age),
            request_head: errors.some_duration("--request-timeout", &args.request_timeout),
            drain_after: errors.duration("--drain-after", &args.drain_after),
            root_drain: errors.duration("--root-drain", &args.root_drain),
        };
        let timeouts = Timeouts {
            handshake: errors.some_duration("--handshake-timeout", &args.handshake_timeout),
            connect: errors.some_duration("--connect-timeout", &args.connect_timeout),
        };
        let shutdown = ShutdownTimes {
            delay: errors.duration("--shutdown-delay", &args.shutdown_delay),
            grace: errors.duration("--shutdown-grace", &args.shutdown_grace),
            outbound_linger: errors.duration("--outbound-linger", &args.outbound_linger),
        };
        let poll = errors.some_duration("--poll-interval", &args.poll_interval);
        if shutdown.delay > shutdown.grace {
            errors
                .add("--shutdown-delay", "it is longer than --shutdown-grace, when everything must be over");
        }
        let listens =
            inbound.iter().map(|route| route.listen).chain(outbound.iter().map(|route| route.listen));
        let listens: Vec<_> = listens.chain(http_proxy).chain(admin).chain(proof).collect();
        for (index, listen) in listens.iter().enumerate() {
            if listen.port() != 0 && listens[..index].contains(listen) {
                errors.add("LISTEN", format!("{listen} is given twice"));
            }
        }
        if args.allow.iter().any(String::is_empty) {
            errors.add("--allow", "it is empty; leave it out to let in whoever the trust bundle verifies");
        }
        policy.serves = !inbound.is_empty();
        match (admin, proof) {
            (Some(admin), Some(proof)) if errors.0.is_empty() => Ok(Self {
                identity: args.identity.clone(),
                secret,
                layout: layout(&args.files),
                policy,
                client_auth: args.files.client_auth,
                poll,
                inbound,
                allow,
                outbound,
                http_proxy,
                admin,
                probes,
                proof,
                workers,
                limits,
                timeouts,
                shutdown,
            }),
            _ => Err(errors.0),
        }
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

pub fn layout(args: &IdentityArgs) -> Layout {
    let leaf = match given(&args.bundle_file) {
        Some(file) => LeafFiles::Bundle { file: file.to_owned() },
        None => LeafFiles::Pair { certificate: args.cert_file.clone(), key: args.key_file.clone() },
    };
    Layout { leaf, trust: args.ca_file.clone() }
}

fn policy(args: &IdentityArgs, errors: &mut Errors) -> Policy {
    for (flag, name) in [
        ("--cert-file", Some(args.cert_file.as_str())),
        ("--key-file", Some(&args.key_file)),
        ("--ca-file", Some(&args.ca_file)),
        ("--bundle-file", given(&args.bundle_file)),
    ] {
        if name.is_some_and(|name| name.is_empty() || name.contains('/') || name.starts_with("..")) {
            errors.add(flag, "give the name of a file in the identity directory, not a path");
        }
    }
    Policy {
        public_server: args.client_auth == ClientAuth::None,
        serves: false,
        expected_names: errors.all("--expect-name", &args.expect_name),
    }
}

/// An empty value is none: that is how a manifest leaves an environment variable out.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, flag: &str, error: impl Display) {
        self.0.push(format!("{flag}: {error}"));
    }

    fn all<T: FromStr<Err: Display>>(&mut self, flag: &str, texts: &[String]) -> Vec<T> {
        texts.iter().filter(|text| !text.is_empty()).filter_map(|text| self.one(flag, text.parse())).collect()
    }

    fn one<T, E: Display>(&mut self, flag: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(flag, error)).ok()
    }

    fn listen(&mut self, flag: &str, text: &str) -> Option<SocketAddr> {
        self.one(
            flag,
            text.parse().map_err(|_| {
                format!(
                    "{text:?} is no ADDRESS:PORT, such as 127.0.0.1:9640 (an IP address, not a host name)"
                )
            }),
        )
    }

    fn duration(&mut self, flag: &str, text: &str) -> Duration {
        let parsed = humantime::parse_duration(text)
            .map_err(|error| format!("{text:?}: {error}; write it like 500ms, 30s or 24h"));
        self.one(flag, parsed).unwrap_or_default()
    }

    /// One that cannot be nothing.
    fn some_duration(&mut self, flag: &str, text: &str) -> Duration {
        let before = self.0.len();
        let duration = self.duration(flag, text);
        if duration.is_zero() && self.0.len() == before {
            self.add(flag, "it must be longer than nothing");
        }
        duration
    }

    fn positive(&mut self, flag: &str, text: &str) -> usize {
        let parsed = text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("{text:?} is no number above 0"));
        self.one(flag, parsed).unwrap_or(1)
    }
}

/// The other half is the app's. More workers than needed cost: each wakes for fewer connections.
fn half_the_cpus() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus / 2).clamp(1, MOST_WORKERS)
}

/// A proxied connection takes two descriptors. Raises the limit as far as it may be raised.
fn connections_by_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let connections = descriptors.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS) / 2;
    usize::try_from(connections.clamp(64, MOST_CONNECTIONS)).unwrap_or(64)
}
