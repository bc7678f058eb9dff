//! The section `topics`: which events are delivered, and the subscriptions they are delivered to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::api::notification::{EventKind, Pattern, Severity, Topic};
use crate::external::config::Validator;
use crate::notify::format::{Format, FormatName, Template};
use crate::notify::signature::Signer;
use crate::notify::subscription::Subscription;

/// By TOPIC/NAME.
pub type Subscriptions = BTreeMap<String, Arc<Subscription>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicItem {
    name: String,
    events: Option<Vec<String>>,
    names: Option<Vec<String>>,
    severity: Option<String>,
    #[serde(default)]
    subscriptions: Vec<SubscriptionItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubscriptionItem {
    name: String,
    /// The URL, or a file that contains it: many webhook URLs are secrets.
    url: Option<String>,
    url_file: Option<String>,
    #[serde(default)]
    format: FormatName,
    /// The file with the template, of the format `template`.
    template: Option<String>,
    /// Files with keys that sign.
    #[serde(default)]
    keys: Vec<String>,
    /// A file with the roots of the receiver's certificate.
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    /// By the name of a header, a file with its value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

pub fn topics(validator: &mut Validator<'_>, items: &[TopicItem]) -> (Vec<Topic>, Subscriptions) {
    let mut subscriptions = Subscriptions::new();
    let mut names = BTreeSet::new();
    let topics = validator.items("topics", items).into_iter().map(|(at, item)| {
        validator.name(&at, &item.name, &mut names);
        topic(validator, &at, item, &mut subscriptions)
    });
    (topics.collect(), subscriptions)
}

fn topic(
    validator: &mut Validator<'_>,
    at: &str,
    item: &TopicItem,
    subscriptions: &mut Subscriptions,
) -> Topic {
    let events: BTreeSet<EventKind> = match &item.events {
        Some(events) => validator.parse_all(&format!("{at}.events"), events),
        None => EventKind::all().collect(),
    };
    let names = match &item.names {
        Some(names) => validator.parse_all(&format!("{at}.names"), names),
        None => vec![Pattern::any()],
    };
    let severity = item.severity.as_deref();
    let severity = severity.and_then(|text| validator.parse(&format!("{at}.severity"), text));
    let severity = severity.unwrap_or(Severity::Info);
    if item.subscriptions.is_empty() {
        validator.error(&format!("{at}.subscriptions"), "a topic needs at least one subscription");
    }
    let (mut ids, mut known) = (Vec::new(), BTreeSet::new());
    for (at, subscription) in validator.items(&format!("{at}.subscriptions"), &item.subscriptions) {
        validator.name(&at, &subscription.name, &mut known);
        let id = format!("{}/{}", item.name, subscription.name);
        if let Some(subscription) = self::subscription(validator, &at, subscription) {
            if subscription.format.repeat().is_some() && !events.iter().any(|event| event.is_state()) {
                validator.error(
                    &format!("{at}.format"),
                    "Alertmanager is told of states that last, and this topic selects none: \
                    add expiring, expired, rotation_failed or rollover_stuck to its events",
                );
            }
            subscriptions.insert(id.clone(), Arc::new(subscription));
        }
        ids.push(id);
    }
    Topic { name: item.name.clone(), events, names, severity, subscriptions: ids }
}

fn subscription(validator: &mut Validator<'_>, at: &str, item: &SubscriptionItem) -> Option<Subscription> {
    let since = validator.files_read();
    let url = match (&item.url, &item.url_file) {
        (Some(url), None) => Zeroizing::new(url.clone()),
        (None, Some(file)) => validator.text(&format!("{at}.urlFile"), file)?,
        _ => {
            validator.error(at, "give either url or urlFile");
            return None;
        }
    };
    let keys_at = format!("{at}.keys");
    let keys: Vec<_> = item.keys.iter().filter_map(|file| validator.bytes(&keys_at, file)).collect();
    if item.keys.is_empty() && item.format.is_signed() {
        validator.error(&keys_at, "name a file with a key that signs: whsec_…, or an Ed25519 key");
    }
    let signer = Signer::parse(keys.iter().map(|key| key.as_slice()));
    let signer = signer.map_err(|error| validator.error(&keys_at, error)).ok()?;
    let format = format(validator, at, item);
    let headers = validator.headers(&format!("{at}.headers"), &item.headers);
    let endpoint = validator.endpoint(at, &url, item.ca.as_deref(), &item.allow_networks)?;
    Some(Subscription { endpoint, format: format?, signer, headers, digest: validator.digest(item, since) })
}

fn format(validator: &mut Validator<'_>, at: &str, item: &SubscriptionItem) -> Option<Format> {
    let at = format!("{at}.template");
    if item.template.is_some() && item.format != FormatName::Template {
        validator.error(&at, "a template needs format: template");
    }
    Some(match item.format {
        FormatName::CloudEvents => Format::CloudEvents,
        FormatName::Alertmanager => Format::Alertmanager,
        FormatName::Slack => Format::Slack,
        FormatName::Template => {
            let Some(file) = &item.template else {
                validator.error(&at, "name the file with the template of the body");
                return None;
            };
            let source = validator.bytes(&at, file)?;
            let template = Template::parse(file, &String::from_utf8_lossy(&source));
            Format::Template(Box::new(template.map_err(|error| validator.error(&at, error)).ok()?))
        }
    })
}
