use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::api::notification::Severity;
use crate::notify::incoming_event::IncomingKind;

const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

fn settings(text: &str) -> (TempDir, Result<NotifyConfig, ConfigError>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notifications.yaml");
    fs::write(&path, text).unwrap();
    fs::write(directory.path().join("hook.key"), HMAC).unwrap();
    fs::write(directory.path().join("token"), "0123456789abcdef\n").unwrap();
    let read = NotifyConfig::read(&path);
    (directory, read)
}

/// By one rename: partial writes are not what is tested here.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

const COMPLETE: &str = r#"
source: urn:hotcert:prod
thresholds: [1d, 30d]
stuckAfter: 10m
topics:
  - name: on-call
    events: [expiring, expired]
    names: ["shop/*"]
    severity: warning
    subscriptions:
      - name: pager
        url: https://hooks.example/hotcert
        keys: [hook.key]
        headers: { authorization: token }
      - { name: local, url: "http://127.0.0.1:9000/", keys: [hook.key], allowNetworks: [127.0.0.0/8] }
senders:
  - { name: other, provider: standard, instance: "urn:hotcert:test", keys: [hook.key], names: ["*"] }
  - name: ibm
    provider: ibm-secrets-manager
    instance: "crn:v1:x"
    header: { name: X-Token, file: token }
    events: [expiring]
    names: ["shop/*"]
    authorities: [root-prod-shop]
    certificates: { some-id: shop/mtls-prod-payments }
"#;

