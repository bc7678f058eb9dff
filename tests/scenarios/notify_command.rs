//! `hotcert notify test`, which goes the way of every event: to a receiver that takes what Slack takes, and to Alertmanager.

use std::path::Path;
use std::process::{Command, Output};

use kit::agent::program;
use kit::alertmanager::Alertmanager;
use kit::client::both;
use kit::forge::Forge;
use kit::pki::write;
use kit::until;
use kit::webhook::Webhook;
use serde_json::json;
use tempfile::TempDir;

use crate::alerts::{SECRET, slack};
use crate::notifications::{Hook, machine};

/// `hotcert notify test`
fn notify_test(name: &str, settings: &Path) -> Output {
    command(name, settings).output().unwrap()
}

fn command(name: &str, settings: &Path) -> Command {
    let mut hotcert = Command::new(program("hotcert"));
    hotcert.args(["notify", "test", name, "--notifications"]).arg(settings).env_remove("HTTPS_PROXY");
    hotcert
}

#[test]
fn a_test_says_what_was_sent_and_what_was_answered() {
    let home = TempDir::new().unwrap();
    let home = home.path();
    let webhook = Webhook::start(slack);
    let alertmanager = Alertmanager::start(&home.join("alertmanager"), "http://127.0.0.1:9/");
    write(&home.join("hook.key"), crate::notifications::SECRET);
    write(&home.join("body.j2"), "{\"title\": {{ summary }}, \"kind\": {{ kind }}}\n");
    let address = webhook.address;
    let url = format!("url: 'http://{address}/{SECRET}', allowNetworks: [127.0.0.1]");
    let text = format!(
        "topics:\n- name: chat\n  events: [expired]\n  subscriptions:\n  - {{ name: slack, {url}, format: slack }}\n\
         - name: other\n  subscriptions:\n  - {{ name: signed, {url}, keys: [hook.key] }}\n  \
         - {{ name: own, {url}, format: template, template: body.j2 }}\n  \
         - {{ name: within, url: 'https://127.0.0.1/', format: slack }}\n  \
         - {{ name: alerts, url: 'http://{}', allowNetworks: [127.0.0.1], format: alertmanager }}\n",
        alertmanager.address,
    );
    let path = write(&home.join("notifications.yaml"), text);
    let run = |name: &str| {
        let output = notify_test(name, &path);
        let text = both(&output);
        assert!(!text.contains(SECRET) && !text.contains(crate::notifications::SECRET), "{text}");
        (output.status.code(), text)
    };

    let (code, text) = run("chat");
    let sent = format!("chat/slack: POST to http://{address}: slack, not signed\n");
    assert!(code == Some(0) && text.contains(&sent) && text.contains("answered 200 OK after"), "{text}");
    assert!(text.contains(&webhook.received()[0].body.to_string()), "what was sent is printed: {text}");

    let (code, text) = run("other/signed");
    assert!(code == Some(1) && text.contains(": cloudevents, signed\n"), "{text}");
    assert!(text.contains("answered 400 Bad Request after") && text.contains(": invalid_payload"), "{text}");
    assert!(text.contains("not delivered: the receiver does not take this body"), "{text}");
    let signed = webhook.received().pop().unwrap();
    assert_eq!(signed.body["type"], "dev.hotcert.test");
    assert!(signed.headers.iter().any(|header| header.starts_with("webhook-signature: v1,")), "{signed:?}");

    let (code, text) = run("own");
    assert_eq!(code, Some(1), "Slack does not take it: {text}");
    let own = webhook.received().pop().unwrap().body;
    assert_eq!(
        own,
        json!({"title": "hotcert is a test: nothing happened, and notifications arrive", "kind": "test"})
    );

    let (code, text) = run("within");
    assert!(code == Some(1) && text.contains("add its network to allowNetworks"), "{text}");
    let (code, text) = run("alerts");
    assert!(code == Some(0) && text.contains(": alertmanager, not signed"), "{text}");
    until("the test is an alert", || {
        alertmanager.alerts().iter().any(|alert| alert["labels"]["alertname"] == "HotcertTest").then_some(())
    });
    let (code, text) = run("pager");
    assert!(
        code == Some(1) && text.contains("name one of chat/slack, other/alerts, other/own, other/signed"),
        "{text}"
    );
    write(&path, "topics:\n- name: A\n  subscriptions: []\n");
    let (code, text) = run("pager");
    assert!(code == Some(1) && text.contains("notifications.yaml:2: "), "{text}");
}

#[test]
fn a_certificate_is_verified_with_the_roots_of_the_system_or_with_those_that_are_named_alone() {
    let machine = machine();
    let hook = Hook::start_as(&machine, "receiver");
    let home = machine.home.path();
    write(&home.join("hook.key"), crate::notifications::SECRET);
    let other = Forge::root("other");
    write(&home.join("other.crt"), &other.cert);
    let run = |roots: &str, system: Option<&Path>| {
        let text = format!(
            "topics:\n- name: all\n  subscriptions:\n  - {{ name: hook, url: 'https://localhost:{}/', \
             keys: [hook.key], allowNetworks: [127.0.0.0/8, '::1']{roots} }}\n",
            hook.port
        );
        let path = write(&home.join("notifications.yaml"), text);
        let mut hotcert = command("hook", &path);
        hotcert.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if let Some(file) = system {
            hotcert.env("SSL_CERT_FILE", file);
        }
        let output = hotcert.output().unwrap();
        (output.status.code(), both(&output))
    };
    let ours = machine.credentials("receiver").ca;
    let (code, text) = run("", Some(ours.as_path()));
    assert_eq!(code, Some(0), "{text}");
    // The roots of this machine, and named ones beside which the system's do not count.
    for (roots, system) in [("", None), (", ca: other.crt", Some(ours.as_path()))] {
        let (code, text) = run(roots, system);
        assert!(code == Some(1) && text.contains("TLS handshake failed") && text.contains("(ca)"), "{text}");
    }
    let (code, text) = run("", Some(home.join("missing.crt").as_path()));
    assert!(code == Some(1) && text.contains("notifications.yaml:4: "), "{text}");
    assert!(text.contains("install the package ca-certificates"), "{text}");
}
