//! The admission webhook: HTTPS for API servers. Each connection takes the certificate that is
//! current at its hello; a request is read within its limits, judged by the pure function, answered.
//!
//! API servers keep idle HTTP/1 connections and do not send a pod's creation again when one of them
//! breaks under it. So no connection is closed between requests but by the API server itself; one
//! that is to end is told so in its next response.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use hotcert_agent::admin::{text, typed};
use hotcert_agent::handshake::{self, Choose};
use hotcert_agent::peer::Peers;
use hotcert_agent::places::Places;
use hotcert_agent::shutdown::Stop;
use hotcert_agent::snapshot::Current;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::metrics::Counts;
use super::review;
use super::sidecar::Decision;
use crate::inject::pod::{Context, SidecarKind};

const MAX_CONNECTIONS: u32 = 1024;
const MAX_HANDSHAKING: usize = 128;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Less than the API server waits, so that it hears why.
const REQUEST_WITHIN: Duration = Duration::from_secs(4);
/// Longer than an API server keeps an idle connection (90 s).
const IDLE: Duration = Duration::from_secs(180);
const MAX_BODY: usize = 4 << 20;
/// Of all requests together.
const MAX_BODIES: usize = 64 << 20;
const MAX_HEAD: usize = 64 << 10;
const MAX_STREAMS: u32 = 100;

/// The pods that each entry of the webhook configuration selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// They ask for themselves.
    Pods,
    /// Their namespace asks for them.
    Namespaces,
}

impl Entry {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/mutate/pods" => Some(Self::Pods),
            "/mutate/namespaces" => Some(Self::Namespaces),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }

    /// The label of the namespace, as the entry's namespaceSelector has found it.
    fn namespace_label(self) -> Option<&'static str> {
        (self == Self::Namespaces).then_some("enabled")
    }
}

pub struct Webhook {
    current: Current,
    agent_image: String,
    sidecar: watch::Receiver<Option<Decision>>,
    counts: Counts,
    peers: Peers,
    handshaking: Places,
    connections: Arc<Semaphore>,
    bodies: Semaphore,
    /// Connections end with their next response.
    closing: AtomicBool,
    /// Connections end now, those with a request in flight after it.
    end: Stop,
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body did not arrive whole: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the request took longer than {REQUEST_WITHIN:?} to arrive")]
    Late,
}

impl Webhook {
    pub fn new(
        current: Current,
        agent_image: String,
        sidecar: watch::Receiver<Option<Decision>>,
        counts: Counts,
        end: Stop,
    ) -> Arc<Self> {
        Arc::new(Self {
            current,
            agent_image,
            sidecar,
            counts,
            peers: Peers::default(),
            handshaking: Places::new(MAX_HANDSHAKING),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)),
            bodies: Semaphore::new(MAX_BODIES),
            closing: AtomicBool::new(false),
            end,
        })
    }

    pub fn close_after_next_response(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Waits until no connection is left.
    pub async fn ended(&self) {
        let _ = self.connections.acquire_many(MAX_CONNECTIONS).await;
    }

    pub async fn connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let Ok(_place) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.counts.connection("no_room");
            return;
        };
        let choose: Choose = |configs| configs.inbound_http.as_ref();
        let accepting = handshake::accept(socket, &self.current, choose, &self.peers, HANDSHAKE_WITHIN);
        let stream = match self.handshaking.hold(accepting).await {
            Some(Ok(accepted)) if accepted.self_check => return,
            Some(Ok(accepted)) => accepted.stream,
            Some(Err(error)) => {
                self.counts.connection(error.result());
                debug!(%from, %error, "webhook handshake failed");
                return;
            }
            None => return self.counts.connection("no_room"),
        };
        self.counts.connection("ok");
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let service = service_fn(|request| {
            let webhook = Arc::clone(&self);
            async move { Ok::<_, Infallible>(webhook.answer(request).await) }
        });
        let end = self.end.clone();
        if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(IDLE)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEAD as u32)
                .serve_connection(stream, service);
            drive(connection, end, |connection| connection.graceful_shutdown()).await;
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .max_buf_size(MAX_HEAD)
                .serve_connection(stream, service);
            drive(connection, end, |connection| connection.graceful_shutdown()).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (request, body) = request.into_parts();
        // Whatever the answer: a client that is still sending would not hear it.
        let body = timeout(REQUEST_WITHIN, self.read(body)).await.unwrap_or(Err(BodyError::Late));
        let mut response = match (Entry::of(request.uri.path()), request.method) {
            (None, _) => text(
                StatusCode::NOT_FOUND,
                "not here; the webhook is /mutate/pods and /mutate/namespaces\n".into(),
            ),
            (Some(_), method) if method != Method::POST => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".into());
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                response
            }
            (Some(entry), _) => {
                let (outcome, response) = self.admit(entry, body);
                self.counts.admission(entry.as_str(), outcome);
                response
            }
        };
        if request.version < Version::HTTP_2 && self.closing.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn admit(&self, entry: Entry, body: Result<Vec<u8>, BodyError>) -> (&'static str, Response<Full<Bytes>>) {
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let status = match error {
                    BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::Late => StatusCode::REQUEST_TIMEOUT,
                    BodyError::Broken(_) => StatusCode::BAD_REQUEST,
                };
                return ("malformed", text(status, format!("{error}\n")));
            }
        };
        let request = match review::Request::parse(&body) {
            Ok(request) => request,
            Err(error) => {
                warn!(entry = entry.as_str(), %error, "webhook called with something else than a pod");
                return ("malformed", text(StatusCode::BAD_REQUEST, format!("{error}\n")));
            }
        };
        let sidecar = self.sidecar.borrow().as_ref().map_or(SidecarKind::Container, |decision| decision.kind);
        let answered = request.answer(&Context {
            namespace: request.namespace(),
            namespace_label: entry.namespace_label(),
            agent_image: &self.agent_image,
            sidecar,
            job: false,
        });
        match &answered.refusal {
            Some(refusal) => {
                info!(namespace = request.namespace(), pod = request.name(), refusal, "pod refused")
            }
            None => debug!(namespace = request.namespace(), pod = request.name(), answered.outcome, "pod"),
        }
        (answered.outcome, typed(StatusCode::OK, "application/json", answered.review.to_string()))
    }

    /// All of the body; what is held of all bodies is bounded. One that is too large is heard to its
    /// end all the same.
    async fn read(&self, mut body: Incoming) -> Result<Vec<u8>, BodyError> {
        let (mut read, mut room, mut length) = (Vec::new(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len();
            if length > MAX_BODY {
                (read, room) = (Vec::new(), Vec::new());
                continue;
            }
            // It is never closed; to be late here is to be late.
            room.extend(self.bodies.acquire_many(data.len() as u32).await.ok());
            read.extend_from_slice(&data);
        }
        if length > MAX_BODY { Err(BodyError::TooLarge) } else { Ok(read) }
    }
}

/// To its own end, or to that of the request in flight when all is to end.
async fn drive<C: Future>(connection: C, end: Stop, finish: fn(Pin<&mut C>)) {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = end.wait() => finish(connection.as_mut()),
    }
    connection.await;
}
