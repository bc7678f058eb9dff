//! `/`: the health report for a person, one small page without scripts.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:52rem;padding:0 1rem;\
color:#1c2330;background:#fbfbfd}h1{font-size:1.3rem}.ok{color:#11703a}.bad{color:#b3261e}\
table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;border-top:1px solid #e3e5ec;vertical-align:top}\
td:first-child{color:#5b6475;white-space:nowrap;width:1%}code{font-size:.85rem;overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{background:#14171f;color:#e4e7ee}td{border-color:#2a2f3b}\
td:first-child{color:#98a1b3}.ok{color:#5ecb8b}.bad{color:#ff8a80}}";

/// Renders the object that `/healthz` answers with.
pub fn render(health: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>hotcert-agent</title><style>{STYLE}</style><h1>hotcert-agent: "
    );
    match health["reason"].as_str() {
        None => page.push_str("<span class=ok>ready</span></h1>"),
        Some(reason) => {
            let _ = write!(page, "<span class=bad>not ready</span></h1><p class=bad>{}</p>", escape(reason));
        }
    }
    if ["leaf", "trust"].iter().any(|part| health["refused"][part].is_object()) {
        page.push_str(
            "<p class=bad>A newer candidate is refused; the last good one goes on being served.</p>",
        );
    }
    page.push_str("<table>");
    let served = &health["served"];
    if served.is_object() {
        let expires = served["expires_in_seconds"].as_i64().unwrap_or_default();
        row(&mut page, "Names", &join(&served["names"]));
        row(&mut page, "Serial", &shown(&served["serial"]));
        row(&mut page, "SHA-256", &shown(&served["sha256"]));
        row(&mut page, "Issuer", &shown(&served["issuer"]));
        row(&mut page, "Age", &span(served["age_seconds"].as_i64().unwrap_or_default()));
        row(&mut page, "Expires", &format!("{} ({})", shown(&served["not_after"]), in_or_ago(expires)));
        row(&mut page, "Roles", &join(&served["roles"]));
        for root in served["roots"].as_array().into_iter().flatten() {
            row(
                &mut page,
                "Root",
                &format!("{}, until {}", shown(&root["subject"]), shown(&root["not_after"])),
            );
        }
        row(&mut page, "Own handshake", &shown(&served["proof"]["outcome"]));
    }
    row(&mut page, "Generation", &shown(&health["generation"]));
    let attempt = &health["last_attempt"];
    row(&mut page, "Last look", &format!("{}: {}", shown(&attempt["at"]), shown(&attempt["outcome"])));
    for part in ["leaf", "trust"] {
        let refused = &health["refused"][part];
        if refused.is_object() {
            row(
                &mut page,
                &format!("Refused {part}"),
                &format!("{} (since {})", shown(&refused["detail"]), shown(&refused["since"])),
            );
        }
    }
    if health["held"].is_object() {
        row(
            &mut page,
            "Held",
            &format!(
                "serial {} until {}",
                shown(&health["held"]["serial"]),
                shown(&health["held"]["not_before"])
            ),
        );
    }
    let open = &health["connections"];
    let connections =
        ["current", "previous", "older"].map(|generation| format!("{} {generation}", open[generation]));
    row(&mut page, "Connections", &connections.join(", "));
    let source = &health["source"];
    row(&mut page, "Source", &format!("{}: {}", shown(&source["kind"]), shown(&source["why"])));
    for (name, place) in [("Volume", &source["directory"]), ("Secret", &source["api"]["secret"])] {
        if place.is_string() {
            row(&mut page, name, &shown(place));
        }
    }
    for address in health["exposed"].as_array().into_iter().flatten() {
        row(&mut page, "Notice", &format!("the app can be reached around the agent, at {}", shown(address)));
    }
    for notice in health["source"]["notices"].as_array().into_iter().flatten() {
        row(&mut page, "Notice", &shown(notice));
    }
    page.push_str("</table><p><a href=healthz>healthz</a> · <a href=metrics>metrics</a> · <a href=readyz>readyz</a></p></html>\n");
    page
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

/// Names come from certificates, and so from outside.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_cannot_bring_markup_in() {
        let page = render(&json!({"reason": "<b>", "served": {"names": ["dns:<script>"]}}));
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        assert!(page.contains("dns:&lt;script&gt;"));
    }
}
