//! Warnings about a pod: ways around the agent that the injection cannot close, and settings without effect.

use serde_json::Value;

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
            warnings.push(format!("container {container} declares containerPort {port}: if the app listens on the pod's address, whoever reaches the pod goes around the agent; let it listen on 127.0.0.1:{port} alone and take the containerPort out"));
        }
    }
    if pod["spec"]["shareProcessNamespace"] == true {
        warnings.push("spec.shareProcessNamespace is true: other containers of the pod may read the agent's memory and files, the private key among them; set it to false".into());
    }
    if pod["spec"]["hostPID"] == true {
        warnings.push("spec.hostPID is true: the pod's containers see all processes of the node and may read the agent's memory and files, the private key among them; set it to false".into());
    }
    if settings.sidecar == SidecarKind::Container && is_job {
        warnings.push("the pod is a Job's and the agent a plain container, which does not end when the app does: the Job will not complete; use hotcert.dev/sidecar: native (Kubernetes 1.29 or newer), or label the pod hotcert.dev/inject: disabled".into());
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
            true => format!("container {name} mounts Secret {secret} by subPath at {path}: Kubernetes never updates such a mount, it goes on showing the certificate of the pod's start; take the mount out, the agent has its own"),
            false => format!("container {name} mounts Secret {secret} at {path}: the private key is needed in the agent's container alone; take the mount out"),
        });
    }
    let variables = items(&container["env"]).map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let sources = items(&container["envFrom"]).map(|source| &source["secretRef"]);
    if variables.chain(sources).any(|reference| reference["name"] == secret) {
        warnings.push(format!("container {name} has Secret {secret} in its environment: it is never updated there, and the private key is needed in the agent's container alone; take it out"));
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
            if let Some(port) = port.filter(|port| settings.app_addresses().any(|app| app.port() == *port)) {
                warnings.push(format!("container {name}: {field} with {kind} at port {port} does not reach an app that listens on loopback; use httpGet with scheme HTTP in a probe, which the agent carries, or exec"));
            }
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
                not_relayed.push(format!("container {name}: {probe} does not reach an app that listens on loopback, and the agent cannot carry its path {path:?}: write it as in a URL, with %20 for a blank and without #"));
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

/// A probe that cannot succeed: its port has no listener, or one that requires a client certificate.
fn unanswerable_probe(name: &str, probe: &str, container: &Value, settings: &PodSettings) -> Option<String> {
    let port = &container[probe]["httpGet"]["port"];
    match (resolve_port(container, port), port.as_str()) {
        (None, Some(named)) => {
            let named = truncate_middle(named, MAX_QUOTED_PATH);
            Some(format!(
                "container {name}: {probe} asks port {named:?}, which is the name of none of its ports; write the number"
            ))
        }
        (Some(port), _) if settings.inbound.iter().any(|route| route.listen.port() == port) => Some(format!(
            "container {name}: {probe} asks port {port}, where the agent wants a client certificate that kubelet does not have; let it ask the app's own port, the agent carries that"
        )),
        _ => None,
    }
}

/// The agent runs without privileges. Most container runtimes allow any port nevertheless, but not all.
fn privileged_ports(pod: &Value, settings: &PodSettings) -> Option<String> {
    let listens = settings.inbound.iter().map(|route| route.listen);
    let listens =
        listens.chain(settings.outbound.iter().map(|route| route.listen)).chain(settings.http_proxy);
    let port = listens.map(|listen| listen.port()).find(|port| *port < FIRST_UNPRIVILEGED_PORT)?;
    let sysctl = "net.ipv4.ip_unprivileged_port_start";
    let allowed = items(&pod["spec"]["securityContext"]["sysctls"]).any(|set| set["name"] == sysctl);
    (!allowed).then(|| format!("port {port} is below {FIRST_UNPRIVILEGED_PORT} and the agent has no privileges: use a higher one (a Service may still show {port}), or set the pod's sysctl {sysctl} to 0"))
}

#[cfg(test)]
mod tests;
