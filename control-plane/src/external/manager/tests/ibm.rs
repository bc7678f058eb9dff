//! IBM Secrets Manager: the bodies are those of its documentation.

use super::*;

#[tokio::test]
async fn secrets_manager_is_read_with_a_cached_token() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let windows = test.leaf.replace('\n', "\r\n");
    let secret = json!({"id": ID, "secret_type": "private_cert", "certificate": windows, "private_key": test.key,
        "issuing_ca": test.root, "ca_chain": [test.root]});
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, secret);
    let (version, roots) = ibm.fetch("shop", ID).await.unwrap();
    assert_eq!((version.certificate, roots), (test.leaf.clone(), test.root.clone()));
    assert_eq!(version.key.trim(), test.key.trim());
    ibm.fetch("shop", ID).await.unwrap();
    let received = fake.take_received();
    let paths: Vec<_> = received.iter().map(|(_, path, ..)| path.as_str()).collect();
    let secret = "/api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712";
    assert_eq!(paths, ["/identity/token", secret, secret]);
    let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=k3y%26x";
    assert_eq!((&received[0].3, received[1].2.as_str()), (&json!(form), "Bearer t0k"));

    // A revoked token is not used again.
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 401, Value::Null);
    let error = ibm.fetch("shop", ID).await.unwrap_err();
    assert!(error.is_manager_failing() && error.to_string().contains("answered 401"), "{error}");
    let paths: Vec<_> = fake.take_received().into_iter().map(|(_, path, ..)| path).collect();
    assert_eq!(paths, [secret, "/identity/token", secret]);
}

#[tokio::test]
async fn a_version_is_pushed_once() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let version = Version {
        certificate: format!("{}{}", test.leaf, test.root),
        key: Zeroizing::new(test.key.clone()),
        roots: None,
    };
    // The secret exists without a version.
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, imported(json!({})));
    fake.respond_to("POST /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712/versions", 201, json!({}));
    ibm.push("shop", ID, &version).await.unwrap();
    let (method, path, _, body) = fake.take_received().pop().unwrap();
    assert_eq!(
        (method, path.as_str()),
        (Method::POST, "/api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712/versions")
    );
    assert_eq!(body["certificate"].as_str().unwrap().trim(), test.leaf.trim());
    assert_eq!(
        (body["intermediate"].as_str().unwrap().trim(), body["private_key"].as_str().unwrap()),
        (test.root.trim(), test.key.as_str())
    );
    let known = imported(json!({"certificate": test.leaf, "private_key": test.key}));
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, known);
    ibm.push("shop", ID, &version).await.unwrap();
    assert!(
        fake.take_received().iter().all(|(method, ..)| *method == Method::GET),
        "the version is current already"
    );
    // A manager that does not disclose the key is recognised by the certificate alone.
    fake.respond_to(
        "GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712",
        200,
        imported(json!({"certificate": test.leaf})),
    );
    ibm.push("shop", ID, &version).await.unwrap();
    assert!(
        fake.take_received().iter().all(|(method, ..)| *method == Method::GET),
        "the version is current already"
    );
    // Whether it is there cannot be known now: nothing is done twice on a guess.
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 503, Value::Null);
    assert!(ibm.push("shop", ID, &version).await.unwrap_err().is_manager_failing());
    assert!(fake.take_received().iter().all(|(method, ..)| *method == Method::GET));
}

#[tokio::test]
async fn only_a_plain_imported_certificate_is_written_to() {
    let (fake, test, other) = (FakeManager::default(), test_leaf(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let version = Version { certificate: test.leaf, key: Zeroizing::new(test.key), roots: None };
    let csr = json!({"common_name": "payments", "key_type": "ec", "csr": "-----BEGIN CERTIFICATE REQUEST-----",
        "private_key": other.key});
    for (fields, reason) in [
        (json!({"secret_type": "public_cert", "common_name": "payments.example"}), "by rotation"),
        (json!({"secret_type": "private_cert", "certificate_template": "t"}), "by rotation"),
        (json!({"secret_type": "arbitrary", "payload": "x"}), "not a certificate"),
        (json!({"secret_type": null}), "cannot parse"),
        (json!({"managed_csr": csr}), "managed CSR"),
        (json!({"managed_csr": csr, "certificate": other.leaf}), "managed CSR"),
    ] {
        fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, imported(fields));
        fake.respond_to("POST /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712/versions", 201, json!({}));
        let error = ibm.push("shop", ID, &version).await.unwrap_err();
        assert!(error.to_string().contains(reason) && !error.is_manager_failing(), "{error}");
        assert!(fake.take_received().iter().all(|(_, path, ..)| !path.ends_with("/versions")), "{reason}");
    }
    // Its key is where the CSR is, and it is fetched as any other.
    let fields = json!({"managed_csr": csr, "certificate": other.leaf, "intermediate": other.root});
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, imported(fields));
    let Kind::Ibm(secrets_manager) = &ibm.kind else { panic!("another kind") };
    let fetched = secrets_manager.fetch(ID).await.unwrap();
    assert_eq!(fetched.key.trim(), other.key.trim());
}

