use serde_json::{Value, json};

use super::event_notifications::{self, Destination, Topic, Webhook};
use super::secrets_manager::{self, NewCertificate};
use super::*;
use crate::external::token_cache::IssuedToken;

const SOURCE: &str = "crn:v1:bluemix:public:secrets-manager:eu-de:a/1234:source::";
const TARGET: &str = "crn:v1:bluemix:public:event-notifications:eu-de:a/1234:target::";
const SECRET: &str = "a-secret-that-is-shown-nowhere";

fn parsed<T: serde::de::DeserializeOwned>(json: Value) -> T {
    Answer::assumed(Service::Iam, json).parse().unwrap()
}

#[test]
fn secrets_are_sent_and_not_shown() {
    let webhook = Webhook { url: "https://hooks.example", header: "x-token", value: SECRET };
    let new = NewCertificate { certificate: "PEM", intermediate: None, private_key: SECRET };
    for request in [
        iam::token(SECRET),
        event_notifications::create_destination("guid", "name", "mark", &webhook),
        secrets_manager::import("name", "mark", "label", &new),
    ] {
        let shown = request.describe("https://ibm.example/base/");
        assert!(shown.starts_with("POST https://ibm.example/base/"), "{shown}");
        assert!(!shown.contains(SECRET) && shown.contains("****"), "{shown}");
        let (_, sent) = request.encode().unwrap();
        assert!(String::from_utf8_lossy(&sent).contains(SECRET), "{shown}");
    }
}

#[test]
fn segments_and_queries_are_escaped() {
    let request = resource_controller::instance("../a b?c");
    assert_eq!(request.target(""), "/v2/resource_instances/..%2Fa%20b%3Fc");
    assert_eq!(
        secrets_manager::find("a&b").target("/x/"),
        "/x/api/v2/secrets?limit=1000&search=a%26b&groups=default&secret_types=imported_cert"
    );
}

#[test]
fn a_form_with_parts_ends_with_its_boundary() {
    let webhook = Webhook { url: "https://hooks.example", header: "x-token", value: SECRET };
    let request = event_notifications::create_destination("guid", "name", "mark", &webhook);
    let (content_type, body) = request.encode().unwrap();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")), "{text}");
    assert_eq!(text.matches(&format!("--{boundary}\r\n")).count(), 4, "{text}");
    assert!(text.contains("name=\"type\"\r\nContent-Type: text/plain\r\n\r\nwebhook\r\n"), "{text}");
}

#[test]
fn an_authorization_is_enough_if_it_covers_both_instances() {
    let (source, target): (Crn, Crn) = (SOURCE.parse().unwrap(), TARGET.parse().unwrap());
    let party = |attributes: &[(&str, &str)]| {
        let list: Vec<_> =
            attributes.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!([{"attributes": list}])
    };
    let policy = |subject: &[(&str, &str)], resource: &[(&str, &str)], role: &str| {
        let json =
            json!({"subjects": party(subject), "resources": party(resource), "roles": [{"role_id": role}]});
        parsed::<iam::Policy>(json).authorizes(&source, &target)
    };
    let (from, to) = ([("serviceName", "secrets-manager")], [("serviceName", "event-notifications")]);
    let role = iam::EVENT_SOURCE_MANAGER;
    assert!(policy(&from, &to, role));
    assert!(policy(&[from[0], ("serviceInstance", "source")], &[to[0], ("serviceInstance", "target")], role));
    assert!(!policy(&[from[0], ("serviceInstance", "another")], &to, role));
    assert!(!policy(&from, &[to[0], ("serviceInstance", "another")], role));
    assert!(!policy(&from, &[to[0], ("resourceGroupId", "unknown")], role), "it may not cover the instance");
    assert!(!policy(&to, &from, role));
    assert!(!policy(&from, &to, "crn:v1:bluemix:public:event-notifications::::serviceRole:Reader"));
}

#[test]
fn what_differs_is_named() {
    let rule = |enabled: bool, kind: &str, event: &str| json!({"enabled": enabled, "event_type_filter": kind, "notification_filter": format!("$.data.event_type == '{event}'")});
    let topic = |id: &str, rules: Value| parsed::<Topic>(json!({"sources": [{"id": id, "rules": rules}]}));
    let same = topic(SOURCE, json!([rule(true, "$.*", "a"), rule(true, "$.*", "b")]));
    assert_eq!(same.difference(SOURCE, &["b", "a"]), None);
    assert!(same.difference(SOURCE, &["a"]).unwrap().contains("also selects"));
    assert!(same.difference(SOURCE, &["a", "b", "c"]).unwrap().contains("does not select"));
    assert!(topic(TARGET, json!([])).difference(SOURCE, &["a"]).unwrap().contains("as a source"));
    for off in [rule(false, "$.*", "a"), rule(true, "$.type == 'x'", "a")] {
        assert!(topic(SOURCE, json!([off])).difference(SOURCE, &["a"]).is_some());
    }

    let destination = |url: &str, verb: &str, header: &str| {
        let params = json!({"url": url, "verb": verb, "custom_headers": {header: "REDACTED"}});
        parsed::<Destination>(json!({"type": "webhook", "config": {"params": params}}))
    };
    let webhook = Webhook { url: "https://hooks.example", header: "x-token", value: "" };
    assert_eq!(destination("https://hooks.example", "post", "X-Token").difference(&webhook), None);
    for (other, said) in [
        (destination("https://other.example", "POST", "x-token"), "another address"),
        (destination("https://hooks.example", "GET", "x-token"), "method GET"),
        (destination("https://hooks.example", "POST", "x-other"), "the header x-token"),
        (parsed(json!({"type": "slack"})), "of type slack"),
    ] {
        assert!(other.difference(&webhook).unwrap().contains(said), "{said}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_not_repeated() {
    let answer = Answer::assumed(Service::Iam, json!({"access_token": SECRET}));
    let error = answer.parse::<IssuedToken>().err().unwrap().to_string();
    assert_eq!(error, "IAM answered what cannot be read: it has no expires_in");
    let answer = Answer::assumed(Service::Iam, json!({"access_token": "x", "expires_in": SECRET}));
    let error = answer.parse::<IssuedToken>().err().unwrap().to_string();
    assert!(!error.contains(SECRET), "{error}");
}

#[test]
fn a_crn_has_an_account_and_an_instance() {
    let crn: Crn = SOURCE.parse().unwrap();
    let parts = [&crn.service, &crn.region, &crn.account, &crn.instance];
    assert_eq!(parts, ["secrets-manager", "eu-de", "1234", "source"]);
    for wrong in ["", "crn:v1:x", "crn:v1:bluemix:public:x:eu-de:global:source::", "crn:v1:a:b:c:d:a/1:::"] {
        assert!(wrong.parse::<Crn>().is_err(), "{wrong}");
    }
}
