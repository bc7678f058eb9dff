//! Inbound HTTP, from a TLS client through the agent to an app.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connection::tracker::{CloseStage, Side};
use crate::proxy::authorization::AllowList;
use crate::proxy::context::{ProxyContext, RefusedLabels};
use crate::proxy::inbound::{Inbound, InboundRoute, strict_transport_security};
use crate::proxy_fixture::http::{HttpServer, ended, exchange};
use crate::proxy_fixture::{
    DEADLINE, Root, client_config, connect, context, identity, publish, root, socket_pair, until,
};

use std::sync::Arc;

mod bodies;
mod expectations;
mod framing;
mod messages;
mod observed;
mod refusals;
mod script;

const GET: &str = "GET /path HTTP/1.1\r\nhost: a.test\r\n\r\n";

struct Agent {
    root: Root,
    context: Arc<ProxyContext>,
    inbound: Arc<Inbound>,
}

impl Agent {
    fn new(app: &str, allow: &[&str]) -> Self {
        Self::with(app, allow, |_| {})
    }

    fn with(app: &str, allow: &[&str], change: impl FnOnce(&mut ProxyContext)) -> Self {
        let root = root("root");
        let (mut publisher, mut context) = context();
        change(Arc::get_mut(&mut context).unwrap());
        publish(&mut publisher, &identity(&root, &[&root]));
        let route: InboundRoute = format!("http:127.0.0.1:0={app}").parse().unwrap();
        let allow = AllowList(allow.iter().map(|pattern| pattern.parse().unwrap()).collect());
        let inbound = Inbound::new(Arc::clone(&context), route, allow);
        Self { root, context, inbound }
    }

    async fn client(&self) -> TlsStream<TcpStream> {
        let (client, server) = socket_pair().await;
        let from = server.peer_addr().unwrap();
        tokio::spawn(Arc::clone(&self.inbound).serve(server, from));
        connect(client_config(&self.root, &self.root), client).await.unwrap()
    }
}

#[tokio::test]
async fn hop_headers_end_at_the_agent_in_both_directions() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let request = "GET /path HTTP/1.1\r\nhost: a.test\r\nconnection: x-private\r\nx-private: 1\r\n\
        te: trailers\r\nupgrade: h2c\r\nx-kept: 1\r\n\r\n";
    let response = exchange(&mut agent.client().await, request).await;
    assert!(response.starts_with("http/1.1 200") && response.ends_with("ok"), "{response}");
    assert!(response.contains("x-end: 1") && !response.contains("x-hop") && !response.contains("keep-alive"));
    let head = app.last_head();
    assert!(head.starts_with("get /path http/1.1\r\n") && head.contains("host: a.test"), "{head}");
    assert!(head.contains("x-kept: 1"), "{head}");
    for hop in ["x-private", "te:", "upgrade"] {
        assert!(!head.contains(hop), "{hop} in {head}");
    }
}

#[tokio::test]
async fn strict_transport_security_is_in_every_response_if_it_is_asked_for() {
    let app = HttpServer::plain().await;
    let mut agent = Agent::new(&app.address.to_string(), &[]);
    assert!(!exchange(&mut agent.client().await, GET).await.contains("strict-transport-security"));
    agent = Agent::with("unix:/nowhere/app.sock", &[], |context| {
        context.hsts = strict_transport_security(Duration::from_secs(60));
    });
    let response = exchange(&mut agent.client().await, GET).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    assert!(response.contains("\r\nstrict-transport-security: max-age=60\r\n"), "{response}");
}

#[tokio::test]
async fn app_receives_the_verified_identity_and_no_forged_one() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\nX-Forwarded-Client-Cert: URI=spiffe://forged\r\n\
        x_forwarded_client_cert: URI=spiffe://forged\r\nX.Forwarded.Client.Cert: URI=spiffe://forged\r\n\
        trailer: x.forwarded.client.cert\r\n\r\n";
    exchange(&mut agent.client().await, request).await;
    let head = app.last_head();
    assert!(!head.contains("forged") && !head.contains("trailer"), "{head}");
    assert_eq!(head.matches("client").count(), 1, "{head}");
    let identity = head.lines().find_map(|line| line.strip_prefix("x-forwarded-client-cert: ")).unwrap();
    assert!(identity.starts_with("hash=") && identity.ends_with("dns=a.test"), "{identity}");
}

