//! An upgraded connection is a connection like one of TCP: it goes on through new leaves, and ends with its root, at its
//! maximum age, when nothing moves, and at the end of a shutdown. It is counted as those are.

use std::time::{Duration, Instant};

use kit::DEADLINE;
use kit::agent::Agent;
use kit::client::{SERVER, python_files};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, authority, issue, request};
use kit::until;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Inbound, Library, Outbound, Websockets, Ws};

/// A connection that a client keeps open, and what its input is said back.
struct Held(Pipe);

impl Held {
    #[track_caller]
    fn open(client: Library, url: &str, who: Option<&Credentials>) -> Self {
        let mut program = client.program("hold");
        program.arg(url);
        if let Some(who) = who {
            program.args(python_files(who));
        }
        let mut pipe = Pipe::program(program);
        assert_eq!(pipe.line(), json!({ "open": true }));
        Self(pipe)
    }

    #[track_caller]
    fn echoes(&mut self, line: &str) {
        assert!(self.0.say(&format!("{line}\n")));
        assert_eq!(self.0.line(), json!({ "echoed": line }));
    }

    /// The close code that the client saw.
    #[track_caller]
    fn closed(&mut self) -> Value {
        self.0.line()["closed"].clone()
    }
}

fn open(agent: &Agent, side: &str) -> f64 {
    agent.metrics().sum("hotcert_connections_open", &[("side", side)])
}

fn closed(agent: &Agent, reason: &str) -> f64 {
    agent.metrics().sum("hotcert_connections_closed_total", &[("reason", reason)])
}

/// An app of `ws`, an agent and a client under two roots, of which the older is the client's.
struct Scene {
    pki: Pki,
    inbound: Inbound,
    client: Credentials,
    app: Pipe,
}

fn scene(args: &[&str]) -> Scene {
    let pki = Pki::default();
    let (app, address) = Ws.server(None);
    let inbound = Inbound::new(&pki, "http:", address, args);
    Scene { client: pki.client("storefront"), inbound, pki, app }
}

impl Scene {
    #[track_caller]
    fn hold(&self) -> Held {
        let mut held = Held::open(Websockets, &self.inbound.url(), Some(&self.client));
        held.echoes("hello");
        held
    }

    #[track_caller]
    fn rotate(&self) {
        let leaf = self.pki.leaf(SERVER);
        self.inbound.volume.publish(&leaf, self.pki.roots());
        self.inbound.agent.wait_serving(&leaf.serial);
    }
}

#[test]
fn it_goes_on_through_20_leaf_swaps() {
    let scene = scene(&["--drain-after", "10ms"]);
    let mut held = [scene.hold(), Held::open(Ws, &scene.inbound.url(), Some(&scene.client))];
    for round in 0..20 {
        scene.rotate();
        held.iter_mut().for_each(|each| each.echoes(&format!("round {round}")));
    }
    assert_eq!(scene.inbound.agent.health()["connections"]["older"], 2);
    for mut each in held {
        each.0.end();
        assert_eq!(each.closed(), 4001);
    }
}

#[test]
fn it_goes_on_through_20_leaf_swaps_of_both_agents() {
    let scene = scene(&["--drain-after", "10ms"]);
    let outbound = Outbound::new(&scene.pki, scene.inbound.address(), &["--drain-after", "10ms"]);
    let mut held = Held::open(Ws, &outbound.url(), None);
    for round in 0..20 {
        scene.rotate();
        let leaf = scene.pki.leaf("storefront");
        outbound.volume.publish(&leaf, scene.pki.roots());
        outbound.agent.wait_serving(&leaf.serial);
        held.echoes(&format!("round {round}"));
    }
    held.0.end();
    assert_eq!(held.closed(), 4001);
}

