//! Every event that IBM Secrets Manager documents, in the form in which Event Notifications delivers it.

use super::*;

const CRN: &str = "crn:v1:bluemix:public:secrets-manager:us-south:a/791f:3e1c";
const TYPES: &str = "com.ibm.cloud.secrets-manager.";

/// An event as the documentation of Secrets Manager shows one, about this secret.
fn documented(id: &str, event: &str, secret: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": INSTANCE, "type": format!("{TYPES}{event}"),
        "time": "2022-01-04T00:00:00Z",
        "data": {
            "event_sub_type": "", "event_type": event, "secret_type": "private_cert", "secrets": [secret],
            "source_instance_api_private_url": "https://3e1c.private.us-south.secrets-manager.appdomain.cloud/api",
            "source_instance_api_public_url": "https://3e1c.us-south.secrets-manager.appdomain.cloud/api",
            "source_instance_crn": INSTANCE,
            "source_instance_dashboard_url": "https://cloud.ibm.com/services/secrets-manager/x",
            "source_service": "SecretsManager",
        },
    })
}

fn secret(id: &str) -> Value {
    json!({
        "domains": "payments.shop.svc", "event_time": "2022-01-04T00:00:00Z",
        "event_triggered_by": "SecretsManager", "secret_group_id": "default", "secret_id": id,
        "secret_name": "payments",
    })
}

#[tokio::test]
async fn every_documented_event_is_known_and_what_failed_or_is_blocked_is_a_warning() {
    let test = TestReceiver::new().await;
    for (event, outcome) in [
        ("secret_created", "unchanged"),
        ("secret_creation_failed", "warning"),
        ("secret_rotated", "unchanged"),
        ("secret_rotation_failed", "warning"),
        ("secret_deleted", "unchanged"),
        ("secret_deletion_failed", "warning"),
        ("secret_deletion_blocked", "warning"),
        ("secret_revocation_blocked", "warning"),
        ("secret_rotation_blocked", "warning"),
        ("secret_expiration_blocked", "warning"),
        ("secret_data_removed", "unchanged"),
        ("secret_version_data_deleted", "unchanged"),
        ("secret_task_created", "unchanged"),
        ("secret_task_succeeded", "unchanged"),
        ("secret_task_failed", "warning"),
        ("secret_task_deleted", "unchanged"),
        ("test_event", "test"),
    ] {
        let accepted = test.secrets(documented(event, event, secret("crn:cert:1"))).await.unwrap();
        assert_eq!(accepted.outcome().as_str(), outcome, "{event}: {accepted:?}");
        let warned: Vec<_> = accepted.warnings.iter().map(|warning| warning.contains(event)).collect();
        assert_eq!(warned, vec![true; usize::from(outcome == "warning")], "{event}: {accepted:?}");
    }
    assert_eq!((test.count("secrets", "warning"), test.count("secrets", "test")), (8, 1));
    test.reconcile().await;
    assert_eq!(test.versions().await, 1);
}

#[tokio::test]
async fn a_warning_says_why_and_of_which_object() {
    let test = TestReceiver::new().await;
    let mut failed = secret("crn:cert:1");
    failed["failure_reason"] = "the order\u{1b}[2J was refused".into();
    let event = documented("1", "secret_rotation_failed", failed);
    let accepted = test.secrets(event.clone()).await.unwrap();
    let said = "the sender secrets reports secret_rotation_failed: the order?[2J was refused";
    assert_eq!(accepted.warnings, [format!("{NAME}: {said}")]);
    assert!(test.secrets(event).await.unwrap().warnings.is_empty(), "a replay");
    // A task names its secret elsewhere.
    let mut event = documented("2", "secret_task_failed", Value::Null);
    event["data"]["secrets"].take();
    event["data"]["tasks"] = json!([{
        "event_time": "2025-01-04T00:00:00Z", "event_triggered_by": "SecretsManager", "secret_group_id": "default",
        "secret_id": "crn:cert:1", "secret_name": "payments", "task_id": "7f", "secret_status": "failed",
        "task_trigger": "secret_rotation", "task_type": "update_credentials", "failure_reason": "job failed",
    }]);
    let accepted = test.secrets(event).await.unwrap();
    assert!(accepted.warnings[0].ends_with("secret_task_failed: job failed"), "{accepted:?}");
    // Nothing was created that it could be about.
    let mut event = documented("3", "secret_creation_failed", Value::Null);
    event["data"]["secrets"] = json!([]);
    let accepted = test.secrets(event).await.unwrap();
    assert_eq!(accepted.warnings, ["the sender secrets reports secret_creation_failed"]);
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_acknowledged_and_counted_under_one_label() {
    let test = TestReceiver::new().await;
    for (id, data) in [
        ("1", json!({"secrets": [secret("crn:cert:1")], "source_instance_crn": INSTANCE})),
        ("2", json!({"secrets": {"of": "another form"}})),
        ("3", json!({"event_type": "secret_sold", "tasks": 7})),
    ] {
        let mut event = documented(id, "secret_sold", Value::Null);
        event["data"] = data;
        let rejection = test.secrets(event).await.unwrap_err();
        assert_eq!((rejection.reason(), rejection.status()), ("unknown_event", StatusCode::OK), "{id}");
    }
    assert_eq!(test.count("secrets", "unknown_event"), 3);
    // Of a stranger's instance it is refused as any other.
    let mut event = documented("4", "secret_sold", secret("crn:cert:1"));
    event["source"] = CRN.into();
    event["data"]["source_instance_crn"] = CRN.into();
    assert_eq!(test.secrets(event).await.unwrap_err().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_secret_is_known_by_the_id_at_the_end_of_its_crn() {
    let test = TestReceiver::new().await;
    let manager = Some(ManagerRef { name: "ibm".into(), id: "3f2a".into() });
    let spec = ServiceCertificateSpec { manager, ..Default::default() };
    test.store.create_certificate(&"shop/mtls-prod-fetched".parse().unwrap(), &spec).await.unwrap();
    let instance = INSTANCE.trim_end_matches(':');
    let event = documented("1", "secret_rotated", secret(&format!("{instance}:secret:3f2a")));
    assert_eq!(test.secrets(event).await.unwrap().requested, ["shop/mtls-prod-fetched"]);
    // Of another instance, and of something that is no secret.
    for (number, id) in [format!("{CRN}:secret:3f2a"), format!("{instance}:task:3f2a")].iter().enumerate() {
        let event = documented(&format!("other {number}"), "secret_rotated", secret(id));
        assert_eq!(test.secrets(event).await.unwrap_err().reason(), "unknown_certificate", "{id}");
    }
}

#[tokio::test]
async fn a_documented_serial_names_the_certificate() {
    let test = TestReceiver::new().await;
    let observed = test.store.observe().await.unwrap();
    let leaf = &observed.certificates[&NAME.parse().unwrap()].newest().unwrap().1.leaf;
    let octets = leaf.serial.as_bytes().chunks(2).map(|octet| str::from_utf8(octet).unwrap());
    let octets = octets.map(|octet| octet.strip_prefix('0').unwrap_or(octet));
    let mut own = secret("crn:cert:1");
    own["serial_number"] = octets.collect::<Vec<_>>().join(":").into();
    let accepted = test.secrets(documented("1", "secret_revoked", own.clone())).await.unwrap();
    assert_eq!(accepted.requested, [NAME]);
    own["serial_number"] = "1:2:3:4".into();
    let accepted = test.secrets(documented("2", "secret_revoked", own)).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("another one"), "{accepted:?}");
}
