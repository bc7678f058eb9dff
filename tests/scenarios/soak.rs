//! A thousand swaps under load: no request fails, and nothing is left behind.

use kit::agent::Agent;
use kit::app::App;
use kit::client::{python, python_files};
use kit::pipe::Pipe;
use kit::scene::Scene;
use kit::until;
use serde_json::Value;

/// Swaps under load; what the load says at the end.
fn swaps(scene: &Scene<App>, count: usize) -> Value {
    let mut load = python("load.py");
    load.arg(scene.inbound().to_string()).args(python_files(&scene.client));
    let mut load = Pipe::program(load);
    assert_eq!(load.line()["running"], true);
    for _ in 0..count {
        scene.rotate_and_wait();
    }
    load.end();
    load.line()
}

#[derive(Debug)]
struct Footprint {
    resident_kib: u64,
    descriptors: usize,
    tasks: f64,
}

fn footprint(agent: &Agent) -> Footprint {
    until("all connections closed", || {
        (agent.metrics().sum("hotcert_connections_open", &[]) == 0.0).then_some(())
    });
    Footprint {
        resident_kib: agent.resident(),
        descriptors: agent.descriptors(),
        tasks: agent.metrics().one("hotcert_tasks", &[]),
    }
}

#[test]
fn a_thousand_swaps_under_load() {
    let scene = Scene::http(&[]);
    let warm = swaps(&scene, 100);
    assert_eq!(warm["failed"], 0, "{warm}");
    let before = footprint(&scene.agent);
    let load = swaps(&scene, 1000);
    let after = footprint(&scene.agent);
    println!("load {load}\nbefore {before:?}\nafter  {after:?}");
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["kept"].as_u64().unwrap() > 500 && load["fresh"].as_u64().unwrap() > 100, "{load}");
    assert_eq!(
        load["connections"].as_u64().unwrap(),
        load["fresh"].as_u64().unwrap() + 2,
        "kept connections were kept"
    );
    assert_eq!(scene.health()["generation"], 1101);
    assert!(after.resident_kib < before.resident_kib + (8 << 10), "{before:?} {after:?}");
    // The admin connection that counts is one of them.
    assert!(after.descriptors <= before.descriptors + 2, "{before:?} {after:?}");
    assert!(after.tasks <= before.tasks, "{before:?} {after:?}");
}
