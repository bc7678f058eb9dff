//! Streams from end to end: trailers, both directions at once, room for as much as the reader takes and no more, and the
//! end that either side makes.

use std::process::Stdio;

use kit::app::App;
use kit::client::{SERVER, python_files};
use kit::pipe::Pipe;
use kit::pki::Pki;
use kit::until;
use serde_json::{Value, json};

use super::{client, http2_app, nghttp, outbound, scene, told};

/// What the agent may hold of all that a reader does not take, in KiB.
const ROOM: u64 = 8 << 10;

/// What is left of trailers of which one was forged.
#[track_caller]
fn of_the_client(trailers: &Value) {
    assert_eq!(trailers, &json!([["x-sum", "of the client"]]));
}

#[test]
fn trailers_reach_the_app_and_come_back() {
    let scene = scene(&[]);
    let seen = scene.client("trailers", "/echo", &[]).line();
    assert_eq!((&seen["text"], &seen["end"]), (&json!("with trailers"), &json!("ended")), "{seen}");
    of_the_client(&seen["trailers"]);
    let asked: Value =
        serde_json::from_str(scene.client("trailers", "/what", &[]).line()["text"].as_str().unwrap())
            .unwrap();
    of_the_client(&asked["trailers"]);
    assert!(asked["headers"].as_array().unwrap().contains(&json!(["te", "trailers"])), "{asked}");
}

#[test]
fn trailers_cross_two_agents() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    let seen = client(outbound.address(), None, "trailers", "/echo", &[]).line();
    assert_eq!(seen["text"], "with trailers", "{seen}");
    of_the_client(&seen["trailers"]);
}

#[test]
fn trailers_of_nghttp_reach_the_app() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    let body = kit::pki::write(&scene.pki.path("body"), "a body");
    let args = ["-d", body.to_str().unwrap(), "--trailer=x-sum: of nghttp"];
    let said = nghttp(&format!("http://{}/what", outbound.address()), &args);
    let seen: Value = serde_json::from_slice(&said).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!(seen["trailers"], json!([["x-sum", "of nghttp"]]), "{seen}");
}

#[test]
fn much_passes_both_ways_at_once() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    let args = ["--length", "30000000"];
    let inbound = scene.client("both", "/echo", &args);
    let across = client(outbound.address(), None, "both", "/echo", &args);
    for mut each in [inbound, across] {
        let seen = each.line();
        assert!(seen["same"] == true && seen["length"] == 30_000_000, "{seen}");
    }
}

/// What an app does not read the client cannot send; the agent holds no more than a window of it.
#[test]
fn an_app_that_does_not_read_holds_its_clients_up() {
    let mut scene = scene(&[]);
    let outbound = scene.outbound();
    assert_eq!(scene.client("get", "/bytes/10000000", &[]).line()["ok"], 1);
    assert_eq!(client(outbound.address(), None, "get", "/bytes/10000000", &[]).line()["ok"], 1);
    let before = [&scene.agent, &outbound.agent].map(|agent| agent.resident());
    let args = ["--length", "500000000"];
    let mut held: Vec<_> = (0..4).map(|_| scene.client("upload", "/stall", &args)).collect();
    held.extend((0..4).map(|_| client(outbound.address(), None, "upload", "/stall", &args)));
    for each in &mut held {
        let seen = each.line();
        let sent = seen["sent"].as_u64().unwrap();
        assert!(sent < 4 << 20 && seen["end"].is_null(), "{seen}");
    }
    for (agent, before) in [&scene.agent, &outbound.agent].into_iter().zip(before) {
        let grown = agent.resident_peak().saturating_sub(before);
        assert!(grown < ROOM, "{grown} KiB for 8 clients");
    }
    // Uploads that wait for room are cancelled with their clients.
    let clients = held.len();
    drop(held);
    for _ in 0..clients {
        told(&mut scene.app, |line| line["event"] == "reset");
    }
}

/// They share connections to the app, whose window must not be what they leave unread.
#[test]
fn a_client_that_does_not_read_holds_up_no_other() {
    let scene = scene(&[]);
    let mut held = scene.client("download", "/bytes/100000000", &["--count", "50"]);
    assert!(held.line()["received"].as_u64().unwrap() > 0);
    let next = scene.curl("/bytes/1000000").args(["--http2", "--max-time", "10"]).run();
    assert_eq!((next.exit, next.answer.body.len()), (0, 1_000_000), "{}", next.errors);
}

/// The same for servers that an agent goes out to.
#[test]
fn a_request_that_the_app_does_not_read_on_holds_up_no_other() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&[], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    let mut held = client(outbound.address(), None, "download", "/bytes/100000000", &["--count", "50"]);
    assert!(held.line()["received"].as_u64().unwrap() > 0);
    let next = outbound.curl("/bytes/1000000").args(["--http2-prior-knowledge", "--max-time", "10"]).run();
    assert_eq!((next.exit, next.answer.body.len()), (0, 1_000_000), "{}", next.errors);
}

