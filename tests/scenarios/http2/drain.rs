//! A GOAWAY of an app, of a server, or of the agent after a new leaf loses nothing. And a stream that stays open is
//! told to go at the maximum age, and cut after the grace.

use kit::agent::Launch;
use kit::app::App;
use kit::client::SERVER;
use kit::pki::{Pki, write};
use kit::until;
use serde_json::Value;

use super::{client, h2load, http2_app, outbound, scene, scene_with, told};

/// What is asked after a GOAWAY that came too soon goes to another connection, where there is room for all of it.
#[test]
fn an_app_that_goes_away_at_once_loses_no_request() {
    let scene = scene_with(&["--goaway-after", "20"], &[]);
    let outbound = scene.outbound();
    h2load(&format!("http://{}/bytes/1000", outbound.address()), 300, &["-c", "2", "-m", "5"]);
}

/// With a body a request can only be lost if it is sent after the last GOAWAY.
#[test]
fn an_app_that_goes_away_in_order_loses_no_upload() {
    let scene = scene_with(&["--goaway-after", "20", "--in-order"], &[]);
    let outbound = scene.outbound();
    let body = write(&scene.pki.path("body"), "x".repeat(3000));
    let args = ["-c", "4", "-m", "20", "-d", body.to_str().unwrap()];
    h2load(&format!("http://{}/digest", outbound.address()), 600, &args);
}

#[test]
fn a_server_that_goes_away_at_once_loses_no_request() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&["--goaway-after", "20"], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    h2load(&format!("http://{}/bytes/1000", outbound.address()), 300, &["-c", "2", "-m", "5"]);
}

#[test]
fn a_server_that_goes_away_in_order_loses_no_upload() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&["--goaway-after", "20", "--in-order"], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    let body = write(&pki.path("body"), "x".repeat(3000));
    let args = ["-c", "4", "-m", "20", "-d", body.to_str().unwrap()];
    h2load(&format!("http://{}/digest", outbound.address()), 600, &args);
}

#[test]
fn a_request_that_is_open_when_the_agent_goes_away_is_answered() {
    let mut scene = scene(&["--drain-after", "100ms"]);
    // Is answered when another one has asked the same.
    let mut open = scene.client("stay", "/together/2", &[]);
    until("under way", || (in_flight(&scene.agent) == 1.0).then_some(()));
    told(&mut scene.app, |line| line["event"] == "connection");
    scene.rotate();
    assert_eq!(open.line()["goaway"], 0, "told to go away");
    assert_eq!(scene.client("get", "/together/2", &[]).line()["ok"], 1);
    let end = open.line();
    assert_eq!(end["end"], "ended", "{end}");
}

fn in_flight(agent: &kit::agent::Agent) -> f64 {
    agent.metrics().sum("hotcert_connections_open", &[("side", "inbound")])
}

#[test]
fn clients_move_to_the_new_leaf_without_a_failed_request() {
    let scene = scene(&["--drain-after", "200ms"]);
    let args = ["--http2", "--rate", "20/s", "-w", "%{http_code} %{num_connects}\n"];
    let requests = scene.curl("/bytes/[10-69]").args(args).start();
    until("some requests", || (requests.received() > 0).then_some(()));
    for _ in 0..3 {
        scene.rotate();
    }
    let got = requests.finish();
    assert_eq!(got.exit, 0, "{}", got.errors);
    let connects: Vec<u32> =
        got.said.lines().filter_map(|line| line.strip_prefix("200 ")?.parse().ok()).collect();
    assert_eq!(connects.len(), 60, "{}", got.said);
    assert!((2..=4).contains(&connects.iter().sum::<u32>()), "{}", got.said);
}

#[test]
fn a_thousand_requests_pass_while_leaves_change() {
    let scene = scene(&["--drain-after", "50ms"]);
    let outbound = scene.outbound();
    let url = format!("http://{}/bytes/1000", outbound.address());
    let load = std::thread::spawn(move || h2load(&url, 3000, &["-c", "4", "-m", "5"]));
    let mut swaps = 0;
    while !load.is_finished() {
        scene.rotate();
        swaps += 1;
    }
    load.join().unwrap();
    assert!(swaps > 0, "{swaps} swaps");
}

/// `stay` says when it was told to go, and when it was cut, in seconds.
#[track_caller]
fn goes_after_one_second_and_is_cut_after_two(mut stay: kit::pipe::Pipe) {
    let (told, end) = (stay.line(), stay.line());
    let after = |line: &Value| line["after"].as_f64().unwrap();
    assert!(told["goaway"] == 0 && (0.9..6.0).contains(&after(&told)), "{told}, {end}");
    let cut = end["end"].as_str().unwrap();
    assert!(cut.starts_with("reset") || cut == "closed", "{told}, {end}");
    assert!((1.9..12.0).contains(&after(&end)) && after(&end) - after(&told) > 0.5, "{told}, {end}");
}

const AGES: [&str; 4] = ["--max-age", "1s", "--max-age-grace", "1s"];

#[test]
fn a_stream_to_an_app_of_http_2_is_cut_after_the_maximum_age_and_its_grace() {
    let mut scene = scene(&AGES);
    goes_after_one_second_and_is_cut_after_two(scene.client("stay", "/hold", &[]));
    told(&mut scene.app, |line| line["event"] == "reset");
}

#[test]
fn a_stream_to_an_app_of_http_1_is_cut_after_the_maximum_age_and_its_grace() {
    let scene = kit::scene::Scene::<App>::http(&AGES);
    let stay = client(scene.inbound(), Some(&scene.client), "stay", "/gated", &[]);
    goes_after_one_second_and_is_cut_after_two(stay);
}

/// What the agent itself opened ages too: the stream is reset, and the next request has a new connection.
#[test]
fn a_stream_to_a_server_is_cut_after_the_maximum_age_and_its_grace() {
    let pki = Pki::default();
    let (mut server, address) = http2_app(&[], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &AGES);
    let mut stay = client(outbound.address(), None, "stay", "/hold", &[]);
    told(&mut server, |line| line["event"] == "hold");
    let end = loop {
        let line = stay.line();
        if !line["end"].is_null() {
            break line;
        }
    };
    assert!((1.9..12.0).contains(&end["after"].as_f64().unwrap()), "{end}");
    assert_eq!(outbound.curl("/bytes/10").args(["--http2-prior-knowledge"]).run().answer.status, 200);
}

#[test]
fn a_connection_that_is_used_all_the_time_ends_at_its_maximum_age() {
    let (pki, app) = (Pki::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("http:", app.address).args(["--max-age", "1s"]).ready();
    let who = pki.client("storefront");
    let args = ["--http2", "--rate", "20/s", "-w", "%{http_code} %{num_connects}\n"];
    let got = kit::client::Curl::https(agent.address("inbound"), "/bytes/[10-69]", &who).args(args).run();
    assert_eq!(got.exit, 0, "{}", got.errors);
    let connects: u32 =
        got.said.lines().filter_map(|line| line.strip_prefix("200 ")?.parse::<u32>().ok()).sum();
    assert!(connects >= 2, "{connects} connections in three seconds");
}
