//! The admin listener: plain HTTP, GET only, no secrets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;

use super::admin_connections::AdminConnections;
use super::health::Health;
use super::http::{accept, only_get, text, typed};
use super::metrics::Metrics;

pub struct Admin {
    health: Health,
    metrics: Metrics,
    connections: AdminConnections,
}

impl Admin {
    pub fn new(health: Health, metrics: Metrics, connections: AdminConnections) -> Arc<Self> {
        Arc::new(Self { health, metrics, connections })
    }

    pub async fn serve_connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        self.connections.serve(socket, from, |request| self.respond(request)).await;
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
            "/metrics" => {
                let (content_type, body) = self.metrics.render(&self.health, accept(request), now);
                typed(StatusCode::OK, content_type, body)
            }
            _ => text(StatusCode::NOT_FOUND, "not found; try /livez, /readyz, /healthz or /metrics\n".into()),
        }
    }
}

/// The body of `/readyz` of a replica that serves the webhook.
fn ready(problem: Option<String>) -> String {
    problem.map_or_else(|| "ready\n".to_owned(), |problem| format!("ready, but {problem}\n"))
}
