//! Events of IBM Secrets Manager as Event Notifications delivers them: CloudEvents in JSON, not signed. The sender is
//! proved by a secret header or its client certificate, before this is called.

use serde::Deserialize;
use serde_json::Value;

use super::certificate_manager::parse_time;
use super::message::Message;
use super::rejection::Rejection;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, RemoteCertificate, sanitize};
use crate::planner::renewal_hint::RenewalHint;

const TYPE: &str = "com.ibm.cloud.secrets-manager.";
/// Secrets in one event; the sender puts no more into it.
const MAX_SECRETS: usize = 100;

#[derive(Deserialize)]
struct Event {
    id: String,
    source: String,
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    event_type: Option<String>,
    source_instance_crn: Option<String>,
    #[serde(default)]
    secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct Secret {
    secret_id: Option<String>,
    secret_name: Option<String>,
    secret_expiration: Option<Value>,
    serial_number: Option<String>,
}

/// The instance it comes from, and the event.
pub fn read(message: &Message<'_>) -> Result<(String, IncomingEvent), Rejection> {
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    let event_type = event.data.event_type.as_deref().unwrap_or(&event.r#type);
    // NAME:SUBTYPE; NAME with or without the prefix.
    let name = event_type.split(':').next().unwrap_or_default();
    let kind = match name.strip_prefix(TYPE).unwrap_or(name) {
        "secret_about_to_expire" | "secret_expired" => IncomingKind::Expiring,
        "secret_revoked" => IncomingKind::Revoked,
        "secret_rotated" | "secret_created" => IncomingKind::Changed,
        "secret_rotation_failed" | "secret_deleted" => IncomingKind::Other,
        "test_event" => IncomingKind::Test,
        _ => return Err(Rejection::UnknownEvent(sanitize(event_type))),
    };
    if event.data.secrets.len() > MAX_SECRETS {
        return Err(Rejection::Malformed(format!("the event is about more than {MAX_SECRETS} secrets")));
    }
    let certificates = event.data.secrets.into_iter().map(Secret::certificate).collect::<Result<_, _>>()?;
    let instance = event.data.source_instance_crn.unwrap_or_else(|| event.source.clone());
    if instance != event.source && event.source.starts_with("crn:") {
        return Err(Rejection::Malformed("source and data.source_instance_crn differ".into()));
    }
    let id = format!("{} {}", event.source, event.id);
    Ok((instance, IncomingEvent { id, kind, certificates }))
}

impl Secret {
    fn certificate(self) -> Result<RemoteCertificate, Rejection> {
        let until =
            self.secret_expiration.as_ref().filter(|value| !value.is_null()).map(parse_time).transpose()?;
        let names = self.secret_id.into_iter().chain(self.secret_name).collect();
        Ok(RemoteCertificate { names, hint: RenewalHint::new(until, self.serial_number.as_deref()) })
    }
}
