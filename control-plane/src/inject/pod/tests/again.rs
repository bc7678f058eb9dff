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

/// As an API server and its admission leave the pod between two calls of the webhook.
fn admitted(mut pod: Value, list: &str) -> Value {
    let agent = &mut pod["spec"][list][0];
    agent["imagePullPolicy"] = json!("Always");
    agent["terminationMessagePath"] = json!("/dev/termination-log");
    agent["resources"]["limits"]["cpu"] = json!("200m");
    agent["resources"]["requests"]["ephemeral-storage"] = json!("1Gi");
    for probe in PROBES {
        agent[probe]["timeoutSeconds"] = json!(1);
        agent[probe]["httpGet"]["scheme"] = json!("HTTP");
    }
    pod
}

#[test]
fn what_admission_gave_the_agent_stays() {
    for (sidecar, list) in [(SidecarKind::Native, "initContainers"), (SidecarKind::Container, "containers")] {
        let admitted = admitted(injected(&asking(&[("inbound", "8443=8080")]), sidecar).0, list);
        assert_eq!(injected(&admitted, sidecar).0, admitted, "{sidecar}");
    }
}

#[test]
fn what_admission_gave_one_kind_the_other_has_and_no_restart_policy() {
    let pod = asking(&[("inbound", "8443=8080")]);
    let as_native = admitted(native(&pod), "initContainers");
    let as_container = admitted(injected(&pod, SidecarKind::Container).0, "containers");
    assert_eq!(injected(&as_native, SidecarKind::Container).0, as_container);
    assert_eq!(native(&as_container), as_native);
    let restarted = with(as_container.clone(), "/spec/containers/0/restartPolicy", json!("Never"));
    assert_eq!(injected(&restarted, SidecarKind::Container).0, as_container);
}

#[test]
fn an_agent_that_was_changed_in_between_is_as_it_was_meant() {
    let once = admitted(native(&asking(&[("inbound", "8443=8080")])), "initContainers");
    let mut changed = once.clone();
    let agent = &mut changed["spec"]["initContainers"][0];
    agent["image"] = json!("agent:0");
    agent["resources"]["limits"]["memory"] = json!("1Mi");
    agent["securityContext"] = json!({ "privileged": true });
    agent["livenessProbe"]["httpGet"]["port"] = json!(1);
    agent["env"][0]["value"] = json!("/elsewhere");
    agent["env"].as_array_mut().unwrap().push(json!({ "name": "HOTCERT_CLIENT_AUTH", "value": "none" }));
    changed["spec"]["volumes"][0]["secret"]["defaultMode"] = json!(0o644);
    assert_eq!(native(&changed), once);

    let probe = with(
        native(&asking(&[])),
        "/spec/initContainers/0/livenessProbe",
        json!({ "exec": { "command": ["true"] } }),
    );
    assert_eq!(native(&probe), native(&asking(&[])));
}

#[test]
fn without_its_annotation_a_resource_is_the_default_again() {
    let once = native(&asking(&[
        ("cpu-request", "1"),
        ("memory-request", "64Mi"),
        ("memory-limit", "1Gi"),
        ("log", "debug"),
    ]));
    let mut changed = with(once, "/metadata/annotations", asking(&[])["metadata"]["annotations"].clone());
    changed["metadata"]["annotations"][INJECTED] = json!("native");
    assert_eq!(native(&changed), native(&asking(&[])));
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
