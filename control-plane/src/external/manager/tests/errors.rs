//! What an error of a manager says, and what it does not repeat.

use super::*;

/// The next request asks for a token again.
fn forget_token(manager: &Manager) {
    match &manager.kind {
        Kind::Ibm(ibm) => ibm.forget_token(),
        Kind::Https(_) => panic!("another kind"),
    }
}

#[tokio::test]
async fn errors_say_what_the_manager_said() {
    let fake = FakeManager::default();
    let ibm = secrets_manager(&fake).await;
    let body = json!({"status_code": 400, "trace": "5f1c", "errors": [
        {"code": "bad_request", "message": "The certificate\u{1b}[2J is not\nvalid.", "more_info": "https://x"},
        {"code": "expired", "message": "It expired."},
    ]});
    fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 400, body);
    let error = ibm.fetch("shop", ID).await.unwrap_err().to_string();
    let said =
        "answered 400 Bad Request (bad_request: The certificate [2J is not valid.; expired: It expired.)";
    assert!(error.contains(said), "{error}");
    assert!(!error.contains("key") && !error.contains("token"), "the key was accepted: {error}");

    fake.respond_to(
        "GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712",
        403,
        json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}),
    );
    let error = ibm.fetch("shop", ID).await.unwrap_err().to_string();
    assert!(
        error.contains("answered 403 Forbidden (1 error occurred: * permission denied): check"),
        "{error}"
    );

    let body = json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."});
    fake.respond_to("POST /identity/token", 400, body);
    forget_token(&ibm);
    let error = ibm.fetch("shop", ID).await.unwrap_err();
    let said = "400 Bad Request (BXNIM0415E: Provided API key could not be found.): check the API key";
    assert!(error.to_string().contains(said) && error.is_manager_failing(), "{error}");

    let body =
        json!({"error_code": "RC-1", "message": "No plan.", "status_code": 400, "transaction_id": "5f1c"});
    let said = crate::external::manager::reported::reported(body.to_string().as_bytes());
    assert_eq!(said.as_deref(), Some("RC-1: No plan."), "of the Resource Controller");
}

#[tokio::test]
async fn errors_repeat_no_key_and_are_short() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    let line = test.key.lines().nth(1).unwrap();
    let message = format!("invalid private_key: {} {}", test.key, "long ".repeat(1000));
    let errors: Vec<_> = (0..50).map(|_| json!({"code": line, "message": message})).collect();
    fake.respond_to(
        "GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712",
        400,
        json!({ "errors": errors }),
    );
    let error = ibm.fetch("shop", ID).await.unwrap_err().to_string();
    assert!(error.contains("invalid private_key:"), "{error}");
    assert!(!error.contains(&line[..24]) && error.len() < 800, "{error}");
    for body in [json!([]), json!({"errors": 7}), json!({"errors": [7]}), json!({"errors": []})] {
        fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 400, body);
        let error = ibm.fetch("shop", ID).await.unwrap_err().to_string();
        assert!(error.contains("answered 400 Bad Request: "), "{error}");
    }
}

#[tokio::test]
async fn errors_do_not_repeat_the_response() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = secrets_manager(&fake).await;
    for (body, message) in [
        (json!({"certificate": test.leaf}), "has no private key"),
        (json!({"private_key": test.key}), "has no certificate"),
        (json!({"certificate": 7, "private_key": test.key}), ": at line 1"),
        (json!({"certificate": test.leaf, "private_key": test.key}), "sends no root"),
    ] {
        fake.respond_to("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 200, body);
        let error = ibm.fetch("shop", ID).await.unwrap_err();
        assert!(error.to_string().contains(message) && !error.is_manager_failing(), "{error}");
        assert!(!error.to_string().contains(&test.key[40..60]), "{error}");
    }
    // Errors of one certificate, and errors of the whole manager.
    for (path, status, is_manager_failing) in [
        ("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 403, false),
        ("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 404, false),
        ("GET /api/v2/secrets/3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712", 401, true),
        ("POST /identity/token", 400, true),
    ] {
        fake.respond_to(path, status, Value::Null);
        assert_eq!(
            ibm.fetch("shop", ID).await.unwrap_err().is_manager_failing(),
            is_manager_failing,
            "{path} {status}"
        );
    }
    fake.take_received();
    for (namespace, id) in [("bank", "payments"), ("shop", "orders"), ("shop", "xpay")] {
        let error = ibm.fetch(namespace, id).await.unwrap_err();
        assert!(matches!(error, ManagerError::NotAllowed { .. }), "{error}");
    }
    assert_eq!(fake.take_received(), [], "no request is sent for an id that is not allowed");
}
