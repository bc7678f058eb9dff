//! The arguments of `hotcert controller`, and the settings that valid arguments become.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use hotcert_log::LogFormat;
use hotcert_tls::ClientAuth;

use super::webhook_certificate::plan::Timing;
use crate::api::agent_ports::ADMIN;
use crate::api::duration;
use crate::api::settings::{CLUSTER_DOMAIN, ClusterDomain, ClusterDomainError};
use crate::controller::native_sidecar::SidecarMode;
use crate::inject::AGENT_IMAGE;

/// In the last third of a certificate's lifetime the next one must be distributed and promoted, and the old root
/// retired, which takes two overlaps.
const OVERLAPS_PER_LIFETIME: u32 = 4;

#[derive(Clone, Debug, Args)]
pub struct ControllerArgs {
    /// ADDRESS:PORT of the admission webhook, which API servers call over HTTPS
    #[arg(long, env = "HOTCERT_WEBHOOK_LISTEN", default_value = "[::]:9443", value_name = "LISTEN")]
    pub webhook_listen: String,
    /// ADDRESS:PORT of /livez, /readyz, /healthz and /metrics, without TLS
    #[arg(long, env = "HOTCERT_ADMIN", default_value_t = format!("[::]:{ADMIN}"), value_name = "LISTEN")]
    pub admin: String,
    /// Namespace of the webhook's Secret and Service [default: the one of the service account or kubeconfig]
    #[arg(long, env = "HOTCERT_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Image of the agent that is added to pods
    #[arg(long, env = "HOTCERT_AGENT_IMAGE", default_value = AGENT_IMAGE, value_name = "IMAGE")]
    pub agent_image: String,
    /// How the agent runs in pods without the annotation hotcert.dev/sidecar
    #[arg(long, env = "HOTCERT_SIDECAR", default_value = "auto", value_name = "KIND")]
    pub sidecar: SidecarMode,
    /// Kubeconfig of the cluster [default: the service account in a pod, else $KUBECONFIG or ~/.kube/config]
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Work on a directory of this machine instead of a cluster, without a webhook and replicas
    #[arg(long, env = "HOTCERT_DIR", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub dir: Option<PathBuf>,
    /// DNS domain of the cluster, under which Services have their full names; an authority may name another. With --dir
    /// the authority has to
    #[arg(long, env = "HOTCERT_CLUSTER_DOMAIN", default_value = CLUSTER_DOMAIN, value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Annotate pods that read only their volume, so that kubelet updates it at once; needs permission to patch pods
    #[arg(long, env = "HOTCERT_NUDGE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub nudge: bool,
    /// YAML file that configures outgoing and incoming notifications and external managers; reloaded when it changes
    #[arg(long, env = "HOTCERT_NOTIFICATIONS", value_name = "FILE")]
    pub notifications: Option<PathBuf>,
    /// ADDRESS:PORT that receives notifications over HTTPS, at POST /notifications/SENDER [default: none]
    #[arg(long, env = "HOTCERT_RECEIVER_LISTEN", value_name = "LISTEN")]
    pub receiver_listen: Option<String>,
    /// Directory with tls.crt and tls.key of the receiver, and ca.crt to verify client certificates; reloaded
    #[arg(long, env = "HOTCERT_RECEIVER_IDENTITY", value_name = "DIR")]
    pub receiver_identity: Option<PathBuf>,
    /// Whether senders of notifications must present a client certificate
    #[arg(long, value_parser = client_auth(), env = "HOTCERT_RECEIVER_CLIENT_AUTH", default_value = "none", value_name = "KIND")]
    pub receiver_client_auth: ClientAuth,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "HOTCERT_WEBHOOK_NAME", default_value = "hotcert", value_name = "NAME")]
    pub webhook_name: String,
    /// Service through which API servers reach the webhook
    #[arg(long, env = "HOTCERT_WEBHOOK_SERVICE", default_value = "hotcert-webhook", value_name = "NAME")]
    pub webhook_service: String,
    /// Lifetime of the webhook's own certificate, such as 90d; renewed after two thirds of it
    #[arg(long, env = "HOTCERT_WEBHOOK_LIFETIME", default_value = "90d", value_name = "DURATION")]
    pub webhook_lifetime: String,
    /// How long an API server may take to load a changed caBundle, such as 5m
    #[arg(long, env = "HOTCERT_WEBHOOK_OVERLAP", default_value = "5m", value_name = "DURATION")]
    pub webhook_overlap: String,
    /// How long to accept connections after SIGTERM, while the pod is removed from its endpoints, such as 5s
    #[arg(long, env = "HOTCERT_SHUTDOWN_DELAY", default_value = "5s", value_name = "DURATION")]
    pub shutdown_delay: String,
    /// Format of the log on standard error; HOTCERT_LOG=debug for more detail
    #[arg(long, env = "HOTCERT_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// With help for each choice.
