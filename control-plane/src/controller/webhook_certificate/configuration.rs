//! The MutatingWebhookConfiguration: which roots API servers trust, and under which names they call the
//! webhook. Only the `caBundle` of hotcert's own entries is ever written.

use std::net::IpAddr;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::{Value, json};

use super::pair::{Root, ServerNames};

/// hotcert's own entries; others beside them are left alone.
pub const ENTRIES: [&str; 2] = ["pods.hotcert.dev", "namespaces.hotcert.dev"];

#[derive(Clone, Debug)]
pub struct WebhookConfiguration {
    resource_version: String,
    /// Never empty.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    bundle: Vec<u8>,
    url: Option<String>,
}

impl WebhookConfiguration {
    /// `None` if it has none of hotcert's entries.
    pub fn read(configuration: &MutatingWebhookConfiguration) -> Option<Self> {
        let entries: Vec<_> = configuration
            .webhooks
            .iter()
            .flatten()
            .filter(|webhook| ENTRIES.contains(&webhook.name.as_str()))
            .map(|webhook| Entry {
                name: webhook.name.clone(),
                bundle: webhook.client_config.ca_bundle.clone().unwrap_or_default().0,
                url: webhook.client_config.url.clone(),
            })
            .collect();
        let resource_version = configuration.metadata.resource_version.clone().unwrap_or_default();
        (!entries.is_empty()).then_some(Self { resource_version, entries })
    }

    pub fn has_exactly(&self, bundle: &str) -> bool {
        self.entries.iter().all(|entry| entry.bundle == bundle.as_bytes())
    }

    /// The roots that every entry trusts.
    pub fn roots(&self, now: SystemTime) -> Vec<Root> {
        let mut entries = self.entries.iter().map(|entry| Root::parse_bundle(&entry.bundle, now));
        let mut roots = entries.next().unwrap_or_default();
        for other in entries {
            roots.retain(|root| other.contains(root));
        }
        roots
    }

    /// A strategic merge patch, by which entries are merged by name. The API server rejects
    /// it if the configuration has changed since it was read.
    pub fn patch(&self, bundle: &str) -> Value {
        let ca_bundle = STANDARD.encode(bundle);
        let webhooks: Vec<_> = self
            .entries
            .iter()
            .map(|entry| json!({ "name": entry.name, "clientConfig": { "caBundle": ca_bundle } }))
            .collect();
        json!({ "metadata": { "resourceVersion": self.resource_version }, "webhooks": webhooks })
    }

    /// The names under which API servers call the webhook: the Service's, and the hosts of entries with a URL.
    pub fn server_names(configuration: Option<&Self>, service: Vec<String>) -> ServerNames {
        let dns = service.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut names = ServerNames { dns, ips: Vec::new() };
        let entries = configuration.iter().flat_map(|configuration| &configuration.entries);
        for host in entries.filter_map(|entry| host(entry.url.as_deref()?)) {
            match host.parse::<IpAddr>() {
                Ok(ip) if !names.ips.contains(&ip) => names.ips.push(ip),
                Err(_) if !names.dns.contains(&host) => names.dns.push(host),
                _ => {}
            }
        }
        names
    }
}

fn host(url: &str) -> Option<String> {
    let url: hyper::Uri = url.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_ascii_lowercase())
}
