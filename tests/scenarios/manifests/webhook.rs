//! The webhook is asked about pods that ask for the agent, and stops nothing else, itself least of all.

use serde_json::json;

use super::objects::{array, matches, object, objects};

#[test]
fn the_webhook_is_asked_about_pods_that_ask_and_no_others() {
    let base = objects("base");
    let configuration = object(&base, "MutatingWebhookConfiguration");
    let asked = |pod: Option<&str>, namespace: Option<&str>| -> Vec<&str> {
        let labels =
            |label: Option<&str>| label.map_or(json!({}), |label| json!({ "hotcert.dev/inject": label }));
        array(&configuration["webhooks"])
            .iter()
            .filter(|webhook| matches(&webhook["objectSelector"], &labels(pod)))
            .filter(|webhook| matches(&webhook["namespaceSelector"], &labels(namespace)))
            .map(|webhook| webhook["name"].as_str().unwrap())
            .collect()
    };
    let (on, off, typo) = (Some("enabled"), Some("disabled"), Some("enable"));
    for (pod, namespace, expected) in [
        (None, None, &[][..]),
        (off, None, &[]),
        (on, None, &["pods.hotcert.dev"]),
        (None, on, &["namespaces.hotcert.dev"]),
        (on, on, &["pods.hotcert.dev"]),
        (off, on, &[]),
        (None, off, &[]),
        (on, off, &[]),
        (off, off, &[]),
        // A label that says neither does not let a pod in without its agent.
        (typo, None, &["pods.hotcert.dev"]),
        (typo, on, &["pods.hotcert.dev"]),
        (typo, off, &[]),
        (None, typo, &["namespaces.hotcert.dev"]),
        (on, typo, &["pods.hotcert.dev"]),
        (off, typo, &[]),
    ] {
        assert_eq!(asked(pod, namespace), expected, "pod {pod:?} in namespace {namespace:?}");
    }
    for (webhook, path) in
        array(&configuration["webhooks"]).iter().zip(["/mutate/pods", "/mutate/namespaces"])
    {
        let mut webhook = webhook.clone();
        for selecting in ["name", "objectSelector", "namespaceSelector"] {
            webhook.as_object_mut().unwrap().remove(selecting);
        }
        assert_eq!(
            webhook,
            json!({
                "clientConfig": { "service": {
                    "namespace": "hotcert-system", "name": "hotcert-webhook", "port": 443, "path": path,
                }},
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                    "scope": "Namespaced",
                }],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 5,
                "reinvocationPolicy": "IfNeeded",
            })
        );
    }
}

#[test]
fn the_control_plane_starts_without_its_own_webhook() {
    let base = objects("base");
    assert_eq!(object(&base, "Namespace")["metadata"]["labels"]["hotcert.dev/inject"], "disabled");
    let controller = object(&base, "Deployment");
    assert_eq!(controller["spec"]["template"]["metadata"]["labels"]["hotcert.dev/inject"], "disabled");
    assert!(controller["spec"]["replicas"].as_u64() >= Some(2), "{controller:#}");
    assert_eq!(controller["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
}
