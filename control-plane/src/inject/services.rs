//! Services that bypass the agent, because they target the port where the app listens on loopback, and Services of gRPC
//! in front of a route that does not carry it.

use std::net::SocketAddr;

use serde_json::Value;

use super::grpc;
use super::pod_spec::{containers, items, resolve_port};
use super::problem::Problems;
use super::settings::PodSettings;
use super::sidecar_kind::SidecarKind;
use super::workload::{InjectedPod, objects};

/// One line for each port of a Service that only an app behind its agent listens on, and for each of gRPC whose route
/// does not carry it.
pub fn warnings(values: &[Value], pods: &[InjectedPod], default_namespace: &str) -> Vec<String> {
    let services = values.iter().flat_map(objects).map(|(_, object)| object);
    let services = services.filter(|object| object["kind"] == "Service" && object["apiVersion"] == "v1");
    services
        .flat_map(|service| {
            let namespace = service["metadata"]["namespace"].as_str().unwrap_or(default_namespace);
            let selected =
                pods.iter().filter(move |pod| pod.namespace == namespace && selects(service, &pod.pod));
            selected.flat_map(|pod| of_service(service, pod))
        })
        .collect()
}

fn selects(service: &Value, pod: &Value) -> bool {
    let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty())
    else {
        return false;
    };
    selector.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value))
}

fn of_service(service: &Value, injected: &InjectedPod) -> Vec<String> {
    let InjectedPod { namespace, workload, pod } = injected;
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    // They were validated by the injection.
    let settings = PodSettings::parse(pod, SidecarKind::Native, &mut Problems::default());
    let mut warnings = Vec::new();
    for port in items(&service["spec"]["ports"]) {
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        let Some(number) = resolve_target(target, pod) else {
            continue;
        };
        let to_app = |app: SocketAddr| app.ip().is_loopback() && app.port() == number;
        let Some(route) =
            settings.inbound.iter().find(|route| to_app(route.app) || route.listen.port() == number)
        else {
            continue;
        };
        if to_app(route.app) {
            let listen = route.listen.port();
            warnings.push(format!("Service {namespace}/{name} targets port {number} of {workload}, where the app listens on loopback: connections would be refused, or bypass the agent; set its targetPort to {listen}"));
        }
        let protocol = port["appProtocol"].as_str().or(port["name"].as_str()).unwrap_or_default();
        if grpc::is_grpc(protocol) && !route.protocol.carries_grpc() && grpc::declared(pod, route).is_none() {
            let reason = grpc::not_carried(route);
            warnings.push(format!(
                "Service {namespace}/{name} declares a port of {workload} {protocol:?}, {reason}"
            ));
        }
    }
    warnings
}

/// The number of a target port that a container may name.
fn resolve_target(port: &Value, pod: &Value) -> Option<u16> {
    if port.is_number() {
        return u16::try_from(port.as_u64()?).ok();
    }
    containers(pod).filter_map(|container| resolve_port(container, port)).next()
}