fn client_auth() -> impl TypedValueParser<Value = ClientAuth> {
    let choices = [
        PossibleValue::new(ClientAuth::Require.as_str())
            .help("mTLS: a client without a certificate that the trust bundle verifies is refused"),
        PossibleValue::new(ClientAuth::None.as_str()).help("Plain HTTPS, for a public server certificate"),
    ];
    PossibleValuesParser::new(choices).try_map(|name| name.parse())
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub webhook_listen: SocketAddr,
    pub admin: SocketAddr,
    pub namespace: Option<String>,
    pub agent_image: String,
    pub sidecar: SidecarMode,
    pub kubeconfig: Option<PathBuf>,
    /// Instead of a cluster.
    pub dir: Option<PathBuf>,
    pub cluster_domain: ClusterDomain,
    pub nudge: bool,
    pub notifications: Option<PathBuf>,
    pub receiver: Option<ReceiverSettings>,
    pub webhook_name: String,
    pub webhook_service: String,
    pub timing: Timing,
    pub shutdown_delay: Duration,
}

/// Where notifications are received.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    pub listen: SocketAddr,
    /// Directory of the server certificate.
    pub identity: PathBuf,
    pub client_auth: ClientAuth,
}

impl Settings {
    /// The settings, or everything that is invalid.
    pub fn from_args(args: &ControllerArgs) -> Result<Self, Vec<String>> {
        let mut errors = Errors::default();
        let webhook_listen = errors.listen("--webhook-listen", &args.webhook_listen);
        let admin = errors.listen("--admin", &args.admin);
        let lifetime = errors.duration("--webhook-lifetime", &args.webhook_lifetime);
        let overlap = errors.duration("--webhook-overlap", &args.webhook_overlap);
        let shutdown_delay = errors.duration("--shutdown-delay", &args.shutdown_delay);
        let cluster_domain = args
            .cluster_domain
            .parse()
            .map_err(|error: ClusterDomainError| errors.add("--cluster-domain", error));
        let namespace = non_empty(args.namespace.as_ref());
        errors.name("--webhook-name", &args.webhook_name);
        errors.name("--webhook-service", &args.webhook_service);
        if let Some(namespace) = &namespace {
            errors.name("--namespace", namespace);
        }
        if args.agent_image.is_empty() || args.agent_image.contains(char::is_whitespace) {
            errors.add(
                "--agent-image",
                format!("{:?} is not an image: give one such as hotcert-agent:0.2.0", args.agent_image),
            );
        }
        if let (Some(lifetime), Some(overlap)) = (lifetime, overlap)
            && (lifetime < overlap.saturating_mul(OVERLAPS_PER_LIFETIME) || lifetime.is_zero())
        {
            errors.add(
                "--webhook-lifetime",
                "it must be more than 0 and at least four times --webhook-overlap",
            );
        }
        let notifications = non_empty_path(args.notifications.as_ref());
        let listen = non_empty(args.receiver_listen.as_ref());
        let listen = listen.and_then(|listen| errors.listen("--receiver-listen", &listen));
        let identity = non_empty_path(args.receiver_identity.as_ref());
        if identity.is_some() && args.receiver_listen.is_none() {
            errors.add("--receiver-identity", "it needs --receiver-listen, the address to listen on");
        }
        let receiver = match (listen, identity, &notifications) {
            (None, ..) => None,
            (Some(listen), Some(identity), Some(_)) => {
                Some(ReceiverSettings { listen, identity, client_auth: args.receiver_client_auth })
            }
            (Some(_), None, _) => {
                errors.add(
                    "--receiver-identity",
                    "it is missing: --receiver-listen needs the directory of the server certificate",
                );
                None
            }
            (Some(_), _, None) => {
                errors.add(
                    "--notifications",
                    "it is missing: --receiver-listen needs the file that configures the senders",
                );
                None
            }
        };
        match (webhook_listen, admin, lifetime, overlap, shutdown_delay, cluster_domain) {
            (
                Some(webhook_listen),
                Some(admin),
                Some(lifetime),
                Some(overlap),
                Some(shutdown_delay),
                Ok(cluster_domain),
            ) if errors.0.is_empty() => Ok(Self {
                webhook_listen,
                admin,
                namespace,
                agent_image: args.agent_image.clone(),
                sidecar: args.sidecar,
                kubeconfig: non_empty_path(args.kubeconfig.as_ref()),
                dir: non_empty_path(args.dir.as_ref()),
                cluster_domain,
                nudge: args.nudge,
                notifications,
                receiver,
                webhook_name: args.webhook_name.clone(),
                webhook_service: args.webhook_service.clone(),
                timing: Timing { lifetime, overlap },
                shutdown_delay,
            }),
            _ => Err(errors.0),
        }
    }
}