#[tokio::test]
async fn app_that_cannot_be_reached_is_a_502_that_names_it() {
    let app = HttpServer::plain().await;
    let agent = Agent::new("unix:/nowhere/app.sock", &[]);
    let mut client = agent.client().await;
    let response = exchange(&mut client, GET).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    let reason = "the app at unix:/nowhere/app.sock cannot be reached: ";
    assert!(response.contains(&format!("x-hotcert-error: {reason}")), "{response}");
    assert!(response.contains(&format!("\r\n\r\nhotcert-agent: {reason}")), "{response}");
    // An app that closes instead of answering.
    let agent = Agent::new(&app.address.to_string(), &[]);
    let mut client = agent.client().await;
    let response = exchange(&mut client, &GET.replace("/path", "/hang-up")).await;
    let reason = format!("no valid response from the app at {}: ", app.address);
    assert!(response.starts_with("http/1.1 502") && response.contains(&reason), "{response}");
    // The client's connection is still good.
    assert!(exchange(&mut client, GET).await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn connection_closes_after_the_response_once_its_last_request_is_due() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let mut client = agent.client().await;
    assert!(!exchange(&mut client, GET).await.contains("connection: close"));
    agent.context.tracker.close_all(Side::Inbound, CloseStage::LastRequest);
    let last = exchange(&mut client, GET).await;
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    ended(&mut client).await;
    assert_eq!(app.requests(), 2);
    until(|| agent.context.tracker.count(Side::Inbound, 0).total() == 0).await;
}

#[tokio::test]
async fn idle_connection_closes_when_it_is_to_finish() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let mut client = agent.client().await;
    exchange(&mut client, GET).await;
    agent.context.tracker.close_all(Side::Inbound, CloseStage::Finish);
    ended(&mut client).await;
}

#[tokio::test]
async fn client_that_is_not_on_the_allow_list_gets_a_403_and_the_app_no_request() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &["dns:other.test"]);
    let mut client = agent.client().await;
    let response = exchange(&mut client, GET).await;
    assert!(response.starts_with("http/1.1 403") && response.contains("not on the allow list"), "{response}");
    ended(&mut client).await;
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let refused = |reason| {
        let labels = RefusedLabels { side: Side::Inbound.as_str(), reason };
        agent.context.requests.refused.get_or_create(&labels).get()
    };
    for (request, expected, reason) in [
        ("CONNECT a.test:1 HTTP/1.1\r\nhost: a.test\r\n\r\n", "405", "connect is not supported here"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n\r\n", "400", "more than one host header"),
        ("GET / HTTP/1.1\r\nx: y\r\n\r\n", "400", "no host header"),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "400", "is not host or host:port"),
        ("GET / HTTP/1.1\r\nhost: user@a.test\r\n\r\n", "400", "is not host or host:port"),
        ("GET / HTTP/1.1\r\nhost: a.test:port\r\n\r\n", "400", "is not host or host:port"),
        ("GET http://user@a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n", "400", "is not host or host:port"),
        ("GET a.test:1 HTTP/1.1\r\nhost: a.test\r\n\r\n", "400", "which only connect may have"),
    ] {
        let response = exchange(&mut agent.client().await, request).await;
        assert!(response.starts_with(&format!("http/1.1 {expected}")), "{response}");
        assert!(response.contains("x-hotcert-error: ") && response.contains(reason), "{reason}: {response}");
        assert!(response.ends_with('\n') && response.contains("\r\n\r\nhotcert-agent: "), "{response}");
    }
    assert_eq!((refused("connect"), refused("host")), (1, 7));
    assert_eq!(app.requests(), 0);
    // The absolute form says the host.
    let request = "GET http://a.test:1/path HTTP/1.1\r\nhost: b.test\r\n\r\n";
    assert!(exchange(&mut agent.client().await, request).await.starts_with("http/1.1 200"));
    let head = app.last_head();
    assert!(head.starts_with("get /path http/1.1\r\n") && head.contains("host: a.test:1\r\n"), "{head}");
    assert!(!head.contains("b.test"), "{head}");
    // What cannot be read is no request.
    let response = exchange(&mut agent.client().await, "GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert!(response.starts_with("http/1.1 400"), "{response}");
    until(|| refused("malformed") == 1).await;
}

#[tokio::test]
async fn connections_to_the_app_are_reused_by_their_client_and_by_no_other() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let (mut one, mut two) = (agent.client().await, agent.client().await);
    for _ in 0..3 {
        exchange(&mut one, GET).await;
    }
    assert_eq!((app.requests(), app.accepted()), (3, 1));
    exchange(&mut two, GET).await;
    assert_eq!((app.requests(), app.accepted()), (4, 2));
    drop(one);
    until(|| app.open() == 1).await;
}

#[tokio::test]
async fn connection_to_the_app_that_is_idle_is_reaped_while_its_client_stays() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let mut client = agent.client().await;
    exchange(&mut client, GET).await;
    let idle_since = Instant::now();
    assert_eq!(app.open(), 1);
    until(|| app.open() == 0).await;
    assert!(idle_since.elapsed() < DEADLINE && idle_since.elapsed() > Duration::from_millis(500));
    exchange(&mut client, GET).await;
    assert_eq!(app.accepted(), 2);
}
