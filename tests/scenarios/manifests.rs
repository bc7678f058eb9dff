//! The manifests agree with the programs, with each other, and with what a cluster demands of pods: as kubectl
//! renders them, and as the agent is put into them.

mod applied;
mod network;
pub mod objects;
mod references;
mod restricted;
mod webhook;

use std::collections::BTreeSet;
use std::process::Command;

use kit::agent::program;
use serde_json::{Value, json};

use objects::{array, folder, injected, object, objects, parse, pods, said, title};
use restricted::{containers, faults};

const FOLDERS: [&str; 4] = ["base", "overlays/disruption", "overlays/notifications", "demo"];
const SIDECARS: [&str; 2] = ["native", "container"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The demo's pods with the agent in them, in both ways.
fn injected_pods() -> Vec<Value> {
    SIDECARS.iter().flat_map(|kind| pods(&parse(&injected("demo", &["--sidecar", kind])))).collect()
}

/// Every pod that any of this leads to.
fn every_pod() -> Vec<Value> {
    [pods(&objects("base")), pods(&objects("demo")), injected_pods()].concat()
}

fn agent(pod: &Value) -> &Value {
    containers(pod).find(|container| container["name"] == "hotcert-agent").expect("an agent in the pod")
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    array(&container["env"]).iter().find(|variable| variable["name"] == name)?["value"].as_str()
}

/// What the container's program says for `--help` after the container's own arguments.
fn help(container: &Value) -> String {
    let program = program(match container["image"].as_str().unwrap().split_once(':').unwrap().0 {
        "hotcert-demo" => "demo-service",
        image => image,
    });
    let args = array(&container["args"]).iter().map(|arg| arg.as_str().unwrap());
    said(Command::new(program).args(args).arg("--help"), "")
}

#[test]
fn every_pod_is_restricted_and_cannot_write_to_its_root() {
    for pod in every_pod() {
        assert_eq!(faults(&pod), Vec::<String>::new(), "{pod:#}");
    }
    for namespace in ["base", "demo"].map(|name| object(&objects(name), "Namespace")) {
        for mode in ["enforce", "audit", "warn"] {
            let label = format!("pod-security.kubernetes.io/{mode}");
            assert_eq!(namespace["metadata"]["labels"][label], "restricted", "{namespace:#}");
        }
    }
}

#[test]
fn every_variable_is_one_that_the_program_knows() {
    let config = object(&objects("base"), "ConfigMap");
    for pod in every_pod() {
        for container in containers(&pod) {
            let help = help(container);
            let known: BTreeSet<&str> =
                help.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_')).collect();
            let mut names: Vec<_> =
                array(&container["env"]).iter().map(|variable| variable["name"].as_str().unwrap()).collect();
            for source in array(&container["envFrom"]) {
                assert_eq!(source["configMapRef"]["name"], config["metadata"]["name"]);
                names.extend(config["data"].as_object().unwrap().keys().map(String::as_str));
            }
            assert!(!names.is_empty(), "{container:#}");
            for name in names {
                assert!(known.contains(name), "{} does not know {name}", container["name"]);
            }
        }
    }
}

#[test]
fn every_image_is_of_this_version() {
    let of = |names: &[&str]| names.iter().map(|name| format!("{name}:{VERSION}")).collect::<BTreeSet<_>>();
    let images: BTreeSet<String> = every_pod()
        .iter()
        .flat_map(|pod| containers(pod).map(|container| container["image"].as_str().unwrap().into()))
        .collect();
    assert_eq!(images, of(&["hotcert", "hotcert-agent", "hotcert-demo"]));
    let config = object(&objects("base"), "ConfigMap");
    assert_eq!(config["data"]["HOTCERT_AGENT_IMAGE"], format!("hotcert-agent:{VERSION}"));
}

#[test]
fn an_overlay_moves_the_images_elsewhere() {
    let directory = tempfile::TempDir::new().unwrap();
    // kustomize takes no absolute path.
    let base = format!("{}{}", "../".repeat(20), folder("base").display());
    let overlay = json!({
        "resources": [base],
        "images": [{ "name": "hotcert", "newName": "registry.test/hotcert" }],
        "configMapGenerator": [{
            "name": "hotcert-controller",
            "namespace": "hotcert-system",
            "behavior": "merge",
            "literals": ["HOTCERT_AGENT_IMAGE=registry.test/hotcert-agent:1", "HOTCERT_SIDECAR=container"],
        }],
    });
    std::fs::write(directory.path().join("kustomization.yaml"), overlay.to_string()).unwrap();
    let objects = parse(&said(Command::new("kubectl").arg("kustomize").arg(directory.path()), ""));
    let container = containers(&pods(&objects)[0]).next().unwrap().clone();
    let config = object(&objects, "ConfigMap");
    assert_eq!(container["image"], format!("registry.test/hotcert:{VERSION}"));
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], config["metadata"]["name"]);
    assert_eq!(config["data"]["HOTCERT_AGENT_IMAGE"], "registry.test/hotcert-agent:1");
    assert_eq!(config["data"]["HOTCERT_SIDECAR"], "container");
}

#[test]
fn the_demos_rbac_is_what_inject_prints() {
    let is_rbac = |object: &Value| {
        ["Role", "RoleBinding"].contains(&object["kind"].as_str().unwrap())
            && object["roleRef"]["name"] != "hotcert-namespace"
    };
    let by_title = |mut objects: Vec<Value>| {
        objects.sort_by_key(title);
        objects
    };
    let shown: Vec<_> = objects("demo").into_iter().filter(is_rbac).collect();
    let printed = parse(&injected("demo", &["--rbac=only"]));
    assert_eq!(by_title(shown), by_title(printed));
}
