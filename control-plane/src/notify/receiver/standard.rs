//! CloudEvents in JSON, signed as Standard Webhooks has it: what hotcert sends itself, from one cluster to
//! another, and what any manager can be made to send. Of an event with another `type` the last part counts:
//! `com.example.expiring` is about a certificate that expires.

use std::time::SystemTime;

use serde::Deserialize;

use super::{Message, Refusal};
use crate::api::date;
use crate::api::events::EventKind;
use crate::notify::receiver::incoming_event::{Remote, Said, What, shown};
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

/// What is read of it.
#[derive(Default, Deserialize)]
struct Data {
    serial: Option<String>,
    not_after: Option<String>,
}

pub fn read(verifier: &Verifier, message: &Message<'_>, now: SystemTime) -> Result<(String, Said), Refusal> {
    let id = verifier.verify(message.headers, message.body, now)?;
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    if event.id != id {
        return Err(Refusal::Malformed("its id is not the one in its header".into()));
    }
    let word = event.r#type.rsplit('.').next().unwrap_or_default();
    let what = match (word.parse(), word) {
        (Ok(EventKind::Expiring | EventKind::Expired), _) => What::Expiring,
        (Ok(EventKind::Issued | EventKind::Renewed | EventKind::Rotated | EventKind::RolledBack), _) => {
            What::Changed
        }
        (Ok(_), _) => What::Other,
        (Err(_), "revoked") => What::Revoked,
        (Err(_), "test") => What::Test,
        (Err(_), _) => return Err(Refusal::UnknownEvent(shown(&event.r#type))),
    };
    let until = match &event.data.not_after {
        Some(text) => {
            let until = date::parse(text);
            Some(until.ok_or_else(|| Refusal::Malformed("data.not_after is no date".into()))?)
        }
        None => None,
    };
    let notice = RenewalHint::new(until, event.data.serial.as_deref());
    let about =
        event.subject.into_iter().map(|subject| Remote { names: vec![subject], notice: notice.clone() });
    Ok((event.source, Said { id: event.id, what, about: about.collect() }))
}
