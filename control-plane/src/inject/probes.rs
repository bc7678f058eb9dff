//! Probes of an app that listens on loopback: kubelet cannot reach it there, the agent can, so
//! kubelet asks the agent's admin port and the agent asks the app.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hotcert_agent::admin::probe::{Probe, ProbeError};
use hotcert_agent::config::ports::ADMIN;
use serde_json::{Value, json};

use super::pod::{containers_mut, items};
use super::settings::Settings;

pub const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];
const RELAY: &str = "/probe/";

/// Points HTTP probes of loopback ports at the agent; says what it will be asked for, as
/// `PORT/PATH`.
pub fn rewrite(pod: &mut Value, settings: &Settings) -> Vec<String> {
    let mut probed = BTreeSet::new();
    for container in containers_mut(pod) {
        for probe in PROBES {
            let Some(Ok(asked)) = relayed(container, &container[probe], settings) else {
                continue;
            };
            let Some(get) = container[probe].get_mut("httpGet") else {
                continue;
            };
            get["path"] = json!(format!("{RELAY}{asked}"));
            get["port"] = json!(ADMIN);
            probed.insert(listed(&asked));
        }
    }
    probed.into_iter().collect()
}

/// Undoes [`rewrite`], but for a port's name, which is a number now, and a path left out.
pub fn restore(pod: &mut Value) {
    for container in containers_mut(pod) {
        for probe in PROBES {
            let Some(get) = container.get_mut(probe).and_then(|probe| probe.get_mut("httpGet")) else {
                continue;
            };
            let relayed = (get["port"] == ADMIN).then(|| get["path"].as_str()).flatten();
            let app = relayed.and_then(|path| path.strip_prefix(RELAY)?.split_once('/'));
            if let Some((port, path)) =
                app.and_then(|(port, path)| Some((port.parse::<u16>().ok()?, format!("/{path}"))))
            {
                get["port"] = json!(port);
                get["path"] = json!(path);
            }
        }
    }
}

/// What the agent is to ask of the app, as `PORT/PATH`, for a probe of a loopback port; an error if
/// it cannot.
pub fn relayed(container: &Value, probe: &Value, settings: &Settings) -> Option<Result<String, ProbeError>> {
    let get = &probe["httpGet"];
    let plain = matches!(get["scheme"].as_str(), None | Some("HTTP"))
        && get["host"].as_str().is_none_or(str::is_empty);
    let port = port(container, &get["port"])?;
    let relayed =
        settings.targets().any(|target| target.ip() == Ipv4Addr::LOCALHOST && target.port() == port);
    if !plain || !relayed {
        return None;
    }
    let path = get["path"].as_str().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let asked = format!("{port}{slash}{path}");
    Some(listed(&asked).parse::<Probe>().map(|_| asked))
}

/// As an item of a list.
fn listed(asked: &str) -> String {
    asked.replace(',', "%2C")
}

/// The port that a number, or a name of one of the container's own ports, stands for.
pub fn port(container: &Value, port: &Value) -> Option<u16> {
    if let Some(name) = port.as_str() {
        let named =
            items(&container["ports"]).find(|port| port["name"] == name).map(|port| &port["containerPort"]);
        return named.map_or_else(|| name.parse().ok(), |number| u16::try_from(number.as_u64()?).ok());
    }
    u16::try_from(port.as_u64()?).ok()
}

#[cfg(test)]
mod tests;
