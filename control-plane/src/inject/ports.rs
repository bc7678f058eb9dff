//! Port conflicts in the pod: its containers share one network namespace, so each port has one listener.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use super::annotations;
use super::pod_spec::declared_ports;
use super::problem::Problems;
use super::settings::PodSettings;
use crate::api::agent_ports::{ADMIN, PROOF};

/// Reports ports with two listeners: one of the two would not start.
pub fn check(pod: &Value, settings: &PodSettings, problems: &mut Problems) {
    let listeners = listeners(settings);
    for (index, (location, listen)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| overlap(*listen, *other)) {
            problems.add(
                location.clone(),
                format!("the agent already listens on port {} ({other}): use another port", listen.port()),
            );
        }
    }
    for app in settings.inbound.iter().map(|route| route.app) {
        if let Some((location, _)) =
            listeners.iter().find(|(_, listen)| app.ip().is_loopback() && overlap(app, *listen))
        {
            problems.add(
                annotations::location("inbound"),
                format!("the app at {app} would use a port of the agent ({location}): let the app listen on another port, such as {}", free_port(&listeners)),
            );
        }
    }
    for (container, port) in declared_ports(pod) {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        if let Some((location, _)) = listeners.iter().find(|(_, listen)| overlap(everywhere, *listen)) {
            problems.add(
                format!("container {container}"),
                format!("containerPort {port} is a port of the agent ({location}): let the app listen on another port of 127.0.0.1, such as {}, and remove the containerPort", free_port(&listeners)),
            );
        }
    }
}

/// Every listener of the agent, and what configures it.
fn listeners(settings: &PodSettings) -> Vec<(String, SocketAddr)> {
    let everywhere = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let mut listeners = vec![
        ("its health and metrics".to_owned(), everywhere(ADMIN)),
        ("its proof listener".to_owned(), everywhere(PROOF)),
    ];
    listeners.extend(settings.inbound.iter().map(|route| (annotations::location("inbound"), route.listen)));
    listeners.extend(settings.outbound.iter().map(|route| (annotations::location("outbound"), route.listen)));
    listeners.extend(settings.http_proxy.map(|listen| (annotations::location("http-proxy"), listen)));
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
    use crate::inject::pod::{Context, inject};
    use crate::inject::problem::InvalidPod;
    use crate::inject::sidecar_kind::SidecarKind;
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
            is_job: false,
        };
        match inject(&pod, &context) {
            Ok(_) => Vec::new(),
            Err(InvalidPod(problems)) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_port_with_two_listeners_is_rejected() {
        let routes = [("inbound", "8443=8080"), ("outbound", "9001=a:1"), ("http-proxy", "9000")];
        for (location, annotations) in [
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
            assert!(found[0].starts_with(&format!("annotation hotcert.dev/{location}: ")), "{found:?}");
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
    fn the_suggested_port_is_free() {
        let found = problems(&[("inbound", "8080=8080")], json!([]));
        assert!(found[0].contains("such as 8081"), "{found:?}");
    }
}
