//! What the service refuses is refused here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::cloud::Cloud;
use crate::inventory::{Inventory, Kind};

fn api(state: &Path) -> Api {
    let name = |name: &str| format!("{name}.shop.svc");
    let secrets = [
        ("payments", Kind::Imported),
        ("orders", Kind::Issued(name("orders"))),
        ("signed", Kind::ManagedCsr(name("signed"))),
    ];
    let secrets = secrets.map(|(name, kind)| (name.to_owned(), kind)).into();
    let inventory = Inventory::open(state, "crn:v1:x::", secrets, Duration::from_secs(3600)).unwrap();
    let cloud = Arc::new(Cloud::open(state, "crn:v1:x::").unwrap());
    Api::new(Arc::new(inventory), cloud, None, Zeroizing::default(), watch::channel(()).0)
}

/// The status and the body that are answered to this request.
fn call(api: &Api, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let path: Vec<&str> = path.split('/').collect();
    match api.secrets_manager(&method, &path, body.to_string().as_bytes()) {
        Ok((status, body)) => (status.as_u16(), body),
        Err(error) => (400, error.to_string().into()),
    }
}

#[test]
fn a_secret_is_created_once_and_versions_are_added_to_it() {
    let home = tempfile::tempdir().unwrap();
    let api = api(home.path());
    let get = |path: &str| call(&api, Method::GET, path, &Value::Null);
    let post = |path: &str, body: &Value| call(&api, Method::POST, path, body);
    let made = api.inventory.newest("orders").unwrap().unwrap();
    let version = json!({"certificate": made.certificate, "private_key": made.key.as_str()});
    let by_name = "secret_groups/default/secret_types/imported_cert/secrets/payments";
    let by_id = format!("secrets/{}", api.inventory.uuid("payments"));
    let versions = format!("{by_id}/versions");
    for (path, status) in [(by_name, 404), (by_id.as_str(), 404), ("secrets/payments", 400)] {
        assert_eq!(get(path).0, status, "{path}");
    }
    assert_eq!(post(&versions, &version).0, 404, "there is none to add a version to");

    let mut secret = version.clone();
    for (field, value, status) in [
        ("name", "payments", 400),
        ("secret_type", "public_cert", 400),
        ("secret_type", "imported_cert", 201),
        ("secret_type", "imported_cert", 409),
        ("name", "stray", 403),
    ] {
        secret[field] = value.into();
        let (answered, body) = post("secrets", &secret);
        assert_eq!(answered, status, "{field} {value}: {body}");
        assert!(!body.to_string().contains("PRIVATE KEY"), "no answer to a POST has the key");
    }
    assert_eq!(get(by_name).1["id"], api.inventory.uuid("payments"));
    assert_eq!(
        (get(&by_id).0, post(&versions, &version).0, get(&by_id).1["versions_total"].as_u64()),
        (200, 201, Some(2))
    );
}

#[test]
fn a_version_that_the_service_makes_is_not_sent() {
    let home = tempfile::tempdir().unwrap();
    let api = api(home.path());
    let made = api.inventory.newest("orders").unwrap().unwrap();
    let version = json!({"certificate": made.certificate, "private_key": made.key.as_str()});
    for (name, body, answer) in [
        ("orders", &version, (400, "by rotation")),
        ("orders", &json!({}), (201, "serial_number")),
        ("signed", &version, (400, "private_key is not accepted")),
        ("signed", &json!({"certificate": made.certificate}), (400, "does not match")),
    ] {
        let path = format!("secrets/{}/versions", api.inventory.uuid(name));
        let (status, said) = call(&api, Method::POST, &path, body);
        assert!(status == answer.0 && said.to_string().contains(answer.1), "{name}: {status} {said}");
    }
}
