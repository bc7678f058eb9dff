//! CloudEvents in JSON, signed as Standard Webhooks defines: what hotcert sends itself, from one cluster to another,
//! and what any manager can be made to send; or ordinary messages of that standard, whose id is in the header alone and
//! whose sender is known by its key. Of a foreign `type` the last part counts: `com.example.expiring` is an
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
    id: Option<String>,
    source: Option<String>,
    r#type: String,
    subject: Option<String>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    /// For a message that is no CloudEvent.
    subject: Option<String>,
    serial: Option<String>,
    not_after: Option<String>,
}

/// The instance it comes from, if it says so, and the event.
pub fn read(
    verifier: &Verifier,
    message: &Message<'_>,
    now: SystemTime,
) -> Result<(Option<String>, IncomingEvent), Rejection> {
    let id = verifier.verify(message.headers, message.body, now)?;
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    if event.id.as_ref().is_some_and(|own| own != id) {
        return Err(Rejection::Malformed("the id differs from the one in the header".into()));
    }
    if event.id.is_some() != event.source.is_some() {
        return Err(Rejection::Malformed("a CloudEvent has both an id and a source".into()));
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
    let subject = event.subject.or(event.data.subject).map(|subject| RemoteCertificate {
        names: vec![subject],
        hint,
        cause: None,
    });
    let name = sanitize(&event.r#type);
    let certificates = subject.into_iter().collect();
    Ok((event.source, IncomingEvent { id: id.to_owned(), kind, name, certificates }))
}
