//! The values of the labels that say what became of a connection or a request, with the limit behind each. The list of
//! values comes from the sources; one that is not described here, or no longer there, is an error.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{cell, repository};

const ABOUT: &str = "What the labels `reason` and `result` say, which limit is behind it and what changes it. \
     [Limits](../limits.md) has the limits with their numbers; the label `reason` of `hotcert_reloads_total` is in \
     [operating](../operating.md#troubleshooting).";

/// A metric, the label, where its values are in the sources, and what they mean.
struct Metric {
    name: &'static str,
    label: &'static str,
    sources: &'static [Source],
    values: &'static [Value],
}

/// File, and what its values stand between.
type Source = (&'static str, &'static str, &'static str);

/// Value, what happened, limit, and what changes it.
type Value = (&'static str, &'static str, &'static str, &'static str);

const END_OF_FUNCTION: &str = "\n    }\n";
const HANDSHAKES: &str = "[Handshakes](../limits.md#handshakes)";
const PLACES: &str = "[Places](../limits.md#places)";
const APP: &str = "[Connections to the app](../limits.md#connections-to-the-app)";
const MEMORY: &str = "[Memory](../limits.md#memory-of-requests)";
const PEER_FAILS: &str = "[When a peer fails](../agent.md#when-a-peer-fails)";
const HTTP1: &str = "[Framing of HTTP/1](../http.md#framing-of-http1)";
const FRAMES: &str = "[Frames](../limits.md#frames-that-carry-nothing)";
const CIRCLES: &str = "[Circles](../limits.md#circles-unread-bodies-and-the-forward-proxy)";
const ADMIN: &str = "[Admin and proof](../limits.md#admin-and-proof)";
const RECEIVER: &str = "[The receiver and the webhook](../limits.md#the-receiver-and-the-webhook)";
const LOG: &str = "[The log](../limits.md#the-log)";

const METRICS: &[Metric] = &[
    Metric {
        name: "hotcert_connections_closed_total",
        label: "reason",
        sources: &[("agent/src/connection/tracker/entry.rs", "impl CloseReason {", END_OF_FUNCTION)],
        values: &[
            ("done", "the client, the app or the server ended it", "", ""),
            ("drained", "it was made under an earlier leaf", "", "`--drain-after`"),
            ("root_removed", "the root that verified its peer was removed", "", "`--root-drain`"),
            ("revoked", "the certificate of its peer is revoked", "", "[`ca.crl`](../revocation.md)"),
            ("max_age", "it was too old", "", "`--max-age`, `--max-age-grace`"),
            ("idle", "no byte moved for too long", PLACES, "`--idle-timeout`"),
            (
                "no_request",
                "no request came after the handshake",
                PLACES,
                "`--request-timeout`, of which it is twice",
            ),
            ("slow_request", "the head of a request took too long", "", "`--request-timeout`"),
            (
                "unresponsive",
                "HTTP/2: no answer to a PING for 20 s with requests in flight",
                PEER_FAILS,
                "fixed",
            ),
            ("shutdown", "the agent ends", "", "`--shutdown-grace`"),
            ("not_allowed", "the client's names are not on the allow list", PLACES, "`--allow`"),
            (
                "gave_way",
                "idle, or of a client that is not allowed, it gave way when all places were taken",
                PLACES,
                "`--max-connections`",
            ),
            (
                "over_share",
                "busy, it gave way to a peer with fewer places when all were taken",
                PLACES,
                "`--max-connections`",
            ),
            (
                "limit",
                "all places were taken and none gave way, or the app had no connection free",
                PLACES,
                "`--max-connections`",
            ),
            ("frames", "too many of its HTTP/2 frames carried nothing", FRAMES, "fixed"),
        ],
    },
    Metric {
        name: "hotcert_refused_requests_total",
        label: "reason",
        sources: &[
            ("agent/src/proxy/request_error.rs", "pub fn reason(", END_OF_FUNCTION),
            ("agent/src/proxy/http/http1/malformed.rs", "pub fn reason(", END_OF_FUNCTION),
            (
                "agent/src/proxy/outbound/dial.rs",
                "Self::Unreachable { cause, .. } => match",
                "Self::Handshake",
            ),
        ],
        values: &[
            ("not_allowed", "403: the client's names are not on the allow list", "", "`--allow`"),
            (
                "connect",
                "405 or 400: a CONNECT to something else than the forward proxy, or not to HOST:PORT",
                "",
                "`--http-proxy`",
            ),
            ("host", "400: no `Host`, two, or one that is no host", "", "the client"),
            ("length", "400: more than one `Content-Length`, or one that is no number", "", "the client"),
            (
                "malformed",
                "400: its first line, a field or a trailer is not one of HTTP/1.1",
                HTTP1,
                "the client",
            ),
            ("broken_off", "400, which nobody gets: the client broke its request off", "", "the client"),
            ("target_too_long", "414: its first line is longer than 64 KiB", HTTP1, "the client"),
            (
                "fields_too_large",
                "431: its fields are longer than 64 KiB, or more than 256",
                HTTP1,
                "the client",
            ),
            ("version", "505: neither HTTP/1.1 nor HTTP/1.0", HTTP1, "the client"),
            ("transfer_encoding", "400 or 501: another coding than `chunked`", HTTP1, "the client"),
            ("chunk", "400: a chunk does not begin or end as it should", HTTP1, "the client"),
            (
                "response_timeout",
                "504: the app or the server did not begin its response in time",
                "",
                "`--response-timeout`",
            ),
            (
                "denied",
                "502: the forward proxy may not go there",
                CIRCLES,
                "`--http-proxy-allow`, `--http-proxy-deny`",
            ),
            ("dns", "502: the forward proxy found no address of the host", "", "the name server"),
            (
                "refused",
                "502: the server of a request to the forward proxy refused the connection",
                "",
                "the server",
            ),
            (
                "timeout",
                "502: the server of a request to the forward proxy did not answer in time",
                "",
                "`--connect-timeout`",
            ),
            (
                "loop",
                "508: it passed 32 agents",
                CIRCLES,
                "the routes: an app of `--inbound` leads back to an agent",
            ),
            ("url", "400: the forward proxy was asked for no `http://HOST:PORT/…`", "", "the app"),
            ("no_identity", "503: there is no certificate yet", "", "`--identity`, `--secret`"),
            (
                "grpc_to_http1",
                "502: gRPC to an app or a server that is sent HTTP/1.1",
                "",
                "`h2c:` in `--inbound`",
            ),
            ("upgrade", "501, 502 or 500: a protocol could not be switched", "", "the app or the server"),
            ("limit", "503: all places for connections to servers are taken", PLACES, "`--max-connections`"),
            (
                "app_busy",
                "503: no connection to the app was free in time",
                APP,
                "`--max-connections`, `--connect-timeout`",
            ),
            (
                "memory",
                "503: the client's requests hold its share of the memory",
                MEMORY,
                "`--memory-budget`, or the container's memory limit",
            ),
            (
                "reset",
                "502, or the same reset: the app or the server reset the request",
                "",
                "the app or the server",
            ),
            (
                "unreachable",
                "502: the forward proxy cannot reach the server, or may not",
                CIRCLES,
                "`--http-proxy-allow`, `--http-proxy-deny`",
            ),
            (
                "bad_gateway",
                "502: the app or the server is down, is not trusted, or gave no valid response",
                "",
                "`--connect-timeout`, `#SAN` in `--outbound`",
            ),
        ],
    },
    Metric {
        name: "hotcert_handshakes_total",
        label: "result",
        sources: &[
            ("agent/src/connection/handshake/result.rs", "impl HandshakeResult {", END_OF_FUNCTION),
            ("tls/src/handshake.rs", "impl HandshakeFailure {", END_OF_FUNCTION),
        ],
        values: &[
            ("ok", "complete, and inbound of a client that is let in", "", ""),
            ("self_check", "the agent's own check of its listener", "", ""),
            ("not_allowed", "complete, and the client's names are not on the allow list", "", "`--allow`"),
            ("timeout", "it was not complete in time", HANDSHAKES, "`--handshake-timeout`"),
            (
                "evicted",
                "it gave way while too many were under way",
                HANDSHAKES,
                "`--max-connections`: as many, and at most 4,096",
            ),
            (
                "throttled",
                "too many handshakes of its address have failed",
                HANDSHAKES,
                "fixed: 100 a second are forgiven",
            ),
            ("chain_too_costly", "the peer's chain costs more than is verified", HANDSHAKES, "fixed"),
            (
                "no_identity",
                "this side has no certificate for it",
                "",
                "`--identity`, `--secret`; the leaf's extended key usage",
            ),
            ("closed", "the peer ended the connection before", "", ""),
            ("no_certificate", "the client presented none", "", "`--client-auth`"),
            ("expired", "the peer's certificate has expired", "", "the peer"),
            ("untrusted", "the peer's certificate is under no root of the trust bundle", "", "`--ca-file`"),
            ("wrong_name", "the server shows another name than is expected", "", "`#SAN` in `--outbound`"),
            (
                "bad_certificate",
                "the peer's certificate is refused for another reason",
                "",
                "the peer; the log has the reason",
            ),
            ("refused_by_peer", "the peer refused this side's certificate", "", "the peer's trust bundle"),
            ("alert", "the peer sent another alert", "", "the peer"),
            ("incompatible", "no version, cipher suite or signature scheme in common", "", "the peer"),
            ("malformed", "the peer does not speak TLS", "", "the peer"),
        ],
    },
    Metric {
        name: "hotcert_retried_requests_total",
        label: "reason",
        sources: &[("agent/src/proxy/http/exchange.rs", "impl Retry {", END_OF_FUNCTION)],
        values: &[
            (
                "unsent",
                "the pooled connection had ended, and nothing of the request was sent",
                PEER_FAILS,
                "fixed",
            ),
            (
                "refused",
                "the other side said that it has not looked at the request",
                PEER_FAILS,
                "fixed: twice",
            ),
            (
                "closed",
                "the pooled connection was closed under a request that may be repeated",
                PEER_FAILS,
                "fixed: once",
            ),
        ],
    },
    Metric {
        name: "hotcert_app_connections_refused_total",
        label: "reason",
        sources: &[("agent/src/proxy/inbound/app_connections.rs", "impl NoAppConnection {", END_OF_FUNCTION)],
        values: &[
            ("share", "the client has its share of the connections to the app", APP, "`--max-connections`"),
            ("limit", "all connections to the app are taken", APP, "`--max-connections`"),
        ],
    },
    Metric {
        name: "hotcert_admin_connections_refused_total",
        label: "reason",
        sources: &[("agent/src/admin/connections.rs", "pub async fn serve", END_OF_FUNCTION)],
        values: &[
            ("displaced", "it gave way to a source with fewer connections", ADMIN, "fixed: 256"),
            ("no_place", "the requests of all others were being answered", ADMIN, "fixed: 256"),
        ],
    },
    Metric {
        name: "hotcert_api_failures_total",
        label: "reason",
        sources: &[("tls/src/source/watch_error.rs", "impl WatchErrorReason {", END_OF_FUNCTION)],
        values: &[
            ("ended", "the API server ended the watch as soon as it had begun", "", "the API server"),
            ("silent", "nothing came from the API server in time", "", "`--api-silence`"),
            ("no_service_account", "the pod has no token", "", "the pod, or `--kubeconfig`"),
            ("kubeconfig", "the kubeconfig cannot be used", "", "`--kubeconfig`"),
            ("answer", "the API server answered with something unexpected", "", "the API server"),
            ("unreachable", "no connection to the API server", "", "the network"),
            ("unauthorized", "the API server does not accept the token", "", "the token"),
            (
                "forbidden",
                "the token may not get, list or watch the Secret",
                "",
                "RBAC: `hotcert inject --rbac=only`",
            ),
            ("expired", "the version that the watch would go on from is gone; it begins anew", "", ""),
        ],
    },
    Metric {
        name: "hotcert_log_lines_dropped_total`, `hotcert_access_log_lines_dropped_total` and `hotcert_controller_log_lines_dropped_total",
        label: "reason",
        sources: &[("log/src/dropped_lines.rs", "for (reason, count) in", "{")],
        values: &[
            (
                "queue_full",
                "the queue had no room: the reader of the log is slower than it",
                LOG,
                "fixed: 512 KiB; `HOTCERT_LOG`",
            ),
            ("write_failed", "standard error is closed, or its disk is full", LOG, "the reader"),
        ],
    },
    Metric {
        name: "hotcert_controller_refused_total",
        label: "reason",
        sources: &[
            ("control-plane/src/controller/refusals.rs", "impl Refusal {", END_OF_FUNCTION),
            ("control-plane/src/controller/request_body.rs", "pub fn reason(", END_OF_FUNCTION),
        ],
        values: &[
            (
                "displaced",
                "a connection that gave way to a source with fewer",
                RECEIVER,
                "the controller's file descriptors, of which they are a quarter",
            ),
            (
                "no_place",
                "a connection, since the requests of all others were being answered",
                RECEIVER,
                "as above",
            ),
            ("no_request", "a connection without a request in time", RECEIVER, "fixed: 5 s to the first"),
            (
                "no_memory",
                "503: a body, since there was no memory",
                RECEIVER,
                "fixed: 16 MiB, of the webhook 64",
            ),
            ("slow_body", "503: a body that gave way to another source", RECEIVER, "as above"),
            ("late", "408: a body that was not there in time", RECEIVER, "fixed: 5 s, of the webhook 4"),
            ("too_large", "413: a body that was too large", RECEIVER, "fixed: 256 KiB, of the webhook 4 MiB"),
            ("broken", "400: a body that did not end as announced", "", "the sender"),
        ],
    },
];

pub fn page() -> String {
    let mut text = format!("# Reasons\n\n{ABOUT}\n");
    for metric in METRICS {
        metric.check();
        let Metric { name, label, values, .. } = metric;
        let _ = writeln!(
            text,
            "\n## `{name}`\n\n| `{label}` | what happened | limit | what changes it |\n|---|---|---|---|"
        );
        for (value, what, limit, changes) in *values {
            let _ = writeln!(text, "| `{value}` | {} | {limit} | {} |", cell(what), cell(changes));
        }
    }
    text
}

impl Metric {
    /// Every value of the sources is described, and no other.
    fn check(&self) {
        let in_sources: BTreeSet<String> = self.sources.iter().flat_map(literals).collect();
        let described: BTreeSet<String> = self.values.iter().map(|(value, ..)| (*value).to_owned()).collect();
        assert_eq!(
            described, in_sources,
            "the values of {} in tests/kit/reference/reasons.rs, and in the sources",
            self.name
        );
    }
}

/// The texts between quotes.
fn literals((file, begin, end): &Source) -> Vec<String> {
    let source = std::fs::read_to_string(repository().join(file)).expect("the source can be read");
    let (_, rest) = source.split_once(begin).unwrap_or_else(|| panic!("{file} has no {begin}"));
    let (part, _) = rest.split_once(end).unwrap_or_else(|| panic!("{file} has no {end} after {begin}"));
    part.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}
