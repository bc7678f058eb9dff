//! The admin listener: plain HTTP, GET only, no secrets.

use std::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hotcert_tls::HandshakeLimiter;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;

use super::health::Health;
use super::http::{only_get, serve_http, text, typed};
use super::metrics::Metrics;

/// Enough for kubelet's probes and a few scrapers.
const MAX_CONNECTIONS: usize = 64;

pub struct Admin {
    health: Health,
    metrics: Metrics,
    connections: HandshakeLimiter,
}

impl Admin {
    pub fn new(health: Health, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { health, metrics, connections: HandshakeLimiter::new(MAX_CONNECTIONS) })
    }

    pub async fn serve_connection(self: Arc<Self>, socket: TcpStream, _from: SocketAddr) {
        self.connections.run(serve_http(socket, |request| future::ready(self.respond(&request)))).await;
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let now = SystemTime::now();
        if request.method() != Method::GET {
            return only_get();
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/readyz" => match self.health.unready(now) {
                None => text(StatusCode::OK, ready(self.health.problem())),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
            },
            "/healthz" => typed(StatusCode::OK, "application/json", format!("{:#}\n", self.health.json(now))),
            "/metrics" => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics.render(&self.health, now),
            ),
            _ => text(StatusCode::NOT_FOUND, "not found; try /livez, /readyz, /healthz or /metrics\n".into()),
        }
    }
}

/// The body of `/readyz` of a replica that serves the webhook.
fn ready(problem: Option<String>) -> String {
    problem.map_or_else(|| "ready\n".to_owned(), |problem| format!("ready, but {problem}\n"))
}
