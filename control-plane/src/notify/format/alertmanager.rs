//! Alerts of Alertmanager, API v2. An alert is known by its labels: the same state of the same object is the same alert
//! however often it is sent. It ends when that is said, or by itself some time after it was sent last, as when the
//! controller that would say so is gone.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Notice, summary};
use crate::api::date;
use crate::api::notification::EventKind;

pub const PATH: &str = "/api/v2/alerts";
/// While the state lasts it is sent again after this time.
pub const REPEAT: Duration = Duration::from_secs(5 * 60);
/// After this time it ends by itself: two repetitions may be lost.
const LASTS: Duration = Duration::from_secs(15 * 60);
/// Of a test nothing follows.
const TEST_LASTS: Duration = Duration::from_secs(60);

pub fn alerts(source: &str, Notice { event, is_resolved }: &Notice, now: SystemTime) -> Value {
    let text = |key: &str| event.data.get(key).cloned();
    let mut labels = Map::from_iter([
        ("alertname".to_owned(), json!(alert_name(event.kind))),
        ("severity".to_owned(), json!(event.severity.as_str())),
        ("source".to_owned(), json!(source)),
        ("subject".to_owned(), json!(event.subject)),
    ]);
    match text("namespace") {
        Some(namespace) => labels.insert("namespace".to_owned(), namespace),
        None => text("authority").and_then(|name| labels.insert("authority".to_owned(), name)),
    };
    let mut annotations = Map::from_iter([("summary".to_owned(), json!(summary::of(event)))]);
    for (key, value) in event.data.iter().filter(|(key, _)| !labels.contains_key(*key)) {
        annotations.insert(key.clone(), json!(plain(value)));
    }
    let lasts = if event.kind == EventKind::Test { TEST_LASTS } else { LASTS };
    let ends_at = if *is_resolved { now } else { now + lasts };
    json!([{
        "labels": labels,
        "annotations": annotations,
        // Whatever a clock that was set back makes of it, an alert begins before it ends.
        "startsAt": date::millis(event.at.min(now)),
        "endsAt": date::millis(ends_at),
    }])
}

/// `HotcertRotationFailed`
fn alert_name(kind: EventKind) -> String {
    let words = kind.as_str().split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    });
    format!("Hotcert{}", words.collect::<String>())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}
