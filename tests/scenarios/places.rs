//! Places: a peer that takes all it can get keeps no other peer out, neither from the agent nor from the app, and
//! neither side of the agent takes the other's.

use std::net::Ipv4Addr;

use futures_util::future::join_all;
use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Curl, SERVER, python, python_files};
use kit::flood::TlsClient;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, dns, spiffe};
use kit::scene::Scene;
use kit::{DEADLINE, until};
use serde_json::Value;

const PLACES: usize = 40;
/// Requests of a peer that asks while another holds the places.
const REQUESTS: usize = 10;

/// What can be said without a request that is whole.
const KINDS: [&str; 5] = ["silent", "silent-h2", "no-request", "half-head", "half-headers"];

fn with_places<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--max-connections", "40"], more].concat()
}

/// More connections than there are places, each opened again when it is closed.
fn fill(agent: &Agent, who: &Credentials, args: &[&str]) -> Pipe {
    let mut fill = python("fill.py");
    fill.arg(agent.address("inbound").to_string()).args(python_files(who)).args(args);
    Pipe::program(fill)
}

fn open(agent: &Agent, side: &str) -> usize {
    agent.metrics().sum("hotcert_connections_open", &[("side", side)]) as usize
}

fn closed(agent: &Agent, reason: &str) -> f64 {
    agent.metrics().sum("hotcert_connections_closed_total", &[("side", "inbound"), ("reason", reason)])
}

/// Each over a connection of its own.
#[track_caller]
fn asks(scene: &Scene<App>, what: &str) {
    for request in 0..REQUESTS {
        let got = scene.curl("/bytes/10").run();
        assert_eq!((got.exit, got.answer.status), (0, 200), "{what}, request {request}: {got:?}");
    }
}

/// Clients that all connect again at once, as after a restart, are more than a quarter of the places.
#[test]
fn burst_of_as_many_clients_as_there_are_places_completes_its_handshakes() {
    const CLIENTS: u8 = 6;
    const EACH: usize = 250;
    let args = ["--client-auth", "none", "--max-connections", "1600", "--handshake-timeout", "60s"];
    let scene = Scene::http(&args);
    let tls = TlsClient::new(&scene.client.ca, &dns(SERVER));
    let clients = (0..CLIENTS).flat_map(|number| vec![Ipv4Addr::new(127, 0, 0, 2 + number); EACH]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connected = runtime.block_on(join_all(clients.map(|from| tls.connect(from, scene.inbound()))));
    let failed: Vec<_> = connected.iter().filter_map(|connected| connected.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), connected.len(), failed[0]);
    let results = |result| {
        let labels = [("side", "inbound"), ("result", result)];
        scene.agent.metrics().sum("hotcert_handshakes_total", &labels) as usize
    };
    until("all completed", || (results("ok") == connected.len()).then_some(()));
    assert_eq!((results("evicted"), results("throttled")), (0, 0));
}

#[test]
fn places_that_one_peer_holds_without_a_request_are_there_for_another() {
    let scene = Scene::http(&with_places(&[]));
    let intruder = scene.pki.client("intruder");
    for kind in KINDS {
        let mut filling = fill(&scene.agent, &intruder, &["--kind", kind]);
        until("all places taken", || (open(&scene.agent, "inbound") >= PLACES).then_some(()));
        asks(&scene, kind);
        filling.end();
        assert!(filling.line()["opened"].as_u64().unwrap() > PLACES as u64);
        until("all closed", || (open(&scene.agent, "inbound") == 0).then_some(()));
    }
    let gave_way = closed(&scene.agent, "gave_way") + closed(&scene.agent, "over_share");
    assert!(gave_way > 0.0, "{gave_way}");
    assert!(closed(&scene.agent, "limit") > 0.0, "the intruder takes no place but its own");
    // Who gave way to whom, with the flag; not for each connection.
    let gives_way =
        "all places are taken (--max-connections): a connection gives way to that of another client";
    let is_of = |value: &Value, who: &str| value.as_str().is_some_and(|name| name.contains(who));
    let gave_way = scene.agent.log_lines(gives_way);
    let between = |line: &&Value| is_of(&line["of"], "intruder") && is_of(&line["to"], "storefront");
    assert!(gave_way.iter().any(|line| between(&line)), "{gave_way:?}");
    assert!(gave_way.len() < 40, "{gave_way:?}");
    scene.agent.until_logged("all places are taken (--max-connections), and none gives way to it");
}

