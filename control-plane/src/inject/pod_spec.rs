//! Reading a pod as JSON: its containers, their ports and their probes.

use serde_json::Value;

pub const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

/// Init containers and containers, in the order they start.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|list| items(&pod["spec"][list]))
}

pub fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut).into_iter();
    spec.flat_map(|spec| spec.iter_mut())
        .filter(|(list, _)| *list == "initContainers" || *list == "containers")
        .flat_map(|(_, containers)| containers.as_array_mut().into_iter().flatten())
}

/// The items of a list that may be missing.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Every declared TCP port, with its container's name.
pub fn declared_ports(pod: &Value) -> impl Iterator<Item = (&str, u16)> {
    containers(pod).flat_map(|container| {
        let name = container["name"].as_str().unwrap_or_default();
        tcp_ports(container).map(move |(_, port)| (name, port))
    })
}

/// A container's TCP ports with their names, which may be empty.
pub fn tcp_ports(container: &Value) -> impl Iterator<Item = (&str, u16)> {
    items(&container["ports"])
        .filter(|port| matches!(port["protocol"].as_str(), None | Some("TCP")))
        .filter_map(|port| {
            let number = port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())?;
            Some((port["name"].as_str().unwrap_or_default(), number))
        })
}

/// Resolves a port that is a number or the name of one of the container's own ports.
pub fn resolve_port(container: &Value, port: &Value) -> Option<u16> {
    if let Some(name) = port.as_str() {
        let named =
            items(&container["ports"]).find(|port| port["name"] == name).map(|port| &port["containerPort"]);
        return named.map_or_else(|| name.parse().ok(), |number| u16::try_from(number.as_u64()?).ok());
    }
    u16::try_from(port.as_u64()?).ok()
}
