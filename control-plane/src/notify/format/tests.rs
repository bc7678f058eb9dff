//! The bodies of all formats, and what a template may and may not do.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::*;
use crate::api::notification::{EventKind, Severity};

fn expiring() -> Notice {
    let data = json!({
        "namespace": "shop", "name": "mtls-prod-payments", "authority": "root-prod-shop",
        "not_after": "1970-01-12T00:00:00Z", "threshold": "10d", "threshold_seconds": 864000,
    });
    let event = Event {
        id: "1".into(),
        kind: EventKind::Expiring,
        severity: Severity::Warning,
        subject: "shop/mtls-prod-payments".into(),
        at: UNIX_EPOCH + Duration::from_secs(24 * 60 * 60),
        data: data.as_object().unwrap().clone(),
    };
    Notice { event, is_resolved: false }
}

fn body(format: &Format, notice: &Notice) -> Value {
    let now = UNIX_EPOCH + Duration::from_secs(2 * 24 * 60 * 60);
    let message = format.message("urn:hotcert:prod", notice, now).unwrap();
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn an_alert_is_known_by_its_labels_and_ends() {
    let firing = body(&Format::Alertmanager, &expiring());
    let alert = &firing[0];
    assert_eq!(
        alert["labels"],
        json!({
            "alertname": "HotcertExpiring", "severity": "warning", "source": "urn:hotcert:prod",
            "subject": "shop/mtls-prod-payments", "namespace": "shop",
        })
    );
    assert_eq!(alert["annotations"]["summary"], "shop/mtls-prod-payments expires on 1970-01-12T00:00:00Z");
    assert_eq!(alert["annotations"]["threshold_seconds"], "864000", "annotations are strings");
    assert_eq!(
        (&alert["startsAt"], &alert["endsAt"]),
        (&json!("1970-01-02T00:00:00.000Z"), &json!("1970-01-03T00:15:00.000Z"))
    );
    let resolved = body(&Format::Alertmanager, &Notice { is_resolved: true, ..expiring() });
    assert_eq!(resolved[0]["labels"], alert["labels"]);
    assert_eq!(resolved[0]["endsAt"], "1970-01-03T00:00:00.000Z");
    let mut authority = expiring();
    authority.event.data = Map::from_iter([("authority".to_owned(), json!("root-prod-shop"))]);
    authority.event.kind = EventKind::RolloverStuck;
    let labels = &body(&Format::Alertmanager, &authority)[0]["labels"];
    assert_eq!(
        (&labels["alertname"], &labels["authority"]),
        (&json!("HotcertRolloverStuck"), &json!("root-prod-shop"))
    );
}

#[test]
fn a_message_to_slack_has_a_text_and_no_markup_of_ours() {
    let mut notice = expiring();
    notice.event.kind = EventKind::RotationFailed;
    notice.event.data = Map::from_iter([
        ("reason".to_owned(), json!("ActionFailed")),
        ("message".to_owned(), json!(format!("<!channel> & {}", "x".repeat(5000)))),
    ]);
    let body = body(&Format::Slack, &notice);
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with(
        "warning: shop/mtls-prod-payments has a problem, ActionFailed: &lt;!channel&gt; &amp; x"
    ));
    let block = &body["blocks"][0];
    assert_eq!((&block["type"], &block["text"]["type"]), (&json!("section"), &json!("mrkdwn")));
    for text in [text, block["text"]["text"].as_str().unwrap()] {
        assert_eq!(text.chars().count(), 3000, "Slack takes no more");
    }
}

#[test]
fn a_template_makes_json_of_every_event_whatever_is_in_it() {
    let text = r#"{"text": {{ summary }}, "until": {{ data.not_after }}, "left": {{ data.threshold }},
        "all": {{ data }}{% if kind == "expiring" %}, "severity": {{ severity }}{% endif %}}"#;
    let format = Format::Template(Box::new(Template::parse("body.j2", text).unwrap()));
    let mut notice = expiring();
    notice.event.data.insert("not_after".into(), json!("\", {\n\u{1}</script>"));
    let rendered = body(&format, &notice);
    assert_eq!((&rendered["until"], &rendered["left"]), (&json!("\", {\n\u{1}</script>"), &json!("10d")));
    assert_eq!((&rendered["severity"], &rendered["all"]["reason"]), (&json!("warning"), &Value::Null));
    notice.event.kind = EventKind::Issued;
    notice.event.data = Map::new();
    assert_eq!(body(&format, &notice)["left"], Value::Null);
}

#[test]
fn a_mistake_in_a_template_is_found_before_an_event_with_its_line() {
    for (text, error) in [
        ("{\n\"a\": {{ summary }\n}", "body.j2:2: syntax error"),
        ("{\n\n\"a\": {{ sumary }}}", "body.j2:3: undefined value"),
        ("{\"a\": {{ data.notafter }}}", "body.j2:1: undefined value"),
        ("{\"a\": {{ summary | upperr }}}", "body.j2:1: unknown filter"),
        ("{\"a\": {% include 'other' %}}", "body.j2:1: "),
        ("{\"a\": summary}", "body.j2 does not make JSON of the event issued"),
        ("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}", "body.j2"),
        ("[{% for a in range(9000) %}{{ data }},{% endfor %}1]", "body.j2"),
    ] {
        let rejected = Template::parse("body.j2", text).err().map(|error| error.to_string());
        assert!(rejected.as_ref().is_some_and(|text| text.starts_with(error)), "{text}: {rejected:?}");
    }
    // Only of one kind of event.
    let some = "{% if kind == 'expired' %}{{ data.days }}{% else %}null{% endif %}";
    assert!(Template::parse("body.j2", some).is_err());
    assert!(matches!(
        Template::parse("body.j2", &" ".repeat(64 * 1024 + 1)),
        Err(TemplateError::TooLarge { .. })
    ));
}
