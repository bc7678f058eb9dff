//! The permission an agent needs to read its Secret through the API: that one Secret, nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::container::TOKEN;
use super::pod::{Problems, SidecarKind, items};
use super::settings::Settings;
use super::stream::Placed;

/// A Role and a RoleBinding for each Secret, for every service account that reads it.
pub fn objects(placed: &[Placed]) -> Vec<Value> {
    let mut readers: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for Placed { namespace, pod, .. } in placed {
        if items(&pod["spec"]["volumes"]).any(|volume| volume["name"] == TOKEN) {
            // It was judged when the agent was put in.
            let settings = Settings::of(pod, SidecarKind::Native, &mut Problems::default());
            let account = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
            readers.entry((namespace, settings.secret)).or_default().insert(account.unwrap_or("default"));
        }
    }
    readers.iter().flat_map(|((namespace, secret), accounts)| pair(namespace, secret, accounts)).collect()
}

fn pair(namespace: &str, secret: &str, accounts: &BTreeSet<&str>) -> [Value; 2] {
    let metadata = json!({ "name": format!("hotcert-agent-{secret}"), "namespace": namespace });
    let subjects = accounts
        .iter()
        .map(|account| json!({ "kind": "ServiceAccount", "name": account, "namespace": namespace }))
        .collect::<Vec<_>>();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [{
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [secret],
            "verbs": ["get", "list", "watch"],
        }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": format!("hotcert-agent-{secret}"),
        },
        "subjects": subjects,
    });
    [role, binding]
}
