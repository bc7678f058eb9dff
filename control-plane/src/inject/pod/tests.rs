#![allow(clippy::unwrap_used)]

mod again;
mod refused;

use serde_json::{Value, json};

use super::*;
use crate::inject::pod_spec::{PROBES, tcp_ports};

pub fn context(sidecar: SidecarKind) -> Context<'static> {
    Context { namespace: "shop", namespace_label: None, agent_image: "agent:1", sidecar, is_job: false }
}

/// A pod that asks for the agent, with these annotations beside its Secret's name.
fn asking(annotations: &[(&str, &str)]) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "payments",
            "labels": { "app": "payments", "hotcert.dev/inject": "enabled" },
            "annotations": { "hotcert.dev/secret": "payments-tls", "other.dev/note": "kept" },
        },
        "spec": {
            "futureField": { "kept": [1, null] },
            "containers": [{ "name": "app", "image": "app:1", "futureField": true }],
        },
    });
    for (name, value) in annotations {
        pod["metadata"]["annotations"][format!("hotcert.dev/{name}")] = json!(value);
    }
    pod
}

fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

fn injected(pod: &Value, sidecar: SidecarKind) -> (Value, Vec<String>) {
    match inject(pod, &context(sidecar)) {
        Ok(Injection::Injected { pod, warnings }) => (pod, warnings),
        other => panic!("not injected: {other:?}"),
    }
}

fn native(pod: &Value) -> Value {
    injected(pod, SidecarKind::Native).0
}

