#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

pub fn options() -> Options {
    Options {
        agent_image: "agent:1".into(),
        sidecar: SidecarKind::Native,
        namespace: None,
        rbac: Rbac::Without,
    }
}

pub fn injected(text: &str) -> InjectedStream {
    inject_stream(text.as_bytes(), &options()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The documents of a stream that are not empty.
pub fn values(yaml: &str) -> Vec<Value> {
    let documents = split(yaml.as_bytes()).unwrap();
    documents
        .iter()
        .map(|document| yaml::read(document.body).unwrap())
        .filter(|value| !value.is_null())
        .collect()
}

fn template() -> Value {
    json!({
        "metadata": {
            "labels": { "app": "payments", "hotcert.dev/inject": "enabled" },
            "annotations": { "hotcert.dev/secret": "payments-tls", "hotcert.dev/inbound": "8443=8080" },
        },
        "spec": { "containers": [{ "name": "app", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
    })
}

fn workload(version: &str, kind: &str) -> Value {
    let mut object = match kind {
        "Pod" => template(),
        "CronJob" => json!({ "spec": { "jobTemplate": { "spec": { "template": template() } } } }),
        _ => json!({ "spec": { "template": template() } }),
    };
    object["apiVersion"] = json!(version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!("payments");
    object
}

pub fn deployment() -> Value {
    workload("apps/v1", "Deployment")
}

/// JSON is YAML.
pub fn stream(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

#[test]
fn documents_without_injection_pass_byte_for_byte() {
    for text in [
        "",
        "\n\n",
        "a: 1",
        "# only a comment",
        "---\n---\n...\n",
        "\u{feff}# mark\r\n---\r\nkind:   Pod   # odd\r\napiVersion: v1\r\n---\r\n",
        "kind: ConfigMap\napiVersion: v1\ndata: {commit: 1e400123, n: .inf, w: 'yes', m: 0644}\n...\n---\n- a\n-   b\n",
        "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {metadata: {labels: {hotcert.dev/inject: disabled}}}}\n",
        "apiVersion: example.com/v1\nkind: Deployment\nspec:\n  template: &t {metadata: {labels: {hotcert.dev/inject: enabled}}}\n",
    ] {
        let InjectedStream { yaml, warnings } = injected(text);
        assert_eq!(yaml, text);
        assert!(
            warnings.iter().any(|warning| warning.contains("hotcert.dev/inject: enabled")),
            "{text:?}: {warnings:?}"
        );
    }
}

#[test]
fn documents_around_an_injected_one_stay_byte_for_byte() {
    let before = "# Source: a.yaml\nkind:   ConfigMap\napiVersion: v1\n--- # separator\n# Source: b.yaml\n\n";
    let after = "---\nkind:   Service # odd\napiVersion: v1\n...\n";
    let yaml = injected(&format!("{before}{}\n{after}", deployment())).yaml;
    assert!(yaml.starts_with(&format!("{before}apiVersion: apps/v1\nkind: Deployment\n")), "{yaml}");
    assert!(yaml.ends_with(after), "{yaml}");
    let on_the_line = injected(&format!("--- {}\n", deployment())).yaml;
    assert!(on_the_line.starts_with("---\napiVersion: apps/v1\n"), "{on_the_line}");
}

#[test]
fn every_workload_kind_is_injected_with_either_sidecar() {
    for (version, kind, spec) in [
        ("v1", "Pod", "/spec"),
        ("apps/v1", "Deployment", "/spec/template/spec"),
        ("apps/v1", "StatefulSet", "/spec/template/spec"),
        ("apps/v1", "DaemonSet", "/spec/template/spec"),
        ("apps/v1", "ReplicaSet", "/spec/template/spec"),
        ("batch/v1", "Job", "/spec/template/spec"),
        ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
        ("batch/v1beta1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
    ] {
        for (sidecar, list) in
            [(SidecarKind::Native, "initContainers"), (SidecarKind::Container, "containers")]
        {
            let object = workload(version, kind);
            let found =
                inject_stream(object.to_string().as_bytes(), &Options { sidecar, ..options() }).unwrap();
            let value = values(&found.yaml).remove(0);
            let agent = &value.pointer(spec).unwrap()[list][0];
            assert_eq!(
                (&agent["name"], &agent["image"]),
                (&json!("hotcert-agent"), &json!("agent:1")),
                "{kind}"
            );
            let never_ends = found.warnings.iter().any(|warning| warning.contains("will not complete"));
            assert_eq!(
                never_ends,
                version.starts_with("batch") && sidecar == SidecarKind::Container,
                "{kind}"
            );
        }
    }
}

#[test]
fn the_items_of_a_list_are_injected() {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "0644" } }, deployment(), workload("v1", "Pod"),
    ] });
    let found = values(&injected(&list.to_string()).yaml).remove(0);
    assert_eq!(found["items"][0], list["items"][0]);
    assert_eq!(found["items"][1]["spec"]["template"]["spec"]["initContainers"][0]["name"], "hotcert-agent");
    assert_eq!(found["items"][2]["spec"]["initContainers"][0]["name"], "hotcert-agent");
}

#[test]
fn injecting_the_output_changes_no_byte_of_it() {
    let text = stream(&[
        deployment(),
        workload("batch/v1", "CronJob"),
        json!({ "apiVersion": "v1", "kind": "Service" }),
    ]);
    let once = injected(&text).yaml;
    assert_eq!(injected(&once).yaml, once);
    // Nor does it lay out anew what is the same already.
    let laid_out = stream(&values(&once));
    assert_eq!(injected(&laid_out).yaml, laid_out);
}

#[test]
fn a_namespace_in_the_stream_applies_to_its_own_workloads() {
    let namespace = |label: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": { INJECT_LABEL: label } } });
    let mut inside = deployment();
    inside["metadata"]["namespace"] = json!("shop");
    inside["spec"]["template"]["metadata"]["labels"] = json!({ "app": "payments" });
    let mut outside = inside.clone();
    outside["metadata"]["namespace"] = json!("other");
    let has_agent =
        |object: &Value| object["spec"]["template"]["spec"]["initContainers"][0]["name"] == "hotcert-agent";

    let found = values(&injected(&stream(&[inside.clone(), outside.clone(), namespace("enabled")])).yaml);
    assert_eq!([has_agent(&found[0]), has_agent(&found[1])], [true, false]);

    inside["metadata"].as_object_mut().unwrap().remove("namespace");
    let text = stream(&[inside, outside, namespace("enabled")]);
    let found =
        inject_stream(text.as_bytes(), &Options { namespace: Some("shop".into()), ..options() }).unwrap();
    assert!(has_agent(&values(&found.yaml)[0]));

    let mut asking = deployment();
    asking["metadata"]["namespace"] = json!("shop");
    let found = values(&injected(&stream(&[namespace("disabled"), asking])).yaml);
    assert!(!has_agent(&found[1]));
}

#[test]
fn every_invalid_document_is_reported_with_its_number_and_workload() {
    let mut bad = deployment();
    bad["spec"]["template"]["metadata"]["annotations"]["hotcert.dev/inbound"] = json!("x");
    bad["metadata"]["namespace"] = json!("shop");
    let mut worse = workload("batch/v1", "Job");
    worse["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    let errors = inject_stream(stream(&[deployment(), bad, worse]).as_bytes(), &options()).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("document 2 (Deployment shop/payments):\n  annotation hotcert.dev/inbound: "),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("document 3 (Job default/payments):\n  spec.hostNetwork: "), "{errors:?}");
}

#[test]
fn malformed_yaml_is_rejected() {
    let errors = inject_stream(b"a: 1\n---\na: [\n", &options()).unwrap_err();
    assert!(matches!(errors[..], [StreamError::Yaml { number: 2, .. }]), "{errors:?}");
    let errors = inject_stream(&[0xff, 0xfe, b'a', 0], &options()).unwrap_err();
    assert!(matches!(errors[..], [StreamError::Documents(DocumentsError::NotUtf8(_))]), "{errors:?}");
    // It would be written as another number.
    let mut deployment = deployment();
    deployment["x"] = json!("X");
    let errors =
        inject_stream(deployment.to_string().replace("\"X\"", "1e400").as_bytes(), &options()).unwrap_err();
    assert!(matches!(errors[..], [StreamError::Yaml { number: 1, .. }]), "{errors:?}");
}

#[test]
fn labels_beside_the_template_are_warned_about() {
    let mut object = deployment();
    object["metadata"]["labels"] = object["spec"]["template"]["metadata"]["labels"].take();
    let InjectedStream { warnings, .. } = injected(&object.to_string());
    assert!(warnings[0].contains("spec.template.metadata"), "{warnings:?}");
    assert!(
        !injected(&deployment().to_string()).warnings.iter().any(|warning| warning.contains("own metadata"))
    );
}

#[test]
fn services_that_bypass_the_agent_are_warned_about() {
    let service = |port: Value, selector: Value| {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "payments" },
            "spec": { "selector": selector, "ports": [port] },
        });
        let warnings = injected(&stream(&[service, deployment()])).warnings;
        warnings.into_iter().find(|warning| warning.starts_with("Service")).unwrap_or_default()
    };
    let app = json!({ "app": "payments" });
    for bypass in [
        json!({ "port": 80, "targetPort": 8080 }),
        json!({ "port": 80, "targetPort": "http" }),
        json!({ "port": 8080 }),
    ] {
        let warning = service(bypass.clone(), app.clone());
        assert!(warning.contains("set its targetPort to 8443"), "{bypass}: {warning:?}");
    }
    for fine in [
        json!({ "port": 8443 }),
        json!({ "port": 80, "targetPort": "hotcert-8443" }),
        json!({ "port": 80, "targetPort": 9090 }),
    ] {
        assert_eq!(service(fine.clone(), app.clone()), "", "{fine}");
    }
    assert_eq!(service(json!({ "port": 8080 }), json!({ "app": "other" })), "");
    assert_eq!(service(json!({ "port": 8080 }), json!({})), "");
}

#[test]
fn services_of_grpc_before_a_route_that_does_not_carry_it_are_warned_about() {
    let warnings = |inbound: &str, port: Value| {
        let mut deployment = deployment();
        deployment["spec"]["template"]["metadata"]["annotations"]["hotcert.dev/inbound"] = json!(inbound);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "payments" },
            "spec": { "selector": { "app": "payments" }, "ports": [port] },
        });
        let warnings = injected(&stream(&[service, deployment])).warnings;
        warnings.into_iter().filter(|warning| warning.contains("gRPC")).collect::<Vec<_>>()
    };
    for port in [
        json!({ "port": 8443, "name": "grpc" }),
        json!({ "port": 443, "name": "grpc-api", "targetPort": 8443 }),
        json!({ "port": 443, "name": "api", "targetPort": "hotcert-8443", "appProtocol": "grpc" }),
        json!({ "port": 443, "name": "api", "targetPort": 8080, "appProtocol": "kubernetes.io/h2c" }),
    ] {
        for inbound in ["8443=8080", "http:8443=8080", "alpn=postgresql:8443=8080"] {
            let found = warnings(inbound, port.clone());
            assert_eq!(found.len(), 1, "{port} {inbound}: {found:?}");
            assert!(
                found[0].starts_with("Service default/payments declares a port of Deployment "),
                "{found:?}"
            );
            assert!(found[0].ends_with("write h2c:8443=8080"), "{found:?}");
        }
        for inbound in ["h2c:8443=8080", "alpn=h2:8443=8080"] {
            assert_eq!(warnings(inbound, port.clone()), [""; 0], "{inbound}");
        }
    }
    for port in [
        json!({ "port": 8443, "name": "https" }),
        json!({ "port": 8443, "name": "grpc", "appProtocol": "https" }),
        json!({ "port": 8443, "name": "grpc-web" }),
        json!({ "port": 9443, "name": "grpc" }),
    ] {
        assert_eq!(warnings("http:8443=8080", port.clone()), [""; 0], "{port}");
    }
}