#[test]
fn a_complete_file_is_parsed() {
    let (_directory, read) = settings(COMPLETE);
    let read = read.unwrap();
    let rules = &read.rules;
    assert_eq!(rules.thresholds, [30, 1].map(|days| Duration::from_secs(days * 86_400)));
    assert_eq!((rules.stuck_after, rules.topics[0].severity), (Duration::from_secs(600), Severity::Warning));
    assert_eq!(rules.topics[0].subscriptions, ["on-call/pager", "on-call/local"]);
    let pager = &read.subscriptions["on-call/pager"];
    assert_eq!(pager.headers[0].1.as_str(), "0123456789abcdef");
    let (ibm, other) = (&read.senders["ibm"], &read.senders["other"]);
    assert_eq!(ibm.certificates["some-id"], "shop/mtls-prod-payments");
    assert_eq!((&ibm.events[..], ibm.authorities.len()), (&[IncomingKind::Expiring][..], 1));
    let defaults = [IncomingKind::Expiring, IncomingKind::Changed, IncomingKind::Failed];
    assert_eq!((&other.events[..], other.authorities.len()), (&defaults[..], 0));
    let shown = format!("{read:?}");
    assert!(!shown.contains("MfKQ") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn an_empty_file_has_defaults() {
    let (_directory, read) = settings("{}");
    let read = read.unwrap();
    assert_eq!(read.rules.source, "urn:hotcert");
    assert_eq!(read.rules.thresholds.len(), 8);
    assert!(read.subscriptions.is_empty() && read.senders.is_empty());
}

#[test]
fn every_error_is_reported_at_once_with_its_position() {
    let text = r#"
source: ""
thresholds: [soon]
topics:
  - name: On Call
    events: [loud]
    names: [""]
    severity: huge
    subscriptions:
      - { name: a, url: "http://hooks.example/", keys: [hook.key] }
      - { name: a, url: "https://hooks.example/", keys: [missing.key], allowNetworks: [10.0.0.0/40] }
      - { name: b, url: "https://hooks.example/" }
      - { name: c, keys: [hook.key] }
      - { name: d, url: "https://me:secret@hooks.example/", keys: [token] }
  - { name: empty }
senders:
  - { name: s1, provider: standard, instance: i }
  - { name: s2, provider: ibm-secrets-manager, instance: i }
  - { name: s3, provider: ibm-certificate-manager, instance: i, keys: [hook.key], keyUrl: "https://x.example/" }
  - { name: s4, provider: ibm-secrets-manager, instance: "", header: { name: x, file: missing } }
  - { name: s5, provider: standard, instance: i, keys: [hook.key], clients: ["spiffe://a/b"] }
"#;
    let (_directory, read) = settings(text);
    let errors = read.unwrap_err().errors;
    for position in [
        "source:",
        "thresholds:",
        "topics[0].name:",
        "topics[0].events:",
        "topics[0].names:",
        "topics[0].severity:",
        "topics[0].subscriptions[0]:",
        "topics[0].subscriptions[1].name:",
        "topics[0].subscriptions[1].keys:",
        "topics[0].subscriptions[1].allowNetworks:",
        "topics[0].subscriptions[2].keys:",
        "topics[0].subscriptions[3]:",
        "topics[0].subscriptions[4].keys:",
        "topics[1].subscriptions:",
        "senders[0].keys:",
        "senders[1]:",
        "senders[2].keys:",
        "senders[3].instance:",
        "senders[3].header:",
        "senders[4]:",
    ] {
        assert!(
            errors.iter().any(|located| located.error.starts_with(position)),
            "{position} in {errors:#?}"
        );
    }
    let shown = format!("{errors:?}");
    assert!(
        !shown.contains("secret@") && !shown.contains("hooks.example"),
        "an address may be a secret: {shown}"
    );
    for broken in ["topics: 7", "tpoics: []", "- a", "a: [", "topics: [{name: a, url: b}]"] {
        assert_eq!(settings(broken).1.unwrap_err().errors.len(), 1, "{broken}");
    }
}

#[test]
fn a_key_that_is_given_twice_is_an_error_in_its_line() {
    for text in [
        "source: urn:a\nsource: urn:b\n",
        "senders:\n- { name: a, provider: standard, instance: a, keys: [hook.key], names: ['*'], instance: b }\n",
        "senders:\n- name: a\n  provider: standard\n  instance: a\n  keys: [hook.key]\n  names: ['*']\n  certificates: { x: a, x: b }\n",
    ] {
        let errors = settings(text).1.unwrap_err().errors;
        assert!(errors.len() == 1 && errors[0].error.contains("duplicate"), "{text} {errors:?}");
        assert!(errors[0].line.is_some(), "{text} {errors:?}");
    }
}

#[test]
fn a_sender_is_not_called_as_the_path_of_the_public_keys() {
    let sender = |name: &str| {
        format!(
            "senders:\n- {{ name: {name}, provider: standard, instance: a, keys: [hook.key], names: ['*'] }}\n"
        )
    };
    let errors = settings(&sender("keys")).1.unwrap_err().errors;
    assert!(errors[0].error.starts_with("senders[0].name: the name keys is reserved"), "{errors:?}");
    assert!(settings(&sender("keys2")).1.is_ok());
}

#[test]
fn a_sender_lists_what_it_may_send_events_about() {
    let sender = |scope: &str| {
        let text =
            format!("senders:\n- {{ name: a, provider: standard, instance: a, keys: [hook.key]{scope} }}\n");
        let read = settings(&text).1;
        read.map_err(|error| error.errors.into_iter().map(|located| located.error).collect::<Vec<_>>())
    };
    for (scope, expected) in [
        // As before there were authorities: each says what to write.
        (
            "",
            "senders[0].names: list the certificates that this sender may send events about: names: ['shop/*']",
        ),
        (", events: [revoked]", "senders[0].names: list the certificates"),
        (", authorities: [root-prod-shop]", "senders[0].names: list the certificates"),
        (", names: []", "senders[0].names: it lists nothing"),
        (", names: [root-prod-shop]", "list authorities under authorities"),
        (", names: ['root-*', 'shop/*']", "list authorities under authorities"),
        (", names: ['*'], authorities: ['shop/*']", "senders[0].authorities: shop/* is a certificate"),
    ] {
        let errors = sender(scope).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{scope}: {errors:?}");
    }
    let only_roots = sender(", names: [], authorities: ['*']").unwrap();
    assert!(only_roots.senders["a"].names.is_empty() && only_roots.senders["a"].authorities.len() == 1);
}

#[test]
fn an_error_names_the_file_and_the_line() {
    for (text, expected) in [
        ("topics:\n  - name: a\n    events: [loud]\n", "notifications.yaml:3: topics[0].events: "),
        ("topics:\n  - name: a\n    events: [loud]\n", "notifications.yaml:2: topics[0].subscriptions: "),
        ("# all\nthresholds:\n  - soon\n", "notifications.yaml:2: thresholds: "),
        ("# all\n\ntpoics: []\n", "notifications.yaml:3: unknown field `tpoics`"),
        ("topics:\n  - name: a\n    severty: info\n", "notifications.yaml:3: unknown field `severty`"),
        ("topics: []\nsource: [\n", "notifications.yaml:"),
    ] {
        let (_directory, read) = settings(text);
        let shown = read.unwrap_err().to_string();
        assert!(shown.contains(expected), "{expected:?} in {shown:?}");
    }
    let (directory, _) = settings("{}");
    let missing = NotifyConfig::read(&directory.path().join("missing.yaml")).unwrap_err().to_string();
    assert!(missing.ends_with("missing.yaml: there is no such file"), "{missing}");
}

#[tokio::test]
async fn invalid_settings_at_the_start_are_empty_until_corrected() {
    let (directory, _) = settings("topics: 7");
    let path = directory.path().join("notifications.yaml");
    let metrics = Metrics::default();
    let mut config = ConfigWatch::start_every(Duration::from_millis(5), path.clone(), metrics.clone()).config;
    assert_eq!((config.borrow().subscriptions.len(), metrics.rejected.get()), (0, 1));
    replace(&path, COMPLETE);
    tokio::time::timeout(Duration::from_secs(60), config.changed()).await.unwrap().unwrap();
    assert_eq!((config.borrow().subscriptions.len(), metrics.rejected.get()), (2, 0));
}

#[tokio::test]
async fn a_change_is_published_and_an_invalid_one_is_not() {
    let (directory, _) = settings(COMPLETE);
    let path = directory.path().join("notifications.yaml");
    let metrics = Metrics::default();
    let interval = Duration::from_millis(5);
    let mut config = ConfigWatch::start_every(interval, path.clone(), metrics.clone()).config;
    let subscriptions = |settings: &watch::Receiver<Arc<NotifyConfig>>| settings.borrow().subscriptions.len();
    assert_eq!(subscriptions(&config), 2);
    let wait = Duration::from_secs(60);
    replace(&path, "topics: 7");
    let rejected = async {
        while metrics.rejected.get() == 0 {
            tokio::time::sleep(interval).await;
        }
    };
    tokio::time::timeout(wait, rejected).await.unwrap();
    assert_eq!((subscriptions(&config), config.has_changed().unwrap()), (2, false));
    replace(&path, "{}");
    tokio::time::timeout(wait, config.changed()).await.unwrap().unwrap();
    assert_eq!((subscriptions(&config), metrics.rejected.get()), (0, 0));
    replace(&path, COMPLETE);
    tokio::time::timeout(wait, config.changed()).await.unwrap().unwrap();
    let before = Arc::clone(&config.borrow().subscriptions["on-call/pager"]);
    // The files that the settings name are part of them.
    replace(&directory.path().join("token"), "another-token-of-16");
    tokio::time::timeout(wait, config.changed()).await.unwrap().unwrap();
    let after = Arc::clone(&config.borrow().subscriptions["on-call/pager"]);
    assert!(!before.is_same(&after));
}

const MANAGERS: &str = r#"
managers:
  - name: ibm
    kind: ibm-secrets-manager
    url: https://1-2.eu-de.secrets-manager.appdomain.cloud
    apiKey: token
    secretGroup: team
    allow: { shop: ["3f2*"] }
  - name: other
    kind: https
    get: https://vault.example/v1/certs/{id}?format=json
    put: https://vault.example/v1/certs/{id}
    putMethod: PUT
    headers: { X-Vault-Token: token }
    pointers: { certificate: /data/cert, key: /data/key, chain: /data/chain }
    allow: { "*": ["*"] }
"#;

#[test]
fn managers_are_parsed() {
    let (directory, read) = settings(MANAGERS);
    let managers = read.unwrap().managers;
    assert_eq!(managers.keys().collect::<Vec<_>>(), ["ibm", "other"]);
    assert!(!format!("{managers:?}").contains("0123456789"), "keys are not in debug output");
    // A new key makes it a different manager.
    let again = || NotifyConfig::read(&directory.path().join("notifications.yaml")).unwrap().managers;
    assert!(managers["ibm"].is_same(&again()["ibm"]));
    fs::write(directory.path().join("token"), "fedcba9876543210\n").unwrap();
    assert!(!managers["ibm"].is_same(&again()["ibm"]));
}

#[test]
fn errors_of_a_manager_are_reported() {
    for (from, to, message) in [
        ("    url: https://1-2", "    get: https://1-2", "managers[0]: give url"),
        ("apiKey: token", "apiKey: missing", "missing"),
        ("secretGroup: team", "secretGroup: a/b", "managers[0].secretGroup: the name of a secret group"),
        (
            "    putMethod: PUT",
            "    secretGroup: team",
            "managers[1]: url, iamUrl, apiKey, trustedProfile and secretGroup are for",
        ),
        ("    allow: { shop: [\"3f2*\"] }\n", "", "managers[0].allow: name the namespaces"),
        ("[\"3f2*\"]", "[\"3f2 *\"]", "managers[0].allow: a pattern is"),
        (
            "allow: { \"*\": [\"*\"] }",
            "allowFetch: { \"*\": [\"a b\"] }",
            "managers[1].allowFetch: a pattern is",
        ),
        (
            "    put: https://vault.example/v1/certs/{id}\n",
            "    putPointers: { certificate: /a, key: /b }\n",
            "managers[1].putPointers: there is no put",
        ),
        (
            "    putMethod: PUT",
            "    putPointers: { certificate: a, key: /b }",
            "managers[1].putPointers: \"a\" is not a JSON pointer",
        ),
        (
            "    putMethod: PUT",
            "    putPointers: { certificate: /a, key: /b, roots: /c }",
            "unknown field `roots`",
        ),
        ("certs/{id}?", "certs?", "managers[1].get: the path of the URL must contain {id}"),
        ("https://vault.example/v1/certs/{id}\n", "https://{id}.example/v1\n", "managers[1].put: "),
        ("/data/cert,", "data.cert,", "managers[1].pointers: \"data.cert\" is not a JSON pointer"),
        ("https://vault", "http://vault", "managers[1].get: only https is supported"),
        ("name: other", "name: ibm", "managers[1].name: the name ibm is used twice"),
        ("kind: https", "kind: vault", "unknown variant `vault`"),
        (
            "    apiKey: token",
            "    trust: token\n    apiKey: token",
            "managers[0].trust: token contains no certificate",
        ),
    ] {
        assert!(MANAGERS.contains(from), "{from}");
        let error = settings(&MANAGERS.replacen(from, to, 1)).1.unwrap_err().to_string();
        assert!(error.contains(message), "{from:?} to {to:?}: {error}");
    }
}

#[test]
fn each_format_has_what_it_needs() {
    let topic = |events: &str, subscription: &str| {
        let url = "url: 'https://hooks.example/secret'";
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("hook.key"), HMAC).unwrap();
        fs::write(directory.path().join("body.j2"), "{\"text\": {{ summary }}}\n").unwrap();
        fs::write(directory.path().join("broken.j2"), "\n\n{\"text\": {{ sumary }}}\n").unwrap();
        let text = format!(
            "topics:\n- name: all\n  events: [{events}]\n  subscriptions:\n  - {{ name: one, {url}, {subscription} }}\n"
        );
        let path = directory.path().join("notifications.yaml");
        fs::write(&path, text).unwrap();
        NotifyConfig::read(&path)
    };
    let accepted = |subscription: &str| topic("issued, expiring", subscription).unwrap();
    for (subscription, format) in [
        ("keys: [hook.key]", "cloudevents"),
        ("format: cloudevents, keys: [hook.key]", "cloudevents"),
        ("format: slack", "slack"),
        ("format: alertmanager", "alertmanager"),
        ("format: template, template: body.j2, keys: [hook.key]", "template"),
    ] {
        let read = accepted(subscription);
        assert_eq!(read.subscriptions["all/one"].format.to_string(), format);
        assert_eq!(read.rules.alerting.contains("all/one"), format == "alertmanager");
    }
    for (events, subscription, expected) in [
        (
            "issued",
            "format: slack, template: body.j2",
            "subscriptions[0].template: a template needs format: template",
        ),
        ("issued", "format: template", "name the file with the template"),
        ("issued", "format: template, template: missing.j2", "there is no such file"),
        (
            "issued",
            "format: template, template: broken.j2",
            "subscriptions[0].template: broken.j2:3: undefined value",
        ),
        ("issued", "format: cloudevents", "name a file with a key"),
        ("issued, renewed", "format: alertmanager", "told of states that last"),
        ("issued", "format: teams", "unknown variant"),
    ] {
        let error = topic(events, subscription).unwrap_err().to_string();
        assert!(
            error.contains("notifications.yaml:5: ") && error.contains(expected),
            "{subscription}: {error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
