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
    #[serde(default)]
    data: Data,
}

/// Events that are not known may have another form; those that are known have secrets, or tasks of secrets.
#[derive(Default, Deserialize)]
struct Data {
    event_type: Option<String>,
    source_instance_crn: Option<String>,
    #[serde(default)]
    secrets: Value,
    #[serde(default)]
    tasks: Value,
}

#[derive(Deserialize)]
struct Secret {
    secret_id: Option<String>,
    secret_name: Option<String>,
    secret_expiration: Option<Value>,
    serial_number: Option<String>,
    failure_reason: Option<String>,
}

/// The instance it comes from, and the event.
pub fn read(message: &Message<'_>) -> Result<(String, IncomingEvent), Rejection> {
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    let event_type = event.data.event_type.as_deref().unwrap_or(&event.r#type);
    // NAME:SUBTYPE; NAME with or without the prefix.
    let name = event_type.split(':').next().unwrap_or_default();
    let name = name.strip_prefix(TYPE).unwrap_or(name);
    let kind = kind(name);
    let name = sanitize(name);
    let instance = event.data.source_instance_crn.unwrap_or_else(|| event.source.clone());
    if instance != event.source && event.source.starts_with("crn:") {
        return Err(Rejection::Malformed("source and data.source_instance_crn differ".into()));
    }
    let certificates = match kind {
        IncomingKind::Unknown => Vec::new(),
        _ => certificates(event.data.secrets, event.data.tasks, &instance)?,
    };
    let id = format!("{} {}", event.source, event.id);
    Ok((instance, IncomingEvent { id, kind, name, certificates }))
}

fn kind(name: &str) -> IncomingKind {
    match name {
        "secret_about_to_expire" | "secret_expired" => IncomingKind::Expiring,
        "secret_revoked" => IncomingKind::Revoked,
        "secret_rotated" | "secret_created" => IncomingKind::Changed,
        "secret_creation_failed"
        | "secret_rotation_failed"
        | "secret_deletion_failed"
        | "secret_deletion_blocked"
        | "secret_revocation_blocked"
        | "secret_rotation_blocked"
        | "secret_expiration_blocked"
        | "secret_task_failed" => IncomingKind::Failed,
        "secret_deleted"
        | "secret_data_removed"
        | "secret_version_data_deleted"
        | "secret_task_created"
        | "secret_task_succeeded"
        | "secret_task_deleted" => IncomingKind::Other,
        "test_event" => IncomingKind::Test,
        _ => IncomingKind::Unknown,
    }
}

fn certificates(secrets: Value, tasks: Value, instance: &str) -> Result<Vec<RemoteCertificate>, Rejection> {
    let mut all = Vec::new();
    for list in [secrets, tasks] {
        let list: Option<Vec<Secret>> =
            serde_json::from_value(list).map_err(|error| Rejection::Malformed(error.to_string()))?;
        all.extend(list.unwrap_or_default());
    }
    if all.len() > MAX_SECRETS {
        return Err(Rejection::Malformed(format!("the event is about more than {MAX_SECRETS} secrets")));
    }
    all.into_iter().map(|secret| secret.certificate(instance)).collect()
}

impl Secret {
    fn certificate(self, instance: &str) -> Result<RemoteCertificate, Rejection> {
        let until =
            self.secret_expiration.as_ref().filter(|value| !value.is_null()).map(parse_time).transpose()?;
        let short = self.secret_id.as_deref().and_then(|id| id_within(id, instance)).map(str::to_owned);
        let names = self.secret_id.into_iter().chain(short).chain(self.secret_name).collect();
        let hint = RenewalHint::new(until, self.serial_number.as_deref());
        let cause = self.failure_reason.as_deref().map(sanitize);
        Ok(RemoteCertificate { names, hint, cause })
    }
}

/// The id at the end of a secret's CRN, if the CRN is of this instance.
fn id_within<'a>(crn: &'a str, instance: &str) -> Option<&'a str> {
    let id = crn.strip_prefix(instance.trim_end_matches(':'))?.strip_prefix(":secret:")?;
    (crn.starts_with("crn:") && !id.is_empty() && !id.contains(':')).then_some(id)
}
