//! What the manifests name is there, and nothing lies about that is not applied.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::FOLDERS;
use super::objects::{array, folder, matches, objects, parse, pods, selected, title};
use super::restricted::containers;

#[test]
fn every_file_is_rendered() {
    for name in FOLDERS {
        let titles: BTreeSet<_> = objects(name).iter().map(title).collect();
        for entry in std::fs::read_dir(folder(name)).unwrap() {
            let path = entry.unwrap().path();
            let is_manifest = path.extension().is_some_and(|extension| extension == "yaml");
            if is_manifest && !path.ends_with("kustomization.yaml") {
                for object in parse(&std::fs::read_to_string(&path).unwrap()) {
                    assert!(titles.contains(&title(&object)), "{}: {}", path.display(), title(&object));
                }
            }
        }
    }
}

#[test]
fn every_selector_means_a_pod() {
    for name in FOLDERS {
        let objects = objects(name);
        let pods = pods(&objects);
        let mut count = 0;
        for object in &objects {
            let spec = &object["spec"];
            for selector in [&spec["selector"], &spec["podSelector"]].into_iter().filter(|s| s.is_object()) {
                let selected = selected(&pods, object, selector);
                let one = ["Deployment", "Service", "PodDisruptionBudget"]
                    .contains(&object["kind"].as_str().unwrap());
                assert!(selected.len() == 1 || !one && !selected.is_empty(), "{}", title(object));
                count += 1;
            }
        }
        assert!(count > 0, "{name}");
        for pod in &pods {
            for spread in array(&pod["spec"]["topologySpreadConstraints"]) {
                assert!(matches(&spread["labelSelector"], &pod["metadata"]["labels"]), "{pod:#}");
            }
        }
    }
}

#[test]
fn everything_that_is_named_is_there() {
    for name in FOLDERS {
        let (base, objects) = (objects("base"), objects(name));
        // What every cluster has, and what the base has before anything else is applied.
        let mut titles = BTreeSet::from(["Namespace /default".to_owned()]);
        titles.extend(objects.iter().chain(&base).map(title));
        let there = |kind: &Value, namespace: &Value, name: &Value| {
            let metadata = json!({ "namespace": namespace, "name": name });
            let wanted = title(&json!({ "kind": kind, "metadata": metadata }));
            assert!(titles.contains(&wanted), "{wanted}");
        };
        let none = Value::Null;
        for object in &objects {
            let namespace = &object["metadata"]["namespace"];
            if namespace.is_string() {
                there(&"Namespace".into(), &none, namespace);
            }
            let role = &object["roleRef"];
            if role.is_object() {
                there(&role["kind"], if role["kind"] == "Role" { namespace } else { &none }, &role["name"]);
            }
            for subject in array(&object["subjects"]) {
                there(&subject["kind"], &subject["namespace"], &subject["name"]);
            }
            for webhook in array(&object["webhooks"]) {
                let service = &webhook["clientConfig"]["service"];
                there(&"Service".into(), &service["namespace"], &service["name"]);
            }
        }
        for pod in pods(&objects) {
            there(
                &"ServiceAccount".into(),
                &pod["metadata"]["namespace"],
                &pod["spec"]["serviceAccountName"],
            );
        }
    }
}

#[test]
fn the_base_is_what_kubernetes_1_20_takes() {
    let old = [
        "v1",
        "apps/v1",
        "rbac.authorization.k8s.io/v1",
        "networking.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "hotcert.dev/v1alpha1",
    ];
    for object in ["base", "demo"].iter().flat_map(|name| objects(name)) {
        assert!(old.contains(&object["apiVersion"].as_str().unwrap()), "{}", title(&object));
    }
    for pod in [pods(&objects("base")), pods(&objects("demo"))].concat() {
        assert!(containers(&pod).all(|container| container["restartPolicy"].is_null()), "{pod:#}");
    }
    let added: Vec<_> =
        objects("overlays/disruption").into_iter().filter(|o| !objects("base").contains(o)).collect();
    assert_eq!(
        added.iter().map(title).collect::<Vec<_>>(),
        ["PodDisruptionBudget hotcert-system/hotcert-controller"]
    );
}
