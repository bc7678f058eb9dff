//! The permission an agent needs to read its Secret through the API: that one Secret, nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::container::TOKEN;
use super::pod::{Problems, SidecarKind, items};
use super::settings::Settings;
use super::stream::Placed;
use super::workload;

/// A Role for each Secret, and a RoleBinding for each service account that reads it: of its own, so that
/// workloads that are applied one after the other do not take each other's right away.
pub fn objects(placed: &[Placed]) -> Vec<Value> {
    let mut readers: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for Placed { namespace, pod, .. } in placed {
        if reads_secret(pod) {
            // It was judged when the agent was put in.
            let settings = Settings::of(pod, SidecarKind::Native, &mut Problems::default());
            readers.entry((namespace, settings.secret)).or_default().insert(account(pod));
        }
    }
    readers
        .iter()
        .flat_map(|((namespace, secret), accounts)| {
            let bindings = accounts.iter().map(|account| binding(namespace, secret, account));
            [role(namespace, secret)].into_iter().chain(bindings).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether its agent reads the Secret through the API.
pub fn reads_secret(pod: &Value) -> bool {
    items(&pod["spec"]["volumes"]).any(|volume| volume["name"] == TOKEN)
}

fn account(pod: &Value) -> &str {
    pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// One line for each way in which others than the agent may read a Secret by these permissions.
pub fn warnings(values: &[Value], placed: &[Placed], default_namespace: &str) -> Vec<String> {
    let accounts = values.iter().flat_map(workload::objects).map(|(_, object)| object);
    let without_token: BTreeSet<(&str, &str)> = accounts
        .filter(|object| object["kind"] == "ServiceAccount" && object["apiVersion"] == "v1")
        .filter(|object| object["automountServiceAccountToken"] == false)
        .filter_map(|object| {
            let metadata = &object["metadata"];
            Some((metadata["namespace"].as_str().unwrap_or(default_namespace), metadata["name"].as_str()?))
        })
        .collect();
    let mut warnings = Vec::new();
    for Placed { workload, namespace, pod } in placed.iter().filter(|placed| reads_secret(&placed.pod)) {
        let account = account(pod);
        if account == "default" {
            warnings.push(format!("{workload} runs as ServiceAccount default: every pod of namespace {namespace} that names no other may then read its Secret, the private key included; give it a serviceAccountName of its own"));
        }
        let mounts = match pod["spec"]["automountServiceAccountToken"].as_bool() {
            Some(mounts) => mounts,
            None => !without_token.contains(&(namespace, account)),
        };
        if mounts {
            warnings.push(format!("{workload}: its own containers have a token of ServiceAccount {account} too, which may then read its Secret, the private key included; set automountServiceAccountToken: false in its pod's spec or on the ServiceAccount (the agent has a token of its own)"));
        }
    }
    warnings
}

fn role(namespace: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": { "name": role_name(secret), "namespace": namespace },
        "rules": [{
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [secret],
            "verbs": ["get", "list", "watch"],
        }],
    })
}

fn binding(namespace: &str, secret: &str, account: &str) -> Value {
    let name = role_name(secret);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        // A colon is in neither name, so no two pairs are written alike.
        "metadata": { "name": format!("{name}:{account}"), "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
    })
}

fn role_name(secret: &str) -> String {
    format!("hotcert-agent-{secret}")
}

#[cfg(test)]
mod tests;
