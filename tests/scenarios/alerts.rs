//! Events where people look: Alertmanager itself holds an alert as long as its state lasts, and Slack gets the body that
//! its incoming webhooks take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::agent::{Agent, Launch};
use kit::alertmanager::Alertmanager;
use kit::forge::{Forge, from_now};
use kit::machine::{Machine, certificate};
use kit::pki::write;
use kit::webhook::{Received, Webhook};
use kit::{until, within};
use serde_json::{Value, json};

const DAY: i64 = 24 * 60 * 60;
/// Of a webhook's URL.
pub const SECRET: &str = "T0K3N";

fn settings(machine: &Machine, subscription: &str) -> PathBuf {
    let text = format!(
        "topics:\n- name: all\n  subscriptions:\n  - {{ name: one, allowNetworks: [127.0.0.1], {subscription} }}\n"
    );
    write(&machine.home.path().join("notifications.yaml"), text)
}

fn controller(machine: &Machine, settings: &Path) -> Agent {
    Launch::controller_on(machine.home.path(), 1)
        .args(["--notifications", settings.to_str().unwrap()])
        .start()
}

#[test]
fn an_alert_lasts_until_the_certificate_is_renewed() {
    let webhook = Webhook::start(|_| (200, String::new()));
    let machine = Machine::with(&["payments"]);
    let hook = format!("http://{}/", webhook.address);
    let alertmanager = Alertmanager::start(&machine.home.path().join("alertmanager"), &hook);
    let forge = Forge::root("legacy");
    let legacy = machine.secret("legacy");
    std::fs::create_dir_all(&legacy).unwrap();
    let publish = |end: i64| {
        let pair = forge.leaf_with("legacy", |params| {
            params.not_before = from_now(-30 * DAY);
            params.not_after = from_now(end);
        });
        write(&legacy.join("tls.key"), pair.key);
        let new = write(&legacy.join("new"), pair.cert);
        std::fs::rename(new, legacy.join("tls.crt")).unwrap();
    };
    publish(DAY / 2);
    let url = format!("url: 'http://{}/', format: alertmanager", alertmanager.address);
    let path = settings(&machine, &url);
    let controller = controller(&machine, &path);
    let alert = until("the alert fires", || alertmanager.alerts().pop());
    let expected = json!({
        "alertname": "HotcertExpiring", "severity": "critical", "source": "urn:hotcert",
        "subject": "shop/legacy-tls", "namespace": "shop",
    });
    assert_eq!(alert["labels"], expected, "and of what is well there is none");
    assert_eq!(alert["status"]["state"], "active");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("shop/legacy-tls expires on 20"), "{summary}");
    let told = |status: &str| {
        let received = webhook.received();
        received.iter().any(|request| request.body["status"] == status).then_some(())
    };
    until("Alertmanager tells of it", || told("firing"));
    assert!(told("resolved").is_none());

    // A new certificate is not about to expire. In a directory that is seen in the next round.
    publish(90 * DAY);
    machine.succeeds(&["rotate", &certificate("payments")]);
    within(Duration::from_secs(60), "the alert is resolved", || {
        alertmanager.alerts().is_empty().then_some(())
    });
    within(Duration::from_secs(60), "Alertmanager tells that it is", || told("resolved"));
    let labels = [("subscription", "all/one"), ("outcome", "delivered")];
    let sent = controller.metrics().sum("hotcert_controller_notifications_sent_total", &labels);
    assert_eq!(sent, 2.0, "the alert and its end");
}

/// What Slack documents for incoming webhooks, and what it answers.
pub fn slack(received: &Received) -> (u16, String) {
    let is_text = |text: &Value, most: usize| {
        text.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= most)
    };
    let is_section = |block: &Value| {
        block["type"] == "section"
            && block["text"]["type"] == "mrkdwn"
            && is_text(&block["text"]["text"], 3000)
            && block.as_object().is_some_and(|block| block.len() == 2)
    };
    let Received { headers, body, .. } = received;
    let is_json = headers.iter().any(|header| header == "content-type: application/json");
    let is_unsigned = !headers.iter().any(|header| header.starts_with("webhook-"));
    let blocks = body["blocks"].as_array().filter(|blocks| (1..=50).contains(&blocks.len()));
    let is_known = body.as_object().is_some_and(|body| body.keys().eq(["blocks", "text"]));
    let is_valid = is_json
        && is_unsigned
        && is_known
        && is_text(&body["text"], 40_000)
        && blocks.is_some_and(|blocks| blocks.iter().all(is_section));
    if is_valid { (200, "ok".into()) } else { (400, "invalid_payload".into()) }
}

#[test]
fn slack_gets_the_body_that_it_documents() {
    let machine = Machine::with(&["payments"]);
    let webhook = Webhook::start(slack);
    let url = format!("url: 'http://{}/services/{SECRET}', format: slack", webhook.address);
    let path = settings(&machine, &url);
    let controller = controller(&machine, &path);
    until("the subscription is known", || {
        machine.json(&["status"]).to_string().contains("all/one").then_some(())
    });
    machine.succeeds(&["rotate", &certificate("payments")]);
    let text = until("the rotation is announced", || {
        let received = webhook.received();
        let mut texts =
            received.iter().filter_map(|request| request.body["text"].as_str().map(str::to_owned));
        texts.rfind(|text| text.contains("was rotated"))
    });
    assert!(text.starts_with("info: shop/mtls-local-payments was rotated, valid until 20"), "{text}");
    let all_taken = || {
        let sum = |outcome| {
            let labels = [("subscription", "all/one"), ("outcome", outcome)];
            controller.metrics().sum("hotcert_controller_notifications_sent_total", &labels)
        };
        (sum("delivered") >= 1.0 && sum("failed") == 0.0).then_some(())
    };
    until("Slack takes all of it", all_taken);
    assert!(webhook.received().iter().all(|request| request.path == format!("/services/{SECRET}")));
    assert!(!controller.log_text().contains(SECRET), "the URL is a secret");
}
