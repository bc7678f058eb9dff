//! What a client that asks for much and reads nothing costs: memory within its share of the budget, and no other client
//! its answers.

use std::thread::sleep;
use std::time::Duration;

use kit::app::App;
use kit::client::python_files;
use kit::installed::python;
use kit::pipe::Pipe;
use kit::scene::Scene;
use kit::until;

const MIB: u64 = 1 << 10;
/// Of the whole budget.
const BUDGET: u64 = 8;
/// A mebibyte for each is for TLS with what it has encrypted, and its queues.
const CONNECTIONS: u64 = 4;

/// So many requests on each of so many connections, each for more than fits into the queues on its way.
fn unread(scene: &Scene<App>) -> Pipe {
    let mut client = python("unread.py");
    client.arg(scene.inbound().to_string()).args(python_files(&scene.pki.client("greedy")));
    client.args(["--connections", &CONNECTIONS.to_string(), "--streams", "100"]);
    let mut client = Pipe::program(client);
    assert_eq!(client.line()["open"], CONNECTIONS);
    client
}

/// Waits until hardly anything moves any more.
fn held_up(scene: &Scene<App>) {
    let sent = [("side", "inbound"), ("direction", "sent")];
    let mut last = 0.0;
    until("held up", || {
        sleep(Duration::from_millis(500));
        let now = scene.agent.metrics().one("hotcert_bytes_total", &sent);
        (now > 0.0 && now - std::mem::replace(&mut last, now) < 1e5).then_some(())
    });
}

#[test]
fn client_that_reads_nothing_holds_no_more_than_its_share() {
    let budget = format!("{BUDGET}Mi");
    let scene = Scene::http(&["--memory-budget", &budget]);
    let next = || scene.curl("/chunked/1000000").args(["--http2", "--max-time", "15"]).run();
    assert_eq!(next().answer.body.len(), 1_000_000);
    let before = scene.agent.resident();
    let client = unread(&scene);
    let waits = || scene.agent.metrics().one("hotcert_memory_waits_total", &[]);
    until("more is asked for than its share", || (waits() > 0.0).then_some(()));
    held_up(&scene);
    // A sixth is its share; what it does not hold by itself it makes the libraries and the allocator hold.
    let grown = scene.agent.resident_peak().saturating_sub(before);
    assert!(grown < (BUDGET / 2 + CONNECTIONS) * MIB, "{grown} KiB for {CONNECTIONS} connections");
    let metrics = scene.agent.metrics();
    assert_eq!(metrics.one("hotcert_memory_budget_bytes", &[]), (BUDGET << 20) as f64);
    let in_use = metrics.one("hotcert_memory_in_use_bytes", &[]);
    assert!(in_use > 0.0 && in_use < (BUDGET << 20) as f64, "{in_use}");
    for _ in 0..5 {
        let next = next();
        assert_eq!(next.answer.body.len(), 1_000_000, "{}", next.errors);
    }
    drop(client);
    until("the budget is free", || {
        (scene.agent.metrics().one("hotcert_memory_in_use_bytes", &[]) == 0.0).then_some(())
    });
}
