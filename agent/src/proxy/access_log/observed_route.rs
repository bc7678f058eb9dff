//! What is seen of a route's traffic: how long its requests take, and the lines of the access log. A record lives as long
//! as what it tells of; its end, whichever way it comes, is what is counted and written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};

use super::entry::{Entry, Flag, Transferred};
use super::{AccessLog, CountedStream};
use crate::connection::tracker::{Connection, Side};
use crate::proxy::http::Dialect;
use crate::proxy::http::exchange::Retried;
use crate::proxy::http::http1::Malformed;
use crate::proxy::request_error::RequestError;
use crate::proxy::request_latency::RouteLatency;
use hotcert_tls::{Peer, Snapshot};

/// One listener's traffic.
pub struct ObservedRoute {
    pub side: Side,
    /// The address on which it listens.
    pub name: String,
    /// The app, or the server. `None` where requests name it.
    pub upstream: Option<String>,
    pub latency: Arc<RouteLatency>,
    pub log: Option<AccessLog>,
}

impl ObservedRoute {
    /// A request that begins now.
    pub fn request<B>(self: &Arc<Self>, request: &Request<B>, dialect: Dialect) -> RequestRecord {
        let entry = self.log.map(|_| {
            let mut entry = Entry::begin(self, dialect.as_str());
            entry.request(request);
            Box::new(entry)
        });
        RequestRecord {
            began: Instant::now(),
            route: Arc::clone(self),
            dialect,
            is_head: request.method() == Method::HEAD,
            is_done: false,
            line: Line(entry),
        }
    }

    /// A connection that begins now and carries bytes.
    pub fn connection(self: &Arc<Self>, from: SocketAddr) -> ConnectionRecord {
        let entry = self.log.map(|_| {
            let mut entry = Entry::begin(self, "tcp");
            entry.from = Some(from);
            Box::new(entry)
        });
        ConnectionRecord(Line(entry))
    }

    /// A request that could not be read, of this client if it is inbound.
    pub fn malformed(self: &Arc<Self>, client: Option<(&Connection, SocketAddr)>, malformed: Malformed) {
        if self.log.is_some() {
            let mut entry = Entry::begin(self, Dialect::Http1.as_str());
            if let Some((connection, from)) = client {
                entry.from = Some(from);
                entry.other_end(connection);
            }
            let error = RequestError::Malformed(malformed);
            (entry.status, entry.reason) = (Some(error.status()), Some(error.reason()));
            drop(Line(Some(Box::new(entry))));
        }
    }
}

/// Written when it is dropped.
struct Line(Option<Box<Entry>>);

impl Line {
    fn transferred(&self) -> Option<Arc<Transferred>> {
        self.0.as_ref().map(|entry| Arc::clone(&entry.bytes))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(entry) = &self.0
            && let Some(log) = entry.route.log
        {
            log.write(entry);
        }
    }
}

/// A request, until its response has ended or it carries bytes.
pub struct RequestRecord {
    began: Instant,
    route: Arc<ObservedRoute>,
    dialect: Dialect,
    is_head: bool,
    /// Its latency is counted, and nothing is missing of its response.
    is_done: bool,
    line: Line,
}

impl RequestRecord {
    /// Who asks, on an inbound route.
    pub fn asked_by(&mut self, connection: &Arc<Connection>, from: SocketAddr) {
        if let Some(entry) = &mut self.line.0 {
            entry.from = Some(from);
            entry.other_end(connection);
            entry.connection = Some(Arc::clone(connection));
        }
    }

    /// Where it was sent, on an outbound route.
    pub fn sent_over(&mut self, connection: Option<&Connection>) {
        if let (Some(entry), Some(connection)) = (&mut self.line.0, connection) {
            entry.other_end(connection);
        }
    }

    /// The server that the request names.
    pub fn upstream(&mut self, name: impl FnOnce() -> String) {
        if let Some(entry) = &mut self.line.0 {
            entry.upstream = Some(name());
        }
    }

    /// What its bytes are counted on. `None` without an access log.
    pub fn transferred(&self) -> Option<Arc<Transferred>> {
        self.line.transferred()
    }

    /// The agent answers itself.
    pub fn refused(&mut self, error: &RequestError) {
        if let Some(entry) = &mut self.line.0 {
            entry.reason = Some(error.reason());
        }
    }

    /// Its response has come.
    pub fn answered<B>(&mut self, response: &Response<B>) {
        if let Some(entry) = &mut self.line.0 {
            entry.status = Some(response.status());
            entry.first_byte = Some(self.began.elapsed());
            if self.dialect == Dialect::Grpc {
                entry.read_grpc_status(response.headers());
            }
            if response.extensions().get::<Retried>().is_some() {
                entry.flag(Flag::Retried);
            }
        }
    }

    /// Whether a response with this status is complete without content, whatever it comes with.
    pub fn wants_no_content(&self, status: StatusCode) -> bool {
        self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// Bytes of its response are passed on.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(entry) = &self.line.0 {
            entry.bytes.sent.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// The trailers of its response are passed on.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(entry) = &mut self.line.0
            && self.dialect == Dialect::Grpc
        {
            entry.read_grpc_status(trailers);
        }
    }

    /// Its response is complete.
    pub fn complete(mut self) {
        self.observe();
    }

    /// The app or the server ended its response early.
    pub fn upstream_gone(mut self) {
        self.observe();
        if let Some(entry) = &mut self.line.0 {
            entry.flag(Flag::UpstreamGone);
        }
    }

    /// It carries bytes from now on, and is told of when they have ended.
    pub fn upgraded<B>(&mut self, response: &Response<B>) -> ConnectionRecord {
        self.observe();
        self.answered(response);
        if let Some(entry) = &mut self.line.0 {
            entry.flag(Flag::Upgraded);
        }
        ConnectionRecord(Line(self.line.0.take()))
    }

    fn observe(&mut self) {
        if !std::mem::replace(&mut self.is_done, true) {
            self.route.latency.observe(self.dialect, self.began.elapsed());
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if !self.is_done {
            self.observe();
            if let Some(entry) = &mut self.line.0
                && entry.reason.is_none()
            {
                entry.broke_off(Flag::ClientGone);
            }
        }
    }
}

/// A connection that carries bytes, until its end.
pub struct ConnectionRecord(Line);

impl ConnectionRecord {
    /// Its TLS connection.
    pub fn over(&mut self, connection: &Arc<Connection>) {
        if let Some(entry) = &mut self.0.0 {
            entry.other_end(connection);
            entry.connection = Some(Arc::clone(connection));
        }
    }

    /// A client that is not let in.
    pub fn not_allowed(mut self, peer: Option<&Arc<Peer>>, snapshot: &Snapshot) {
        self.refused("not_allowed");
        if let Some(entry) = &mut self.0.0 {
            entry.peer = peer.cloned();
            entry.generation = Some(snapshot.generation);
        }
    }

    pub fn refused(&mut self, reason: &'static str) {
        if let Some(entry) = &mut self.0.0 {
            entry.reason = Some(reason);
        }
    }

    /// It ended by a failure of one of both ends.
    pub fn broke_off(&mut self) {
        if let Some(entry) = &mut self.0.0 {
            entry.broke_off(Flag::Broken);
        }
    }

    /// What makes a stream one whose bytes are counted.
    pub fn counter<S>(&self) -> impl FnOnce(S) -> CountedStream<S> + use<S> {
        let bytes = self.0.transferred();
        move |stream| CountedStream::new(stream, bytes)
    }
}
