//! Twice is once, whichever way round.

use super::*;

fn pods() -> Vec<Value> {
    let busy = [("inbound", "http:8443=8080,8444=8081"), ("outbound", "9001=a:1"), ("log", "warn")];
    let probed = json!({
        "name": "app",
        "ports": [{ "name": "http", "containerPort": 8080 }],
        "startupProbe": { "httpGet": { "port": "http" } },
        "readinessProbe": { "httpGet": { "port": 8081, "path": "ready?full=1,2" } },
        "livenessProbe": { "tcpSocket": { "port": 8080 } },
    });
    let app_probe =
        json!({ "name": "app", "livenessProbe": { "httpGet": { "port": 9090, "path": "/probe/8080/x" } } });
    vec![
        asking(&[]),
        asking(&busy),
        asking(&[("api", "disabled"), ("inbound", "8443=8080")]),
        asking(&[("sidecar", "container")]),
        with(asking(&busy), "/spec/containers", json!([probed, app_probe])),
        with(asking(&busy), "/spec/initContainers", json!([])),
        with(asking(&busy), "/spec/initContainers", json!(null)),
        with(asking(&busy), "/spec/initContainers", json!([{ "name": "migrate" }, probed])),
        with(asking(&busy), "/spec/volumes", json!([])),
        with(asking(&busy), "/spec/volumes", json!([{ "name": "data", "emptyDir": {} }])),
        with(asking(&busy), "/spec/terminationGracePeriodSeconds", json!(10)),
        with(asking(&busy), "/metadata/ownerReferences", json!([{ "kind": "Job" }])),
    ]
}

#[test]
fn injecting_twice_is_injecting_once_whichever_kind_came_first() {
    for pod in pods() {
        for last in [SidecarKind::Native, SidecarKind::Container] {
            let once = injected(&pod, last);
            for first in [SidecarKind::Native, SidecarKind::Container] {
                let twice = injected(&injected(&pod, first).0, last);
                assert_eq!(twice.0, once.0, "{first} and then {last}");
                let thrice = injected(&twice.0, last);
                assert_eq!(thrice, twice, "{first} and then {last}, twice");
            }
        }
    }
}

/// What the API server adds to a container in between belongs to the old one.
#[test]
fn an_agent_that_was_changed_in_between_is_replaced() {
    let pod = asking(&[("inbound", "8443=8080")]);
    let once = native(&pod);
    let mut defaulted = once.clone();
    defaulted["spec"]["initContainers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    defaulted["spec"]["initContainers"][0]["image"] = json!("agent:0");
    defaulted["spec"]["volumes"][0]["secret"]["defaultMode"] = json!(0o644);
    assert_eq!(native(&defaulted), once);
}

#[test]
fn a_changed_annotation_leaves_nothing_of_the_earlier_injection() {
    let app = json!([{ "name": "app", "readinessProbe": { "httpGet": { "port": 8080, "path": "/ready" } } }]);
    let pod = |annotations: &[(&str, &str)]| with(asking(annotations), "/spec/containers", app.clone());
    let changed = with(
        native(&pod(&[("inbound", "8443=8080")])),
        "/metadata/annotations/hotcert.dev~1inbound",
        json!(null),
    );
    let mut changed = changed;
    changed["metadata"]["annotations"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("inbound"));
    changed["metadata"]["annotations"]["hotcert.dev/api"] = json!("disabled");
    assert_eq!(native(&changed), native(&pod(&[("api", "disabled")])));
}
