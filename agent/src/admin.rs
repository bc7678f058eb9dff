//! The admin listener: plain HTTP, GET only, no secrets. And `/proof`, the same house behind mTLS.

pub(crate) mod health;
pub(crate) mod metrics;
mod page;
pub mod probe;
pub mod proof;
pub mod reload_counters;
pub mod status;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use probe::Probe;

use crate::admin::health::Health;
use crate::admin::metrics::Metrics;
use crate::connection::limiter::Limiter;

/// Probes and scrapers are few; more than this is somebody else, who should find it hard to crowd out
/// a probe that waits for the app.
const MAX_CONNECTIONS: usize = 256;
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// One admin connection lives no longer, so that none can be held for ever.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);

pub struct Admin {
    health: Health,
    metrics: Metrics,
    probes: Vec<Probe>,
    limiter: Limiter,
}

impl Admin {
    pub fn new(health: Health, metrics: Metrics, probes: Vec<Probe>) -> Arc<Self> {
        Arc::new(Self { health, metrics, probes, limiter: Limiter::new(MAX_CONNECTIONS) })
    }

    pub async fn connection(self: Arc<Self>, socket: TcpStream, _from: SocketAddr) {
        let admin = &self;
        self.limiter.hold(serve_http(socket, |request| async move { admin.answer(&request).await })).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let now = SystemTime::now();
        if request.method() != Method::GET {
            return only_get();
        }
        match request.uri().path() {
            path if path.starts_with(probe::PREFIX) => {
                let asked = request.uri().path_and_query().map_or(path, |asked| asked.as_str());
                match self.probes.iter().find(|probe| probe.is(asked)) {
                    Some(probe) => probe.relay(request).await,
                    None => {
                        text(StatusCode::NOT_FOUND, "no such probe: give it with --probe PORT/PATH\n".into())
                    }
                }
            }
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
            _ => {
                text(StatusCode::NOT_FOUND, "not here; try /, /livez, /readyz, /healthz or /metrics\n".into())
            }
        }
    }
}

/// Serves one connection with small limits.
pub async fn serve_http<S, A, F>(stream: S, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(CONNECTION_WITHIN, connection).await;
}

pub fn only_get() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

pub fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

pub fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
