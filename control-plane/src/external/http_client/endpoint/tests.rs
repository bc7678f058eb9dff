//! What is connected to and what is read, over plain HTTP on loopback. TLS, and deliveries through a proxy, are
//! covered by the scenario tests.

use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const SECRET: &str = "T0K3N";
const WITHIN: Duration = Duration::from_secs(10);

/// Answers every request with the same bytes, or not at all, and keeps the heads of the requests.
#[derive(Clone)]
struct FakeServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&server.requests);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (answer, requests) = (answer.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        if socket.read_buf(&mut head).await.unwrap() == 0 {
                            return;
                        }
                    }
                    requests.lock().unwrap().push(String::from_utf8(head).unwrap());
                    match answer {
                        Some(answer) => socket.write_all(answer.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        server
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(&format!("http://{}/{SECRET}", self.address), &["127.0.0.0/8"])
    }
}

fn endpoint(url: &str, networks: &[&str]) -> Endpoint {
    Endpoint::with_proxies(url, policy(networks), None, &no_proxies()).unwrap()
}

fn policy(networks: &[&str]) -> AddressPolicy {
    AddressPolicy { allowed: networks.iter().map(|network| network.parse().unwrap()).collect() }
}

fn no_proxies() -> Matcher {
    Matcher::builder().build()
}

async fn sent(endpoint: &Endpoint) -> Result<HttpResponse, HttpError> {
    endpoint.send(HttpRequest::new(Method::GET), WITHIN, 5).await
}

