//! Probes of an app that listens on loopback. Kubelet cannot reach it there but the agent can, so kubelet
//! probes the agent's admin port and the agent forwards the request to the app.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hyper::http::uri::PathAndQuery;
use serde_json::{Value, json};

use super::pod_spec::{PROBES, containers_mut, resolve_port};
use super::settings::PodSettings;
use crate::api::agent_ports::ADMIN;

/// The agent's admin path for probes of the app: `/probe/PORT/PATH`.
const RELAY_PATH: &str = "/probe/";

/// Points HTTP probes of loopback ports at the agent. Returns the targets that the agent must relay, as
/// `PORT/PATH`.
pub fn rewrite(pod: &mut Value, settings: &PodSettings) -> Vec<String> {
    let mut targets = BTreeSet::new();
    for container in containers_mut(pod) {
        for probe in PROBES {
            let Some(Ok(target)) = relay_target(container, &container[probe], settings) else {
                continue;
            };
            let Some(get) = container[probe].get_mut("httpGet") else {
                continue;
            };
            get["path"] = json!(format!("{RELAY_PATH}{target}"));
            get["port"] = json!(ADMIN);
            targets.insert(as_list_item(&target));
        }
    }
    targets.into_iter().collect()
}

/// Undoes [`rewrite`], except that a port's name has become its number and an omitted path is `/`.
pub fn restore(pod: &mut Value) {
    for container in containers_mut(pod) {
        for probe in PROBES {
            let Some(get) = container.get_mut(probe).and_then(|probe| probe.get_mut("httpGet")) else {
                continue;
            };
            let relayed = (get["port"] == ADMIN).then(|| get["path"].as_str()).flatten();
            let app = relayed.and_then(|path| path.strip_prefix(RELAY_PATH)?.split_once('/'));
            if let Some((port, path)) =
                app.and_then(|(port, path)| Some((port.parse::<u16>().ok()?, format!("/{path}"))))
            {
                get["port"] = json!(port);
                get["path"] = json!(path);
            }
        }
    }
}

/// The agent cannot request this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPath;

/// For a probe of a loopback port, what the agent requests from the app, as `PORT/PATH`; an error if the
/// agent cannot carry it. `None` if the probe is not for the agent to relay.
pub fn relay_target(
    container: &Value,
    probe: &Value,
    settings: &PodSettings,
) -> Option<Result<String, InvalidPath>> {
    let get = &probe["httpGet"];
    let plain = matches!(get["scheme"].as_str(), None | Some("HTTP"))
        && get["host"].as_str().is_none_or(str::is_empty);
    let port = resolve_port(container, &get["port"])?;
    let on_loopback =
        settings.app_addresses().any(|app| app.ip() == Ipv4Addr::LOCALHOST && app.port() == port);
    if !plain || !on_loopback {
        return None;
    }
    let path = get["path"].as_str().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}");
    Some(if port > 0 && is_request_path(&path) { Ok(format!("{port}{path}")) } else { Err(InvalidPath) })
}

/// Whether an HTTP client can send the path as it is written; parsing drops a fragment, for example.
fn is_request_path(path: &str) -> bool {
    path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path)
}

/// Escaped for the agent's comma-separated list.
fn as_list_item(target: &str) -> String {
    target.replace(',', "%2C")
}

#[cfg(test)]
mod tests;