/// What a client does not read the app cannot send.
#[test]
fn clients_that_do_not_read_cost_little_memory() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    assert_eq!(scene.client("get", "/bytes/10000000", &[]).line()["ok"], 1);
    assert_eq!(client(outbound.address(), None, "get", "/bytes/10000000", &[]).line()["ok"], 1);
    let before = [&scene.agent, &outbound.agent].map(|agent| agent.resident());
    let args = ["--count", "25"];
    let mut held: Vec<_> = (0..4).map(|_| scene.client("download", "/bytes/100000000", &args)).collect();
    held.extend((0..4).map(|_| client(outbound.address(), None, "download", "/bytes/100000000", &args)));
    for each in &mut held {
        let received = each.line()["received"].as_u64().unwrap();
        assert!(received < 2 << 20, "{received} bytes");
    }
    for (agent, before) in [&scene.agent, &outbound.agent].into_iter().zip(before) {
        let grown = agent.resident_peak().saturating_sub(before);
        // A window of 64 KiB for each, and what it takes to keep it.
        assert!(grown < 3 * ROOM, "{grown} KiB for 200 streams");
    }
}

/// The same for an app of HTTP/1.1, behind a route that makes HTTP/1.1 of it.
#[test]
fn clients_of_http_2_that_do_not_read_hold_up_an_app_of_http_1() {
    let scene = kit::scene::Scene::<App>::http(&[]);
    let download = |mode: &str, path: &str, args: &[&str]| {
        client(scene.inbound(), Some(&scene.client), mode, path, args)
    };
    assert_eq!(download("get", "/bytes/10000000", &[]).line()["ok"], 1);
    let before = scene.agent.resident();
    let mut held: Vec<_> =
        (0..4).map(|_| download("download", "/bytes/100000000", &["--count", "25"])).collect();
    for each in &mut held {
        assert!(each.line()["received"].as_u64().unwrap() > 0);
    }
    let grown = scene.agent.resident_peak().saturating_sub(before);
    assert!(grown < 2 * ROOM, "{grown} KiB for 100 streams");
}

#[test]
fn a_request_that_the_client_cancels_is_cancelled_for_the_app() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    for mut each in [
        scene.client("end", "/hold", &["--code", "8"]),
        client(outbound.address(), None, "end", "/hold", &["--code", "8"]),
    ] {
        let seen = each.line();
        assert!(seen["end"] == "cancelled" && seen["after"] == 200, "{seen}");
    }
    let mut app = scene.app;
    for _ in 0..2 {
        assert_eq!(told(&mut app, |line| line["event"] == "reset")["code"], 8);
    }
}

#[test]
fn a_download_that_a_client_of_http_1_breaks_off_is_cancelled_for_the_app() {
    let mut scene = scene(&[]);
    let download = scene.curl("/bytes/10000000000").args(["--http1.1", "--limit-rate", "10k"]).start();
    until("under way", || (download.received() > 0).then_some(()));
    download.stop();
    assert_eq!(told(&mut scene.app, |line| line["event"] == "reset")["code"], 8);
}

#[test]
fn a_request_that_the_app_resets_is_reset_for_the_client() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    // A reset without an error is none of a whole response.
    let resets = [
        ("/reset/8", "reset 8"),
        ("/reset/2", "reset 2"),
        ("/reset/11", "reset 11"),
        ("/reset/0", "reset 2"),
    ];
    for (path, ends) in resets {
        for mut each in [scene.client("end", path, &[]), client(outbound.address(), None, "end", path, &[])] {
            let seen = each.line();
            assert!(seen["end"] == ends && seen["after"] == 200, "{path}: {seen}");
        }
    }
}

/// REFUSED_STREAM is what lets a client try again without a doubt, so it may not become anything else.
#[test]
fn a_request_that_the_app_refuses_is_refused_for_the_client() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    for mut each in
        [scene.client("end", "/refuse/7", &[]), client(outbound.address(), None, "end", "/refuse/7", &[])]
    {
        let seen = each.line();
        assert!(seen["end"] == "reset 7" && seen["after"] == 200, "{seen}");
    }
    // A request without a body is sent again, but not for ever.
    assert_eq!(scene.client("get", "/refuse/7", &[]).line()["ok"], 0);
    assert_eq!(client(outbound.address(), None, "get", "/refuse/7", &[]).line()["ok"], 0);
}

#[test]
fn a_response_that_an_app_of_http_1_breaks_off_is_no_whole_response() {
    let mut scene = kit::scene::Scene::<App>::http(&[]);
    let download = scene.curl("/gated").args(["--http2"]).start();
    until("the first half", || (download.received() > 0).then_some(()));
    scene.service.stop();
    let got = download.finish();
    assert!(got.exit == 92 || got.exit == 56, "a stream that was not closed cleanly: {got:?}");
}

#[test]
fn a_server_with_tls_resets_and_is_cancelled_through_an_outbound_route() {
    let pki = Pki::default();
    let (mut server, address) = http2_app(&[], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    let seen = client(outbound.address(), None, "end", "/reset/8", &[]).line();
    assert!(seen["end"] == "reset 8" && seen["after"] == 200, "{seen}");
    let seen = client(outbound.address(), None, "end", "/hold", &["--code", "8"]).line();
    assert_eq!(seen["after"], 200, "{seen}");
    assert_eq!(told(&mut server, |line| line["event"] == "reset")["code"], 8);
}

/// A client that is killed ends its requests, as one that cancels them does.
#[test]
fn requests_of_a_client_that_dies_are_cancelled_for_the_app() {
    let mut scene = scene(&[]);
    let mut program = kit::installed::python("http2_client.py");
    program.arg(scene.address().to_string()).args(["--mode", "stay", "--path", "/hold"]);
    let client: Pipe = Pipe::program({
        program.args(python_files(&scene.client)).stderr(Stdio::null());
        program
    });
    told(&mut scene.app, |line| line["event"] == "hold");
    drop(client);
    told(&mut scene.app, |line| line["event"] == "reset");
}
