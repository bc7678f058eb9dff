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
use hotcert_tls::{Acceptor, Activity, FairLimiter, Identities, Peer, SELF_CHECK_ALPN, answer_self_check};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::descriptors;
use super::refusals::{ListenerRefusals, Refusal};
use super::request_body::{Bodies, Body, BodyError, BodyLimits};

/// Far more than API servers or senders have open. One address alone may have them all.
const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STREAMS: u32 = 100;
/// Of HTTP/2: what a client may send before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// How long an HTTP/2 connection may take to its first request: clients open one when they have a request, and repeat
/// what they send while it is closed.
const FIRST_HTTP2_REQUEST: Duration = Duration::from_secs(5);
/// How long a connection that is told to go away may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What differs between the listeners.
#[derive(Clone, Copy)]
pub struct Limits {
    pub http2: bool,
    /// How long an HTTP/1 connection may take to its first request.
    pub first_request: Duration,
    /// How long a connection may stay without a request after that.
    pub idle: Duration,
    /// Bytes of a request head.
    pub head: usize,
    pub bodies: BodyLimits,
}

pub struct HttpsServer {
    acceptor: Acceptor,
    limits: Limits,
    wants_body: Box<dyn Fn(&Parts) -> bool + Send + Sync>,
    connections: FairLimiter,
    open: TaskTracker,
    bodies: Bodies,
    refusals: ListenerRefusals,
    /// Set: connections end with their next response.
    closing: AtomicBool,
    /// Set: connections end now, or after the request in flight.
    end: CancellationToken,
}

impl HttpsServer {
    /// `wants_body`: whether anything follows from the body of a request with this path and method. Any other is answered
    /// at once: its body takes no memory.
    pub fn new(
        identities: &Identities,
        limits: Limits,
        wants_body: impl Fn(&Parts) -> bool + Send + Sync + 'static,
        refusals: ListenerRefusals,
        end: CancellationToken,
    ) -> Self {
        let protocols: &[&str] = if limits.http2 { &["h2", "http/1.1"] } else { &[] };
        let max_connections = descriptors::share_of_listener(MAX_CONNECTIONS);
        let acceptor = identities.acceptor(protocols).handshake_timeout(HANDSHAKE_TIMEOUT);
        Self {
            // Places are those of the connections.
            acceptor: acceptor.max_handshakes(usize::MAX),
            limits,
            wants_body: Box::new(wants_body),
            connections: FairLimiter::new(max_connections),
            open: TaskTracker::new(),
            bodies: Bodies::new(limits.bodies),
            refusals,
            closing: AtomicBool::new(false),
            end,
        }
    }

    pub fn close_after_next_response(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Waits until every connection has ended.
    pub async fn drained(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Calls `count` with the result of the handshake, and `handle` with each request, its body and the client's
    /// certificate, if it has presented one.
    pub async fn serve_connection<A, F>(
        self: Arc<Self>,
        socket: TcpStream,
        from: SocketAddr,
        count: impl Fn(&'static str),
        handle: A,
    ) where
        A: Fn(Parts, Result<Body, BodyError>, Option<Arc<Peer>>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let Some(mut place) = self.connections.place(from.ip()) else {
            self.refusals.connection(Refusal::NoPlace);
            return count("no_room");
        };
        let _open = self.open.token();
        let activity = place.activity();
        if place.run(self.accept_and_serve(socket, from, activity, count, handle)).await.is_none() {
            self.refusals.connection(Refusal::Displaced);
        }
    }

    async fn accept_and_serve<A, F>(
        self: &Arc<Self>,
        socket: TcpStream,
        from: SocketAddr,
        activity: Activity,
        count: impl Fn(&'static str),
        handle: A,
    ) where
        A: Fn(Parts, Result<Body, BodyError>, Option<Arc<Peer>>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        // Boxed: it is large, and over before the connection is.
        let handshake = Box::pin(self.acceptor.accept_from_with(socket, from.ip(), answer_self_check));
        let accepted = match handshake.await {
            Ok(accepted) => accepted,
            Err(error) => {
                count(error.failure().as_str());
                debug!(%from, %error, "handshake failed");
                return;
            }
        };
        // Or a sender that leaves Nagle's algorithm on waits 40 ms. An error means that it has gone.
        let _ = accepted.acknowledge();
        let (stream, _, peer) = accepted.into_parts();
        if stream.get_ref().1.alpn_protocol() == Some(SELF_CHECK_ALPN) {
            return;
        }
        count("ok");
        let requests = Requests {
            https: Arc::clone(self),
            from,
            peer,
            activity,
            asked: watch::Sender::new(false),
            handle,
        };
        Box::pin(self.serve(stream, requests)).await;
    }

    async fn serve<A, F>(&self, stream: TlsStream<TcpStream>, requests: Requests<A>)
    where
        A: Fn(Parts, Result<Body, BodyError>, Option<Arc<Peer>>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let (end, asked) = (self.end.clone(), requests.asked.subscribe());
        let requests = Arc::new(requests);
        let service = service_fn(move |request| Arc::clone(&requests).respond(request));
        let is_silent = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.idle)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(self.limits.head as u32)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .serve_connection(stream, service);
            let silent = no_request(asked, FIRST_HTTP2_REQUEST);
            drive(connection, end, silent, |connection| connection.graceful_shutdown()).await
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.idle)
                .max_buf_size(self.limits.head)
                .serve_connection(stream, service);
            let silent = no_request(asked, self.limits.first_request);
            drive(connection, end, silent, |connection| connection.graceful_shutdown()).await
        };
        if is_silent {
            self.refusals.connection(Refusal::NoRequest);
        }
    }
}

/// The requests of one connection.
struct Requests<A> {
    https: Arc<HttpsServer>,
    from: SocketAddr,
    peer: Option<Arc<Peer>>,
    activity: Activity,
    /// Set with the first request.
    asked: watch::Sender<bool>,
    handle: A,
}

impl<A, F> Requests<A>
where
    A: Fn(Parts, Result<Body, BodyError>, Option<Arc<Peer>>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.asked.send_if_modified(|asked| !std::mem::replace(asked, true));
        let (head, body) = request.into_parts();
        let version = head.version;
        let body = match (self.https.wants_body)(&head) {
            true => self.https.bodies.read(self.from.ip(), body).await,
            false => Ok(Body::unread(body)),
        };
        if let Err(error) = &body {
            self.https.refusals.count(error.reason());
        }
        // From here on the client waits for the controller, and not the other way round.
        let _answering = self.activity.answer();
        let mut response = (self.handle)(head, body, self.peer.clone()).await;
        if version < Version::HTTP_2 && self.https.closing.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Completes after `deadline` if there was no request by then.
async fn no_request(asked: watch::Receiver<bool>, deadline: Duration) {
    sleep(deadline).await;
    if *asked.borrow() {
        std::future::pending::<()>().await;
    }
}

/// Until the connection ends by itself, or gracefully once `end` is set. True if it was ended since it was `silent`.
async fn drive<C: Future>(
    connection: C,
    end: CancellationToken,
    silent: impl Future<Output = ()>,
    finish: fn(Pin<&mut C>),
) -> bool {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return false,
        () = end.cancelled() => finish(connection.as_mut()),
        () = silent => {
            finish(connection.as_mut());
            let _ = timeout(GOODBYE, connection).await;
            return true;
        }
    }
    connection.await;
    false
}

#[cfg(test)]
mod tests;
