//! Apps that speak gRPC, by what their pod and its Services say of a port, and inbound routes that do not carry it.

use serde_json::Value;

use super::container::AGENT_CONTAINER;
use super::pod_spec::{PROBES, containers, resolve_port, tcp_ports};
use super::problem::truncate_middle;
use super::route::{InboundRoute, RouteProtocol};
use super::settings::PodSettings;

/// Of a route that a warning quotes; a list of ALPN protocols can be long.
const MAX_QUOTED_ROUTE: usize = 48;

/// One line for each route to a port that the pod itself declares to speak gRPC, unless another route carries it there.
pub fn warnings(pod: &Value, settings: &PodSettings) -> Vec<String> {
    let carried =
        |app| settings.inbound.iter().any(|route| route.app == app && route.protocol.carries_grpc());
    let routes = settings.inbound.iter().filter(|route| !carried(route.app));
    routes.filter_map(|route| Some(format!("{}, {}", declared(pod, route)?, not_carried(route)))).collect()
}

/// How the pod declares that the app behind this route speaks gRPC.
pub fn declared(pod: &Value, route: &InboundRoute) -> Option<String> {
    let apps = containers(pod).filter(|container| container["name"] != AGENT_CONTAINER);
    apps.filter_map(|container| declared_by(container, route)).next()
}

fn declared_by(container: &Value, route: &InboundRoute) -> Option<String> {
    let name = container["name"].as_str().unwrap_or_default();
    let is_app = |port: u16| route.app.ip().is_loopback() && port == route.app.port();
    if let Some((of_port, port)) =
        tcp_ports(container).find(|(of_port, port)| is_app(*port) && is_grpc(of_port))
    {
        return Some(format!("container {name} names its port {port} {of_port:?}"));
    }
    let probed = |probe: &str| {
        let port = resolve_port(container, &container[probe]["grpc"]["port"]);
        port.is_some_and(|port| is_app(port) || port == route.listen.port())
    };
    PROBES
        .into_iter()
        .find(|probe| probed(probe))
        .map(|probe| format!("container {name} has a {probe} with grpc"))
}

/// Why the route is wrong for gRPC, and the right one.
pub fn not_carried(route: &InboundRoute) -> String {
    let reason = match &route.protocol {
        RouteProtocol::Http | RouteProtocol::H2c => "speaks HTTP/1.1 to the app",
        RouteProtocol::Tcp { .. } => "negotiates no HTTP/2",
    };
    let right = InboundRoute { protocol: RouteProtocol::H2c, proxy_v2: false, ..route.clone() };
    let route = truncate_middle(&route.short(), MAX_QUOTED_ROUTE);
    format!("but hotcert.dev/inbound: {route} {reason}; for gRPC write {}", right.short())
}

/// Whether the name of a port, or its `appProtocol`, says gRPC or HTTP/2 without TLS. gRPC-Web is HTTP/1.1.
pub fn is_grpc(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("kubernetes.io/").unwrap_or(&name);
    let other = ["grpc-web", "grpcs"].iter().any(|other| name.starts_with(other));
    !other && (name.starts_with("grpc") || name.starts_with("h2c"))
}

#[cfg(test)]
mod tests;