/// The agent's environment as `NAME=value`.
fn environment(pod: &Value) -> Vec<String> {
    let agent = containers(pod).find(|container| container["name"] == AGENT_CONTAINER).unwrap();
    items(&agent["env"])
        .map(|variable| {
            format!("{}={}", variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn a_label_asks_and_disabled_wins() {
    let table = [
        (None, None, Some(false)),
        (Some("enabled"), None, Some(true)),
        (None, Some("enabled"), Some(true)),
        (Some("enabled"), Some("enabled"), Some(true)),
        (Some("disabled"), Some("enabled"), Some(false)),
        (Some("enabled"), Some("disabled"), Some(false)),
        (Some("disabled"), Some("yes"), Some(false)),
        (Some("true"), None, None),
        (Some("Enabled"), Some("enabled"), None),
        (None, Some("yes"), None),
    ];
    for (label, namespace_label, expected) in table {
        let mut pod = asking(&[]);
        pod["metadata"]["labels"] = label.map_or(json!({}), |label| json!({ INJECT_LABEL: label }));
        let outcome = inject(&pod, &Context { namespace_label, ..context(SidecarKind::Native) });
        let found = outcome.as_ref().ok().map(|outcome| *outcome != Injection::NotRequested);
        assert_eq!(found, expected, "{label:?} {namespace_label:?}: {outcome:?}");
        if let Err(refusal) = outcome {
            assert!(refusal.to_string().starts_with("label hotcert.dev/inject"), "{refusal}");
        }
    }
}

#[test]
fn a_native_sidecar_is_the_first_init_container() {
    let pod = with(asking(&[]), "/spec/initContainers", json!([{ "name": "migrate" }]));
    let pod = native(&pod);
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "hotcert-agent");
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["initContainers"][1]["name"], "migrate");
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(pod["metadata"]["annotations"]["hotcert.dev/injected"], "native");
}

#[test]
fn a_plain_one_is_the_first_container_and_is_left_to_the_pods_restart_policy() {
    let (pod, _) = injected(&asking(&[]), SidecarKind::Container);
    assert_eq!(pod["spec"]["containers"][0]["name"], "hotcert-agent");
    assert_eq!(pod["spec"]["containers"][0].get("restartPolicy"), None);
    assert_eq!(pod["spec"]["containers"][1]["name"], "app");
    assert_eq!(pod["spec"].get("initContainers"), None);
    assert_eq!(pod["metadata"]["annotations"]["hotcert.dev/injected"], "container");
}

#[test]
fn the_pods_annotation_wins_over_what_the_nodes_support() {
    let (pod, _) = injected(&asking(&[("sidecar", "container")]), SidecarKind::Native);
    assert_eq!(pod["metadata"]["annotations"]["hotcert.dev/injected"], "container");
    let (pod, _) = injected(&asking(&[("sidecar", "native")]), SidecarKind::Container);
    assert_eq!(pod["metadata"]["annotations"]["hotcert.dev/injected"], "native");
}

#[test]
fn what_is_not_known_of_a_pod_stays() {
    let before = asking(&[]);
    let mut pod = native(&before);
    pod["spec"].as_object_mut().unwrap().remove("initContainers");
    pod["spec"].as_object_mut().unwrap().remove("volumes");
    let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.retain(|key, _| key != INJECTED && key != DEFAULT_CONTAINER);
    assert_eq!(pod, before);
}

#[test]
fn kubectl_means_the_app_unless_the_pod_says_otherwise() {
    let key = "kubectl.kubernetes.io/default-container";
    for sidecar in [SidecarKind::Native, SidecarKind::Container] {
        let once = injected(&asking(&[]), sidecar).0;
        assert_eq!(once["metadata"]["annotations"][key], "app");
        assert_eq!(injected(&once, sidecar).0, once);
        let mut other = asking(&[]);
        other["metadata"]["annotations"][key] = json!("other");
        assert_eq!(injected(&other, sidecar).0["metadata"]["annotations"][key], "other");
    }
}

#[test]
fn the_agent_is_confined_and_waited_for() {
    let pod = native(&asking(&[]));
    let agent = &pod["spec"]["initContainers"][0];
    assert_eq!(agent["image"], "agent:1");
    assert_eq!(agent["args"], json!(["run"]));
    assert_eq!(
        agent["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    let probe = |path: &str| json!({ "path": path, "port": 9640 });
    assert_eq!(
        agent["startupProbe"],
        json!({ "httpGet": probe("/readyz"), "periodSeconds": 1, "failureThreshold": 600 })
    );
    assert_eq!(agent["readinessProbe"], json!({ "httpGet": probe("/readyz"), "periodSeconds": 2 }));
    assert_eq!(agent["livenessProbe"], json!({ "httpGet": probe("/livez"), "periodSeconds": 10 }));
    assert_eq!(
        agent["resources"],
        json!({ "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "256Mi" } })
    );
}

#[test]
fn secret_and_token_are_mounted_in_the_agents_container_alone() {
    let pod = native(&asking(&[]));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            { "name": "hotcert-identity",
              "secret": { "secretName": "payments-tls", "defaultMode": 0o444, "optional": true } },
            { "name": "hotcert-token", "projected": { "defaultMode": 0o444, "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [
                    { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
            ] } },
        ])
    );
    assert_eq!(
        pod["spec"]["initContainers"][0]["volumeMounts"],
        json!([
            { "name": "hotcert-identity", "mountPath": "/run/hotcert/identity", "readOnly": true },
            { "name": "hotcert-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true },
        ])
    );
    assert_eq!(pod["spec"]["containers"][0].get("volumeMounts"), None);
    assert_eq!(pod["spec"].get("securityContext"), None);
}

#[test]
fn without_the_api_there_is_no_token_and_no_secret_to_ask_for() {
    let pod = native(&asking(&[("api", "disabled")]));
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(pod["spec"]["initContainers"][0]["volumeMounts"].as_array().unwrap().len(), 1);
    assert_eq!(environment(&pod), ["HOTCERT_IDENTITY=/run/hotcert/identity", "HOTCERT_LOG_FORMAT=json"]);
}

#[test]
fn annotations_become_the_agents_environment() {
    let pod = asking(&[
        ("inbound", "http:8443=8080, 0.0.0.0:8444=127.0.0.1:8081"),
        ("outbound", "http:9001=payments.shop.svc:8443,9002=10.0.0.1:5432#spiffe://shop/db"),
        ("http-proxy", "9000"),
        ("allow", "spiffe://shop/ns/*/sa/storefront\n, dns:a.shop.svc"),
        ("trust-forwarded", "spiffe://shop/ns/edge/sa/ingress"),
        ("expect-name", "dns:payments.shop.svc"),
        ("log", "debug"),
        ("access-log", "stdout"),
    ]);
    assert_eq!(
        environment(&native(&pod)),
        [
            "HOTCERT_IDENTITY=/run/hotcert/identity",
            "HOTCERT_SECRET=payments-tls",
            "HOTCERT_INBOUND=http:[::]:8443=127.0.0.1:8080,0.0.0.0:8444=127.0.0.1:8081",
            "HOTCERT_OUTBOUND=http:127.0.0.1:9001=payments.shop.svc:8443#payments.shop.svc,127.0.0.1:9002=10.0.0.1:5432#spiffe://shop/db",
            "HOTCERT_HTTP_PROXY=127.0.0.1:9000",
            "HOTCERT_ALLOW=spiffe://shop/ns/*/sa/storefront,dns:a.shop.svc",
            "HOTCERT_TRUST_FORWARDED=spiffe://shop/ns/edge/sa/ingress",
            "HOTCERT_EXPECT_NAME=dns:payments.shop.svc",
            "HOTCERT_LOG_FORMAT=json",
            "HOTCERT_LOG=debug",
            "HOTCERT_ACCESS_LOG=stdout",
        ]
    );
    let pod = native(&asking(&[("inbound", "8443=8080"), ("client-auth", "none")]));
    assert!(environment(&pod).contains(&"HOTCERT_CLIENT_AUTH=none".into()));
}

#[test]
fn the_agents_container_shows_its_ports() {
    let pod = native(&asking(&[
        ("inbound", "8443=8080,10.1.2.3:8444=8081,127.0.0.1:8445=8082"),
        ("outbound", "9001=a:1"),
    ]));
    let ports: Vec<_> = tcp_ports(&pod["spec"]["initContainers"][0]).collect();
    assert_eq!(
        ports,
        [("hotcert-admin", 9640), ("hotcert-proof", 9643), ("hotcert-8443", 8443), ("hotcert-8444", 8444)]
    );
}

#[test]
fn resources_are_as_annotated() {
    let pod = native(&asking(&[
        ("cpu-request", "100m"),
        ("cpu-limit", "1"),
        ("memory-request", "64Mi"),
        ("memory-limit", "1Gi"),
    ]));
    assert_eq!(
        pod["spec"]["initContainers"][0]["resources"],
        json!({ "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "1", "memory": "1Gi" } })
    );
}

#[test]
fn the_agent_is_through_before_kubelet_kills() {
    for (kill, expected) in [
        (json!(null), None),
        (json!(30), None),
        (json!(60), Some(("55s", "5s"))),
        (json!(31), Some(("26s", "5s"))),
        (json!(15), Some(("12s", "5s"))),
        (json!(8), Some(("6400ms", "3200ms"))),
        (json!(5), Some(("4s", "2s"))),
        (json!(1), Some(("800ms", "400ms"))),
        (json!(0), Some(("800ms", "400ms"))),
    ] {
        let pod = native(&with(asking(&[]), "/spec/terminationGracePeriodSeconds", kill.clone()));
        let environment = environment(&pod);
        let found: Vec<_> =
            environment.iter().filter(|variable| variable.starts_with("HOTCERT_SHUTDOWN")).collect();
        let expected = expected.map_or(Vec::new(), |(grace, delay)| {
            vec![format!("HOTCERT_SHUTDOWN_GRACE={grace}"), format!("HOTCERT_SHUTDOWN_DELAY={delay}")]
        });
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{kill}");
    }
}
