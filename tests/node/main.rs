//! The demo on a whole Kubernetes node: put there by the very commands of the documents; certificates are
//! rotated and the root is rolled over under load, by the control plane. Runs inside the node's
//! namespaces: `./tests/run node`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod demo;
mod page;
mod rollover;

use std::time::Duration;

use demo::{Demo, Load, Rotated};

const ROTATIONS: usize = 10;

/// One test: a node is slow to come up, and each part goes on where the one before ended.
#[test]
fn the_demo_of_the_documents_rotates_and_rolls_over_under_load() {
    let demo = Demo::by_page();
    let pods = demo.pods();
    assert_eq!(pods.len(), 3, "storefront, payments and the client");
    for pod in &pods {
        assert!(pod.ready, "{pod:?}");
        assert_eq!(pod.containers.len(), 2, "the app and its agent: {pod:?}");
        assert!(pod.containers.values().all(|(_, restarts)| *restarts == 0), "{pod:?}");
        assert_eq!(demo.health(pod)["source"]["kind"], "api", "{:#}", demo.health(pod));
    }

    let load = Load::start(&demo);
    let by_api: Vec<Rotated> = (0..ROTATIONS).flat_map(|_| demo.rotate("api")).collect();
    let answer = load.end();
    eprintln!("through the API: {}\nload: {answer}", Rotated::summary(&by_api));
    assert_eq!(answer["failed"], 0, "{answer}");
    assert!(answer["kept"].as_u64().unwrap() > 100 && answer["fresh"].as_u64().unwrap() > 20, "{answer}");
    assert_eq!(demo.pods(), pods, "no container was replaced or restarted");

    let load = Load::start(&demo);
    let took = rollover::to_its_end(&demo);
    let answer = load.end();
    eprintln!("a rollover of the root took {took:.1?}\nload: {answer}");
    assert_eq!(answer["failed"], 0, "{answer}");
    assert_eq!(demo.pods(), pods, "no container was replaced or restarted");

    rollover::held_by_a_pod_that_does_not_answer(&demo);

    demo.use_the_volume_alone();
    let pods = demo.pods();
    let load = Load::start(&demo);
    let by_volume = demo.rotate("volume");
    let answer = load.end();
    eprintln!("through the volume alone, nudged: {}\nload: {answer}", Rotated::summary(&by_volume));
    assert_eq!(answer["failed"], 0, "{answer}");
    assert!(by_volume.iter().all(|rotated| rotated.after < Duration::from_secs(30)), "kubelet was nudged");
    assert_eq!(demo.pods(), pods, "no container was replaced or restarted");
}
