#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(name: &str, upstream: Option<String>, proxy: Option<String>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = |url: String| http_url(&url).unwrap();
    let config =
        Config { name: name.to_owned(), upstream: upstream.map(url), proxy: proxy.map(url), grpc: false };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, config, async { drop(stopped.await) }));
    Running { address, stop, task }
}

impl Running {
    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn get(url: &str) -> (StatusCode, String) {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Answers one connection with `answer` and returns the request line it received.
async fn canned(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned()
    });
    (address, task)
}

#[tokio::test]
async fn answer_contains_the_upstreams_answer() {
    let payments = start("payments", None, None).await;
    let storefront = start("storefront", Some(payments.url()), None).await;
    let (status, body) = get(&storefront.url()).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    let payments = json!({ "service": "payments", "upstream": null });
    assert_eq!(body, json!({ "service": "storefront", "upstream": payments }));
}

#[tokio::test]
async fn upstream_failure_is_passed_on_with_its_reason() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let service = start("storefront", Some(format!("http://{unused}/")), None).await;
    let (status, body) = get(&service.url()).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("refused"), "{body}");

    let (failing, _) = canned("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfull").await;
    let service = start("storefront", Some(format!("http://{failing}/")), None).await;
    let (status, body) = get(&service.url()).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("503") && body.contains("full"), "{body}");
}

#[tokio::test]
async fn proxy_is_sent_the_whole_url() {
    let (proxy, request) = canned("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let upstream = Some("http://payments.shop.svc:8443/pay".to_owned());
    let service = start("storefront", upstream, Some(format!("http://{proxy}"))).await;
    let (_, body) = get(&service.url()).await;
    assert_eq!(request.await.unwrap(), "GET http://payments.shop.svc:8443/pay HTTP/1.1");
    assert_eq!(body, r#"{"service":"storefront","upstream":"hello"}"#);
}

#[tokio::test]
async fn upstream_connection_is_kept() {
    let payments = start("payments", None, None).await;
    let storefront = start("storefront", Some(payments.url()), None).await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("http://{}/", relay.local_addr().unwrap());
    let counting = start("counting", Some(through), None).await;
    let target = storefront.address;
    let relayed = tokio::spawn(async move {
        let (mut from, _) = relay.accept().await.unwrap();
        let mut to = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    });
    // The relay accepts once, so a second connection would never be answered.
    for _ in 0..3 {
        assert_eq!(get(&counting.url()).await.0, StatusCode::OK);
    }
    relayed.abort();
}

#[tokio::test]
async fn echo_and_health_answer_and_other_paths_do_not() {
    let service = start("payments", None, None).await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: text/x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert!(answer.contains("content-type: text/x"), "{answer}");

    assert_eq!(get(&format!("{}healthz", service.url())).await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(get(&format!("{}missing", service.url())).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&format!("{}echo", service.url())).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn shutdown_finishes_the_request_in_flight() {
    let service = start("payments", None, None).await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");

    service.stop.send(()).unwrap();
    stream.write_all(b"lo").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("hello"), "{rest}");
    service.task.await.unwrap();
    assert!(TcpStream::connect(service.address).await.is_err());
}

#[test]
fn urls_that_are_not_plain_http_are_refused() {
    assert!(http_url("http://payments:8080/pay").is_ok());
    for url in ["https://payments/", "payments:8080", "/pay", "http:///pay", ""] {
        assert!(http_url(url).is_err(), "{url:?}");
    }
}
