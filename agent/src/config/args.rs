//! Arguments as they are written on the command line or in the environment. Values are text, parsed
//! together in `settings`, so that all errors are reported at once.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use hotcert_log::LogFormat;

use crate::config::access_log::AccessLogTarget;
use crate::config::client_auth::client_auth;
use crate::config::ports::{ADMIN, PROOF};
use hotcert_tls::ClientAuth;

/// Rotates the TLS identity of a pod while it serves: no restart, no dropped request.
///
/// Watches a directory (a mounted Kubernetes Secret), the Kubernetes API, or both for a certificate, its
/// key and the trusted roots; terminates inbound mTLS for the app; originates outbound mTLS for it; and
/// reports on its admin port what it serves.
///
/// Every flag can be set by the environment variable that is named with it; the flag takes precedence.
#[derive(Debug, Parser)]
#[command(name = "hotcert-agent", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the identity, follow its changes, and carry traffic
    ///
    /// Runs until SIGTERM or SIGINT, then drains; a second signal ends it at once. Exits with 2 if the
    /// arguments are invalid. A DURATION is written like 500ms, 30s, 10m or 24h.
    Run(Box<RunArgs>),
    /// Validate an identity directory as `run` would, without serving it
    ///
    /// Parses and verifies the certificate, its key and the trust bundle, and makes a TLS handshake with
    /// them in memory. Exits with 0 if the identity would be served, with 1 if not, and with 2 if the
    /// arguments are invalid.
    Check(CheckArgs),
}

