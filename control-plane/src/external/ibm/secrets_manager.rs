//! Secrets Manager: its registration with Event Notifications, and secrets. Of a secret only the metadata is read.

use serde::Deserialize;
use serde_json::json;

use super::request::{ApiRequest, Service, segment};

const REGISTRATION: &str = "/api/v2/notifications/registration";
const SECRETS: &str = "/api/v2/secrets";
pub const CERTIFICATE_TYPE: &str = "imported_cert";
const GROUP: &str = "default";

#[derive(Deserialize)]
pub struct Registration {
    pub event_notifications_instance_crn: String,
}

#[derive(Deserialize)]
pub struct Secrets {
    #[serde(default)]
    pub secrets: Vec<Metadata>,
    #[serde(default)]
    pub total_count: u64,
}

#[derive(Clone, Deserialize)]
pub struct Metadata {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
}

/// PEM.
pub struct NewCertificate<'c> {
    pub certificate: &'c str,
    pub intermediate: Option<&'c str>,
    pub private_key: &'c str,
}

pub fn registration() -> ApiRequest {
    ApiRequest::get(Service::SecretsManager, REGISTRATION)
}

pub fn register(event_notifications: &str, source: &str, description: &str) -> ApiRequest {
    let body = json!({
        "event_notifications_instance_crn": event_notifications,
        "event_notifications_source_name": source,
        "event_notifications_source_description": description,
    });
    ApiRequest::post(Service::SecretsManager, REGISTRATION, body)
}

pub fn unregister() -> ApiRequest {
    ApiRequest::delete(Service::SecretsManager, REGISTRATION)
}

/// Imported certificates of the default group whose metadata has this text.
pub fn find(name: &str) -> ApiRequest {
    ApiRequest::get(Service::SecretsManager, SECRETS)
        .query("limit", "1000")
        .query("search", name)
        .query("groups", GROUP)
        .query("secret_types", CERTIFICATE_TYPE)
}

/// Of all types and groups.
pub fn list() -> ApiRequest {
    ApiRequest::get(Service::SecretsManager, SECRETS).query("limit", "1000")
}

pub fn import(name: &str, description: &str, label: &str, new: &NewCertificate<'_>) -> ApiRequest {
    let mut body = json!({
        "secret_type": CERTIFICATE_TYPE,
        "name": name,
        "description": description,
        "secret_group_id": GROUP,
        "labels": [label],
        "certificate": new.certificate,
        "private_key": new.private_key,
    });
    if let Some(intermediate) = new.intermediate {
        body["intermediate"] = intermediate.into();
    }
    ApiRequest::post(Service::SecretsManager, SECRETS, body).secret("/private_key")
}

pub fn delete(id: &str) -> ApiRequest {
    ApiRequest::delete(Service::SecretsManager, format!("{SECRETS}/{}", segment(id)))
}
