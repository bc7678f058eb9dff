//! Services that lead around the agent: to the port where the app listens on loopback.

use std::net::SocketAddr;

use serde_json::Value;

use super::container::AGENT;
use super::pod::{Problems, SidecarKind, containers, items};
use super::probes;
use super::settings::{Settings, target};
use super::stream::Placed;
use super::workload::objects;

/// One line for each port of a Service that only an app behind its agent listens on.
pub fn warnings(values: &[Value], placed: &[Placed], default_namespace: &str) -> Vec<String> {
    let services = values.iter().flat_map(objects).map(|(_, object)| object);
    let services = services.filter(|object| object["kind"] == "Service" && object["apiVersion"] == "v1");
    services
        .flat_map(|service| {
            let namespace = service["metadata"]["namespace"].as_str().unwrap_or(default_namespace);
            let selected = placed
                .iter()
                .filter(move |placed| placed.namespace == namespace && selects(service, &placed.pod));
            selected.flat_map(|placed| past_the_agent(service, placed))
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

fn past_the_agent(service: &Value, placed: &Placed) -> Vec<String> {
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    // It was judged when the agent was put in.
    let settings = Settings::of(&placed.pod, SidecarKind::Native, &mut Problems::default());
    let mut warnings = Vec::new();
    for port in items(&service["spec"]["ports"]) {
        let aim = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        let Some(number) = resolve(aim, &placed.pod) else {
            continue;
        };
        let to_app = |address: &SocketAddr| address.ip().is_loopback() && address.port() == number;
        let Some(route) = settings.inbound.iter().find(|route| target(route).as_ref().is_some_and(to_app))
        else {
            continue;
        };
        let listen = route.listen.port();
        warnings.push(format!("Service {}/{name} leads to port {number} of {}, where the app listens on loopback: connections would be refused, or go around the agent; set its targetPort to {listen}", placed.namespace, placed.workload));
    }
    warnings
}

/// The number of a port that may be named by a container.
fn resolve(port: &Value, pod: &Value) -> Option<u16> {
    if port.is_number() {
        return u16::try_from(port.as_u64()?).ok();
    }
    let apps = containers(pod).filter(|container| container["name"] != AGENT);
    apps.filter_map(|container| probes::port(container, port)).next()
}
