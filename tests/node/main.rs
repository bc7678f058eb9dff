//! The demo on a whole Kubernetes node: put there by the very commands of the README, rotated under load
//! with kubectl. Runs inside the node's namespaces: `./tests/run node`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod demo;
mod readme;

use std::time::Duration;

use demo::{Demo, Load, Served};

const ROTATIONS: usize = 10;
/// kubelet looks at a volume once in 60 to 90 seconds, and the machine is busy.
const BY_VOLUME: Duration = Duration::from_secs(150);
const BY_API: Duration = Duration::from_secs(20);

#[test]
fn the_demo_of_the_readme_rotates_under_load() {
    let demo = Demo::by_readme();
    let pods = demo.pods();
    assert_eq!(pods.len(), 2, "storefront and payments");
    for pod in &pods {
        assert!(pod.ready, "{pod:?}");
        assert_eq!(pod.containers.len(), 2, "the app and its agent: {pod:?}");
        assert!(pod.containers.values().all(|(_, restarts)| *restarts == 0), "{pod:?}");
        assert_eq!(demo.health(pod)["source"]["kind"], "api", "{:#}", demo.health(pod));
        assert_eq!(demo.health(pod)["exposed"].as_array().map(Vec::len), Some(0));
    }

    let load = Load::start(&demo);
    let by_api: Vec<Served> = (0..ROTATIONS).flat_map(|_| demo.rotate(&pods, "api", BY_API)).collect();
    let answer = load.end();
    eprintln!("through the API: {}\nload: {answer}", Served::summary(&by_api));
    assert_eq!(answer["failed"], 0, "{answer}");
    assert!(answer["kept"].as_u64().unwrap() > 100 && answer["fresh"].as_u64().unwrap() > 20, "{answer}");
    assert_eq!(demo.pods(), pods, "no container was replaced or restarted");

    demo.use_the_volume_alone();
    let pods = demo.pods();
    let load = Load::start(&demo);
    let by_volume = demo.rotate(&pods, "volume", BY_VOLUME);
    let answer = load.end();
    eprintln!("through the volume alone: {}\nload: {answer}", Served::summary(&by_volume));
    assert_eq!(answer["failed"], 0, "{answer}");
    assert_eq!(demo.pods(), pods, "no container was replaced or restarted");
}
