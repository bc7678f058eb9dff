//! Outbound HTTP, from a plain app through the agent to a TLS server, and its connection pool.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hotcert_log::LineOutput;
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::proxy::access_log::AccessLog;
use crate::proxy::outbound::ProxyPolicy;
use crate::proxy::own_listeners::OwnListeners;
use crate::proxy_fixture::http::{HttpServer, exchange};
use crate::proxy_fixture::{NAME, Publisher, Root, context, identity, publish, root, socket_pair, until};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9001);
const GET: &str = "GET /path HTTP/1.1\r\nhost: app.test\r\nconnection: x-private\r\nx-private: 1\r\n\
    proxy-authorization: basic x\r\nx-kept: 1\r\n\r\n";

struct Agent {
    root: Root,
    publisher: Publisher,
    context: Arc<ProxyContext>,
    server: HttpServer,
}

impl Agent {
    /// An agent, and a server that requires its certificate.
    async fn new() -> Self {
        let root = root("root");
        let (mut publisher, context) = context();
        let snapshot = publish(&mut publisher, &identity(&root, &[&root]));
        let server = HttpServer::tls(snapshot.server_config(&[]).unwrap()).await;
        Self { root, publisher, context, server }
    }

    fn upstream(&self, expected: &str) -> Upstream {
        let expected = expected.parse().unwrap();
        Upstream { host: "127.0.0.1".into(), port: self.server.address.port(), sni: None, expected }
    }

    async fn app(&self, upstream: Option<Upstream>) -> TcpStream {
        app_of(forwarder(&self.context, upstream, &["127.0.0.0/8"])).await
    }
}

/// A fixed route, or a forward proxy that may connect to these.
fn forwarder(context: &Arc<ProxyContext>, upstream: Option<Upstream>, allow: &[&str]) -> HttpForwarder {
    let own = Arc::new(OwnListeners::default());
    let allow = allow.iter().map(|pattern| pattern.parse().unwrap()).collect();
    let deny = vec!["denied.invalid".parse().unwrap()];
    let destinations = match upstream {
        Some(_) => Destinations::of_fixed_route(own),
        None => Destinations::of_proxy(own, ProxyPolicy { allow, deny }),
    };
    HttpForwarder::new(Arc::clone(context), LISTEN, upstream, destinations)
}

/// The app's connection to `forwarder`.
async fn app_of(forwarder: HttpForwarder) -> TcpStream {
    let (app, accepted) = socket_pair().await;
    let from = accepted.peer_addr().unwrap();
    tokio::spawn(forwarder.serve(accepted, from));
    app
}

#[tokio::test]
async fn fixed_route_sends_the_path_to_its_server_without_hop_headers() {
    let agent = Agent::new().await;
    let mut app = agent.app(Some(agent.upstream(NAME))).await;
    let response = exchange(&mut app, GET).await;
    assert!(response.starts_with("http/1.1 200") && response.ends_with("ok"), "{response}");
    assert!(response.contains("x-end: 1") && !response.contains("x-hop"), "{response}");
    let head = agent.server.last_head();
    assert!(head.starts_with("get /path http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", agent.server.address)), "{head}");
    assert!(head.contains("x-kept: 1"), "{head}");
    for hop in ["x-private", "proxy-authorization", "app.test"] {
        assert!(!head.contains(hop), "{hop} in {head}");
    }
}

#[tokio::test]
async fn proxy_sends_to_the_server_that_the_request_names() {
    let agent = Agent::new().await;
    let mut app = agent.app(None).await;
    let request = format!("GET http://{}/a?b=c HTTP/1.1\r\nhost: other.test\r\n\r\n", agent.server.address);
    assert!(exchange(&mut app, &request).await.starts_with("http/1.1 200"));
    let head = agent.server.last_head();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", agent.server.address)), "{head}");
}

