//! An event in one sentence, for people.

use serde_json::Value;

use crate::api::notification::{Event, EventKind};

pub fn of(event: &Event) -> String {
    let text = |key: &str| match event.data.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    let what = match event.kind {
        EventKind::Issued => format!("has its first certificate, valid until {}", text("not_after")),
        EventKind::Renewed => format!("was renewed, valid until {}", text("not_after")),
        EventKind::Rotated => format!("was rotated, valid until {}", text("not_after")),
        EventKind::RolledBack => {
            format!("was rolled back to version {}, valid until {}", text("copy_of"), text("not_after"))
        }
        EventKind::Expiring => format!("expires on {}", text("not_after")),
        EventKind::Expired => format!("expired on {}", text("not_after")),
        EventKind::RotationFailed => format!("has a problem, {}: {}", text("reason"), text("message")),
        EventKind::Rollover => format!("rolls over to a new root, in the phase {}", text("phase")),
        EventKind::RolloverEnded => "has rolled over to a new root".to_owned(),
        EventKind::RolloverStuck => {
            format!("waits in the phase {} of its rollover for {}", text("phase"), text("waiting_total"))
        }
        EventKind::Test => "is a test: nothing happened, and notifications arrive".to_owned(),
    };
    format!("{} {what}", event.subject)
}
