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
        metadata: None,
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
    let version =
        Version { certificate: test.leaf, key: Zeroizing::new(test.key), roots: None, metadata: None };
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
        metadata: None,
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
    let version =
        Version { certificate: test.leaf, key: Zeroizing::new(test.key), roots: None, metadata: None };
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

#[tokio::test]
async fn whether_there_is_another_version_is_asked_without_its_key() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let fields = json!({"serial_number": "38:eb:01", "certificate": test.leaf, "private_key": test.key,
        "intermediate": test.root, "issuing_ca": test.root});
    fake.respond_to(&by_name("default", "imported_cert"), 200, imported(fields));
    let (version, _) = ibm.fetch("shop", "payments").await.unwrap();
    let seen = version.metadata.unwrap();
    let metadata = format!("GET /api/v2/secrets/{ID}/metadata");
    fake.take_received();
    fake.respond_to(&metadata, 200, imported(json!({"serial_number": "38:eb:01"})));
    assert!(!ibm.has_changed("shop", "payments", &seen).await.unwrap());
    let received: Vec<_> = fake.take_received().into_iter().map(|(_, path, ..)| path).collect();
    assert_eq!(received, [format!("/api/v2/secrets/{ID}/metadata")], "one request, and the key is not sent");

    for changed in [
        json!({"serial_number": "38:eb:02"}),
        json!({"serial_number": "38:eb:01", "updated_at": "2022-10-05T21:33:12Z"}),
        json!({"serial_number": "38:eb:01", "id": "00000000-8fda-4d05-9ad8-b1de1ec7e712"}),
        json!({}),
    ] {
        fake.respond_to(&metadata, 200, imported(changed));
        assert!(ibm.has_changed("shop", "payments", &seen).await.unwrap());
    }
    // One that was deleted and made anew has another id; the fetch says what is wrong.
    for status in [404, 403] {
        fake.respond_to(&metadata, status, Value::Null);
        assert!(ibm.has_changed("shop", "payments", &seen).await.unwrap());
    }
    fake.respond_to(&metadata, 503, Value::Null);
    assert!(ibm.has_changed("shop", "payments", &seen).await.unwrap_err().is_manager_failing());
    fake.take_received();
    assert!(ibm.has_changed("bank", "payments", &seen).await.is_err());
    assert_eq!(fake.take_received(), [], "the namespace may not use the id");
}

#[tokio::test]
async fn secrets_without_metadata_are_fetched_whole() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    for (field, value) in [("serial_number", Value::Null), ("id", json!("../other"))] {
        let mut fields = json!({"serial_number": "38:eb:01", "certificate": test.leaf, "private_key": test.key,
            "issuing_ca": test.root});
        fields[field] = value;
        fake.respond_to(&by_name("default", "imported_cert"), 200, imported(fields));
        let (version, _) = ibm.fetch("shop", "payments").await.unwrap();
        assert_eq!(version.metadata, None, "{field}");
    }
}

#[tokio::test]
async fn a_trusted_profile_is_used_with_the_service_accounts_current_token() {
    let (fake, folder) = (FakeManager::default(), tempfile::tempdir().unwrap());
    let token_file = folder.path().join("token");
    for (profile, expected) in [
        (Profile::Id("Profile-4fd8".into()), "profile_id=Profile-4fd8"),
        (Profile::Name("hotcert".into()), "profile_name=hotcert"),
    ] {
        let credential = Credential::TrustedProfile { profile, token_file: token_file.clone() };
        let ibm = secrets_manager_with(&fake, credential, DEFAULT_GROUP).await;
        for (token, sent) in [("eyJ.a+b.c\n", "eyJ.a%2Bb.c"), ("eyJ.d.e", "eyJ.d.e")] {
            std::fs::write(&token_file, token).unwrap();
            let Kind::Ibm(secrets_manager) = &ibm.kind else { panic!("another kind") };
            secrets_manager.forget_token();
            fake.take_received();
            assert!(ibm.fetch("shop", "payments").await.unwrap_err().to_string().contains("404"));
            let form = format!(
                "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Acr-token&cr_token={sent}&{expected}"
            );
            assert_eq!(fake.take_received()[0].3, json!(form));
        }
        let Kind::Ibm(secrets_manager) = &ibm.kind else { panic!("another kind") };
        secrets_manager.forget_token();
        fake.respond_to(
            "POST /identity/token",
            400,
            json!({"errorCode": "BXNIM0458E", "errorMessage": "No trust"}),
        );
        let error = ibm.fetch("shop", "payments").await.unwrap_err().to_string();
        assert!(
            error.contains("BXNIM0458E: No trust") && error.contains("check the trusted profile"),
            "{error}"
        );
        for content in [String::new(), "x".repeat(1 << 20)] {
            std::fs::write(&token_file, content).unwrap();
            let error = ibm.fetch("shop", "payments").await.unwrap_err();
            assert!(error.is_manager_failing(), "the same would happen to every other certificate");
            let error = error.to_string();
            assert!(
                error.contains("cannot read the service account's token from") && error.len() < 400,
                "{error}"
            );
        }
        std::fs::remove_file(&token_file).unwrap();
        let error = ibm.fetch("shop", "payments").await.unwrap_err().to_string();
        assert!(error.contains("trustedProfile.tokenFile"), "{error}");
        fake.respond_to("POST /identity/token", 200, json!({"access_token": "t0k", "expires_in": 3600}));
    }
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
