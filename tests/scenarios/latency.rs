//! How long after the rename a handshake shows the new leaf, and how long a new connection takes to its first answer,
//! measured from outside.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use kit::agent::Launch;
use kit::client::{SERVER, both, python, python_files};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, serial};
use kit::scene::Scene;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::outbound::python_server;

/// What Python calls `time.monotonic_ns`, of an instant of ours.
fn monotonic_nanos(instant: Instant) -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec) - instant.elapsed().as_nanos() as i128
}

/// Rename to first handshake with the new leaf, for 50 swaps, in order of length.
fn swaps(scene: &Scene<Echo>, client: &mut Pipe) -> Vec<f64> {
    let mut millis: Vec<f64> = (0..50)
        .map(|_| {
            let (leaf, renamed) = scene.rotate();
            let shown = client.line();
            assert_eq!(serial(shown["serial"].as_str().unwrap()), leaf.serial);
            (i128::from(shown["at"].as_i64().unwrap()) - monotonic_nanos(renamed)) as f64 / 1e6
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    millis
}

#[test]
fn the_new_leaf_is_shown_within_ten_milliseconds() {
    let scene = Scene::tcp(&["--poll-interval", "1h"]);
    let mut client = python("handshakes.py");
    client.arg(scene.inbound().to_string()).args(python_files(&scene.client));
    let mut client = Pipe::program(client);
    assert_eq!(serial(client.line()["serial"].as_str().unwrap()), scene.leaf.serial);
    // The promise is for a quiet machine: something else may be running, but not in every round.
    let medians = (0..5).map(|_| {
        let millis = swaps(&scene, &mut client);
        let (median, most) = (millis[millis.len() / 2], millis[millis.len() - 1]);
        println!("rename to first handshake with the new leaf: median {median:.2} ms, most {most:.2} ms");
        median
    });
    assert!(medians.into_iter().any(|median| median < 10.0), "no round with a median under 10 ms");
}

/// Half of the time by which the kernel delays an acknowledgement.
const PROMPT_MILLIS: f64 = 20.0;

/// How many of 20 first answers were prompt, to clients with TCP_NODELAY and with Nagle's algorithm.
fn prompt_answers(mut client: Command) -> [usize; 2] {
    let output = client.output().unwrap();
    let millis: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)));
    println!("first answers: {millis}");
    ["nodelay", "nagle"].map(|clients| {
        let millis = millis[clients].as_array().unwrap().iter().map(|millis| millis.as_f64().unwrap());
        millis.filter(|millis| *millis < PROMPT_MILLIS).count()
    })
}

fn first_answer(address: SocketAddr) -> Command {
    let mut client = python("first_answer.py");
    client.arg(address.to_string());
    client
}

#[test]
fn the_first_answer_does_not_wait_for_the_acknowledgement_of_a_client() {
    let scene = Scene::http(&[]);
    let round = || {
        let mut client = first_answer(scene.inbound());
        client.args(python_files(&scene.client));
        prompt_answers(client)
    };
    // On a busy machine some answers are late, whatever the client does: as many of either kind.
    let is_prompt = |[nodelay, nagle]: [usize; 2]| nagle >= 10 && nagle + 2 >= nodelay;
    assert!((0..5).any(|_| is_prompt(round())), "no round with prompt answers");
}

#[test]
fn the_first_answer_does_not_wait_for_the_acknowledgement_of_a_server() {
    let pki = Pki::default();
    // Python's, which leaves Nagle's algorithm on and sends session tickets.
    let (_server, address) = python_server(&pki, "http");
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let agent = Launch::new(&volume.path).outbound("", format!("{address}#{}", dns(SERVER))).ready();
    let round = || prompt_answers(first_answer(agent.address("outbound")));
    assert!((0..5).any(|_| round().into_iter().all(|prompt| prompt >= 10)), "no round with prompt answers");
}
