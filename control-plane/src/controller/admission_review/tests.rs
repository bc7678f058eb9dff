use super::*;
use crate::inject::sidecar_kind::SidecarKind;

fn context() -> Context<'static> {
    Context {
        namespace: "shop",
        namespace_label: None,
        agent_image: "hotcert-agent:test",
        sidecar: SidecarKind::Native,
        is_job: false,
    }
}

fn review(labels: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "payments-", "labels": labels, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "payments:1", "future": {"field": 1}}]},
            },
        },
    })
}

fn labelled() -> Value {
    review(json!({"hotcert.dev/inject": "enabled"}), json!({"hotcert.dev/secret": "payments-tls"}))
}

fn respond(review: &Value) -> AdmissionResponse {
    AdmissionRequest::parse(review.to_string().as_bytes()).unwrap().respond(&context())
}

#[test]
fn a_pod_with_the_label_is_patched_into_the_injected_pod() {
    let review = labelled();
    let answered = respond(&review);
    let response = &answered.review["response"];
    assert_eq!(answered.outcome, AdmissionOutcome::Injected);
    assert_eq!(answered.review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let mut pod = review["request"]["object"].clone();
    json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    let Injection::Injected { pod: injected, .. } = inject(&review["request"]["object"], &context()).unwrap()
    else {
        panic!("not injected")
    };
    assert_eq!(pod, injected);
    assert!(pod.to_string().contains(r#""future":{"field":1}"#), "{pod}");

    let mut again = review.clone();
    again["request"]["object"] = pod;
    let answered = respond(&again);
    assert_eq!(answered.outcome, AdmissionOutcome::Unchanged);
    assert!(answered.review["response"].get("patch").is_none());
}

#[test]
fn a_pod_without_the_label_is_allowed_without_a_patch() {
    let answered = respond(&review(json!({}), json!({})));
    assert_eq!(answered.outcome, AdmissionOutcome::Skipped);
    assert_eq!(
        answered.review["response"],
        json!({"uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816", "allowed": true})
    );
}

#[test]
fn an_invalid_pod_is_denied_with_the_reason() {
    let answered =
        respond(&review(json!({"hotcert.dev/inject": "enabled"}), json!({"hotcert.dev/sekret": "x"})));
    let response = &answered.review["response"];
    assert_eq!((answered.outcome, &response["allowed"]), (AdmissionOutcome::Denied, &json!(false)));
    assert_eq!(response["status"]["code"], 403);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("hotcert.dev/sekret") && message.contains("hotcert.dev/secret"), "{message}");
    assert_eq!(answered.denial.as_deref(), Some(message));
}

#[test]
fn a_request_about_another_kind_is_malformed() {
    let change = |path: &str, value: Value| {
        let mut review = labelled();
        *review.pointer_mut(path).unwrap() = value;
        AdmissionRequest::parse(review.to_string().as_bytes()).unwrap_err()
    };
    assert!(matches!(change("/apiVersion", json!("admission.k8s.io/v1beta1")), ReviewError::Version { .. }));
    assert!(matches!(change("/kind", json!("Pod")), ReviewError::Version { .. }));
    assert!(matches!(change("/request", Value::Null), ReviewError::NoRequest));
    assert!(matches!(change("/request/uid", json!("")), ReviewError::NoRequest));
    assert!(matches!(change("/request/uid", json!(7)), ReviewError::Json(_)));
    assert!(matches!(change("/request/kind/kind", json!("Deployment")), ReviewError::NotAPod(_)));
    assert!(matches!(change("/request/object", Value::Null), ReviewError::NotAPod(_)));
}

/// Every prefix of a review, every review with one byte changed, and pods of any shape.
#[test]
fn garbage_never_panics() {
    let text = labelled().to_string().into_bytes();
    for end in 0..text.len() {
        assert!(AdmissionRequest::parse(&text[..end]).is_err());
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for at in 0..text.len() {
        for _ in 0..8 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut garbled = text.clone();
            garbled[at] = (seed >> 56) as u8;
            if let Ok(request) = AdmissionRequest::parse(&garbled) {
                request.respond(&context());
            }
        }
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{}", "[]", "null", "\u{0}", "{\"apiVersion\": 1}", deep.as_str()] {
        assert!(AdmissionRequest::parse(body.as_bytes()).is_err());
    }
    let shapes = [json!(null), json!(1), json!("x"), json!([]), json!({}), json!([null]), json!({"a": []})];
    for path in ["/metadata", "/metadata/labels", "/metadata/annotations", "/spec", "/spec/containers"] {
        for shape in &shapes {
            let mut review = labelled();
            *review["request"]["object"].pointer_mut(path).unwrap() = shape.clone();
            respond(&review);
        }
    }
}
