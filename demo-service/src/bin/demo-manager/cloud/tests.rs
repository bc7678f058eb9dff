use std::path::Path;

use hyper::Method;

use super::*;

const OWN: &str =
    "crn:v1:bluemix:public:secrets-manager:us-south:a/demo:11112222-3333-4444-5555-666677778888::";

/// The status and the body that are answered to this request.
fn call(cloud: &Cloud, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let bytes = if body.is_null() { String::new() } else { body.to_string() };
    let segments = segments(path);
    let request = CloudRequest {
        method: &method,
        path: segments.iter().map(String::as_str).collect(),
        query: vec![("attached_to".into(), OWN.into()), ("account_id".into(), "demo".into())],
        content_type: "application/json",
        body: bytes.as_bytes(),
    };
    let (status, body) = cloud.route(&request).unwrap().unwrap();
    (status.as_u16(), body)
}

fn get(cloud: &Cloud, path: &str) -> Value {
    call(cloud, Method::GET, path, &Value::Null).1
}

/// An instance that is active, of the first plan of the service.
fn make(cloud: &Cloud, service: &str) -> Value {
    let id = uuid(service);
    let plan = get(cloud, &format!("/catalog/api/v1/{id}/plan"))["resources"][0]["id"].clone();
    let group = get(cloud, "/v2/resource_groups")["resources"][0]["id"].clone();
    let mut body = json!({"name": service, "target": "us-south", "resource_plan_id": plan, "tags": ["Mine"]});
    assert_eq!(call(cloud, Method::POST, "/v2/resource_instances", &body).0, 400, "without a resource group");
    body["resource_group"] = group;
    let (status, made) = call(cloud, Method::POST, "/v2/resource_instances", &body);
    assert_eq!((status, &made["state"]), (201, &json!("provisioning")));
    let path = format!("/v2/resource_instances/{}", made["guid"].as_str().unwrap());
    assert_eq!(get(cloud, &path)["state"], "provisioning");
    let active = get(cloud, &path);
    assert_eq!(active["state"], "active");
    active
}

fn open(directory: &Path) -> Cloud {
    Cloud::open(directory, OWN).unwrap()
}

#[test]
fn a_registration_needs_an_authorization_and_makes_a_source() {
    let home = tempfile::tempdir().unwrap();
    let cloud = open(home.path());
    let (manager, events) = (make(&cloud, "secrets-manager"), make(&cloud, "event-notifications"));
    assert_eq!(manager["crn"], OWN);
    let tags = get(&cloud, "/v3/tags");
    assert_eq!(tags["items"][0]["name"], "mine", "tags are in lower case");
    let registration = "/api/v2/notifications/registration";
    let body = json!({
        "event_notifications_instance_crn": events["crn"], "event_notifications_source_name": "source",
    });
    let register = || call(&cloud, Method::POST, registration, &body).0;
    assert_eq!(register(), 403);
    let party = |service: &str, guid: &Value| {
        json!([{"attributes": [
            {"name": "accountId", "value": "demo"},
            {"name": "serviceName", "value": service},
            {"name": "serviceInstance", "value": guid},
        ]}])
    };
    let role = "crn:v1:bluemix:public:event-notifications::::serviceRole:Event-Source-Manager";
    let policy = json!({
        "type": "authorization",
        "subjects": party("secrets-manager", &manager["guid"]),
        "resources": party("event-notifications", &events["guid"]),
        "roles": [{"role_id": role}],
    });
    assert_eq!([201, 409].map(|_| call(&cloud, Method::POST, "/v1/policies", &policy).0), [201, 409]);
    assert_eq!([register(), register()], [201, 409]);

    // Another process goes on with it.
    let cloud = open(home.path());
    let guid = events["guid"].as_str().unwrap();
    let sources = get(&cloud, &format!("/event-notifications/v1/instances/{guid}/sources"));
    assert_eq!(sources["sources"][1]["id"], OWN);
    let manager = format!("/v2/resource_instances/{}", manager["guid"].as_str().unwrap());
    assert_eq!(call(&cloud, Method::DELETE, &manager, &Value::Null).0, 204);
    assert_eq!(call(&cloud, Method::GET, registration, &Value::Null).0, 404);
}

#[test]
fn an_event_goes_where_a_rule_selects_it() {
    let event = json!({"type": "a:b", "data": {"event_type": "a"}});
    let rule = |enabled: bool, kind: &str, filter: &str| json!({"enabled": enabled, "event_type_filter": kind, "notification_filter": filter});
    for (rule, selects) in [
        (rule(true, "$.*", "$.data.event_type == 'a'"), true),
        (rule(true, "$.*", "$.data.event_type == 'b'"), false),
        (rule(true, "$.type == 'a:b'", ""), true),
        (rule(true, "$.type == 'a'", ""), false),
        (rule(false, "$.*", ""), false),
        (rule(true, "$.*", "whatever"), false),
    ] {
        assert_eq!(filter::selects(&rule, &event), selects, "{rule}");
    }
}

#[test]
fn a_form_is_read_by_its_parts() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n--b\r\n\
                Content-Disposition: form-data; name=\"config\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b--\r\n";
    assert_eq!(multipart::fields(form.as_bytes(), "b").unwrap(), json!({"name": "x", "config": {"a": 1}}));
    for broken in ["", "--b\r\n", "--b\r\nx\r\n--b--\r\n", "--b\r\n\r\nno name\r\n--b--\r\n"] {
        assert!(multipart::fields(broken.as_bytes(), "b").is_err(), "{broken:?}");
    }
}
