//! `/`: the health report as one small HTML page without scripts.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:52rem;padding:0 1rem;\
color:#1c2330;background:#fbfbfd}h1{font-size:1.3rem}.ok{color:#11703a}.bad{color:#b3261e}\
table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;border-top:1px solid #e3e5ec;vertical-align:top}\
td:first-child{color:#5b6475;white-space:nowrap;width:1%}code{font-size:.85rem;overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{background:#14171f;color:#e4e7ee}td{border-color:#2a2f3b}\
td:first-child{color:#98a1b3}.ok{color:#5ecb8b}.bad{color:#ff8a80}}";

/// What is judged by itself.
const PARTS: [&str; 3] = ["leaf", "trust", "revocation"];

/// Renders the object that `/healthz` answers with.
pub fn render(health: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>hotcert-agent</title><style>{STYLE}</style>"
    );
    headline(&mut page, health);
    page.push_str("<table>");
    if health["served"].is_object() {
        served(&mut page, &health["served"]);
    }
    row(&mut page, "Generation", &shown(&health["generation"]));
    candidate(&mut page, health);
    let open = &health["connections"];
    let connections =
        ["current", "previous", "older"].map(|generation| format!("{} {generation}", open[generation]));
    row(&mut page, "Connections", &connections.join(", "));
    source(&mut page, &health["source"]);
    notices(&mut page, health);
    page.push_str("</table><p><a href=healthz>healthz</a> · <a href=metrics>metrics</a> · <a href=readyz>readyz</a></p></html>\n");
    page
}

fn headline(page: &mut String, health: &Value) {
    page.push_str("<h1>hotcert-agent: ");
    match health["reason"].as_str() {
        None => page.push_str("<span class=ok>ready</span></h1>"),
        Some(reason) => {
            let _ = write!(page, "<span class=bad>not ready</span></h1><p class=bad>{}</p>", escape(reason));
        }
    }
    if PARTS.iter().any(|part| health["refused"][part].is_object()) {
        page.push_str("<p class=bad>A newer candidate is refused; the last good one is still served.</p>");
    }
}

fn served(page: &mut String, served: &Value) {
    let seconds = |field: &str| served[field].as_i64().unwrap_or_default();
    row(page, "Names", &join(&served["names"]));
    row(page, "Serial", &shown(&served["serial"]));
    row(page, "SHA-256", &shown(&served["sha256"]));
    row(page, "Issuer", &shown(&served["issuer"]));
    row(page, "Age", &span(seconds("age_seconds")));
    let expires = in_or_ago(seconds("expires_in_seconds"));
    row(page, "Expires", &format!("{} ({expires})", shown(&served["not_after"])));
    row(page, "Roles", &join(&served["roles"]));
    for root in served["roots"].as_array().into_iter().flatten() {
        row(page, "Root", &format!("{}, until {}", shown(&root["subject"]), shown(&root["not_after"])));
    }
    for list in served["revocation_lists"].as_array().into_iter().flatten() {
        let (issuer, until) = (shown(&list["issuer"]), shown(&list["usable_until"]));
        row(page, "Revocation list", &format!("{issuer}: {} revoked, until {until}", list["revoked"]));
    }
    row(page, "Self-check", &shown(&served["proof"]["outcome"]));
}

/// The last reload, and a candidate that is refused or held.
fn candidate(page: &mut String, health: &Value) {
    let attempt = &health["last_attempt"];
    row(page, "Last reload", &format!("{}: {}", shown(&attempt["at"]), shown(&attempt["outcome"])));
    for part in PARTS {
        let refused = &health["refused"][part];
        if refused.is_object() {
            let text = format!("{} (since {})", shown(&refused["detail"]), shown(&refused["since"]));
            row(page, &format!("Refused {part}"), &text);
        }
    }
    let held = &health["held"];
    if held.is_object() {
        row(page, "Held", &format!("serial {} until {}", shown(&held["serial"]), shown(&held["not_before"])));
    }
}

fn source(page: &mut String, source: &Value) {
    row(page, "Source", &format!("{}: {}", shown(&source["kind"]), shown(&source["why"])));
    for (name, value) in [("Volume", &source["directory"]), ("Secret", &source["api"]["secret"])] {
        if value.is_string() {
            row(page, name, &shown(value));
        }
    }
}

fn notices(page: &mut String, health: &Value) {
    for address in health["exposed"].as_array().into_iter().flatten() {
        row(page, "Notice", &format!("clients can bypass the agent: the app listens on {}", shown(address)));
    }
    for notice in health["source"]["notices"].as_array().into_iter().flatten() {
        row(page, "Notice", &shown(notice));
    }
}

fn row(page: &mut String, name: &str, value: &str) {
    let _ = write!(page, "<tr><td>{}<td><code>{}</code>", escape(name), escape(value));
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        other => other.to_string(),
    }
}

fn join(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(shown).collect::<Vec<_>>().join(", ")
}

fn in_or_ago(seconds: i64) -> String {
    if seconds >= 0 { format!("in {}", span(seconds)) } else { format!("{} ago", span(-seconds)) }
}

fn span(seconds: i64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.unsigned_abs())).to_string()
}

/// Names come from certificates, which are untrusted input.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn markup_in_names_is_escaped() {
        let page = render(&json!({"reason": "<b>", "served": {"names": ["dns:<script>"]}}));
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        assert!(page.contains("dns:&lt;script&gt;"));
    }
}
