//! The RBAC objects that let an agent read its Secret through the API: that one Secret and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::container::TOKEN_VOLUME;
use super::pod_spec::items;
use super::problem::Problems;
use super::settings::PodSettings;
use super::sidecar_kind::SidecarKind;
use super::workload::{self, InjectedPod};

/// A Role for each Secret, and a RoleBinding of its own for each service account that reads it, so that
/// applying one workload does not revoke the permission of another.
pub fn objects(pods: &[InjectedPod]) -> Vec<Value> {
    let mut readers: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for InjectedPod { namespace, pod, .. } in pods {
        if reads_secret(pod) {
            // They were validated by the injection.
            let settings = PodSettings::parse(pod, SidecarKind::Native, &mut Problems::default());
            readers.entry((namespace, settings.secret)).or_default().insert(service_account(pod));
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

/// Whether the pod's agent reads the Secret through the API.
pub fn reads_secret(pod: &Value) -> bool {
    items(&pod["spec"]["volumes"]).any(|volume| volume["name"] == TOKEN_VOLUME)
}

fn service_account(pod: &Value) -> &str {
    pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// One line for each way in which these permissions let something other than the agent read a Secret.
pub fn warnings(values: &[Value], pods: &[InjectedPod], default_namespace: &str) -> Vec<String> {
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
    for InjectedPod { workload, namespace, pod } in pods.iter().filter(|pod| reads_secret(&pod.pod)) {
        let account = service_account(pod);
        if account == "default" {
            warnings.push(format!("{workload} runs as ServiceAccount default, so every pod of namespace {namespace} without a serviceAccountName can read its Secret, including the private key; give it a serviceAccountName of its own"));
        }
        let mounts_token = match pod["spec"]["automountServiceAccountToken"].as_bool() {
            Some(mounts) => mounts,
            None => !without_token.contains(&(namespace, account)),
        };
        if mounts_token {
            warnings.push(format!("{workload}: its own containers also have a token of ServiceAccount {account}, and can read its Secret with it, including the private key; set automountServiceAccountToken: false in the spec of its pod or on the ServiceAccount (the agent has a token of its own)"));
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
        // Neither name can contain a colon, so different pairs have different names.
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
