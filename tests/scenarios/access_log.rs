//! The access log has a line for each request and each connection, whatever becomes of it, and holds nothing up.

use std::time::Duration;

use kit::agent::{Agent, Launch};
use kit::client::{Curl, SERVER, accepted};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, spiffe};
use kit::scene::Scene;
use kit::until;
use kit::volume::Volume;
use rustix::process::Signal;
use serde_json::{Value, json};

/// `storefront`, with this route to `payments` and a proxy.
fn caller(pki: &Pki, mode: &str, to: std::net::SocketAddr, name: &str) -> (Volume, Agent) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let launch = Launch::new(&volume.path).outbound(mode, format!("{to}#{name}")).http_proxy();
    (volume, launch.access_log().ready())
}

fn assert_has(line: &Value, fields: Value) {
    for (field, expected) in fields.as_object().unwrap() {
        assert_eq!(&line[field], expected, "{field} of {line:#}");
    }
}

#[test]
fn a_request_between_two_agents_is_a_line_of_each_with_the_peer_of_each() {
    let scene = Scene::http_by(Launch::access_log);
    let (_volume, storefront) = caller(&scene.pki, "http:", scene.inbound(), &dns(SERVER));
    let url = format!("http://{}/digest?card=1234", storefront.address("outbound"));
    let body = "x".repeat(100_000);
    assert_eq!(Curl::new(&url).args(["-d", &body, "-A", "shop/1"]).run().answer.status, 200);
    let (out, in_) = (storefront.access("path", "/digest"), scene.agent.access("path", "/digest"));
    let both = json!({
        "method": "POST", "status": 200, "generation": 1, "bytes_received": 100_000, "user_agent": "shop/1",
        "reason": null, "flags": null,
    });
    assert_has(&out, both.clone());
    assert_has(&in_, both);
    assert_has(
        &out,
        json!({
            "side": "outbound", "route": storefront.address("outbound").to_string(), "protocol": "http1",
            "peer": spiffe(SERVER), "upstream": scene.inbound().to_string(), "peer_sha256": scene.leaf.sha256,
        }),
    );
    assert_has(
        &in_,
        json!({
            "side": "inbound", "route": scene.inbound().to_string(), "protocol": "http2", "peer": spiffe("storefront"),
            "upstream": scene.service.address.to_string(), "bytes_sent": out["bytes_sent"],
        }),
    );
    // A label of the metrics is the name of the route in the log.
    let requests = [("side", "inbound"), ("route", in_["route"].as_str().unwrap()), ("protocol", "http2")];
    assert_eq!(scene.agent.metrics().one("hotcert_request_duration_seconds_count", &requests), 1.0);
    assert!(!scene.agent.output.lines().concat().contains("1234"));
}

#[test]
fn queries_are_shown_where_they_are_asked_for() {
    let scene = Scene::http_by(|launch| launch.access_log().args(["--access-log-query"]));
    scene.curl("/headers?a=b%22").run();
    scene.agent.access("path", "/headers?a=b%22");
}

#[test]
fn a_connection_that_carries_bytes_is_a_line_of_both_sides() {
    let echo = kit::echo::Echo::default();
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let payments = Launch::new(&volume.path)
        .inbound("", echo.address)
        .args(["--allow", &spiffe("storefront")])
        .access_log()
        .ready();
    let (_volume, storefront) = caller(&pki, "", payments.address("inbound"), &dns(SERVER));
    let mut pipe = Pipe::tcp(storefront.address("outbound"));
    assert!(pipe.echoes("hello"));
    pipe.end();
    pipe.wait_closed(kit::DEADLINE);
    let fields =
        json!({ "protocol": "tcp", "bytes_received": 6, "bytes_sent": 6, "reason": null, "flags": null });
    for (agent, peer) in [(&storefront, SERVER), (&payments, "storefront")] {
        assert_has(&agent.access("peer", spiffe(peer)), fields.clone());
    }
    // One that is not let in, and one to a server with another name.
    assert!(!accepted(payments.address("inbound"), &pki.client("billing")));
    assert_has(
        &payments.access("reason", "not_allowed"),
        json!({ "peer": spiffe("billing"), "bytes_sent": 0 }),
    );
    let (_volume, other) = caller(&pki, "", payments.address("inbound"), "billing.shop.svc");
    Pipe::tcp(other.address("outbound")).wait_closed(kit::DEADLINE);
    assert_has(&other.access("reason", "tls"), json!({ "peer": null, "protocol": "tcp" }));
    let count = |agent: &Agent, side: &str, result: &str| {
        agent.metrics().sum("hotcert_handshakes_total", &[("side", side), ("result", result)])
    };
    // Each is counted once, as what it was.
    assert_eq!(count(&other, "outbound", "ok"), 0.0);
    assert_eq!(count(&other, "outbound", "wrong_name"), 1.0);
    assert_eq!(count(&payments, "inbound", "ok"), 1.0);
    assert_eq!(count(&payments, "inbound", "not_allowed"), 1.0);
}

