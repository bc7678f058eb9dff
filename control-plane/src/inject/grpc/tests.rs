use serde_json::json;

use crate::inject::pod::{Context, Injection, inject};
use crate::inject::sidecar_kind::SidecarKind;

use super::*;

/// The warnings about gRPC for a pod with this annotation and container.
fn found(inbound: &str, container: Value) -> Vec<String> {
    let pod = json!({
        "metadata": { "annotations": { "hotcert.dev/secret": "payments-tls", "hotcert.dev/inbound": inbound } },
        "spec": { "containers": [container] },
    });
    let context = Context {
        namespace: "shop",
        namespace_label: Some("enabled"),
        agent_image: "agent:1",
        sidecar: SidecarKind::Native,
        is_job: false,
    };
    let Ok(Injection::Injected { warnings, .. }) = inject(&pod, &context) else { panic!("not injected") };
    warnings.into_iter().filter(|warning| warning.contains("for gRPC write")).collect()
}

fn named(port: &str) -> Value {
    json!({ "name": "app", "ports": [{ "name": port, "containerPort": 8080 }] })
}

#[test]
fn a_route_that_does_not_carry_grpc_to_a_port_of_it_is_warned_about() {
    for (inbound, reason) in [
        ("8443=8080", "8443=8080 negotiates no HTTP/2"),
        ("alpn=postgresql:8443=8080", "alpn=postgresql:8443=8080 negotiates no HTTP/2"),
        ("http:8443=8080", "http:8443=8080 speaks HTTP/1.1 to the app"),
    ] {
        for port in ["grpc", "grpc-api", "h2c"] {
            let found = found(inbound, named(port));
            assert_eq!(found.len(), 1, "{inbound} {port}: {found:?}");
            assert!(
                found[0].starts_with(&format!("container app names its port 8080 {port:?}, but ")),
                "{found:?}"
            );
            assert!(found[0].contains(reason) && found[0].ends_with("write h2c:8443=8080"), "{found:?}");
        }
    }
}

#[test]
fn a_grpc_probe_tells_as_well() {
    for port in [8080, 8443] {
        let container = json!({ "name": "app", "readinessProbe": { "grpc": { "port": port } } });
        let found = found("http:8443=8080", container);
        assert_eq!(found.len(), 1, "{port}: {found:?}");
        assert!(found[0].starts_with("container app has a readinessProbe with grpc, but "), "{found:?}");
    }
}

#[test]
fn routes_that_carry_grpc_and_ports_without_it_have_no_warning() {
    for (inbound, port) in [
        ("h2c:8443=8080", "grpc"),
        ("alpn=h2:8443=8080", "grpc"),
        ("http:8443=8080,h2c:8444=8080", "grpc"),
        ("http:8443=8080", "http"),
        ("http:8443=8080", "grpc-web"),
        ("http:8443=8080", "grpcs"),
        ("http:8443=8081", "grpc"),
    ] {
        assert_eq!(found(inbound, named(port)), [""; 0], "{inbound} {port}");
    }
}

#[test]
fn addresses_beside_the_defaults_stay_in_what_to_write() {
    let found = found("http:0.0.0.0:8443=[::1]:8080", named("grpc"));
    assert!(found[0].ends_with("write h2c:0.0.0.0:8443=[::1]:8080"), "{found:?}");
}

/// The API server truncates warnings to 256 characters.
#[test]
fn a_warning_fits_an_admission_response() {
    let mut container = named("grpc-with-a-long");
    container["name"] = json!("c".repeat(63));
    let inbound = format!("alpn={}:8443=8080", "a".repeat(255));
    let found = found(&inbound, container);
    assert!(found.len() == 1 && found[0].len() <= 256, "{found:?}");
}
