//! The arguments: what a person or a manifest writes. Values are taken as text and judged together
//! in `settings`, so that all that is wrong is said at once.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use crate::config::client_auth::client_auth;
use crate::config::ports::{ADMIN, PROOF};
use crate::runtime::log::LogFormat;
use crate::tls::config::ClientAuth;

/// Keeps one TLS identity current while serving with it: no restart, no dropped request.
///
/// Watches a directory (a mounted Kubernetes Secret) for a certificate, its key and the trusted
/// roots; terminates inbound mTLS for the app; originates outbound mTLS for it; and says on its
/// admin port what it serves.
#[derive(Debug, Parser)]
#[command(name = "hotcert-agent", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve: load the identity, follow its changes, and carry traffic
    Run(Box<RunArgs>),
    /// Say what the agent would do with an identity directory, and why
    Check(CheckArgs),
}

/// Which files make the identity, and what it must be good for.
#[derive(Clone, Debug, Args)]
pub struct IdentityArgs {
    /// File with the leaf certificate, followed by its intermediates
    #[arg(
        long,
        env = "HOTCERT_CERT_FILE",
        default_value = "tls.crt",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub cert_file: String,
    /// File with the private key (PKCS#8, PKCS#1 or SEC1)
    #[arg(
        long,
        env = "HOTCERT_KEY_FILE",
        default_value = "tls.key",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub key_file: String,
    /// File with the trusted roots
    #[arg(
        long,
        env = "HOTCERT_CA_FILE",
        default_value = "ca.crt",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub ca_file: String,
    /// One file with key, leaf and intermediates, in place of --cert-file and --key-file
    #[arg(long, env = "HOTCERT_BUNDLE_FILE", value_name = "NAME", help_heading = "Identity")]
    pub bundle_file: Option<String>,
    /// A name the leaf must carry: spiffe://… or dns:… (may be repeated)
    #[arg(
        long,
        env = "HOTCERT_EXPECT_NAME",
        value_delimiter = ',',
        value_name = "PATTERN",
        help_heading = "Identity"
    )]
    pub expect_name: Vec<String>,
    /// `none` serves plain HTTPS with a public certificate, whose root need not be in the bundle
    #[arg(
        long,
        value_parser = client_auth(),
        env = "HOTCERT_CLIENT_AUTH",
        default_value = "require",
        value_name = "WHEN",
        help_heading = "Identity"
    )]
    pub client_auth: ClientAuth,
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Directory with the identity, usually a mounted Secret
    #[arg(long, env = "HOTCERT_IDENTITY", value_name = "DIR", help_heading = "Identity")]
    pub identity: Option<PathBuf>,
    /// SecretWatcher this Secret through the Kubernetes API, which is faster than the volume; needs get, list
    /// and watch on it. While that works it is believed; --identity is then the start and the fallback
    #[arg(long, env = "HOTCERT_SECRET", value_name = "[NAMESPACE/]NAME", help_heading = "Identity")]
    pub secret: Option<String>,
    /// How long the watch on the Secret may be silent; API servers say once a minute that all is well
    #[arg(
        long,
        env = "HOTCERT_API_SILENCE",
        default_value = "90s",
        value_name = "DURATION",
        help_heading = "Identity"
    )]
    pub api_silence: String,
    /// For --secret, in place of the pod's service account
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE", help_heading = "Identity")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub files: IdentityArgs,
    /// How often to look without being told of a change
    #[arg(
        long,
        env = "HOTCERT_POLL_INTERVAL",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Identity"
    )]
    pub poll_interval: String,

    /// [http:]LISTEN=TARGET: serve TLS on LISTEN for the app at TARGET, an ADDRESS:PORT or
    /// unix:/PATH. With http: the app is told who calls in X-Forwarded-Client-Cert (may be repeated)
    #[arg(
        long,
        env = "HOTCERT_INBOUND",
        value_delimiter = ',',
        value_name = "ROUTE",
        help_heading = "ByteCounters"
    )]
    pub inbound: Vec<String>,
    /// Let in only peers with such a name: spiffe://DOMAIN/PATH or dns:NAME (may be repeated;
    /// without it, whoever the trust bundle verifies)
    #[arg(
        long,
        env = "HOTCERT_ALLOW",
        value_delimiter = ',',
        value_name = "PATTERN",
        help_heading = "ByteCounters"
    )]
    pub allow: Vec<String>,
    /// [http:]LISTEN=HOST:PORT[#SAN]: carry what the app sends to LISTEN over mTLS to HOST, which
    /// must show SAN, a DNS name or spiffe://… (may be repeated)
    #[arg(
        long,
        env = "HOTCERT_OUTBOUND",
        value_delimiter = ',',
        value_name = "ROUTE",
        help_heading = "ByteCounters"
    )]
    pub outbound: Vec<String>,
    /// An HTTP proxy for the app that turns http://HOST:PORT/… into mTLS
    #[arg(long, env = "HOTCERT_HTTP_PROXY", value_name = "LISTEN", help_heading = "ByteCounters")]
    pub http_proxy: Option<String>,
    /// Where /livez, /readyz, /healthz and /metrics are served, without TLS
    #[arg(
        long,
        env = "HOTCERT_ADMIN",
        default_value_t = format!("0.0.0.0:{ADMIN}"),
        value_name = "LISTEN",
        help_heading = "ByteCounters"
    )]
    pub admin: String,
    /// PORT/PATH of the app on loopback: kubelet, which cannot reach it, asks the admin port for
    /// /probe/PORT/PATH instead (may be repeated)
    #[arg(
        long,
        env = "HOTCERT_PROBE",
        value_delimiter = ',',
        value_name = "PORT/PATH",
        help_heading = "ByteCounters"
    )]
    pub probe: Vec<String>,
    /// Where the control context may see for itself what is served, with mTLS
    #[arg(
        long,
        env = "HOTCERT_PROOF",
        default_value_t = format!("0.0.0.0:{PROOF}"),
        value_name = "LISTEN",
        help_heading = "ByteCounters"
    )]
    pub proof: String,
    /// Threads that carry traffic [default: half the CPUs it may use, 1 to 4]
    #[arg(long, env = "HOTCERT_WORKERS", value_name = "N", help_heading = "ByteCounters")]
    pub workers: Option<String>,

    /// TLS connections open at once [default: what the descriptor limit allows]
    #[arg(long, env = "HOTCERT_MAX_CONNECTIONS", value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<String>,
    /// For a TLS handshake
    #[arg(
        long,
        env = "HOTCERT_HANDSHAKE_TIMEOUT",
        default_value = "10s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub handshake_timeout: String,
    /// For connecting to the app or to a server
    #[arg(
        long,
        env = "HOTCERT_CONNECT_TIMEOUT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub connect_timeout: String,
    /// From the first byte of an HTTP/1 request to the end of its head
    #[arg(
        long,
        env = "HOTCERT_REQUEST_TIMEOUT",
        default_value = "15s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub request_timeout: String,
    /// For a connection on which nothing moves
    #[arg(
        long,
        env = "HOTCERT_IDLE_TIMEOUT",
        default_value = "1h",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub idle_timeout: String,
    /// For any connection
    #[arg(
        long,
        env = "HOTCERT_MAX_AGE",
        default_value = "24h",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub max_age: String,

    /// After a new leaf, HTTP connections made under an older one are asked to close after this,
    /// spread out, and in any case before that leaf expires
    #[arg(
        long,
        env = "HOTCERT_DRAIN_AFTER",
        default_value = "10m",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub drain_after: String,
    /// After a root was removed, what HTTP requests of its clients have left (TCP has nothing left)
    #[arg(
        long,
        env = "HOTCERT_ROOT_DRAIN",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub root_drain: String,
    /// After SIGTERM, how long new connections are taken while the pod leaves its endpoints
    #[arg(
        long,
        env = "HOTCERT_SHUTDOWN_DELAY",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub shutdown_delay: String,
    /// After SIGTERM, when everything must be over
    #[arg(
        long,
        env = "HOTCERT_SHUTDOWN_GRACE",
        default_value = "25s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub shutdown_grace: String,
    /// After inbound has drained, how long outbound must have been quiet before the agent ends
    #[arg(
        long,
        env = "HOTCERT_OUTBOUND_LINGER",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub outbound_linger: String,

    /// Form of the log on standard error; HOTCERT_LOG=debug shows more of it
    #[arg(long, env = "HOTCERT_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Directory to look at
    pub dir: PathBuf,
    #[command(flatten)]
    pub files: IdentityArgs,
    /// The identity is for outbound connections only: it need not do for a server
    #[arg(long, env = "HOTCERT_CLIENT_ONLY", value_parser = FalseyValueParser::new())]
    pub client_only: bool,
    /// Print one JSON object
    #[arg(long, env = "HOTCERT_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}
