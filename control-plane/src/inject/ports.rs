//! Who listens where in the pod: every container shares one network, so a port is one listener's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hotcert_agent::config::ports::{ADMIN, PROOF};
use serde_json::Value;

use super::pod::{Problems, containers, items};
use super::settings::{Settings, target};

/// Refuses ports that two would listen on: one of the two would not start.
pub fn check(pod: &Value, settings: &Settings, problems: &mut Problems) {
    let listeners = listeners(settings);
    for (index, (place, listen)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| overlap(*listen, *other)) {
            problems.add(
                place.clone(),
                format!("port {} is taken by the agent already ({other}): use another", listen.port()),
            );
        }
    }
    for app in settings.inbound.iter().filter_map(target) {
        if let Some((place, _)) =
            listeners.iter().find(|(_, listen)| app.ip().is_loopback() && overlap(app, *listen))
        {
            problems.add(
                format!("annotation {}inbound", super::settings::PREFIX),
                format!("the app at {app} would be on a port of the agent's own ({place}): let the app listen on another, such as {}", free_port(&listeners)),
            );
        }
    }
    for (container, port) in declared(pod) {
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if let Some((place, _)) = listeners.iter().find(|(_, listen)| overlap(everywhere, *listen)) {
            problems.add(
                format!("container {container}"),
                format!("containerPort {port} is a port of the agent's ({place}): let the app listen on another port of 127.0.0.1, such as {}, and take the containerPort out", free_port(&listeners)),
            );
        }
    }
}

/// What each container says it listens on over TCP, with the container's name.
pub fn declared(pod: &Value) -> impl Iterator<Item = (&str, u16)> {
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

/// Every listener of the agent and where it comes from.
fn listeners(settings: &Settings) -> Vec<(String, SocketAddr)> {
    let annotation = |name: &str| format!("annotation {}{name}", super::settings::PREFIX);
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let mut listeners = vec![
        ("its health and metrics".to_owned(), everywhere(ADMIN)),
        ("its proof of what is served".to_owned(), everywhere(PROOF)),
    ];
    listeners.extend(settings.inbound.iter().map(|route| (annotation("inbound"), route.listen)));
    listeners.extend(settings.outbound.iter().map(|route| (annotation("outbound"), route.listen)));
    listeners.extend(settings.http_proxy.map(|listen| (annotation("http-proxy"), listen)));
    listeners
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: IpAddr, other: IpAddr| one == other || one.is_unspecified();
    one.port() == other.port() && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

fn free_port(listeners: &[(String, SocketAddr)]) -> u16 {
    (8080..u16::MAX).find(|port| listeners.iter().all(|(_, listen)| listen.port() != *port)).unwrap_or(8080)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::inject::pod::{Context, Refusal, SidecarKind, inject};
    use serde_json::json;

    fn problems(annotations: &[(&str, &str)], ports: Value) -> Vec<String> {
        let mut pod = json!({
            "metadata": { "annotations": { "hotcert.dev/secret": "a" } },
            "spec": { "containers": [{ "name": "app", "ports": ports }] },
        });
        for (name, value) in annotations {
            pod["metadata"]["annotations"][format!("hotcert.dev/{name}")] = json!(value);
        }
        let context = Context {
            namespace: "shop",
            namespace_label: Some("enabled"),
            agent_image: "agent:1",
            sidecar: SidecarKind::Native,
            job: false,
        };
        match inject(&pod, &context) {
            Ok(_) => Vec::new(),
            Err(Refusal(problems)) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_port_has_one_listener() {
        let routes = [("inbound", "8443=8080"), ("outbound", "9001=a:1"), ("http-proxy", "9000")];
        for (place, annotations) in [
            ("inbound", &[("inbound", "9640=8080")] as &[_]),
            ("inbound", &[("inbound", "9643=8080")]),
            ("inbound", &[("inbound", "8443=8080,8443=8081")]),
            ("inbound", &[("inbound", "8443=8080,10.0.0.1:8443=8081")]),
            ("inbound", &[("inbound", "8443=8443")]),
            ("inbound", &[("inbound", "8443=9640")]),
            ("inbound", &[("inbound", "8443=9001"), ("outbound", "9001=a:1")]),
            ("outbound", &[("inbound", "8443=8080"), ("outbound", "8443=a:1")]),
            ("outbound", &[("outbound", "9001=a:1,9001=b:1")]),
            ("http-proxy", &[("outbound", "9001=a:1"), ("http-proxy", "9001")]),
        ] {
            let found = problems(annotations, json!([]));
            assert_eq!(found.len(), 1, "{annotations:?}: {found:?}");
            assert!(found[0].starts_with(&format!("annotation hotcert.dev/{place}: ")), "{found:?}");
        }
        for port in [9640, 9643, 8443, 9001, 9000] {
            let found = problems(&routes, json!([{ "containerPort": port }]));
            assert_eq!(found.len(), 1, "{port}: {found:?}");
            assert!(found[0].starts_with(&format!("container app: containerPort {port} ")), "{found:?}");
        }
        assert_eq!(problems(&routes, json!([{ "containerPort": 8080 }])), [""; 0]);
    }

    #[test]
    fn other_addresses_and_protocols_do_not_collide() {
        assert_eq!(problems(&[("inbound", "10.0.0.1:8443=8080,10.0.0.2:8443=8081")], json!([])), [""; 0]);
        assert_eq!(problems(&[("outbound", "127.0.0.1:9001=a:1,127.0.0.2:9001=b:1")], json!([])), [""; 0]);
        let udp = json!([{ "containerPort": 8443, "protocol": "UDP" }]);
        assert_eq!(problems(&[("inbound", "8443=8080")], udp), [""; 0]);
    }

    #[test]
    fn the_port_that_is_proposed_is_free() {
        let found = problems(&[("inbound", "8080=8080")], json!([]));
        assert!(found[0].contains("such as 8081"), "{found:?}");
    }
}
