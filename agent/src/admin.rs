//! What the agent tells about itself, all of it derived from the snapshot, the status and the tracker when
//! it is requested. The admin listener serves plain HTTP, GET only, without secrets; the proof listener
//! serves `/proof` over mTLS.

pub mod agent_status;
pub mod app_probe;
pub(crate) mod connections;
pub(crate) mod health;
mod http;
pub(crate) mod metrics;
mod page;
pub mod proof;
pub mod reload_counters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;

use app_probe::Probe;

pub use http::{only_get, serve_http, text, typed};

use crate::admin::connections::AdminConnections;
use crate::admin::health::Health;
use crate::admin::metrics::Metrics;

pub struct Admin {
    health: Health,
    metrics: Metrics,
    probes: Vec<Probe>,
    connections: AdminConnections,
}

impl Admin {
    pub fn new(
        health: Health,
        metrics: Metrics,
        probes: Vec<Probe>,
        connections: AdminConnections,
    ) -> Arc<Self> {
        Arc::new(Self { health, metrics, probes, connections })
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let admin = &self;
        let connection =
            |activity| serve_http(socket, activity, |request| async move { admin.answer(&request).await });
        self.connections.serve(from, connection).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let now = SystemTime::now();
        if request.method() != Method::GET {
            return only_get();
        }
        match request.uri().path() {
            path if path.starts_with(app_probe::PREFIX) => self.probe(request).await,
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/readyz" => match self.health.unready(now) {
                None => text(StatusCode::OK, "ready\n".into()),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
            },
            "/healthz" => typed(StatusCode::OK, "application/json", format!("{:#}\n", self.health.json(now))),
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let (content_type, body) = self.metrics.render(accept, now);
                typed(StatusCode::OK, content_type, body)
            }
            "/" => typed(StatusCode::OK, "text/html; charset=utf-8", page::render(&self.health.json(now))),
            _ => text(
                StatusCode::NOT_FOUND,
                "not found; try /, /livez, /readyz, /healthz or /metrics\n".into(),
            ),
        }
    }

    async fn probe(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        match self.probes.iter().find(|probe| probe.is(path)) {
            Some(probe) => probe.relay(request).await,
            None => text(StatusCode::NOT_FOUND, "unknown probe; add it with --probe PORT/PATH\n".into()),
        }
    }
}
