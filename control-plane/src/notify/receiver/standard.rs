//! CloudEvents in JSON, signed as Standard Webhooks defines: what hotcert sends itself, from one cluster to another,
//! and what any manager can be made to send. Of a foreign `type` the last part counts: `com.example.expiring` is an
//! event about a certificate that expires.

use std::time::SystemTime;

use serde::Deserialize;

use super::message::Message;
use super::rejection::Rejection;
use crate::api::date;
use crate::api::notification::EventKind;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, RemoteCertificate, sanitize};
use crate::notify::signature::Verifier;
use crate::planner::renewal_hint::RenewalHint;

#[derive(Deserialize)]
struct Event {
    id: String,
    source: String,
    r#type: String,
    subject: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    serial: Option<String>,
    not_after: Option<String>,
}

/// The instance it comes from, and the event.
pub fn read(
    verifier: &Verifier,
    message: &Message<'_>,
    now: SystemTime,
) -> Result<(String, IncomingEvent), Rejection> {
    let id = verifier.verify(message.headers, message.body, now)?;
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    if event.id != id {
        return Err(Rejection::Malformed("the id differs from the one in the header".into()));
    }
    let last = event.r#type.rsplit('.').next().unwrap_or_default();
    let kind = match (last.parse(), last) {
        (Ok(EventKind::Expiring | EventKind::Expired), _) => IncomingKind::Expiring,
        (Ok(EventKind::Issued | EventKind::Renewed | EventKind::Rotated | EventKind::RolledBack), _) => {
            IncomingKind::Changed
        }
        (Ok(EventKind::RotationFailed), _) => IncomingKind::Failed,
        (Ok(_), _) => IncomingKind::Other,
        (Err(_), "revoked") => IncomingKind::Revoked,
        (Err(_), "test") => IncomingKind::Test,
        (Err(_), _) => IncomingKind::Unknown,
    };
    let until = match &event.data.not_after {
        Some(text) => {
            let until = date::parse(text);
            Some(until.ok_or_else(|| Rejection::Malformed("data.not_after is not a date".into()))?)
        }
        None => None,
    };
    let hint = RenewalHint::new(until, event.data.serial.as_deref());
    let subject = event.subject.map(|subject| RemoteCertificate { names: vec![subject], hint, cause: None });
    let name = sanitize(&event.r#type);
    let certificates = subject.into_iter().collect();
    Ok((event.source, IncomingEvent { id: event.id, kind, name, certificates }))
}
