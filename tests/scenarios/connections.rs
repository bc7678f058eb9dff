//! Connections that are established go on through every swap, and age out as configured.

use std::io::Read as _;
use std::net::TcpListener;

use kit::agent::{Agent, Launch};
use kit::app::{HALF, pattern};
use kit::client::{SERVER, python, python_files};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::Pki;
use kit::scene::Scene;
use kit::{DEADLINE, until};

fn open(agent: &Agent, generation: &str) -> f64 {
    agent.metrics().sum("hotcert_connections_open", &[("side", "inbound"), ("generation", generation)])
}

fn closed(agent: &Agent, reason: &str) -> f64 {
    agent.metrics().sum("hotcert_connections_closed_total", &[("reason", reason)])
}

#[test]
fn established_connections_carry_intact_data_across_100_swaps() {
    let scene = Scene::tcp(&[]);
    let mut hold = python("hold.py");
    hold.arg(scene.inbound().to_string()).args(python_files(&scene.client)).args(["--connections", "6"]);
    let mut hold = Pipe::program(hold);
    assert_eq!(hold.line()["open"], 6);
    for _ in 0..100 {
        scene.rotate_and_wait();
    }
    assert_eq!(scene.health()["generation"], 101);
    assert_eq!(scene.health()["connections"]["older"], 6);
    assert_eq!(open(&scene.agent, "older"), 6.0);
    hold.end();
    let results = hold.line();
    for result in results.as_array().unwrap() {
        assert!(result["error"].is_null() && result["intact"] == true, "{results}");
        assert!(result["rounds"].as_u64().unwrap() > 10, "{results}");
    }
    until("the gauges back at zero", || {
        (scene.agent.metrics().sum("hotcert_connections_open", &[]) == 0.0).then_some(())
    });
}

#[test]
fn as_many_connections_as_were_asked_for_are_held_whatever_the_soft_limit() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("", echo.address).args(["--max-connections", "200"]);
    let agent = agent.under_soft_limit(150).ready();
    let mut hold = python("hold.py");
    hold.arg(agent.address("inbound").to_string());
    hold.args(python_files(&pki.client("storefront"))).args(["--connections", "200"]);
    let mut hold = Pipe::program(hold);
    assert_eq!(hold.line()["open"], 200);
    assert_eq!(open(&agent, "current"), 200.0);
    assert_eq!(agent.logged("cannot accept connections"), 0);
    hold.end();
    assert!(hold.line().as_array().unwrap().iter().all(|result| result["error"].is_null()));
}

#[test]
fn connections_are_counted_by_the_generation_that_they_began_under() {
    let scene = Scene::tcp(&[]);
    let mut held = Vec::new();
    for _ in 0..3 {
        scene.rotate_and_wait();
        let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
        assert!(pipe.echoes("hello"));
        held.push(pipe);
    }
    scene.agent.wait_until("one connection a generation", |health| {
        let count = &health["connections"];
        count["current"] == 1 && count["previous"] == 1 && count["older"] == 1
    });
    held.clear();
    scene.agent.wait_until("none", |health| {
        let count = &health["connections"];
        count["current"] == 0 && count["previous"] == 0 && count["older"] == 0
    });
}

/// Asks until the connection is asked to close, which it then is.
#[track_caller]
fn wait_drained(pipe: &mut Pipe) {
    until("the connection asked to close", || match pipe.get("/bytes/10") {
        Some(head) => head.to_ascii_lowercase().contains("connection: close").then_some(()),
        None => Some(()),
    });
    pipe.wait_closed(DEADLINE);
}

#[test]
fn http_connections_of_an_earlier_leaf_are_asked_to_close_between_requests() {
    let scene = Scene::http(&["--drain-after", "300ms"]);
    let mut old = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(old.get("/bytes/10").is_some());
    scene.rotate_and_wait();
    wait_drained(&mut old);
    until("counted", || (closed(&scene.agent, "drained") == 1.0).then_some(()));
    let mut new = Pipe::tls(scene.inbound(), &scene.client, &[]);
    for _ in 0..3 {
        assert!(new.get("/bytes/10").is_some(), "a connection of the current leaf stays");
    }
}

#[test]
fn a_request_in_flight_is_not_cut_by_the_drain() {
    let scene = Scene::http(&["--drain-after", "300ms"]);
    let mut others: Vec<_> = (0..5).map(|_| Pipe::tls(scene.inbound(), &scene.client, &[])).collect();
    assert!(others.iter_mut().all(|pipe| pipe.get("/bytes/10").is_some()));
    let transfer = scene.curl("/gated").start();
    until("the first half", || (transfer.received() > 0).then_some(()));
    scene.rotate_and_wait();
    others.iter_mut().for_each(wait_drained);
    scene.service.open_gate();
    let got = transfer.finish();
    assert_eq!((got.exit, got.answer.body.len()), (0, 2 * HALF), "{}", got.errors);
}

#[test]
fn a_tcp_connection_is_cut_at_its_maximum_age() {
    let scene = Scene::tcp(&["--max-age", "1s"]);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(pipe.echoes("hello"));
    pipe.wait_closed(DEADLINE);
    until("counted", || (closed(&scene.agent, "max_age") == 1.0).then_some(()));
}

#[test]
fn all_bytes_of_a_client_that_ends_without_close_notify_arrive() {
    let pki = Pki::default();
    let (volume, sink) = (pki.volume(SERVER), TcpListener::bind("127.0.0.1:0").unwrap());
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("", sink.local_addr().unwrap()).ready();
    let mut abrupt = python("abrupt.py");
    abrupt.arg(agent.address("inbound").to_string()).args(python_files(&pki.client("storefront")));
    let mut abrupt = Pipe::program(abrupt);
    let (done, arrived) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in sink.incoming().map_while(Result::ok) {
            let mut bytes = Vec::new();
            let ended = stream.read_to_end(&mut bytes);
            let _ = done.send((ended.is_ok(), bytes));
        }
    });
    let expected = pattern(0, abrupt.line()["said"].as_u64().unwrap() as usize);
    for round in 0..20 {
        let (ended, bytes) = arrived.recv_timeout(DEADLINE).unwrap();
        assert!(ended && bytes == expected, "round {round}: {} bytes, ended: {ended}", bytes.len());
    }
}

#[test]
fn clients_move_to_the_new_leaf_without_a_failed_request() {
    for flag in ["--http1.1", "--http2"] {
        let scene = Scene::http(&["--drain-after", "500ms"]);
        // Sixty requests over as few connections as curl can manage.
        let args = [flag, "--rate", "20/s", "-w", "%{http_code} %{num_connects}\n"];
        let requests = scene.curl("/bytes/[10-69]").args(args).start();
        until("some requests", || (scene.service.requests() > 5).then_some(()));
        scene.rotate_and_wait();
        let got = requests.finish();
        assert_eq!(got.exit, 0, "{flag}: {}", got.errors);
        let connects =
            got.said.lines().filter_map(|line| line.strip_prefix("200 ")).map(|n| n.parse::<u32>().unwrap());
        assert_eq!((connects.clone().count(), connects.sum::<u32>()), (60, 2), "{flag}: {}", got.said);
    }
}
