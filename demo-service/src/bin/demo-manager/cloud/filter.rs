//! The filters of a topic's rules, as far as they compare one field with one text.

use serde_json::Value;

/// Both filters of a rule that is enabled match.
pub fn selects(rule: &Value, event: &Value) -> bool {
    let matches_field = |field: &str| matches(rule[field].as_str().unwrap_or_default(), event);
    rule["enabled"] == true && matches_field("event_type_filter") && matches_field("notification_filter")
}

/// `$.*`, `$.a.b == 'text'`, or none.
fn matches(filter: &str, event: &Value) -> bool {
    if filter.is_empty() || filter == "$.*" {
        return true;
    }
    let Some((path, text)) = filter.split_once(" == ") else { return false };
    let Some(path) = path.strip_prefix('$') else { return false };
    event.pointer(&path.replace('.', "/")).is_some_and(|value| *value == text.trim_matches('\''))
}