#[test]
fn it_is_counted_while_it_is_open_and_so_are_its_bytes() {
    let scene = scene(&[]);
    let agent = &scene.inbound.agent;
    let mut held = scene.hold();
    assert_eq!((open(agent, "inbound"), &agent.health()["connections"]["current"]), (1.0, &json!(1)));
    scene.rotate();
    assert_eq!(agent.health()["connections"]["previous"], 1);
    let bytes =
        || agent.metrics().sum("hotcert_bytes_total", &[("side", "inbound"), ("direction", "received")]);
    let before = bytes();
    for round in 0..10_u64 {
        // Its compression does not make little of it.
        let numbers = (1..500_u64).map(|at| (at + round * 500).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        held.echoes(&numbers.map(|number| format!("{number:016x}")).collect::<String>());
    }
    assert!(bytes() - before >= 20_000.0, "{before} and then {}", bytes());
    held.0.end();
    assert_eq!(held.closed(), 4001);
    until("the gauge back at zero", || (open(agent, "inbound") == 0.0).then_some(()));
}

/// Two roots, and a leaf of `payments` under the newer one.
fn two_roots(pki: &Pki) -> (String, kit::pki::Pair, String) {
    let new = authority("root two");
    let both = format!("{}{}", pki.roots(), new.certificate_pem());
    (both, issue(&new, &request(SERVER)), new.certificate_pem().to_owned())
}

#[test]
fn it_is_cut_when_the_root_of_its_client_is_removed() {
    let scene = scene(&["--root-drain", "1h"]);
    let (both, leaf, new) = two_roots(&scene.pki);
    scene.inbound.volume.publish(&leaf, &both);
    scene.inbound.agent.wait_serving(&leaf.serial);
    let client = scene.pki.credentials("storefront", &scene.pki.leaf("storefront"), &both);
    let mut held = Held::open(Websockets, &scene.inbound.url(), Some(&client));
    held.echoes("hello");
    scene.inbound.volume.publish(&leaf, &new);
    let begin = Instant::now();
    assert_eq!(held.closed(), 1006);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    until("counted", || (closed(&scene.inbound.agent, "root_removed") == 1.0).then_some(()));
}

#[test]
fn it_is_cut_when_its_client_is_revoked_and_that_of_another_is_not() {
    let scene = scene(&["--root-drain", "1h"]);
    let stolen = scene.pki.leaf("stolen");
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    let mut held = Held::open(Websockets, &scene.inbound.url(), Some(&thief));
    held.echoes("hello");
    let mut other = scene.hold();
    let (leaf, list) = (scene.pki.leaf(SERVER), kit::revocation::list(&scene.pki, 1, &[&stolen.serial], 1));
    let files = [
        ("tls.crt", leaf.cert.as_str()),
        ("tls.key", &leaf.key),
        ("ca.crt", scene.pki.roots()),
        ("ca.crl", &list),
    ];
    let begin = scene.inbound.volume.publish_files(&files);
    assert_eq!(held.closed(), 1006);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    other.echoes("still here");
    until("counted", || (closed(&scene.inbound.agent, "revoked") == 1.0).then_some(()));
}

#[test]
fn it_is_cut_when_the_root_of_its_server_is_removed() {
    let scene = scene(&[]);
    let (both, _, new) = two_roots(&scene.pki);
    let outbound = Outbound::new(&scene.pki, scene.inbound.address(), &["--root-drain", "1h"]);
    let leaf = scene.pki.leaf("storefront");
    outbound.volume.publish(&leaf, &both);
    outbound.agent.wait_serving(&leaf.serial);
    let mut held = Held::open(Ws, &outbound.url(), None);
    held.echoes("hello");
    outbound.volume.publish(&leaf, &new);
    let begin = Instant::now();
    assert_eq!(held.closed(), 1006);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    until("counted", || (closed(&outbound.agent, "root_removed") >= 1.0).then_some(()));
}

#[test]
fn it_ends_at_its_maximum_age() {
    let scene = scene(&["--max-age", "1s", "--max-age-grace", "1h"]);
    let mut held = scene.hold();
    assert_eq!(held.closed(), 1006);
    until("counted", || (closed(&scene.inbound.agent, "max_age") == 1.0).then_some(()));
}

#[test]
fn it_ends_when_nothing_moves() {
    let scene = scene(&["--idle-timeout", "1s"]);
    let mut held = scene.hold();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        held.echoes("busy");
    }
    assert_eq!(held.closed(), 1006);
    until("counted", || (closed(&scene.inbound.agent, "idle") == 1.0).then_some(()));
}

#[test]
fn it_goes_on_until_the_grace_of_a_shutdown_is_over() {
    let mut scene = scene(&["--shutdown-delay", "0s", "--shutdown-grace", "3s"]);
    let mut held = scene.hold();
    scene.inbound.agent.signal(Signal::TERM);
    scene.inbound.agent.wait_until("draining", |health| health["draining"] == true);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        held.echoes("still here");
    }
    assert_eq!(held.closed(), 1006);
    scene.inbound.agent.wait_exit(DEADLINE);
}

#[test]
fn an_app_that_dies_is_an_abnormal_end_for_the_client() {
    let scene = scene(&[]);
    let mut held = scene.hold();
    drop(scene.app);
    assert_eq!(held.closed(), 1006);
    until("the gauge back at zero", || (open(&scene.inbound.agent, "inbound") == 0.0).then_some(()));
}

#[test]
fn a_client_that_dies_is_an_abnormal_end_for_the_app() {
    let mut scene = scene(&[]);
    let mut client = Pipe::tls(scene.inbound.address(), &scene.client, &[]);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13";
    client
        .say(&format!("GET / HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\nsec-websocket-key: {key}\r\n\r\n"));
    let head = client.hear("\r\n\r\n").unwrap();
    // Of that key, in the RFC.
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    drop(client);
    assert_eq!(scene.app.line()["closed"], 1006);
    until("the gauge back at zero", || (open(&scene.inbound.agent, "inbound") == 0.0).then_some(()));
}
