#![allow(clippy::unwrap_used)]

use super::*;
use crate::inject::pod::{Context, Injection, inject};
use crate::inject::pod_spec::items;
use crate::inject::sidecar_kind::SidecarKind;

/// The app's container after injection, and the value of HOTCERT_PROBE.
fn injected(app: Value) -> (Value, Option<String>) {
    let pod = json!({
        "metadata": { "annotations": {
            "hotcert.dev/secret": "a",
            "hotcert.dev/inbound": "8443=8080,8444=[::1]:8081,8445=10.0.0.1:8082",
        } },
        "spec": { "containers": [app] },
    });
    let context = Context {
        namespace: "shop",
        namespace_label: Some("enabled"),
        agent_image: "agent:1",
        sidecar: SidecarKind::Native,
        is_job: false,
    };
    let Ok(Injection::Injected { pod, .. }) = inject(&pod, &context) else { panic!("not injected") };
    let variable =
        items(&pod["spec"]["initContainers"][0]["env"]).find(|variable| variable["name"] == "HOTCERT_PROBE");
    (
        pod["spec"]["containers"][0].clone(),
        variable.map(|variable| variable["value"].as_str().unwrap().to_owned()),
    )
}

fn app(get: Value) -> Value {
    json!({ "name": "app", "ports": [{ "name": "http", "containerPort": 8080 }], "readinessProbe": { "httpGet": get, "periodSeconds": 3 } })
}

#[test]
fn http_probes_of_a_loopback_port_go_through_the_agent() {
    for (get, path, target) in [
        (json!({ "port": 8080, "path": "/healthz" }), "/probe/8080/healthz", "8080/healthz"),
        (json!({ "port": "http", "path": "/healthz" }), "/probe/8080/healthz", "8080/healthz"),
        (json!({ "port": "8080", "path": "/healthz" }), "/probe/8080/healthz", "8080/healthz"),
        (json!({ "port": 8080 }), "/probe/8080/", "8080/"),
        (json!({ "port": 8080, "path": "ready" }), "/probe/8080/ready", "8080/ready"),
        (
            json!({ "port": 8080, "path": "/ready?full=1,2" }),
            "/probe/8080/ready?full=1,2",
            "8080/ready?full=1%2C2",
        ),
    ] {
        let (container, probed) = injected(app(get.clone()));
        assert_eq!(
            container["readinessProbe"],
            json!({ "httpGet": { "path": path, "port": 9640 }, "periodSeconds": 3 })
        );
        assert_eq!(probed.as_deref(), Some(target), "{get}");
    }
}

#[test]
fn other_fields_of_a_probe_are_kept() {
    let headers = json!([{ "name": "Host", "value": "shop" }]);
    let (container, _) = injected(app(json!({ "port": 8080, "scheme": "HTTP", "httpHeaders": headers })));
    let get = &container["readinessProbe"]["httpGet"];
    assert_eq!((&get["scheme"], &get["httpHeaders"]), (&json!("HTTP"), &headers));
}

#[test]
fn probes_that_the_agent_cannot_relay_stay_unchanged() {
    for get in [
        json!({ "port": 9090, "path": "/healthz" }),
        json!({ "port": "unknown", "path": "/healthz" }),
        json!({ "port": 8080, "scheme": "HTTPS" }),
        json!({ "port": 8080, "host": "10.0.0.9" }),
        json!({ "port": 8081 }),
        json!({ "port": 8082 }),
        json!({ "port": 8080, "path": "/a b" }),
        json!({ "port": 8080, "path": "/a#b" }),
        json!({ "port": 8080, "path": "/\u{1}" }),
    ] {
        let before = app(get);
        assert_eq!(injected(before.clone()), (before, None));
    }
}

#[test]
fn every_kind_of_probe_is_relayed_and_each_path_listed_once() {
    let get = |path: &str| json!({ "httpGet": { "port": 8080, "path": path } });
    let (container, probed) = injected(json!({
        "name": "app",
        "startupProbe": get("/a"), "readinessProbe": get("/b"), "livenessProbe": get("/a"),
    }));
    for probe in PROBES {
        assert_eq!(container[probe]["httpGet"]["port"], 9640, "{probe}");
    }
    assert_eq!(probed.as_deref(), Some("8080/a,8080/b"));
}