#[tokio::test]
async fn requests_that_are_not_for_a_proxy_are_refused_with_what_to_do() {
    let agent = Agent::new().await;
    for (request, status, reason) in [
        (GET, 400, "this is an http proxy; request http://host:port/"),
        ("CONNECT a.test HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "connect names no port"),
        ("GET http://user:word@a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "user information"),
        ("CONNECT user@a.test:1 HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "user information"),
        ("GET http://127.1/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "is not host or host:port"),
        ("GET http://a,b/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "is not host or host:port"),
        ("GET http://a.test:99999/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "is not host or host:port"),
    ] {
        let response = exchange(&mut agent.app(None).await, request).await.to_lowercase();
        assert!(response.starts_with(&format!("http/1.1 {status}")), "{response}");
        assert!(
            response.contains(&format!("hotcert-agent: {reason}")) || response.contains(reason),
            "{response}"
        );
    }
    assert_eq!(agent.server.accepted(), 0);
}

#[tokio::test]
async fn failures_are_responses_that_name_the_server_and_the_cause() {
    let agent = Agent::new().await;
    let wrong_name = exchange(&mut agent.app(Some(agent.upstream("other.test"))).await, GET).await;
    assert!(wrong_name.starts_with("http/1.1 502"), "{wrong_name}");
    for part in ["tls handshake with 127.0.0.1:", "failed: ", "other.test", NAME] {
        assert!(wrong_name.contains(part), "{part} is not in {wrong_name}");
    }
    assert_eq!(agent.server.requests(), 0, "nothing is sent to a server with another name");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = Upstream {
        host: "127.0.0.1".into(),
        port: closed.port(),
        sni: None,
        expected: NAME.parse().unwrap(),
    };
    let unreachable = exchange(&mut agent.app(Some(upstream)).await, GET).await;
    assert!(unreachable.starts_with("http/1.1 502"), "{unreachable}");
    assert!(unreachable.contains(&format!("{closed}#{NAME} cannot be reached: ")), "{unreachable}");

    let hung_up = exchange(
        &mut agent.app(Some(agent.upstream(NAME))).await,
        &GET.replace("GET /path", "POST /hang-up"),
    )
    .await;
    assert!(hung_up.starts_with("http/1.1 502"), "{hung_up}");
    assert!(hung_up.contains(&format!("no valid response from {}: ", agent.server.address)), "{hung_up}");
}

#[tokio::test]
async fn without_an_identity_the_response_is_a_503() {
    let (_publisher, context) = context();
    let upstream = Upstream { host: "127.0.0.1".into(), port: 1, sni: None, expected: NAME.parse().unwrap() };
    let mut app = app_of(forwarder(&context, Some(upstream), &[])).await;
    let response = exchange(&mut app, GET).await;
    assert!(response.starts_with("http/1.1 503") && response.contains("no identity"), "{response}");
}

#[tokio::test]
async fn connections_are_reused_until_the_identity_changes() {
    let mut agent = Agent::new().await;
    let mut app = agent.app(Some(agent.upstream(NAME))).await;
    for _ in 0..3 {
        exchange(&mut app, GET).await;
    }
    assert_eq!((agent.server.requests(), agent.server.accepted()), (3, 1));
    publish(&mut agent.publisher, &identity(&agent.root, &[&agent.root]));
    exchange(&mut app, GET).await;
    assert_eq!(agent.server.accepted(), 2, "a new identity gets a new connection");
    until(|| agent.server.open() == 1).await;
    exchange(&mut app, GET).await;
    assert_eq!(agent.server.accepted(), 2);
}

#[tokio::test]
async fn request_that_was_sent_again_is_logged_with_its_server() {
    let mut agent = Agent::new().await;
    let (output, read) = LineOutput::unwritten();
    Arc::get_mut(&mut agent.context).unwrap().access_log = Some(AccessLog { output, queries: false });
    let mut app = agent.app(Some(agent.upstream(NAME))).await;
    exchange(&mut app, GET).await;
    exchange(&mut app, &GET.replace("/path", "/hang-up-later")).await;
    assert_eq!(agent.server.accepted(), 2);
    let lines: Vec<Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, path, flags) in
        [(&lines[0], "/path", Value::Null), (&lines[1], "/hang-up-later", serde_json::json!(["retried"]))]
    {
        assert_eq!((&line["path"], &line["flags"]), (&path.into(), &flags), "{line:#}");
        let fields = (&line["side"], &line["peer"], &line["upstream"]);
        let server = agent.server.address.to_string();
        assert_eq!(fields, (&"outbound".into(), &format!("dns:{NAME}").into(), &server.into()), "{line:#}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let agent = Agent::new().await;
    let idle_timeout = Duration::from_millis(200);
    let context = Arc::clone(&agent.context);
    let destinations = Destinations::of_fixed_route(Arc::default());
    let servers = Servers::with_idle_timeout(Arc::clone(&context), destinations, idle_timeout);
    let fixed = Some(agent.upstream(NAME));
    let memory = Arc::clone(&context.app_memory);
    let observed = context.observe(Side::Outbound, LISTEN.to_string(), None);
    let mut app = app_of(HttpForwarder { context, servers, fixed, memory, observed }).await;
    exchange(&mut app, GET).await;
    assert_eq!(agent.server.open(), 1);
    until(|| agent.server.open() == 0).await;
    until(|| agent.context.tracker.count(Side::Outbound, 0).total() == 0).await;
    exchange(&mut app, GET).await;
    assert_eq!(agent.server.accepted(), 2);
}

/// The answer of a forward proxy that may connect to `allow`.
async fn answer_to(agent: &Agent, allow: &[&str], url: &str) -> String {
    let mut app = app_of(forwarder(&agent.context, None, allow)).await;
    exchange(&mut app, &format!("GET {url} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await
}

#[tokio::test]
async fn what_is_refused_is_answered_as_what_cannot_be_reached() {
    let agent = Agent::new().await;
    let open = agent.server.address;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut answers = Vec::new();
    for (allow, host) in [
        (&[][..], open.to_string()),
        (&[], format!("localhost:{}", open.port())),
        (&[], format!("0.0.0.0:{}", open.port())),
        (&[], format!("[::ffff:127.0.0.1]:{}", open.port())),
        (&[], "169.254.169.254:80".into()),
        (&["127.0.0.0/8"], closed.to_string()),
        (&["127.0.0.0/8"], "no-such-host.invalid:80".into()),
        // There is no such host either, but it is not looked up.
        (&[], "www.denied.invalid:80".into()),
    ] {
        let answer = answer_to(&agent, allow, &format!("http://{host}/")).await;
        assert!(answer.starts_with("http/1.1 502"), "{host}: {answer}");
        let content = answer.lines().filter(|line| !line.starts_with("date:") && !line.contains("length"));
        answers.push(
            content.collect::<Vec<_>>().join("\n").to_lowercase().replace(&host.to_lowercase(), "host"),
        );
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(agent.server.accepted(), 0);
    for (reason, count) in [("denied", 6), ("refused", 1), ("dns", 1), ("unreachable", 0)] {
        let labels = crate::proxy::context::RefusedLabels { side: Side::Outbound.as_str(), reason };
        assert_eq!(agent.context.requests.refused.get_or_create(&labels).get(), count, "{reason}");
    }
}

#[tokio::test]
async fn destination_that_is_allowed_by_address_or_name_is_connected_to() {
    let agent = Agent::new().await;
    let port = agent.server.address.port();
    let by_address = answer_to(&agent, &["127.0.0.1"], &format!("http://127.0.0.1:{port}/")).await;
    assert!(by_address.starts_with("http/1.1 200"), "{by_address}");
    // It is connected to, and shows another name.
    let by_name = answer_to(&agent, &["localhost"], &format!("http://localhost:{port}/")).await;
    assert!(by_name.contains("tls handshake with localhost"), "{by_name}");
}

#[tokio::test]
async fn fixed_route_to_a_listener_of_the_agent_is_not_dialled() {
    let agent = Agent::new().await;
    let own = OwnListeners::new([("--admin", agent.server.address)]);
    let destinations = Destinations::of_fixed_route(Arc::new(own));
    let upstream = Some(agent.upstream(NAME));
    let mut app =
        app_of(HttpForwarder::new(Arc::clone(&agent.context), LISTEN, upstream, destinations)).await;
    let response = exchange(&mut app, GET).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    assert!(response.contains("is this agent's own listener of --admin"), "{response}");
    assert_eq!(agent.server.accepted(), 0);
}

#[tokio::test]
async fn request_that_has_passed_too_many_agents_is_a_508() {
    let agent = Agent::new().await;
    let mut app = agent.app(Some(agent.upstream(NAME))).await;
    let with_hops = |hops: usize| GET.replace("x-kept", &format!("hotcert-hops: {hops}\r\nx-kept"));
    let passed = exchange(&mut app, &with_hops(hops::MAX_HOPS - 1)).await;
    assert!(passed.starts_with("http/1.1 200"), "{passed}");
    assert!(agent.server.last_head().contains("hotcert-hops: 32\r\n"), "{}", agent.server.last_head());
    let refused = exchange(&mut app, &with_hops(hops::MAX_HOPS)).await;
    assert!(refused.starts_with("http/1.1 508") && refused.contains("goes in a circle"), "{refused}");
    assert_eq!(agent.server.requests(), 1);
}
