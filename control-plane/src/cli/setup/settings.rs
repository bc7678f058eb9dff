//! The sections `managers` and `senders` of the settings file that belong to a setup.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::args::Event;
use super::files::{API_KEY, CA, ROOT, TOKEN};
use super::names::HEADER;
use crate::external::ibm::Endpoints;

pub struct Settings<'s> {
    pub name: &'s str,
    /// Of the Secrets Manager instance.
    pub url: String,
    /// Its CRN.
    pub instance: &'s str,
    pub secret: &'s str,
    pub namespace: &'s str,
    pub events: &'s BTreeSet<Event>,
    pub endpoints: &'s Endpoints,
}

impl Settings<'_> {
    /// `has_root`: whether the roots of the certificate are in a file beside the settings.
    pub fn yaml(&self, has_root: bool) -> String {
        let Self { name, url, instance, secret, namespace, events, endpoints } = self;
        let mut yaml = format!(
            "managers:\n  - name: {name}\n    kind: ibm-secrets-manager\n    url: {}\n    apiKey: {API_KEY}\n    \
             allow: {{ {}: [{}] }}\n",
            text(url),
            text(namespace),
            text(secret)
        );
        if has_root {
            let _ = writeln!(yaml, "    trust: {ROOT}");
        }
        if let Some(iam) = endpoints.own_iam_url() {
            let _ = writeln!(yaml, "    iamUrl: {}", text(&iam));
        }
        let (roots, networks) = endpoints.manager_access();
        if roots.is_some() {
            let _ = writeln!(yaml, "    ca: {CA}");
        }
        if !networks.is_empty() {
            let networks: Vec<_> = networks.iter().map(|network| text(network)).collect();
            let _ = writeln!(yaml, "    allowNetworks: [{}]", networks.join(", "));
        }
        let events: Vec<_> = events.iter().map(|event| event.as_str()).collect();
        let _ = write!(
            yaml,
            "senders:\n  - name: {name}\n    provider: ibm-secrets-manager\n    instance: {}\n    \
             header: {{ name: {HEADER}, file: {TOKEN} }}\n    events: [{}]\n    names: [{}]\n",
            text(instance),
            events.join(", "),
            text(&format!("{namespace}/*"))
        );
        yaml
    }
}

/// A string in double quotes, which JSON and YAML share.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