fn with_body(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn a_name_is_connected_to_at_the_allowed_addresses_only() {
    let server = FakeServer::start(with_body("12345")).await;
    let port = server.address.port();
    let error = sent(&endpoint(&format!("https://localhost:{port}/"), &[])).await.err().unwrap();
    assert!(
        matches!(&error, HttpError::AddressNotAllowed { host, address } if host == "localhost" && address.is_loopback()),
        "{error}"
    );
    assert!(server.requests().is_empty());
    let endpoint = endpoint("https://hooks.example/", &["10.1.0.0/16"]);
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let mixed = addresses(&["10.0.0.1:443", "1.1.1.1:443", "169.254.169.254:443", "10.1.0.1:443"]);
    assert_eq!(endpoint.allowed(mixed).unwrap(), addresses(&["1.1.1.1:443", "10.1.0.1:443"]));
    let closed = endpoint.allowed(addresses(&["10.0.0.1:443", "[::1]:443"])).err().unwrap();
    assert!(
        matches!(closed, HttpError::AddressNotAllowed { address, .. } if address.to_string() == "10.0.0.1")
    );
    assert!(matches!(endpoint.allowed([]), Err(HttpError::Unresolved { .. })));
}

#[tokio::test]
async fn an_address_in_a_url_is_checked_in_every_notation() {
    for url in [
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fd00::1]/",
    ] {
        let error = sent(&endpoint(url, &[])).await.err().unwrap();
        assert!(matches!(error, HttpError::AddressNotAllowed { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeServer::start(with_body("")).await;
    for status in ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("http://{}/", elsewhere.address);
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let server = FakeServer::start(Some(answer)).await;
        let response = sent(&server.endpoint()).await.unwrap();
        assert!(response.status.is_redirection() && server.requests().len() == 1, "{status}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_response_is_bounded_in_size_and_time() {
    let exact = FakeServer::start(with_body("12345")).await;
    assert_eq!(sent(&exact.endpoint()).await.unwrap().body.as_slice(), b"12345");
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n3\r\n456\r\n0\r\n\r\n";
    for longer in [with_body("123456"), Some(chunked.to_owned())] {
        let server = FakeServer::start(longer).await;
        assert!(matches!(sent(&server.endpoint()).await, Err(HttpError::TooLong(5))));
        let unread = server.endpoint().send(HttpRequest::new(Method::GET), WITHIN, 0).await.unwrap();
        assert_eq!((unread.status, unread.body.len()), (StatusCode::OK, 0));
    }
    let silent = FakeServer::start(None).await;
    let within = Duration::from_millis(50);
    let error = silent.endpoint().send(HttpRequest::new(Method::GET), within, 5).await.err().unwrap();
    assert!(matches!(error, HttpError::Timeout(limit) if limit == within), "{error}");
}

#[tokio::test]
async fn another_path_stays_at_the_endpoint() {
    let server = FakeServer::start(with_body("")).await;
    let get = async |path: &str| {
        server.endpoint().send(HttpRequest::new(Method::GET).path(path), WITHIN, 5).await.map(drop)
    };
    get("//other.example/v1?name=a%2Fb").await.unwrap();
    get("/v1/%41").await.unwrap();
    let requests = server.requests();
    assert!(requests[0].starts_with("GET //other.example/v1?name=a%2Fb HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[1].starts_with("GET /v1/%41 HTTP/1.1\r\n"), "{requests:?}");
    for path in ["/v1/../admin", "/v1/%2E%2e/admin", "/v1/.", "/v1\\..\\admin", "/a b", "/a\nb"] {
        assert!(matches!(get(path).await, Err(HttpError::InvalidRequest(_))), "{path}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn an_error_does_not_repeat_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let closed = endpoint(&format!("http://{address}/{SECRET}"), &["127.0.0.0/8"]);
    let unreachable = sent(&closed).await.err().unwrap();
    assert!(matches!(&unreachable, HttpError::Unreachable { address: at, .. } if *at == address));
    assert_eq!(
        unreachable.to_string(),
        format!("cannot connect to {address}: Connection refused (os error 111)")
    );
    let garbage = FakeServer::start(Some("what\r\n\r\n".into())).await;
    let broken = sent(&garbage.endpoint()).await.err().unwrap();
    assert!(matches!(broken, HttpError::Http(_)), "{broken}");
    for text in [broken.to_string(), format!("{broken:?} {unreachable:?} {closed:?}"), closed.origin()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn a_url_that_cannot_be_used_is_rejected() {
    let rejected = |url: &str| Endpoint::with_proxies(url, policy(&["::1"]), None, &no_proxies()).err();
    for url in [
        "",
        "hooks.example",
        "https://",
        "https://hooks.example/a b",
        "https://a_b c/",
        "https://x\n.example",
    ] {
        assert_eq!(rejected(url), Some(EndpointError::Malformed), "{url}");
    }
    for url in ["http://hooks.example", "http://127.0.0.1/", "ftp://hooks.example/", "http://localhost/"] {
        assert_eq!(rejected(url), Some(EndpointError::Plain), "{url}");
    }
    for url in ["https://user:password@hooks.example/", "https://user@hooks.example/"] {
        assert_eq!(rejected(url), Some(EndpointError::Password), "{url}");
    }
    assert_eq!(rejected("http://[::1]:8080/"), None);
    let roots = |pem: &[u8]| {
        Endpoint::with_proxies("https://hooks.example", policy(&[]), Some(pem), &no_proxies()).err()
    };
    assert!(matches!(roots(b"no certificate"), Some(EndpointError::Roots(_))));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name_and_the_address_policy_is_its_own() {
    let refusing = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let proxy = FakeServer::start(Some(refusing.into())).await;
    let proxies = Matcher::builder().https(format!("http://user:word@{}", proxy.address)).build();
    // Both would be refused without a proxy, and the name does not resolve.
    for (url, connect) in [
        (format!("https://hooks.invalid/{SECRET}"), "CONNECT hooks.invalid:443 HTTP/1.1\r\n"),
        (format!("https://10.1.2.3:8443/{SECRET}"), "CONNECT 10.1.2.3:8443 HTTP/1.1\r\n"),
    ] {
        let endpoint = Endpoint::with_proxies(&url, policy(&[]), None, &proxies).unwrap();
        let error = sent(&endpoint).await.err().unwrap();
        assert!(matches!(error, HttpError::Proxy { .. }), "{error}");
        let text = format!("{error} {error:?} {:?}", endpoint.proxy());
        assert!(text.contains(&proxy.address.to_string()), "{text}");
        assert!(!text.contains("word") && !text.contains(SECRET), "{text}");
        let request = proxy.requests().pop().unwrap();
        assert!(request.starts_with(connect), "{request}");
        assert!(
            request.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjp3b3jk"),
            "{request}"
        );
    }
}

#[test]
fn what_no_proxy_exempts_and_this_machine_are_connected_to_directly() {
    let proxies = |url: &str| Matcher::builder().all(url.to_owned()).no("direct.example, 10.0.0.0/8").build();
    let through = |url: &str| {
        let endpoint =
            Endpoint::with_proxies(url, policy(&["127.0.0.1"]), None, &proxies("proxy.example:3128"));
        endpoint.unwrap().proxy()
    };
    for url in ["https://hooks.example", "https://indirect.example", "https://1.1.1.1", "https://[2606::1]"] {
        assert_eq!(through(url).as_deref(), Some("http://proxy.example:3128"), "{url}");
    }
    for url in [
        "https://direct.example",
        "https://hooks.direct.example",
        "https://10.1.2.3",
        "https://localhost:8443",
        "https://hook.localhost",
        "https://127.0.0.1",
        "https://[::1]",
        "http://127.0.0.1:9093",
    ] {
        assert_eq!(through(url), None, "{url}");
    }
    let socks = Endpoint::with_proxies(
        "https://hooks.example",
        policy(&[]),
        None,
        &proxies("socks5://proxy.example:1080"),
    );
    assert_eq!(socks.err(), Some(EndpointError::Proxy));
}
