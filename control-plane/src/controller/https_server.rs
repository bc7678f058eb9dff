//! The HTTPS server of the controller, for API servers and for senders of notifications. Each connection uses
//! the certificate that is current at its ClientHello; request bodies are read within limits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use hotcert_tls::{
    Acceptor, HandshakeError, HandshakeLimiter, Identities, Peer, SELF_CHECK_ALPN, answer_self_check,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::api::duration;

const MAX_CONNECTIONS: u32 = 1024;
const MAX_HANDSHAKES: usize = 128;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 100;

/// What differs between the listeners.
#[derive(Clone, Copy)]
pub struct Limits {
    pub http2: bool,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// How long a request may take to arrive.
    pub request: Duration,
    /// Bytes of a request head.
    pub head: usize,
    /// Bytes of a request body.
    pub body: usize,
    /// Bytes of all request bodies together.
    pub bodies: usize,
}

pub struct HttpsServer {
    acceptor: Acceptor,
    limits: Limits,
    handshakes: HandshakeLimiter,
    connections: Arc<Semaphore>,
    bodies: Semaphore,
    /// Set: connections end with their next response.
    closing: AtomicBool,
    /// Set: connections end now, or after the request in flight.
    end: CancellationToken,
}

/// Why a request body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body is incomplete: {0}")]
    Incomplete(#[from] hyper::Error),
    #[error("the request did not arrive within {}", duration::format(*.0))]
    Timeout(Duration),
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// As a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Timeout(_) => "late",
            Self::Incomplete(_) => "broken",
        }
    }
}

impl HttpsServer {
    pub fn new(identities: &Identities, limits: Limits, end: CancellationToken) -> Self {
        let protocols: &[&str] = if limits.http2 { &["h2", "http/1.1"] } else { &[] };
        Self {
            acceptor: identities.acceptor(protocols).handshake_timeout(HANDSHAKE_TIMEOUT),
            limits,
            handshakes: HandshakeLimiter::new(MAX_HANDSHAKES),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)),
            bodies: Semaphore::new(limits.bodies),
            closing: AtomicBool::new(false),
            end,
        }
    }

    pub fn close_after_next_response(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Waits until every connection has ended.
    pub async fn drained(&self) {
        let _ = self.connections.acquire_many(MAX_CONNECTIONS).await;
    }

    /// Calls `count` with the result of the handshake, and `handle` with each request and the client's
    /// certificate, if it has presented one.
    pub async fn serve_connection<A, F>(
        self: Arc<Self>,
        socket: TcpStream,
        from: SocketAddr,
        count: impl Fn(&'static str),
        handle: A,
    ) where
        A: Fn(Request<Incoming>, Option<Arc<Peer>>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let Ok(_permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return count("no_room");
        };
        let handshake = self.acceptor.accept_with(socket, answer_self_check);
        let accepted = match self.handshakes.handshake_from(from.ip(), handshake).await {
            Ok(accepted) => accepted,
            Err(HandshakeError::Evicted) => return count("no_room"),
            Err(error) => {
                count(error.failure().as_str());
                debug!(%from, %error, "handshake failed");
                return;
            }
        };
        let (stream, _, peer) = accepted.into_parts();
        let protocol = stream.get_ref().1.alpn_protocol();
        if protocol == Some(SELF_CHECK_ALPN) {
            return;
        }
        count("ok");
        let is_http2 = protocol == Some(b"h2");
        let stream = TokioIo::new(stream);
        let https = Arc::clone(&self);
        let service = service_fn(move |request: Request<Incoming>| {
            let (https, version) = (Arc::clone(&https), request.version());
            let response = handle(request, peer.clone());
            async move {
                let mut response = response.await;
                if version < Version::HTTP_2 && https.closing.load(Relaxed) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let end = self.end.clone();
        if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.idle)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(self.limits.head as u32)
                .serve_connection(stream, service);
            drive(connection, end, |connection| connection.graceful_shutdown()).await;
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.idle)
                .max_buf_size(self.limits.head)
                .serve_connection(stream, service);
            drive(connection, end, |connection| connection.graceful_shutdown()).await;
        }
    }

    /// The whole body; the memory of all bodies is bounded. One that is too large is still read to its end,
    /// because a client that is still sending would not receive the response.
    pub async fn read(&self, body: Incoming) -> Result<Vec<u8>, BodyError> {
        let timed_out = Err(BodyError::Timeout(self.limits.request));
        timeout(self.limits.request, self.read_whole(body)).await.unwrap_or(timed_out)
    }

    async fn read_whole(&self, mut body: Incoming) -> Result<Vec<u8>, BodyError> {
        let (mut read, mut permits, mut length) = (Vec::new(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len();
            if length > self.limits.body {
                (read, permits) = (Vec::new(), Vec::new());
                continue;
            }
            // The semaphore is never closed, and waiting for it counts towards the request's timeout.
            permits.extend(self.bodies.acquire_many(data.len() as u32).await.ok());
            read.extend_from_slice(&data);
        }
        if length > self.limits.body { Err(BodyError::TooLarge(self.limits.body)) } else { Ok(read) }
    }
}

/// Until the connection ends by itself, or gracefully once `end` is set.
async fn drive<C: Future>(connection: C, end: CancellationToken, finish: fn(Pin<&mut C>)) {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = end.cancelled() => finish(connection.as_mut()),
    }
    connection.await;
}
