//! The memory budget: what one peer has others hold for it is no more than its share, whatever carries it and whether it
//! has a certificate or not.

use std::thread::sleep;
use std::time::Duration;

use kit::client::{SERVER, python, python_files};
use kit::echo::Echo;
use kit::flood::{Flood, OTHER_SOURCE, SAME_SOURCE, TlsClient};
use kit::pipe::Pipe;
use kit::pki::dns;
use kit::scene::Scene;
use kit::until;
use tokio::runtime::Runtime;

const BUDGET: [&str; 2] = ["--memory-budget", "4Mi"];
const KIB: u64 = 1 << 10;

/// Waits until hardly anything moves any more.
fn held_up(scene: &Scene<Echo>) {
    let bytes = || scene.agent.metrics().sum("hotcert_bytes_total", &[("side", "inbound")]);
    let mut last = 0.0;
    until("held up", || {
        sleep(Duration::from_millis(500));
        let now = bytes();
        (now - std::mem::replace(&mut last, now) < 1e6).then_some(())
    });
}

#[test]
fn bytes_that_nobody_takes_cost_little_beyond_the_share_of_their_peer() {
    const CONNECTIONS: u64 = 40;
    let scene = Scene::tcp(&BUDGET);
    let in_use = || scene.agent.metrics().one("hotcert_memory_in_use_bytes", &[]);
    let before = scene.agent.resident();
    let mut pour = python("pour.py");
    pour.arg(scene.inbound().to_string()).args(python_files(&scene.pki.client("greedy")));
    pour.args(["--connections", &CONNECTIONS.to_string()]);
    let mut pour = Pipe::program(pour);
    assert_eq!(pour.line()["open"], CONNECTIONS);
    until("the share is used up", || (in_use() > (512 << 10) as f64).then_some(()));
    held_up(&scene);
    // A sixth of the budget, and 8 KiB for each in either direction; as much again is what TLS and the allocator hold.
    assert!(in_use() < (2 << 20) as f64, "{}", in_use());
    let grown = scene.agent.resident_peak().saturating_sub(before);
    assert!(grown < 8 * KIB, "{grown} KiB for {CONNECTIONS} connections");
    let mut other = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(other.echoes("beside them"));
    drop(pour);
    until("the budget is free", || (in_use() == 0.0).then_some(()));
}

#[test]
fn clients_of_one_address_have_one_share_and_those_of_another_have_theirs() {
    let scene = Scene::http(&[&BUDGET[..], &["--client-auth", "none"]].concat());
    let tls = TlsClient::new(&scene.client.ca, &dns(SERVER));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", dns(SERVER)).into_bytes();
    let waits = || scene.agent.metrics().one("hotcert_memory_waits_total", &[]);
    // One request on each connection, for a response that does not end.
    let flood = Flood::over_tls(60, SAME_SOURCE, scene.inbound(), tls.clone(), ask("/gated"));
    until("more than the share of the address", || (waits() > 0.0).then_some(()));
    let request = ask("/bytes/10");
    let other = || tls.status(OTHER_SOURCE, scene.inbound(), &request);
    let runtime = Runtime::new().unwrap();
    for _ in 0..10 {
        assert_eq!(runtime.block_on(other()).unwrap(), 200);
    }
    drop(flood);
}
