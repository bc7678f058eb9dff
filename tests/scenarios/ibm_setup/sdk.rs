//! The requests of hotcert and of IBM's SDKs for the same steps, compared field by field.

use kit::installed::python;
use kit::pki::{Pair, write};
use serde_json::{Value, json};

use super::account::{API_KEY, Account, RECEIVER, without_ids};

const TYPES: [&str; 4] = [
    "com.ibm.cloud.secrets-manager.secret_rotated",
    "com.ibm.cloud.secrets-manager.secret_about_to_expire",
    "com.ibm.cloud.secrets-manager.secret_expired",
    "com.ibm.cloud.secrets-manager.secret_rotation_failed",
];

/// Has the SDKs do it; `more`: what else is in their settings.
fn sdk(account: &Account, pair: &Pair, token: &str, more: &Value) -> String {
    let mut settings = json!({
        "url": account.url(),
        "ca": account.path("ca.crt"),
        "apiKey": API_KEY,
        "region": "us-south",
        "receiver": format!("{RECEIVER}/notifications/hotcert"),
        "header": "x-hotcert-token",
        "token": token,
        "eventTypes": TYPES,
        "certificate": pair.cert,
        "privateKey": pair.key,
        "names": {
            "secretsManager": "hotcert-secrets-manager",
            "eventNotifications": "hotcert-event-notifications",
            "source": "hotcert-secrets-manager",
            "topic": "hotcert-certificates",
            "destination": "hotcert-receiver",
            "subscription": "hotcert-events",
            "secret": "hotcert-certificate",
            "mark": "Made by hotcert setup ibm, name hotcert, region us-south",
            "tag": "hotcert-setup:hotcert",
            "label": "hotcert-setup-hotcert",
        },
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let file = write(&account.path("sdk.json"), settings.to_string());
    let mut python = python("ibm_setup.py");
    let output = python.arg(file).env("REQUESTS_CA_BUNDLE", account.path("ca.crt")).output().unwrap();
    assert!(output.status.success(), "{}", super::account::text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn setup_with(account: &Account, pair: &Pair) {
    account.write("tls.crt", &pair.cert);
    account.write("tls.key", &pair.key);
    let path = |name: &str| account.path(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    account.succeeds(&account.setup(&["--certificate", &certificate, "--private-key", &key]));
}

/// As sent, but with the same words for ids and for the port. Each token and each question for an instance counts once.
fn comparable(account: &Account) -> Vec<Value> {
    let mut requests: Vec<Value> = Vec::new();
    for mut request in account.take_requests() {
        request["path"] = without_ids(request["path"].as_str().unwrap()).into();
        mask(&mut request["body"]);
        mask(&mut request["query"]);
        if !requests.contains(&request) || request["method"] != "GET" && request["path"] != "/identity/token"
        {
            requests.push(request);
        }
    }
    requests
}

/// Ids that each account makes of its own.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_guids(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => fields.values_mut().for_each(mask),
        _ => {}
    }
}

fn without_guids(text: &str) -> String {
    let is_guid = |part: &str| part.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    text.split(':').map(|part| if is_guid(part) { "ID" } else { part }).collect::<Vec<_>>().join(":")
}

#[track_caller]
fn assert_same(ours: &[Value], theirs: &[Value]) {
    for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours, theirs, "request {number}: hotcert's, and that of the SDK");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn the_requests_of_setup_are_those_of_the_sdks() {
    let (ours, theirs) = (Account::new(), Account::new());
    let pair = ours.pki.leaf("hotcert-certificate");
    setup_with(&ours, &pair);
    let token = ours.file("ibm-events.token");
    sdk(&theirs, &pair, token.trim(), &json!({}));
    let requests = comparable(&ours);
    assert!(requests.len() > 20, "{}", requests.len());
    assert!(requests.iter().all(|request| request["status"] != 400), "{requests:#?}");
    assert_same(&requests, &comparable(&theirs));
}

#[test]
fn the_requests_of_teardown_are_those_of_the_sdks() {
    let (ours, theirs) = (Account::new(), Account::new());
    let pair = ours.pki.leaf("hotcert-certificate");
    for account in [&ours, &theirs] {
        setup_with(account, &pair);
        account.take_requests();
    }
    ours.succeeds(&ours.teardown(&["--yes"]));
    sdk(&theirs, &pair, "a-token-of-some-length", &json!({"remove": true}));
    assert_same(&comparable(&ours), &comparable(&theirs));
}

#[test]
fn requests_that_are_wrong_are_refused_as_documented() {
    let account = Account::new();
    let pair = account.pki.leaf("hotcert-certificate");
    setup_with(&account, &pair);
    let statuses = sdk(&account, &pair, "a-token-of-some-length", &json!({"refused": true}));
    let statuses: Value = serde_json::from_str(&statuses).unwrap();
    let expected = json!({
        "instance without a plan that exists": 400,
        "instance that does not exist": 404,
        "policy without an account": 400,
        "policy that exists": 409,
        "registration that exists": 409,
        "topic whose name is taken": 409,
        "topic of a source that does not exist": 400,
        "destination without an address": 400,
        "subscription to nothing": 400,
        "instance of events that does not exist": 404,
        "secret that exists": 409,
        "secret without a certificate": 400,
        "test of the registration": 204,
    });
    assert_eq!(statuses, expected);
}
