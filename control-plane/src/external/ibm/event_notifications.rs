//! Event Notifications: sources, topics, destinations and subscriptions of one instance.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::request::{ApiRequest, Body, Part, Service, segment};
use crate::external::manager::json::SecretJson;

/// Matches every event of a source; what is wanted of them is in the notification filter.
const ALL_TYPES: &str = "$.*";
const WEBHOOK: &str = "webhook";
const VERB: &str = "POST";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    Sources,
    Topics,
    Destinations,
    Subscriptions,
}

#[derive(Deserialize)]
pub struct List {
    #[serde(default)]
    pub total_count: u64,
    #[serde(default, alias = "sources", alias = "topics", alias = "destinations", alias = "subscriptions")]
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Of a source.
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub topic_count: u64,
    /// Of a subscription.
    #[serde(default)]
    pub destination_id: String,
    #[serde(default)]
    pub topic_id: String,
}

/// What an existing topic selects.
#[derive(Deserialize)]
pub struct Topic {
    #[serde(default)]
    sources: Vec<TopicSource>,
}

#[derive(Deserialize)]
struct TopicSource {
    id: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    event_type_filter: String,
    #[serde(default)]
    notification_filter: String,
}

/// Where an existing destination sends to.
#[derive(Deserialize)]
pub struct Destination {
    #[serde(default)]
    r#type: String,
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    url: String,
    #[serde(default)]
    verb: String,
    /// The values of sensitive ones are not answered.
    #[serde(default)]
    custom_headers: serde_json::Map<String, Value>,
}

/// A webhook with a secret header.
pub struct Webhook<'w> {
    pub url: &'w str,
    pub header: &'w str,
    pub value: &'w str,
}

impl Collection {
    fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Topics => "topics",
            Self::Destinations => "destinations",
            Self::Subscriptions => "subscriptions",
        }
    }

    fn path(self, instance: &str) -> String {
        format!("/v1/instances/{}/{}", segment(instance), self.name())
    }

    /// `search`: only those whose names contain it.
    pub fn list(self, instance: &str, search: Option<&str>) -> ApiRequest {
        let request = ApiRequest::get(Service::EventNotifications, self.path(instance)).query("limit", "100");
        match search {
            Some(search) => request.query("search", search),
            None => request,
        }
    }

    pub fn get(self, instance: &str, id: &str) -> ApiRequest {
        ApiRequest::get(Service::EventNotifications, format!("{}/{}", self.path(instance), segment(id)))
    }

    pub fn delete(self, instance: &str, id: &str) -> ApiRequest {
        ApiRequest::delete(Service::EventNotifications, format!("{}/{}", self.path(instance), segment(id)))
    }
}

/// `event_types`: of the source, without their subtypes.
pub fn create_topic(
    instance: &str,
    name: &str,
    description: &str,
    source: &str,
    event_types: &[&str],
) -> ApiRequest {
    let rules: Vec<_> = event_types
        .iter()
        .map(|event_type| {
            json!({
                "enabled": true,
                "event_type_filter": ALL_TYPES,
                "notification_filter": filter(event_type),
            })
        })
        .collect();
    let sources = json!([{"id": source, "rules": rules}]);
    let body = json!({"name": name, "description": description, "sources": sources});
    ApiRequest::post(Service::EventNotifications, Collection::Topics.path(instance), body)
}

fn filter(event_type: &str) -> String {
    format!("$.data.event_type == '{event_type}'")
}

/// The API takes this as a form with parts.
pub fn create_destination(
    instance: &str,
    name: &str,
    description: &str,
    webhook: &Webhook<'_>,
) -> ApiRequest {
    let Webhook { url, header, value } = webhook;
    let config = json!({"params": {
        "url": url,
        "verb": VERB,
        "custom_headers": {(*header): value},
        "sensitive_headers": [header],
    }});
    let parts = vec![
        ("name", Part::Text(name.to_owned())),
        ("type", Part::Text(WEBHOOK.to_owned())),
        ("description", Part::Text(description.to_owned())),
        ("config", Part::Json(SecretJson(config))),
    ];
    let path = Collection::Destinations.path(instance);
    let request = ApiRequest::new(Service::EventNotifications, hyper::Method::POST, path);
    ApiRequest { body: Body::Multipart(parts), ..request }.secret(format!("/params/custom_headers/{header}"))
}

pub fn create_subscription(
    instance: &str,
    name: &str,
    description: &str,
    destination: &str,
    topic: &str,
) -> ApiRequest {
    let body = json!({
        "name": name,
        "destination_id": destination,
        "topic_id": topic,
        "description": description,
        "attributes": {"signing_enabled": false},
    });
    ApiRequest::post(Service::EventNotifications, Collection::Subscriptions.path(instance), body)
}

impl Topic {
    /// What is not as [`create_topic`] makes it.
    pub fn difference(&self, source: &str, event_types: &[&str]) -> Option<String> {
        let Some(found) = self.sources.iter().find(|found| found.id == source) else {
            return Some("it does not have this Secrets Manager as a source".into());
        };
        let wanted: BTreeSet<_> = event_types.iter().map(|event_type| filter(event_type)).collect();
        let enabled = found.rules.iter().filter(|rule| rule.enabled);
        let has: BTreeSet<_> = enabled
            .map(|rule| match rule.event_type_filter.as_str() {
                ALL_TYPES => rule.notification_filter.clone(),
                other => format!("{other} and {}", rule.notification_filter),
            })
            .collect();
        let list = |filters: Vec<&String>| filters.into_iter().cloned().collect::<Vec<_>>().join("; ");
        let missing = list(wanted.difference(&has).collect());
        let more = list(has.difference(&wanted).collect());
        match (missing.is_empty(), more.is_empty()) {
            (true, true) => None,
            (false, true) => Some(format!("it does not select {missing}")),
            (true, false) => Some(format!("it also selects {more}")),
            (false, false) => Some(format!("it does not select {missing}, and selects {more}")),
        }
    }
}

impl Destination {
    /// What is not as [`create_destination`] makes it. The value of the header cannot be read.
    pub fn difference(&self, webhook: &Webhook<'_>) -> Option<String> {
        let Some(Config { params }) = self.config.as_ref().filter(|_| self.r#type == WEBHOOK) else {
            return Some(format!("it is of type {}, not a webhook", self.r#type));
        };
        let mut different = Vec::new();
        if params.url != webhook.url {
            different.push(format!("it sends to another address than {}", webhook.url));
        }
        if !params.verb.eq_ignore_ascii_case(VERB) {
            different.push(format!("it sends with the method {}", params.verb));
        }
        if !params.custom_headers.keys().any(|name| name.eq_ignore_ascii_case(webhook.header)) {
            different.push(format!("it does not send the header {}", webhook.header));
        }
        (!different.is_empty()).then(|| different.join(", and "))
    }
}