#[test]
fn busy_places_of_one_peer_give_way_to_another_down_to_its_share() {
    let scene = Scene::tcp(&with_places(&[]));
    let intruder = scene.pki.client("intruder");
    let mut hold = python("hold.py");
    hold.arg(scene.inbound().to_string()).args(python_files(&intruder)).args(["--connections", "40"]);
    let mut hold = Pipe::program(hold);
    assert_eq!(hold.line()["open"], 40);
    let mut held: Vec<_> = (0..REQUESTS).map(|_| Pipe::tls(scene.inbound(), &scene.client, &[])).collect();
    assert!(held.iter_mut().all(|pipe| pipe.echoes("in")));
    assert!(held.iter_mut().all(|pipe| pipe.echoes("and stays in")));
    assert_eq!(open(&scene.agent, "inbound"), PLACES);
    hold.end();
    let results = hold.line();
    let cut = results.as_array().unwrap().iter().filter(|result| !result["error"].is_null()).count();
    assert_eq!(cut, REQUESTS, "{results}");
    assert_eq!(closed(&scene.agent, "over_share"), REQUESTS as f64);
}

#[test]
fn connection_without_a_request_is_closed_in_time_and_http2_is_told_so() {
    let scene = Scene::http(&["--request-timeout", "1500ms"]);
    let mut used = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(used.get("/bytes/10").is_some());
    for kind in ["silent", "silent-h2", "no-request", "half-headers"] {
        let before = closed(&scene.agent, "no_request");
        let mut filling =
            fill(&scene.agent, &scene.client, &["--kind", kind, "--connections", "5", "--stay", "0"]);
        until("all closed", || (closed(&scene.agent, "no_request") == before + 5.0).then_some(()));
        filling.end();
        let goaway = if kind == "no-request" { 5 } else { 0 };
        assert!(filling.line()["goaway"].as_u64().unwrap() >= goaway, "{kind}");
    }
    scene.agent.until_logged("no request within 3s, twice --request-timeout");
    assert!(used.get("/bytes/10").is_some(), "between requests, nothing has changed");
}

#[test]
fn unlisted_peer_is_refused_once_and_holds_no_place() {
    let listed = spiffe("storefront");
    let scene = Scene::http(&with_places(&["--allow", &listed]));
    let unlisted = scene.pki.client("intruder");
    let mut pipe = Pipe::tls(scene.inbound(), &unlisted, &[]);
    assert!(pipe.get("/bytes/10").unwrap().starts_with("HTTP/1.1 403"));
    pipe.wait_closed(DEADLINE);
    for kind in ["silent", "silent-h2", "half-headers"] {
        let mut filling = fill(&scene.agent, &unlisted, &["--kind", kind]);
        until("all places taken", || (open(&scene.agent, "inbound") >= PLACES).then_some(()));
        asks(&scene, kind);
        let before = closed(&scene.agent, "not_allowed");
        until("cut, whether it asks or not", || (closed(&scene.agent, "not_allowed") > before).then_some(()));
        filling.end();
        filling.line();
    }
    let tcp = Scene::tcp(&["--allow", &listed]);
    let mut filling = fill(&tcp.agent, &tcp.pki.client("intruder"), &["--connections", "5", "--stay", "0"]);
    let refused = [("side", "inbound"), ("result", "not_allowed")];
    until("all refused", || {
        (tcp.agent.metrics().sum("hotcert_handshakes_total", &refused) == 5.0).then_some(())
    });
    assert_eq!(open(&tcp.agent, "inbound"), 0);
    filling.end();
    assert_eq!(tcp.agent.metrics().sum("hotcert_connections_closed_total", &[]), 0.0, "none was tracked");
}

