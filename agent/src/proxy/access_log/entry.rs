//! What a line of the access log tells, and the line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};

use super::json::Object;
use super::observed_route::ObservedRoute;
use super::trace::{TraceId, trace_id};
use crate::connection::tracker::{CloseStage, Connection};
use crate::proxy::http::grpc;
use hotcert_tls::Peer;

/// The longest that is shown of what peers choose, in bytes before it is escaped.
const MAX_METHOD: usize = 32;
const MAX_HOST: usize = 255;
const MAX_PATH: usize = 1024;
const MAX_USER_AGENT: usize = 256;
const MAX_NAME: usize = 512;

/// Bytes from who connected or asked, and to it.
#[derive(Default)]
pub struct Transferred {
    pub received: AtomicU64,
    pub sent: AtomicU64,
}

/// What was special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// It was sent again on another connection.
    Retried,
    /// It became a connection that carries bytes.
    Upgraded,
    /// Who asked did not wait for the end.
    ClientGone,
    /// The app or the server ended early.
    UpstreamGone,
    /// A connection ended by a failure of one of both ends.
    Broken,
    /// The agent ended it, because its time, its root or its place was gone.
    Cut,
}

impl Flag {
    const ALL: [(Self, &str); 6] = [
        (Self::Retried, "retried"),
        (Self::Upgraded, "upgraded"),
        (Self::ClientGone, "client_gone"),
        (Self::UpstreamGone, "upstream_gone"),
        (Self::Broken, "broken"),
        (Self::Cut, "cut"),
    ];
}

pub struct Entry {
    at: SystemTime,
    began: Instant,
    pub(super) route: Arc<ObservedRoute>,
    protocol: &'static str,
    pub(super) from: Option<SocketAddr>,
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) generation: Option<u64>,
    /// Of the client, if it is inbound.
    pub(super) connection: Option<Arc<Connection>>,
    request: Option<RequestHead>,
    /// If it is not the route's.
    pub(super) upstream: Option<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u16>,
    pub(super) reason: Option<&'static str>,
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes: Arc<Transferred>,
    flags: u8,
}

struct RequestHead {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    trace_id: Option<TraceId>,
}

impl Entry {
    pub(super) fn begin(route: &Arc<ObservedRoute>, protocol: &'static str) -> Self {
        Self {
            at: SystemTime::now(),
            began: Instant::now(),
            route: Arc::clone(route),
            protocol,
            from: None,
            peer: None,
            generation: None,
            connection: None,
            request: None,
            upstream: None,
            status: None,
            grpc_status: None,
            reason: None,
            first_byte: None,
            bytes: Arc::default(),
            flags: 0,
        }
    }

    pub(super) fn request<B>(&mut self, request: &Request<B>) {
        let headers = request.headers();
        self.request = Some(RequestHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: headers.get(HOST).cloned(),
            user_agent: headers.get(USER_AGENT).cloned(),
            trace_id: trace_id(headers),
        });
    }

    /// Who is at the other end of the TLS connection.
    pub(super) fn other_end(&mut self, connection: &Connection) {
        self.peer = connection.peer().cloned();
        self.generation = Some(connection.generation());
    }

    pub(super) fn flag(&mut self, flag: Flag) {
        self.flags |= 1 << flag as u8;
    }

    /// It ended early, by the agent or as this says.
    pub(super) fn broke_off(&mut self, otherwise: Flag) {
        let is_cut = |connection: &Arc<Connection>| connection.close_stage() == CloseStage::Cut;
        let by_agent = self.connection.as_ref().is_some_and(is_cut);
        self.flag(if by_agent { Flag::Cut } else { otherwise });
    }

    pub(super) fn read_grpc_status(&mut self, headers: &HeaderMap) {
        self.grpc_status = grpc::status(headers).or(self.grpc_status);
    }

    pub(super) fn has_flag(&self, flag: Flag) -> bool {
        self.flags & 1 << flag as u8 != 0
    }

    /// Appends the line.
    pub(super) fn write(&self, out: &mut String, queries: bool) {
        let mut line = Object::begin(out);
        line.shown("time", humantime::format_rfc3339_micros(self.at));
        line.plain("side", self.route.side.as_str());
        line.plain("route", &self.route.name);
        line.plain("protocol", self.protocol);
        if let Some(from) = self.from {
            line.shown("from", SocketAddr::new(from.ip().to_canonical(), from.port()));
        }
        if let Some(peer) = &self.peer {
            let name = match &peer.spiffe_id {
                Some(id) => id.to_string(),
                None => peer.names.labels().into_iter().next().unwrap_or_else(|| peer.subject.clone()),
            };
            line.text("peer", name.as_bytes(), MAX_NAME);
            line.plain("peer_sha256", &peer.sha256);
        }
        if let Some(generation) = self.generation {
            line.number("generation", generation);
        }
        if let Some(request) = &self.request {
            request.write(&mut line, queries);
        }
        if let Some(status) = self.status {
            line.number("status", status.as_u16().into());
        }
        if let Some(status) = self.grpc_status {
            line.number("grpc_status", status.into());
        }
        if let Some(reason) = self.reason {
            line.plain("reason", reason);
        }
        if self.flags != 0 {
            let flags = Flag::ALL.into_iter().filter(|(flag, _)| self.has_flag(*flag));
            line.list("flags", flags.map(|(_, name)| name));
        }
        line.number("bytes_received", self.bytes.received.load(Relaxed));
        line.number("bytes_sent", self.bytes.sent.load(Relaxed));
        if let Some(first_byte) = self.first_byte {
            line.seconds("first_byte_seconds", first_byte);
        }
        line.seconds("duration_seconds", self.began.elapsed());
        if let Some(upstream) = self.upstream.as_ref().or(self.route.upstream.as_ref()) {
            line.text("upstream", upstream.as_bytes(), MAX_NAME);
        }
        line.end();
    }
}

impl RequestHead {
    fn write(&self, line: &mut Object<'_>, queries: bool) {
        line.text("method", self.method.as_str().as_bytes(), MAX_METHOD);
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        if let Some(host) = authority.or(self.host.as_ref().map(HeaderValue::as_bytes)) {
            // Passwords do not belong into a log.
            let end = host.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
            line.text("authority", &host[end..], MAX_HOST);
        }
        if let Some(path) = self.uri.path_and_query() {
            let path = if queries { path.as_str() } else { path.path() };
            line.text("path", path.as_bytes(), MAX_PATH);
        }
        if let Some(trace_id) = self.trace_id.as_ref().and_then(|id| std::str::from_utf8(id).ok()) {
            line.plain("trace_id", trace_id);
        }
        if let Some(user_agent) = &self.user_agent {
            line.text("user_agent", user_agent.as_bytes(), MAX_USER_AGENT);
        }
    }
}
