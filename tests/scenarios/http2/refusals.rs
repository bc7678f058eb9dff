//! What the agent itself refuses of gRPC is answered as gRPC: status 200, no body, and a status and a message that says
//! which setting is missing.

use kit::agent::Launch;
use kit::app::App;
use kit::client::{Curl, Fetched, SERVER};
use kit::own;
use kit::pki::{Pki, dns};
use kit::scene::Scene;

use super::{http2_app, outbound};
use crate::outbound::python_server;

/// Asks as a gRPC client would that ends before its first message: curl of 7.88 loses an answer that comes before the
/// end of its body.
fn call(curl: Curl, flag: &str) -> Fetched {
    let headers = ["-X", "POST", "-H", "content-type: application/grpc+proto", "-H", "te: trailers"];
    curl.args([flag]).args(headers).run()
}

/// A whole answer in one HEADERS frame, with this status, and a message that names this.
#[track_caller]
fn is(got: &Fetched, status: &str, parts: &[&str]) {
    let answer = &got.answer;
    assert_eq!((answer.status, got.version.as_str(), answer.body.len()), (200, "2", 0), "{got:?}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/grpc"), "{got:?}");
    assert_eq!(answer.header("grpc-status"), Some(status), "{got:?}");
    // Percent-encoded, of which only the space, the comma and the like need not be.
    let message = answer.header("grpc-message").unwrap_or_default();
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part} is not in {message:?}");
    }
}

#[test]
fn a_route_to_an_app_of_http_1_is_unimplemented_and_the_message_names_the_prefix() {
    let scene = Scene::http(&[]);
    is(&call(scene.curl("/shop.Payments/Pay"), "--http2"), "12", &["h2c:"]);
    assert_eq!(scene.service.requests(), 0);
    // It is counted as the failure that it is.
    let refused = [("side", "inbound"), ("code", "5xx")];
    assert_eq!(scene.agent.metrics().sum("hotcert_proxied_requests_total", &refused), 1.0);
}

/// The HTTP/1.1 connection that the upgrade was asked for on is left over.
#[test]
fn a_refused_upgrade_leaves_http_2_to_the_calls_after_it() {
    let scene = super::scene(&[]);
    let outbound = scene.outbound();
    let fields = ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"];
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let args = ["--http1.1", "-H", fields[0], "-H", fields[1], "-H", fields[2], "-H", key];
    let refused = outbound.curl("/bytes/10").args(args).run();
    assert_eq!(refused.answer.status, 501, "{refused:?}");
    let got = call(outbound.curl("/bytes/10"), "--http2-prior-knowledge");
    assert!(got.answer.status == 200 && got.answer.header("grpc-status").is_none(), "{got:?}");
}

/// A call whose response has begun is told of a connection that breaks as it would be without an agent.
#[test]
fn an_app_that_dies_is_unavailable_to_a_call_that_is_under_way() {
    let scene = super::scene(&[]);
    let headers = ["--http2", "-H", "content-type: application/grpc"];
    let upload = ["-T", "/dev/zero", "--limit-rate", "100k", "--max-time", "20"];
    let under_way = scene.curl("/echo").args(headers).args(upload).start();
    kit::until("the response has begun", || (under_way.received() > 0).then_some(()));
    drop(scene.app);
    let got = under_way.finish();
    assert_eq!(got.answer.header("grpc-status"), Some("14"), "{got:?}");
}

/// It needs nothing of HTTP/2.
#[test]
fn grpc_web_passes_to_an_app_of_http_1() {
    let scene = Scene::http(&[]);
    for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"] {
        let got =
            scene.curl("/headers").args(["--http2", "-H", &format!("content-type: {kind}"), "-d", "x"]).run();
        assert_eq!(got.answer.json()["method"], "POST", "{got:?}");
    }
}

#[test]
fn an_app_that_is_down_is_unavailable() {
    let pki = Pki::default();
    let unused = own::address(19_000);
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("h2c:", unused).ready();
    let client = pki.client("storefront");
    let curl = || Curl::https(agent.address("inbound"), "/shop.Payments/Pay", &client);
    is(&call(curl(), "--http2"), "14", &[&unused.to_string()]);
    // Without gRPC it is what it was.
    let got = curl().args(["--http2"]).run();
    assert!(got.answer.status == 502 && got.answer.header("grpc-status").is_none(), "{got:?}");
}

/// The error of a connection to an app that speaks HTTP/1.1 after all.
#[test]
fn an_app_of_http_1_behind_a_route_to_http_2_is_unavailable() {
    let (pki, app) = (Pki::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("h2c:", app.address).ready();
    let client = pki.client("storefront");
    let curl = || Curl::https(agent.address("inbound"), "/shop.Payments/Pay", &client);
    is(&call(curl(), "--http2"), "14", &[]);
    assert_eq!(curl().args(["--http2"]).run().answer.status, 502);
}

#[test]
fn a_client_that_is_not_allowed_has_no_permission() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&[], None);
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let launch = Launch::new(&volume.path).inbound("h2c:", address);
    let agent = launch.args(["--allow", "dns:billing.shop.svc"]).ready();
    let curl = Curl::https(agent.address("inbound"), "/shop.Payments/Pay", &pki.client("storefront"));
    is(&call(curl, "--http2"), "7", &[]);
}

#[test]
fn a_server_that_is_down_is_unavailable() {
    let unused = own::address(19_000);
    let outbound = outbound(&Pki::default(), unused, &[]);
    is(&call(outbound.curl("/shop.Payments/Pay"), "--http2-prior-knowledge"), "14", &[&unused.to_string()]);
}

#[test]
fn a_server_with_another_name_is_unavailable() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&[], Some(&pki.client("billing")));
    let outbound = outbound(&pki, address, &[]);
    let got = call(outbound.curl("/shop.Payments/Pay"), "--http2-prior-knowledge");
    is(&got, "14", &[&dns(SERVER), &dns("billing")]);
}

#[test]
fn a_server_without_http_2_is_unimplemented() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "http");
    let outbound = outbound(&pki, address, &[]);
    let got = call(outbound.curl("/shop.Payments/Pay"), "--http2-prior-knowledge");
    is(&got, "12", &["HTTP/1.1", "h2 by ALPN"]);
}
