//! Warnings about a pod: ways around the agent that the injection cannot close, and settings without effect.

use std::net::SocketAddr;

use hotcert_tls::ClientAuth;
use serde_json::Value;

use super::grpc;
use super::pod_spec::{PROBES, containers, declared_ports, items, resolve_port};
use super::probes;
use super::problem::truncate_middle;
use super::settings::PodSettings;
use super::sidecar_kind::SidecarKind;

/// Lowest port that a process without privileges may listen on.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// Characters of a probe's path that a warning quotes.
const MAX_QUOTED_PATH: usize = 40;

/// One line for each, about a pod before the injection.
pub fn for_pod(pod: &Value, settings: &PodSettings, is_job: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for container in containers(pod) {
        warnings.extend(identity_exposed_to(container, pod, &settings.secret));
        warnings.extend(unreachable_probes(container, settings));
    }
    for (container, port) in declared_ports(pod) {
        if settings.app_addresses().any(|app| app.port() == port) {
            warnings.push(format!("container {container} declares containerPort {port}: if the app listens on the pod's address, connections can bypass the agent; let it listen only on 127.0.0.1:{port} and remove the containerPort"));
        }
    }
    warnings.extend(grpc::warnings(pod, settings));
    if pod["spec"]["shareProcessNamespace"] == true {
        warnings.push("spec.shareProcessNamespace is true: other containers of the pod can read the agent's memory and files, including the private key; set it to false".into());
    }
    if pod["spec"]["hostPID"] == true {
        warnings.push("spec.hostPID is true: the pod's containers see all processes of the node and can read the agent's memory and files, including the private key; set it to false".into());
    }
    if settings.sidecar == SidecarKind::Container && is_job {
        warnings.push("the pod belongs to a Job and the agent is a plain container, which does not stop when the app does, so the Job will not complete; use hotcert.dev/sidecar: native (Kubernetes 1.29 or newer), or label the pod hotcert.dev/inject: disabled".into());
    }
    if settings.inbound.is_empty() && settings.outbound.is_empty() && settings.http_proxy.is_none() {
        warnings.push("none of hotcert.dev/inbound, hotcert.dev/outbound and hotcert.dev/http-proxy is set: the agent keeps the identity current but carries no traffic".into());
    }
    warnings.extend(privileged_ports(pod, settings));
    warnings
}

/// How an app's container gets at the identity Secret itself.
fn identity_exposed_to(container: &Value, pod: &Value, secret: &str) -> Vec<String> {
    let name = container["name"].as_str().unwrap_or_default();
    let volumes = items(&pod["spec"]["volumes"]).filter(|volume| has_secret(volume, secret));
    let volumes: Vec<&Value> = volumes.map(|volume| &volume["name"]).collect();
    let mut warnings = Vec::new();
    for mount in items(&container["volumeMounts"]).filter(|mount| volumes.contains(&&mount["name"])) {
        let path = mount["mountPath"].as_str().unwrap_or_default();
        let by_sub_path = ["subPath", "subPathExpr"]
            .iter()
            .any(|key| mount[key].as_str().is_some_and(|path| !path.is_empty()));
        warnings.push(match by_sub_path {
            true => format!("container {name} mounts Secret {secret} by subPath at {path}: Kubernetes never updates such a mount, so it keeps the certificate of the pod's start; remove the mount, the agent has its own"),
            false => format!("container {name} mounts Secret {secret} at {path}: only the agent's container needs the private key; remove the mount"),
        });
    }
    let variables = items(&container["env"]).map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let sources = items(&container["envFrom"]).map(|source| &source["secretRef"]);
    if variables.chain(sources).any(|reference| reference["name"] == secret) {
        warnings.push(format!("container {name} has Secret {secret} in its environment: it is never updated there, and only the agent's container needs the private key; remove it"));
    }
    warnings
}

fn has_secret(volume: &Value, secret: &str) -> bool {
    volume["secret"]["secretName"] == secret
        || items(&volume["projected"]["sources"]).any(|source| source["secret"]["name"] == secret)
}