fn non_empty_path(value: Option<&PathBuf>) -> Option<PathBuf> {
    value.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// An empty value is a missing one: manifests leave environment variables out that way.
fn non_empty(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, flag: &str, error: impl Display) {
        self.0.push(format!("{flag}: {error}"));
    }

    fn listen(&mut self, flag: &str, text: &str) -> Option<SocketAddr> {
        let parsed = text.parse();
        if parsed.is_err() {
            let hint = "an IP address, not a host name";
            self.add(flag, format!("{text:?} is not ADDRESS:PORT, such as 127.0.0.1:9443: give {hint}"));
        }
        parsed.ok()
    }

    fn duration(&mut self, flag: &str, text: &str) -> Option<Duration> {
        duration::parse(text).map_err(|error| self.add(flag, error)).ok()
    }

    /// The rule of Kubernetes for names (RFC 1123).
    fn name(&mut self, flag: &str, text: &str) {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if text.is_empty() || text.len() > 253 || !text.chars().all(is_allowed) {
            self.add(
                flag,
                format!("{text:?} is not a name: use lower-case letters, digits, hyphens and dots"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Vec<String>> {
        let words = ["hotcert"].iter().chain(flags);
        Settings::from_args(&Cli::try_parse_from(words).unwrap().args)
    }

    #[test]
    fn every_invalid_argument_is_reported_at_once_with_its_flag() {
        let wrong = [
            ("--webhook-listen", "localhost:9443"),
            ("--admin", "9640"),
            ("--namespace", "A b"),
            ("--agent-image", "a b"),
            ("--webhook-name", ""),
            ("--webhook-service", "x_y"),
            ("--webhook-overlap", "soon"),
            ("--shutdown-delay", "5 parsecs"),
            ("--cluster-domain", ".cluster.local"),
            ("--receiver-listen", "everywhere"),
        ];
        let flags: Vec<_> = wrong.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
        let errors = settings(&flags).unwrap_err();
        assert_eq!(errors.len(), wrong.len(), "{errors:#?}");
        for (flag, _) in wrong {
            assert!(errors.iter().any(|error| error.starts_with(flag)), "{flag} in {errors:#?}");
        }
    }

    #[test]
    fn a_lifetime_must_leave_time_for_its_renewal() {
        assert!(settings(&["--webhook-lifetime", "12s", "--webhook-overlap", "2s"]).is_ok());
        for (lifetime, overlap) in [("12s", "4s"), ("0s", "0s"), ("1m", "5m")] {
            let errors =
                settings(&["--webhook-lifetime", lifetime, "--webhook-overlap", overlap]).unwrap_err();
            assert!(errors[0].starts_with("--webhook-lifetime"), "{errors:?}");
        }
    }

    #[test]
    fn a_receiver_needs_a_certificate_and_senders() {
        let with = |flags: &[&str]| settings(&[&["--receiver-listen", "127.0.0.1:0"], flags].concat());
        assert!(with(&[]).unwrap_err()[0].starts_with("--receiver-identity"));
        assert!(with(&["--receiver-identity", "tls"]).unwrap_err()[0].starts_with("--notifications"));
        let complete = with(&["--receiver-identity", "tls", "--notifications", "n.yaml"]).unwrap();
        assert_eq!(complete.receiver.unwrap().client_auth, ClientAuth::None);
        assert!(settings(&["--receiver-identity", "tls"]).is_err());
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.timing.lifetime, Duration::from_secs(90 * 24 * 3600));
        assert_eq!(settings.agent_image, concat!("hotcert-agent:", env!("CARGO_PKG_VERSION")));
    }
}
