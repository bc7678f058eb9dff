//! What the agent tells about itself, all of it derived from the snapshot, the status and the tracker when
//! it is requested. The admin listener serves plain HTTP, GET only, without secrets; the proof listener
//! serves `/proof` over mTLS.

pub mod agent_status;
pub mod app_probe;
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
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;

use app_probe::Probe;

pub use http::{only_get, serve_http, text, typed};

use crate::admin::health::Health;
use crate::admin::metrics::Metrics;
use hotcert_tls::HandshakeLimiter;

/// Probes and scrapers need few. The bound is high enough that a flood has difficulty to evict a probe that
/// waits for the app.
const MAX_CONNECTIONS: usize = 256;

pub struct Admin {
    health: Health,
    metrics: Metrics,
    probes: Vec<Probe>,
    limiter: HandshakeLimiter,
}

impl Admin {
    pub fn new(health: Health, metrics: Metrics, probes: Vec<Probe>) -> Arc<Self> {
        Arc::new(Self { health, metrics, probes, limiter: HandshakeLimiter::new(MAX_CONNECTIONS) })
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, socket: TcpStream, _from: SocketAddr) {
        let admin = &self;
        self.limiter.run(serve_http(socket, |request| async move { admin.answer(&request).await })).await;
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
            "/metrics" => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics.render(now),
            ),
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