#[test]
fn a_websocket_and_a_tunnel_are_lines_with_the_bytes_that_they_carried() {
    let mut server = python("websocket.py");
    server.arg("server");
    let mut server = Pipe::program(server);
    let app = std::net::SocketAddr::from(([127, 0, 0, 1], server.line()["port"].as_u64().unwrap() as u16));
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let payments = Launch::new(&volume.path).inbound("http:", app).access_log().ready();
    let (_volume, storefront) = caller(&pki, "http:", payments.address("inbound"), &dns(SERVER));
    let mut client = python("websocket.py");
    client.args(["hold", &format!("ws://{}/chat", storefront.address("outbound"))]);
    let mut client = Pipe::program(client);
    assert_eq!(client.line()["open"], true);
    assert!(client.say("hello\n"));
    assert_eq!(client.line()["echoed"], "hello");
    client.end();
    for agent in [&storefront, &payments] {
        let line = agent.access("path", "/chat");
        assert_eq!(line["flags"], json!(["upgraded"]), "{line:#}");
        assert!(
            line["bytes_received"].as_u64() > Some(6) && line["bytes_sent"].as_u64() > Some(6),
            "{line:#}"
        );
    }
    // A tunnel through the proxy that carries HTTP: the request has a line of its own.
    let to = format!("http://localhost:{}/none", payments.address("inbound").port());
    let proxy = format!("http://{}", storefront.address("http-proxy"));
    Curl::new(&to).args(["-p", "-x", &proxy]).run();
    let tunnel = storefront.access("method", "CONNECT");
    assert_has(&tunnel, json!({ "status": 200, "flags": ["upgraded"], "route": &proxy["http://".len()..] }));
    storefront.access("path", "/none");
}

#[test]
fn who_does_not_wait_is_gone_and_an_app_that_breaks_off_is_too() {
    let scene = Scene::http_by(Launch::access_log);
    let slow = scene.curl("/slow/1000").start();
    until("the first bytes", || (slow.received() > 0).then_some(()));
    slow.stop();
    let line = scene.agent.access("path", "/slow/1000");
    assert_has(&line, json!({ "status": 200, "flags": ["client_gone"] }));
    let quick = scene.curl("/bytes/10").run();
    assert_eq!(quick.answer.status, 200);
    assert_has(&scene.agent.access("path", "/bytes/10"), json!({ "flags": null, "bytes_sent": 10 }));
}

#[test]
fn nothing_waits_for_a_log_that_nobody_reads_and_what_is_dropped_is_counted() {
    let scene = Scene::http_by(|launch| launch.access_log().args(["--access-log-query"]));
    scene.agent.output.hold();
    let filler = "x".repeat(900);
    // Twice what waits, is being written and is in the pipe.
    let all = scene.curl(&format!("/status/200?{filler}[1-2400]")).args(["--http1.1"]).run();
    assert_eq!(all.exit, 0, "{}", all.errors);
    let dropped = [("reason", "queue_full")];
    assert!(scene.agent.metrics().one("hotcert_access_log_lines_dropped_total", &dropped) > 0.0);
    scene.agent.output.read_on();
    scene.agent.until_logged("lines for standard output were dropped");
    // What got through is whole, and so is what comes now.
    until("the log goes on", || {
        scene.curl("/status/204").run();
        scene.agent.accesses().iter().any(|line| line["path"] == "/status/204").then_some(())
    });
}

#[test]
fn every_line_is_written_before_the_agent_ends_and_none_without_an_access_log() {
    let mut scene = Scene::http_by(|launch| launch.access_log().args(["--shutdown-delay", "0s"]));
    for _ in 0..20 {
        scene.curl("/headers").run();
    }
    scene.agent.signal(Signal::TERM);
    assert!(scene.agent.wait_exit(Duration::from_secs(20)).success());
    until("every line", || (scene.agent.accesses().len() == 20).then_some(()));

    let quiet = Scene::http_by(Launch::read_output);
    quiet.curl("/headers").run();
    assert_eq!(quiet.agent.output.lines(), [""; 0]);
}
