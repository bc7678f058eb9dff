#![allow(clippy::unwrap_used)]

use serde_json::json;

use crate::inject::pod::{Context, Injection, inject};

use super::*;

/// The warnings about a pod with one route to 127.0.0.1:8080, changed so.
fn warnings(sidecar: SidecarKind, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut pod = json!({
        "metadata": { "annotations": { "hotcert.dev/secret": "payments-tls", "hotcert.dev/inbound": "8443=8080" } },
        "spec": { "containers": [{ "name": "app" }] },
    });
    change(&mut pod);
    let context = Context {
        namespace: "shop",
        namespace_label: Some("enabled"),
        agent_image: "agent:1",
        sidecar,
        is_job: false,
    };
    let Ok(Injection::Injected { warnings, .. }) = inject(&pod, &context) else { panic!("not injected") };
    warnings
}

/// The only warning about an app's container with these fields.
fn warning_for(fields: Value) -> String {
    let found = warnings(SidecarKind::Native, |pod| {
        pod["spec"]["volumes"] = json!([
            { "name": "identity", "secret": { "secretName": "payments-tls" } },
            { "name": "mixed", "projected": { "sources": [{ "secret": { "name": "payments-tls" } }] } },
            { "name": "other", "secret": { "secretName": "other" } },
        ]);
        let app = &mut pod["spec"]["containers"][0];
        for (name, value) in fields.as_object().unwrap() {
            app[name] = value.clone();
        }
    });
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next().unwrap_or_default()
}

#[test]
fn a_correct_pod_has_no_warnings() {
    assert_eq!(warnings(SidecarKind::Native, |_| {}), [""; 0]);
    assert_eq!(warnings(SidecarKind::Container, |_| {}), [""; 0]);
}

#[test]
fn an_app_with_access_to_the_identity_is_warned_about() {
    let mount = |volume: &str, more: Value| {
        let mut mount = json!({ "name": volume, "mountPath": "/tls" });
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        warning_for(json!({ "volumeMounts": [mount] }))
    };
    assert!(mount("identity", json!({ "subPath": "tls.crt" })).contains("never updates"));
    assert!(mount("mixed", json!({ "subPathExpr": "$(A)" })).contains("never updates"));
    assert!(mount("identity", json!({ "subPath": "" })).contains("only the agent's container"));
    assert!(mount("mixed", json!({})).contains("only the agent's container"));
    assert_eq!(mount("other", json!({ "subPath": "tls.crt" })), "");
    let reference = json!({ "name": "payments-tls", "key": "tls.crt" });
    let variable =
        warning_for(json!({ "env": [{ "name": "A", "valueFrom": { "secretKeyRef": reference } }] }));
    assert!(variable.contains("environment"), "{variable}");
    assert!(
        warning_for(json!({ "envFrom": [{ "secretRef": { "name": "payments-tls" } }] }))
            .contains("environment")
    );
    assert_eq!(warning_for(json!({ "envFrom": [{ "secretRef": { "name": "other" } }] })), "");
}

#[test]
fn ports_that_bypass_the_agent_are_warned_about() {
    let declared = warning_for(json!({ "ports": [{ "containerPort": 8080 }] }));
    assert!(declared.contains("only on 127.0.0.1:8080"), "{declared}");
    assert_eq!(warning_for(json!({ "ports": [{ "containerPort": 9090 }] })), "");
}

#[test]
fn probes_that_cannot_reach_the_app_are_warned_about() {
    for (field, action) in [
        ("livenessProbe", json!({ "tcpSocket": { "port": 8080 } })),
        ("startupProbe", json!({ "httpGet": { "port": 8080, "scheme": "HTTPS" } })),
    ] {
        let found = warning_for(json!({ field: action }));
        assert!(found.contains(field) && found.contains("8080"), "{found}");
    }
    let blank = warning_for(json!({ "livenessProbe": { "httpGet": { "port": 8080, "path": "/a b" } } }));
    assert!(blank.contains("livenessProbe") && blank.contains("%20"), "{blank}");
    let hook = warning_for(json!({ "lifecycle": { "preStop": { "httpGet": { "port": 8080 } } } }));
    assert!(hook.contains("lifecycle.preStop"), "{hook}");
    for fine in [
        json!({ "livenessProbe": { "httpGet": { "port": 8080 } } }),
        json!({ "livenessProbe": { "tcpSocket": { "port": 9090 } } }),
        json!({ "livenessProbe": { "exec": { "command": ["true"] } } }),
        json!({ "livenessProbe": { "httpGet": { "port": 8080, "host": "10.0.0.9" } } }),
    ] {
        assert_eq!(warning_for(fine.clone()), "", "{fine}");
    }
}

