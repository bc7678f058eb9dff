#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use hotcert_tls::{Reloader, Snapshot};
use hyper::StatusCode;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::controller::http::text;
use crate::controller::listener::Bound;
use crate::controller::refusals::Refusals;
use crate::controller::self_check::tests::credential;

/// Of what should happen at once, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Requests that change something and that an API server has under way at once, unless it is told otherwise.
const REVIEWS: usize = 200;
const LIMITS: Limits = Limits {
    http2: false,
    first_request: HOUR,
    idle: HOUR,
    head: 16 << 10,
    bodies: BodyLimits { one: 1000, all: 1 << 20, arrival: HOUR },
};

type TlsConnection = tokio_rustls::client::TlsStream<TcpStream>;

struct Server {
    address: SocketAddr,
    snapshot: Arc<Snapshot>,
    refusals: Refusals,
}

impl Server {
    async fn start<F>(
        limits: Limits,
        handle: impl Fn(Result<Body, BodyError>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let (mut source, identities) = Reloader::builder().without_client_certificates().start_manually();
        source.offer(&credential());
        let refusals = Refusals::default();
        let wants_body = |request: &Parts| request.uri.path() != "/unknown";
        let (counted, end) = (refusals.of("test"), CancellationToken::new());
        let https = Arc::new(HttpsServer::new(&identities, limits, wants_body, counted, end));
        let bound = Bound::bind("test", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.dial_address();
        let serve = move |socket, from| {
            let handle = handle.clone();
            Arc::clone(&https).serve_connection(socket, from, |_| {}, move |_, body, _| handle(body))
        };
        bound.serve(CancellationToken::new(), serve).unwrap();
        Self { address, snapshot: identities.snapshots().first().await.unwrap(), refusals }
    }

    async fn connect(&self) -> TlsConnection {
        let client = self.snapshot.self_check_config(&[]).unwrap();
        let name = ServerName::try_from("test.hotcert.internal").unwrap();
        let socket = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(client).connect(name, socket).await.unwrap()
    }

    /// Everything that is sent back to this request.
    async fn ask(&self, request: &str) -> String {
        ask_on(self.connect().await, request).await
    }
}

async fn ask_on(mut stream: TlsConnection, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut response = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8(response).unwrap()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n{body}")
}

async fn answer(body: Result<Body, BodyError>) -> Response<Full<Bytes>> {
    match body {
        Ok(body) => text(StatusCode::OK, body.len().to_string()),
        Err(error) => text(error.status(), error.to_string()),
    }
}

#[tokio::test]
async fn a_request_whose_body_nobody_wants_is_answered_before_it_arrives() {
    let server = Server::start(LIMITS, |body| {
        let length = body.map_or(9, |body| body.len());
        async move { text(StatusCode::NOT_FOUND, format!("{length} bytes")) }
    })
    .await;
    // Larger than any that is read, and nothing of it is sent.
    for length in [500, 5000] {
        let head = format!("POST /unknown HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        let response = server.ask(&head).await;
        assert!(response.starts_with("HTTP/1.1 404") && response.ends_with("0 bytes"), "{response}");
    }
}

#[tokio::test]
async fn api_server_alone_has_every_review_answered_that_it_asks_for_at_once() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let all = watch::Sender::new(false);
    let wait_for_all = move |body| {
        let (all, mut seen) = (all.clone(), all.subscribe());
        if under_way.fetch_add(1, Relaxed) + 1 == REVIEWS {
            all.send_replace(true);
        }
        async move {
            let _ = seen.wait_for(|all| *all).await;
            answer(body).await
        }
    };
    let server = Server::start(LIMITS, wait_for_all).await;
    let request = post("content-length: 3\r\n", "abc");
    let mut connections = Vec::new();
    // One after the other, so that no handshake takes long.
    for _ in 0..REVIEWS {
        connections.push(server.connect().await);
    }
    let answers = join_all(connections.into_iter().map(|connection| ask_on(connection, &request))).await;
    let is_ok = |answer: &&String| answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n3");
    assert_eq!(answers.iter().filter(is_ok).count(), REVIEWS);
}

#[tokio::test]
async fn connection_that_asks_for_nothing_is_closed_at_its_deadline_and_one_that_asked_is_not() {
    let server = Server::start(Limits { first_request: Duration::from_secs(3), ..LIMITS }, answer).await;
    let mut asked = server.connect().await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    asked.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    assert!(asked.read(&mut buffer).await.unwrap() > 0);
    // Begun later, and closed already.
    let unfinished = ["", "POST / HTTP/1.1\r\n"].map(|request| server.ask(request));
    assert_eq!(join_all(unfinished).await, ["", ""]);
    asked.write_all(request.as_bytes()).await.unwrap();
    assert!(asked.read(&mut buffer).await.unwrap() > 0);
    assert_eq!(server.refusals.counted("test", "no_request"), 2);
}

#[tokio::test]
async fn body_is_read_up_to_what_was_reserved_for_it() {
    let server = Server::start(LIMITS, answer).await;
    let chunked = |length: usize| {
        let body = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
        post("transfer-encoding: chunked\r\n", &body)
    };
    let sized = |length: usize| post(&format!("content-length: {length}\r\n"), &"x".repeat(length));
    for request in [chunked(1000), sized(1000)] {
        assert!(server.ask(&request).await.ends_with("\r\n1000"));
    }
    for request in [chunked(1001), sized(1001)] {
        let response = server.ask(&request).await;
        assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    }
    assert_eq!(server.refusals.counted("test", "too_large"), 2);
}

#[tokio::test]
async fn body_that_does_not_arrive_gives_its_memory_back_at_its_deadline() {
    let bodies = BodyLimits { one: 1000, all: 1000, arrival: Duration::from_secs(1) };
    let server = Server::start(Limits { bodies, ..LIMITS }, answer).await;
    let withheld = server.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx").await;
    assert!(withheld.starts_with("HTTP/1.1 408"), "{withheld}");
    let whole = server.ask(&post("content-length: 1000\r\n", &"x".repeat(1000))).await;
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
}