#[test]
fn neither_side_takes_the_places_of_the_other() {
    let (pki, server) = (Pki::default(), Scene::tcp(&[]));
    let volume = pki.volume(SERVER);
    // One root for all, so that the agent is a client of the server too.
    volume.publish(&server.pki.leaf(SERVER), server.pki.roots());
    let agent = Launch::new(&volume.path)
        .inbound("", server.service.address)
        .outbound("", format!("{}#{}", server.inbound(), dns(SERVER)))
        .args(with_places(&[]))
        .ready();
    let goes_out = |count: usize| -> Vec<Pipe> {
        let mut pipes: Vec<_> = (0..count).map(|_| Pipe::tcp(agent.address("outbound"))).collect();
        assert!(pipes.iter_mut().all(|pipe| pipe.echoes("out")));
        pipes
    };
    let comes_in = |count: usize| -> Vec<Pipe> {
        let mut pipes: Vec<_> =
            (0..count).map(|_| Pipe::tls(agent.address("inbound"), &server.client, &[])).collect();
        assert!(pipes.iter_mut().all(|pipe| pipe.echoes("in")));
        pipes
    };
    assert_eq!(agent.metrics().sum("hotcert_connections_limit", &[]), 30.0);
    let mut filling = fill(&agent, &server.pki.client("intruder"), &[]);
    until("inbound full", || (open(&agent, "inbound") == 30).then_some(()));
    drop(goes_out(10));
    assert_eq!(open(&agent, "inbound"), 30);
    filling.end();
    filling.line();
    until("both empty", || (open(&agent, "inbound") + open(&agent, "outbound") == 0).then_some(()));
    let held = goes_out(30);
    let served = Pipe::try_tcp(agent.address("outbound")).is_ok_and(|mut pipe| pipe.echoes("too many"));
    assert!(!served, "one more than its places");
    drop(comes_in(10));
    assert_eq!(open(&agent, "outbound"), held.len());
}

#[test]
fn requests_that_the_app_does_not_end_leave_connections_to_it_for_other_peers() {
    let scene = Scene::http(&with_places(&["--connect-timeout", "1s"]));
    let intruder = scene.pki.client("intruder");
    let share = PLACES as f64 / 2.0;
    let (metrics, at_app) =
        (|| scene.agent.metrics(), || scene.agent.metrics().sum("hotcert_app_connections_open", &[]));
    // By many connections of one request each, and by one connection of many requests.
    let mut filling = fill(&scene.agent, &intruder, &["--kind", "request", "--path", "/gated"]);
    until("its share of the app", || (at_app() == share).then_some(()));
    asks(&scene, "beside many connections");
    until("the rest is refused", || {
        (metrics().sum("hotcert_app_connections_refused_total", &[("reason", "share")]) >= 1.0).then_some(())
    });
    filling.end();
    assert!(filling.line()["refused"].as_u64().unwrap() > 0);
    until("no request left", || (at_app() == 0.0).then_some(()));

    let mut many = kit::installed::python("http2_client.py");
    many.arg(scene.inbound().to_string()).args(python_files(&intruder));
    many.args(["--mode", "get", "--count", "60", "--path", "/gated"]);
    let _many = Pipe::program(many);
    until("its share of the app", || (at_app() == share).then_some(()));
    asks(&scene, "beside many requests");
    assert!(at_app() >= share);
    assert_eq!(metrics().sum("hotcert_app_connections_refused_total", &[("reason", "limit")]), 0.0);
}

#[test]
fn peer_beyond_its_share_of_the_app_is_told_so() {
    let scene = Scene::http(&["--max-connections", "2", "--connect-timeout", "1s"]);
    let held = scene.curl("/gated").start();
    until("the first half", || (held.received() > 0).then_some(()));
    for flag in ["--http1.1", "--http2"] {
        let got = scene.curl("/bytes/10").args([flag]).run();
        assert_eq!(got.answer.status, 503, "{got:?}");
        let reason = got.answer.header("x-hotcert-error").unwrap_or_default().to_owned();
        assert!(reason.contains("this client has its share"), "{reason}");
        assert_eq!(got.answer.header("retry-after"), Some("1"), "{got:?}");
    }
    let other = Curl::https(scene.inbound(), "/bytes/10", &scene.pki.client("other")).run();
    assert_eq!(other.answer.status, 200, "{other:?}");
    scene.service.open_gate();
    assert_eq!(held.finish().exit, 0);
}