#[tokio::test]
async fn a_first_import_creates_the_secret() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let version = Version {
        certificate: format!("{}{}", test.leaf, test.root),
        key: Zeroizing::new(test.key.clone()),
        roots: None,
    };
    fake.respond_to("POST /api/v2/secrets", 201, imported(json!({})));
    ibm.push("shop", "payments", &version).await.unwrap();
    let (method, path, _, body) = fake.take_received().pop().unwrap();
    assert_eq!((method, path.as_str()), (Method::POST, "/api/v2/secrets"));
    let text = |field: &str| body[field].as_str().unwrap().trim();
    assert_eq!(
        (text("name"), text("secret_type"), text("secret_group_id")),
        ("payments", "imported_cert", "default")
    );
    assert_eq!(
        (text("certificate"), text("intermediate"), text("private_key")),
        (test.leaf.trim(), test.root.trim(), test.key.trim())
    );

    // The id is not ours to choose, and a refusal does not say that there is none.
    let error = ibm.push("shop", ID, &version).await.unwrap_err();
    assert!(error.to_string().contains("give a name in place of the id"), "{error}");
    fake.respond_to(&by_name("default", "imported_cert"), 403, Value::Null);
    assert!(ibm.push("shop", "payments", &version).await.is_err());
    assert!(fake.take_received().iter().all(|(method, ..)| *method == Method::GET));

    // Once it exists, versions are added to it.
    fake.respond_to(&by_name("default", "imported_cert"), 200, imported(json!({})));
    let versions = format!("/api/v2/secrets/{ID}/versions");
    fake.respond_to(&format!("POST {versions}"), 201, json!({}));
    ibm.push("shop", "payments", &version).await.unwrap();
    assert_eq!(fake.take_received().pop().unwrap().1, versions);
    fake.respond_to(&by_name("default", "imported_cert"), 200, imported(json!({"id": "../secrets"})));
    assert!(matches!(ibm.push("shop", "payments", &version).await, Err(ManagerError::Malformed { .. })));
}

#[tokio::test]
async fn a_secret_is_found_by_its_name_and_group() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager_in(&fake, "team").await;
    assert!(ibm.fetch("shop", "payments").await.unwrap_err().to_string().contains("404"));
    let fields = json!({"secret_type": "private_cert", "certificate": test.leaf, "private_key": test.key,
        "issuing_ca": test.root, "ca_chain": [test.root]});
    fake.respond_to(&by_name("team", "private_cert"), 200, imported(fields));
    let (fetched, roots) = ibm.fetch("shop", "payments").await.unwrap();
    assert_eq!((fetched.certificate, roots), (test.leaf.clone(), test.root));

    // One of another type is not shadowed by a new one of the same name.
    let version = Version { certificate: test.leaf, key: Zeroizing::new(test.key), roots: None };
    let error = ibm.push("shop", "payments", &version).await.unwrap_err();
    assert!(error.to_string().contains("by rotation"), "{error}");

    let groups = |name: &str| {
        let group = |id: &str, name: &str| json!({"id": id, "name": name, "description": ""});
        json!({"secret_groups": [group("default", "default"), group("d898bb90", name)], "total_count": 2})
    };
    fake.respond_to("POST /api/v2/secrets", 201, json!({}));
    fake.respond_to("GET /api/v2/secret_groups", 200, groups("other"));
    let error = ibm.push("shop", "pay-first", &version).await.unwrap_err();
    assert!(error.to_string().contains("no secret group named team"), "{error}");
    fake.respond_to("GET /api/v2/secret_groups", 200, groups("team"));
    ibm.push("shop", "pay-first", &version).await.unwrap();
    let (.., body) = fake.take_received().pop().unwrap();
    assert_eq!((&body["secret_group_id"], &body["name"]), (&json!("d898bb90"), &json!("pay-first")));
}

/// A request for the secret payments.
fn by_name(group: &str, secret_type: &str) -> String {
    format!("GET /api/v2/secret_groups/{group}/secret_types/{secret_type}/secrets/payments")
}

/// An imported_cert of Secrets Manager, with these fields as well.
fn imported(fields: Value) -> Value {
    let mut secret = json!({
        "created_at": "2022-06-27T11:58:15Z", "created_by": "iam-ServiceId-e4a2f0a4-3c76-4bef-b1f2-fbeae11c0f21",
        "crn": "crn:v1:bluemix:public:secrets-manager:eu-gb:a/47998ac029ed4ca69cf807338b7dbd2e:f5ff0271::secret:payments",
        "downloaded": true, "id": ID, "intermediate_included": false, "labels": [], "locks_total": 0,
        "name": "payments", "private_key_included": true, "secret_group_id": "default",
        "secret_type": "imported_cert", "state": 1, "state_description": "active",
        "updated_at": "2022-10-05T21:33:11Z", "versions_total": 1,
    });
    for (name, value) in fields.as_object().unwrap() {
        secret[name] = value.clone();
    }
    secret
}