/// Probes and hooks at a port that only the pod's own containers can reach, and not kubelet.
fn unreachable_probes(container: &Value, settings: &PodSettings) -> Vec<String> {
    let name = container["name"].as_str().unwrap_or_default();
    let (mut warnings, mut not_relayed) = (Vec::new(), Vec::new());
    let mut warn = |field: &str, action: &Value, kinds: &[&str]| {
        for kind in kinds {
            let port = resolve_port(container, &action[kind]["port"]);
            let Some(app) = port.and_then(|port| settings.app_addresses().find(|app| app.port() == port))
            else {
                continue;
            };
            let port = app.port();
            let instead = match *kind {
                "grpc" => instead_of_grpc(app),
                _ => "use exec, or a probe with httpGet and scheme HTTP, which the agent relays".to_owned(),
            };
            warnings.push(format!("container {name}: {field} with {kind} at port {port} does not reach an app that listens on loopback; {instead}"));
        }
    };
    for probe in PROBES {
        let action = &container[probe];
        not_relayed.extend(unanswerable_probe(name, probe, container, settings));
        warn(probe, action, &["tcpSocket", "grpc"]);
        match probes::relay_target(container, action, settings) {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                let path =
                    truncate_middle(action["httpGet"]["path"].as_str().unwrap_or_default(), MAX_QUOTED_PATH);
                not_relayed.push(format!("container {name}: {probe} does not reach an app that listens on loopback, and the agent cannot relay its path {path:?}: write it as in a URL, with %20 for a space and without #"));
            }
            None if action["httpGet"]["host"].as_str().is_none_or(str::is_empty) => {
                warn(probe, action, &["httpGet"]);
            }
            None => {}
        }
    }
    for hook in ["postStart", "preStop"] {
        warn(&format!("lifecycle.{hook}"), &container["lifecycle"][hook], &["httpGet", "tcpSocket"]);
    }
    warnings.extend(not_relayed);
    warnings
}

/// A probe that cannot succeed, or tells nothing of the app: its port has no listener, or is the agent's, which speaks
/// TLS there and requires a client certificate.
fn unanswerable_probe(name: &str, probe: &str, container: &Value, settings: &PodSettings) -> Option<String> {
    let action = &container[probe];
    let kind = ["httpGet", "tcpSocket", "grpc"].into_iter().find(|kind| !action[kind].is_null())?;
    let port = &action[kind]["port"];
    let route = match (resolve_port(container, port), port.as_str()) {
        (None, Some(named)) => {
            let named = truncate_middle(named, MAX_QUOTED_PATH);
            return Some(format!(
                "container {name}: {probe} uses port {named:?}, but the container has no port of that name; use the number"
            ));
        }
        (port, _) => settings.inbound.iter().find(|route| Some(route.listen.port()) == port)?,
    };
    let (port, app) = (route.listen.port(), route.app);
    let https = action[kind]["scheme"] == "HTTPS";
    Some(match (kind, settings.client_auth) {
        ("grpc", _) => format!(
            "container {name}: {probe} with grpc at port {port} fails: kubelet speaks gRPC without TLS, and the agent TLS; {}",
            instead_of_grpc(app)
        ),
        ("tcpSocket", _) => format!(
            "container {name}: {probe} with tcpSocket at port {port} tells that the agent listens, and nothing of the app; use exec, or httpGet at the app's port {}, which the agent relays",
            app.port()
        ),
        (_, ClientAuth::None) if https => return None,
        (_, ClientAuth::None) => format!(
            "container {name}: {probe} uses port {port}, where the agent speaks TLS; set scheme: HTTPS, or use the app's own port {}, which the agent relays",
            app.port()
        ),
        _ => format!(
            "container {name}: {probe} uses port {port}, where the agent requires a client certificate, which kubelet does not have; use the app's own port, which the agent relays"
        ),
    })
}

/// The agent relays no gRPC probe, and kubelet sends it to the pod's address, without TLS.
fn instead_of_grpc(app: SocketAddr) -> String {
    format!(
        "use exec with grpc_health_probe -addr={app}, or serve health on another port of the pod's address"
    )
}

/// The agent runs without privileges. Most container runtimes allow any port nevertheless, but not all.
fn privileged_ports(pod: &Value, settings: &PodSettings) -> Option<String> {
    let listens = settings.inbound.iter().map(|route| route.listen);
    let listens =
        listens.chain(settings.outbound.iter().map(|route| route.listen)).chain(settings.http_proxy);
    let port = listens.map(|listen| listen.port()).find(|port| *port < FIRST_UNPRIVILEGED_PORT)?;
    let sysctl = "net.ipv4.ip_unprivileged_port_start";
    let allowed = items(&pod["spec"]["securityContext"]["sysctls"]).any(|set| set["name"] == sysctl);
    (!allowed).then(|| format!("port {port} is below {FIRST_UNPRIVILEGED_PORT} and the agent has no privileges: use a higher one (a Service can still expose {port}), or set the pod's sysctl {sysctl} to 0"))
}

#[cfg(test)]
mod tests;