/// The files of an identity, and its requirements.
#[derive(Clone, Debug, Args)]
pub struct IdentityArgs {
    /// File in the identity directory with the leaf certificate, followed by its intermediates, in PEM
    #[arg(
        long,
        env = "HOTCERT_CERT_FILE",
        default_value = "tls.crt",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub cert_file: String,
    /// File in the identity directory with the leaf's private key, in PEM (PKCS#8, PKCS#1 or SEC1)
    #[arg(
        long,
        env = "HOTCERT_KEY_FILE",
        default_value = "tls.key",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub key_file: String,
    /// File in the identity directory with the trust bundle: one or more root certificates, in PEM
    #[arg(
        long,
        env = "HOTCERT_CA_FILE",
        default_value = "ca.crt",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub ca_file: String,
    /// File in the identity directory with the revocation lists of the authorities, in PEM. There need not be one; where
    /// there is, every authority of a peer's chain needs a list that is not out of date
    #[arg(
        long,
        env = "HOTCERT_CRL_FILE",
        default_value = "ca.crl",
        value_name = "NAME",
        help_heading = "Identity"
    )]
    pub crl_file: String,
    /// Time for which a revocation list is used after the next one was due. Afterwards its authority's peers are refused
    #[arg(
        long,
        env = "HOTCERT_CRL_GRACE",
        default_value = "0s",
        value_name = "DURATION",
        help_heading = "Identity"
    )]
    pub crl_grace: String,
    /// One file with key, leaf and intermediates, instead of --cert-file and --key-file
    #[arg(long, env = "HOTCERT_BUNDLE_FILE", value_name = "NAME", help_heading = "Identity")]
    pub bundle_file: Option<String>,
    /// Name that the leaf must have: spiffe://DOMAIN/PATH or dns:NAME; a leaf without it is refused.
    /// Separate several with commas, or repeat the flag [default: any name]. A wildcard counts in either place: `dns:*.a.b`
    /// is met by `x.a.b` and by `*.a.b` in the leaf, `dns:x.a.b` by `*.a.b`; it stands for one label. Upper and lower case
    /// are the same. A name of the leaf that ends in a dot, its IP addresses and its common name meet nothing
    #[arg(
        long,
        env = "HOTCERT_EXPECT_NAME",
        value_delimiter = ',',
        value_name = "PATTERN",
        help_heading = "Identity"
    )]
    pub expect_name: Vec<String>,
    /// Whether clients must present a certificate that the trust bundle verifies. With none, the agent
    /// serves plain HTTPS, and the leaf may come from a public root that is not in the bundle
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
    /// Directory with the identity, usually a mounted Secret. This, --secret, or both are required
    #[arg(long, env = "HOTCERT_IDENTITY", value_name = "DIR", help_heading = "Identity")]
    pub identity: Option<PathBuf>,
    /// Secret with the identity, watched through the Kubernetes API, which is faster than a volume and
    /// needs the verbs get, list and watch on the Secret. While the watch works it takes precedence;
    /// --identity is used at start and if the watch fails
    #[arg(long, env = "HOTCERT_SECRET", value_name = "[NAMESPACE/]NAME", help_heading = "Identity")]
    pub secret: Option<String>,
    /// Time without a message from the API server after which the watch on the Secret counts as lost.
    /// API servers send a bookmark about once a minute
    #[arg(
        long,
        env = "HOTCERT_API_SILENCE",
        default_value = "90s",
        value_name = "DURATION",
        help_heading = "Identity"
    )]
    pub api_silence: String,
    /// Kubeconfig for --secret [default: the service account of the pod]
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE", help_heading = "Identity")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub files: IdentityArgs,
    /// Interval at which the directory is read even without a file system event
    #[arg(
        long,
        env = "HOTCERT_POLL_INTERVAL",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Identity"
    )]
    pub poll_interval: String,

    /// Serve TLS on LISTEN (ADDRESS:PORT) for the app at TARGET (ADDRESS:PORT or unix:/PATH). Without a
    /// prefix bytes are carried, of any protocol; alpn= names what TLS negotiates for it, such as
    /// alpn=postgresql: or alpn=h2+http/1.1:. With #proxy-v2 they begin with a header of PROXY protocol,
    /// version 2, that says who the client is. With http: the agent takes HTTP/1.1 and HTTP/2, sends
    /// HTTP/1.1 to the app, and passes the client's identity in X-Forwarded-Client-Cert. With h2c: it
    /// sends HTTP/2 with prior knowledge to the app, which gRPC needs. Separate several with commas, or
    /// repeat the flag
    #[arg(
        long,
        env = "HOTCERT_INBOUND",
        value_delimiter = ',',
        value_name = "[http:|h2c:|alpn=NAME[+NAME]:]LISTEN=TARGET[#proxy-v2]",
        help_heading = "Traffic"
    )]
    pub inbound: Vec<String>,
    /// Admit only clients whose certificate has such a name: spiffe://DOMAIN/PATH, where * matches one
    /// path segment and a final ** matches any remaining segments, or dns:NAME, where a first label * matches one label.
    /// With LISTEN=, the address of a route of --inbound, the names are for that route alone; without it, for
    /// every route that has no list of its own. Separate several with commas, or repeat the flag [default:
    /// every client that the trust bundle verifies]
    #[arg(
        long,
        env = "HOTCERT_ALLOW",
        value_delimiter = ',',
        value_name = "[LISTEN=]PATTERN[+PATTERN]",
        help_heading = "Traffic"
    )]
    pub allow: Vec<String>,
    /// Keep what clients whose certificate has such a name say of where a request comes from (X-Forwarded-For, -Proto and
    /// -Host, Forwarded, X-Forwarded-Client-Cert and the like), and add to it: for an ingress or a gateway in front.
    /// Names as in --allow, for all routes. Separate several with commas, or repeat the flag [default: what any client says is
    /// replaced]
    #[arg(
        long,
        env = "HOTCERT_TRUST_FORWARDED",
        value_delimiter = ',',
        value_name = "PATTERN",
        help_heading = "Traffic"
    )]
    pub trust_forwarded: Vec<String>,
    /// Carry what the app sends to LISTEN (a loopback ADDRESS:PORT) to HOST over mTLS. The server must
    /// present one of the SANs: dns:NAME, ip:ADDRESS or spiffe://DOMAIN/PATH [default: HOST]. The SNI is HOST, or
    /// the name after sni:. Without a prefix bytes are carried; alpn= names
    /// what is offered to the server. With http: the app may speak HTTP/1.1 or HTTP/2 with prior knowledge
    /// (gRPC in plain text), the server HTTP/2 or HTTP/1.1 by ALPN; connections are reused, and errors are
    /// responses. Separate several with commas, or repeat the flag
    #[arg(
        long,
        env = "HOTCERT_OUTBOUND",
        value_delimiter = ',',
        value_name = "[http:|alpn=NAME[+NAME]:]LISTEN=HOST:PORT[#[sni:NAME+]SAN[+SAN]]",
        help_heading = "Traffic"
    )]
    pub outbound: Vec<String>,
    /// HTTP proxy for the app on LISTEN (a loopback ADDRESS:PORT): http://HOST:PORT/… is requested from
    /// HOST over mTLS, and so is what the app sends in plain text through CONNECT HOST:PORT
    #[arg(long, env = "HOTCERT_HTTP_PROXY", value_name = "LISTEN", help_heading = "Traffic")]
    pub http_proxy: Option<String>,
    /// With --client-auth none: how long browsers are to use HTTPS alone for this host, sent as
    /// Strict-Transport-Security in the responses of http: and h2c: routes, unless the app sends its own; 0s has them
    /// forget it [default: not sent]
    #[arg(long, env = "HOTCERT_HSTS", value_name = "DURATION", help_heading = "Traffic")]
    pub hsts: Option<String>,
    /// Destinations that --http-proxy connects to although it would not: an address, a network such as 10.20.0.0/16,
    /// or a host, which stands for all names below it too. Loopback, link-local, unspecified and multicast
    /// addresses and metadata services of clouds are refused otherwise. Separate several with commas, or repeat
    /// the flag
    #[arg(
        long,
        env = "HOTCERT_HTTP_PROXY_ALLOW",
        value_delimiter = ',',
        value_name = "DESTINATION",
        help_heading = "Traffic"
    )]
    pub http_proxy_allow: Vec<String>,
    /// Destinations that --http-proxy refuses: written as those of --http-proxy-allow. Of all that match, the most
    /// specific decides: a host before a network, a longer name or prefix before a shorter one, and a denial before the
    /// same that is allowed. A host that is denied is not looked up
    #[arg(
        long,
        env = "HOTCERT_HTTP_PROXY_DENY",
        value_delimiter = ',',
        value_name = "DESTINATION",
        help_heading = "Traffic"
    )]
    pub http_proxy_deny: Vec<String>,
    /// Threads that carry traffic [default: half of the available CPUs, at least 1 and at most 4]
    #[arg(long, env = "HOTCERT_WORKERS", value_name = "N", help_heading = "Traffic")]
    pub workers: Option<String>,

    /// Address (ADDRESS:PORT) of /livez, /readyz, /healthz and /metrics: plain HTTP, without secrets
    #[arg(
        long,
        env = "HOTCERT_ADMIN",
        default_value_t = format!("[::]:{ADMIN}"),
        value_name = "LISTEN",
        help_heading = "Administration"
    )]
    pub admin: String,
    /// Address (ADDRESS:PORT) of /proof, where the control plane verifies over mTLS what is served
    #[arg(
        long,
        env = "HOTCERT_PROOF",
        default_value_t = format!("[::]:{PROOF}"),
        value_name = "LISTEN",
        help_heading = "Administration"
    )]
    pub proof: String,
    /// HTTP probe of an app that listens on loopback, where kubelet cannot reach it: kubelet requests
    /// /probe/PORT/PATH on the admin port instead. Separate several with commas, or repeat the flag
    #[arg(
        long,
        env = "HOTCERT_PROBE",
        value_delimiter = ',',
        value_name = "PORT/PATH",
        help_heading = "Administration"
    )]
    pub probe: Vec<String>,

    /// TLS connections that may be open, inbound and outbound; with routes on both sides a quarter is kept for
    /// each. Beyond that, an idle connection of the peer that has most gives way to a new client, or the new
    /// one is closed [default: what the hard limit of file descriptors is enough for, at most 100000]
    #[arg(long, env = "HOTCERT_MAX_CONNECTIONS", value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<String>,
    /// Memory, such as 96Mi, for requests, responses and relayed bytes that wait for the app, a server or
    /// their reader; with routes on both sides a quarter is kept for each. One client may hold a fifth of
    /// what is left, so that the others go on; what is over that waits [default: half of the container's memory limit, at most 512Mi; 512Mi without a limit]
    #[arg(long, env = "HOTCERT_MEMORY_BUDGET", value_name = "BYTES", help_heading = "Limits")]
    pub memory_budget: Option<String>,
    /// Time for a TLS handshake, from the accepted connection to its end
    #[arg(
        long,
        env = "HOTCERT_HANDSHAKE_TIMEOUT",
        default_value = "10s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub handshake_timeout: String,
    /// Time for connecting to the app or to a server, whose addresses are tried 250 ms apart. While another address is
    /// left, a handshake with a server that says nothing has no more time than this
    #[arg(
        long,
        env = "HOTCERT_CONNECT_TIMEOUT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub connect_timeout: String,
    /// Time from the first byte of an HTTP/1 request to the end of its head, from a client or from the app. Twice this time may pass from the
    /// handshake of a client's connection to the end of its first request's head, in HTTP/2 too
    #[arg(
        long,
        env = "HOTCERT_REQUEST_TIMEOUT",
        default_value = "15s",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub request_timeout: String,
    /// Time from the end of an HTTP request to the beginning of its response, from the app or from a server. A request
    /// without one is answered with 504, a gRPC call with DEADLINE_EXCEEDED [default: no limit, since a long poll may
    /// take as long as it likes]
    #[arg(long, env = "HOTCERT_RESPONSE_TIMEOUT", value_name = "DURATION", help_heading = "Limits")]
    pub response_timeout: Option<String>,
    /// Time after which a connection that transfers no bytes is closed
    #[arg(
        long,
        env = "HOTCERT_IDLE_TIMEOUT",
        default_value = "1h",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub idle_timeout: String,
    /// Time after which any connection is closed: TCP and upgraded ones at once, HTTP ones when their
    /// requests have ended
    #[arg(
        long,
        env = "HOTCERT_MAX_AGE",
        default_value = "24h",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub max_age: String,
    /// Time after --max-age at which an HTTP connection is cut, whatever is still in flight on it, such as
    /// a stream that never ends
    #[arg(
        long,
        env = "HOTCERT_MAX_AGE_GRACE",
        default_value = "10m",
        value_name = "DURATION",
        help_heading = "Limits"
    )]
    pub max_age_grace: String,

    /// After a new leaf: time after which HTTP connections made under an older leaf are asked to close,
    /// each at a random time between 1 and 1.5 times this, and in any case before that leaf expires
    #[arg(
        long,
        env = "HOTCERT_DRAIN_AFTER",
        default_value = "10m",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub drain_after: String,
    /// After the removal of a root: time that HTTP connections of its clients have to finish their
    /// requests. TCP connections are cut at once
    #[arg(
        long,
        env = "HOTCERT_ROOT_DRAIN",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub root_drain: String,
    /// After SIGTERM: time for which new connections are still accepted while the pod is removed from
    /// its endpoints; at most --shutdown-grace
    #[arg(
        long,
        env = "HOTCERT_SHUTDOWN_DELAY",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub shutdown_delay: String,
    /// After SIGTERM: time after which all remaining connections are cut and the agent exits
    #[arg(
        long,
        env = "HOTCERT_SHUTDOWN_GRACE",
        default_value = "25s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub shutdown_grace: String,
    /// After inbound connections are drained: time without any outbound connection after which the agent
    /// exits
    #[arg(
        long,
        env = "HOTCERT_OUTBOUND_LINGER",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Draining"
    )]
    pub outbound_linger: String,

    /// Format of the log on standard error. HOTCERT_LOG sets its level (error, warn, info, debug or
    /// trace), or a filter in the syntax of tracing-subscriber's EnvFilter
    #[arg(
        long,
        env = "HOTCERT_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
    /// Access log: a line of JSON for each HTTP request and for each connection that carries bytes, inbound and outbound
    #[arg(
        long,
        env = "HOTCERT_ACCESS_LOG",
        default_value = "off",
        value_name = "WHERE",
        help_heading = "Logging"
    )]
    pub access_log: AccessLogTarget,
    /// Show paths in the access log with their queries, which may hold secrets
    #[arg(
        long,
        env = "HOTCERT_ACCESS_LOG_QUERY",
        value_parser = FalseyValueParser::new(),
        help_heading = "Logging"
    )]
    pub access_log_query: bool,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Directory with the identity, usually a mounted Secret
    pub dir: PathBuf,
    #[command(flatten)]
    pub files: IdentityArgs,
    /// Validate for outbound connections only: the certificate need not be valid as a server certificate
    #[arg(long, env = "HOTCERT_CLIENT_ONLY", value_parser = FalseyValueParser::new(), help_heading = "Identity")]
    pub client_only: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "HOTCERT_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}
