//! Bodies of requests that the app does not read: what is left unread must never be its next request.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;
use tokio::net::TcpListener;

const SMUGGLED: &str =
    "GET /smuggled HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: URI=spiffe://evil\r\n\r\n";

/// An app that answers the head of a request and takes what follows for the next one. It closes when it is asked to.
struct IgnorantApp {
    address: std::net::SocketAddr,
    heads: UnboundedReceiver<String>,
}

impl IgnorantApp {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = unbounded_channel();
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(socket, connection, sender.clone()));
            }
        });
        Self { address, heads }
    }

    /// The request line of the next request, after the number of its connection.
    async fn next(&mut self) -> String {
        timeout(DEADLINE, self.heads.recv()).await.expect("a request before the deadline").unwrap()
    }
}

async fn answer(mut socket: TcpStream, connection: usize, heads: UnboundedSender<String>) {
    let mut head = String::new();
    while let Ok(byte) = socket.read_u8().await {
        head.push(byte.into());
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        let head = std::mem::take(&mut head).to_lowercase();
        heads.send(format!("{connection} {}", head.lines().next().unwrap())).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        if head.contains("connection: close") {
            // As servers do that know of the other side's bytes on their way.
            socket.shutdown().await.unwrap();
            let _ = socket.read_to_end(&mut Vec::new()).await;
            return;
        }
    }
}

#[tokio::test]
async fn body_of_a_method_that_has_none_is_not_taken_for_the_next_request() {
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND"] {
        let mut app = IgnorantApp::start().await;
        let agent = Agent::new(&app.address.to_string(), &[]);
        let mut client = agent.client().await;
        let with_length = format!("content-length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
        let chunked =
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        for (connection, body) in [with_length, chunked].iter().enumerate() {
            let request = format!("{method} /{connection} HTTP/1.1\r\nhost: a.test\r\n{body}");
            assert!(exchange(&mut client, &request).await.starts_with("http/1.1 200"));
            let seen = format!("{connection} {} /{connection} http/1.1", method.to_lowercase());
            assert_eq!(app.next().await, seen);
        }
        assert!(exchange(&mut client, GET).await.starts_with("http/1.1 200"));
        assert_eq!(app.next().await, "2 get /path http/1.1");
    }
}

#[tokio::test]
async fn connection_whose_request_was_answered_before_it_was_sent_is_not_used_again() {
    let mut app = IgnorantApp::start().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let mut client = agent.client().await;
    let head = format!("POST /early HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", SMUGGLED.len());
    assert!(exchange(&mut client, &head).await.starts_with("http/1.1 200"));
    assert_eq!(app.next().await, "0 post /early http/1.1");
    // The rest of it ends the request, and the next one follows.
    let rest = format!("{SMUGGLED}{GET}");
    assert!(exchange(&mut client, &rest).await.starts_with("http/1.1 200"));
    let (one, two) = (app.next().await, app.next().await);
    assert!([&one, &two].contains(&&"1 get /path http/1.1".to_owned()), "{one}, {two}");
}

#[tokio::test]
async fn connection_is_used_again_after_a_post_that_was_sent_before_its_response() {
    let app = PostServer::start().await;
    let agent = Agent::new(&app.to_string(), &[]);
    let mut client = agent.client().await;
    for _ in 0..3 {
        let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello";
        let response = exchange(&mut client, request).await;
        assert!(response.starts_with("http/1.1 200") && response.ends_with("connection 0"), "{response}");
    }
    // A method without a body of its own, and without a body.
    let response = exchange(&mut client, "DELETE / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert!(response.ends_with("connection 0"), "{response}");
}

/// A server that reads bodies, and answers with the number of the connection.
struct PostServer;

impl PostServer {
    async fn start() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let respond = move |request: hyper::Request<hyper::body::Incoming>| async move {
                    http_body_util::BodyExt::collect(request.into_body()).await?;
                    Ok::<_, hyper::Error>(hyper::Response::new(format!("connection {connection}")))
                };
                let serving = hyper::server::conn::http1::Builder::new().serve_connection(
                    hyper_util::rt::TokioIo::new(socket),
                    hyper::service::service_fn(respond),
                );
                tokio::spawn(serving);
            }
        });
        address
    }
}