#[test]
fn settings_with_surprising_effects_are_warned_about() {
    let one = |sidecar, change: fn(&mut Value), what: &str| {
        let found = warnings(sidecar, change);
        assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
    };
    let job: fn(&mut Value) = |pod| pod["metadata"]["ownerReferences"] = json!([{ "kind": "Job" }]);
    one(SidecarKind::Container, job, "will not complete");
    assert_eq!(warnings(SidecarKind::Native, job), [""; 0]);
    one(SidecarKind::Native, |pod| pod["spec"]["shareProcessNamespace"] = json!(true), "private key");
    one(SidecarKind::Native, |pod| pod["spec"]["hostPID"] = json!(true), "private key");
    let idle: fn(&mut Value) = |pod| pod["metadata"]["annotations"] = json!({ "hotcert.dev/secret": "a" });
    one(SidecarKind::Native, idle, "carries no traffic");
    let low: fn(&mut Value) = |pod| pod["metadata"]["annotations"]["hotcert.dev/inbound"] = json!("443=8080");
    one(SidecarKind::Native, low, "ip_unprivileged_port_start");
    let allowed = warnings(SidecarKind::Native, |pod| {
        low(pod);
        pod["spec"]["securityContext"] =
            json!({ "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }] });
    });
    assert_eq!(allowed, [""; 0]);
}

/// The API server truncates warnings to 256 characters.
#[test]
fn warnings_fit_an_admission_response() {
    let found = warnings(SidecarKind::Container, |pod| {
        pod["metadata"]["ownerReferences"] = json!([{ "kind": "Job" }]);
        pod["metadata"]["annotations"]["hotcert.dev/inbound"] = json!("443=8080");
        pod["spec"]["shareProcessNamespace"] = json!(true);
        pod["spec"]["hostPID"] = json!(true);
        pod["spec"]["volumes"] = json!([{ "name": "identity", "secret": { "secretName": "payments-tls" } }]);
        pod["spec"]["containers"][0] = json!({
            "name": "application",
            "ports": [{ "containerPort": 8080 }],
            "livenessProbe": { "tcpSocket": { "port": 8080 } },
            "startupProbe": { "grpc": { "port": 8080 } },
            "readinessProbe": { "httpGet": { "port": 8080, "path": format!("/{}", "a b".repeat(100)) } },
            "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "payments-tls" } } }],
            "volumeMounts": [
                { "name": "identity", "mountPath": "/etc/tls/tls.crt", "subPath": "tls.crt" },
                { "name": "identity", "mountPath": "/etc/tls" },
            ],
        });
    });
    assert_eq!(found.len(), 12, "{found:?}");
    for warning in found {
        assert!(warning.len() <= 256, "{}: {warning}", warning.len());
    }
}

#[test]
fn a_probe_that_cannot_succeed_is_warned_about() {
    for (port, expected) in [(json!(8443), "client certificate"), (json!("http"), "no port of that name")] {
        let warning = warning_for(json!({ "livenessProbe": { "httpGet": { "port": port } } }));
        assert!(warning.contains(expected) && warning.len() <= 256, "{port}: {warning:?}");
    }
    let named = warning_for(json!({ "startupProbe": { "tcpSocket": { "port": "http" } } }));
    assert!(named.contains("no port of that name"), "{named}");
}

/// Kubelet sends it to the pod's address, without TLS.
#[test]
fn a_grpc_probe_of_an_app_behind_the_agent_is_warned_about_with_what_works() {
    for (port, expected) in [(8080, "does not reach an app that listens on loopback"), (8443, "without TLS")]
    {
        for probe in PROBES {
            let found = warnings(SidecarKind::Native, |pod| {
                pod["metadata"]["annotations"]["hotcert.dev/inbound"] = json!("h2c:8443=8080");
                pod["spec"]["containers"][0][probe] = json!({ "grpc": { "port": port } });
            });
            assert_eq!(found.len(), 1, "{found:?}");
            let start = format!("container app: {probe} with grpc at port {port} ");
            assert!(found[0].starts_with(&start) && found[0].contains(expected), "{found:?}");
            assert!(found[0].contains("exec with grpc_health_probe -addr=127.0.0.1:8080"), "{found:?}");
            assert!(found[0].len() <= 256, "{found:?}");
        }
    }
    assert_eq!(warning_for(json!({ "livenessProbe": { "grpc": { "port": 9090 } } })), "");
}

#[test]
fn a_tcp_probe_of_the_agents_port_is_warned_about() {
    let found = warning_for(json!({ "livenessProbe": { "tcpSocket": { "port": 8443 } } }));
    assert!(found.contains("livenessProbe with tcpSocket at port 8443 tells that the agent"), "{found}");
    assert!(found.contains("httpGet at the app's port 8080") && found.len() <= 256, "{found}");
}

#[test]
fn a_probe_of_the_agents_port_needs_no_certificate_where_clients_need_none() {
    let one = |get: Value| {
        let found = warnings(SidecarKind::Native, |pod| {
            pod["metadata"]["annotations"]["hotcert.dev/client-auth"] = json!("none");
            pod["spec"]["containers"][0]["livenessProbe"] = json!({ "httpGet": get });
        });
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().next().unwrap_or_default()
    };
    assert_eq!(one(json!({ "port": 8443, "scheme": "HTTPS" })), "");
    assert!(one(json!({ "port": 8443 })).contains("set scheme: HTTPS"));
}
