#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::inject::stream::tests::{deployment, injected, options, stream, values};
use crate::inject::stream::{InjectedStream, Options, Rbac, inject_stream};

fn with_rbac(text: &str, rbac: Rbac) -> InjectedStream {
    inject_stream(text.as_bytes(), &Options { rbac, namespace: Some("default".into()), ..options() }).unwrap()
}

/// The warnings about other readers of the Secret of a deployment that was changed so.
fn secret_warnings(rbac: Rbac, change: impl FnOnce(&mut Value), beside: &[Value]) -> Vec<String> {
    let mut deployment = deployment();
    change(&mut deployment["spec"]["template"]);
    let warnings = with_rbac(&stream(&[&[deployment], beside].concat()), rbac).warnings;
    warnings.into_iter().filter(|warning| warning.contains("including the private key")).collect()
}

#[test]
fn a_secret_with_other_readers_is_warned_about() {
    let account = |name: &str, namespace: Option<&str>| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
            "metadata": { "name": name, "namespace": namespace },
        })
    };
    for rbac in [Rbac::With, Rbac::Only] {
        let found = secret_warnings(rbac, |_| {}, &[]);
        assert!(found.len() == 2 && found[0].contains("serviceAccountName of its own"), "{found:?}");
        assert!(found[1].contains("automountServiceAccountToken: false"), "{found:?}");
    }
    assert_eq!(secret_warnings(Rbac::Without, |_| {}, &[]), [""; 0]);
    assert_eq!(
        secret_warnings(
            Rbac::With,
            |pod| pod["metadata"]["annotations"]["hotcert.dev/api"] = json!("disabled"),
            &[]
        ),
        [""; 0]
    );
    let own = |automount: Value| {
        move |pod: &mut Value| {
            pod["spec"]["serviceAccountName"] = json!("payments");
            pod["spec"]["automountServiceAccountToken"] = automount;
        }
    };
    let none = Value::Null;
    assert_eq!(secret_warnings(Rbac::With, own(json!(false)), &[]), [""; 0]);
    assert_eq!(secret_warnings(Rbac::With, own(none.clone()), &[account("payments", None)]), [""; 0]);
    assert_eq!(
        secret_warnings(Rbac::With, own(none.clone()), &[account("payments", Some("default"))]),
        [""; 0]
    );
    for (automount, beside) in [
        (none.clone(), account("other", None)),
        (none, account("payments", Some("shop"))),
        (json!(true), account("payments", None)),
    ] {
        let found = secret_warnings(Rbac::With, own(automount), &[beside]);
        assert!(found.len() == 1 && found[0].contains("token of ServiceAccount payments"), "{found:?}");
    }
}

#[test]
fn a_role_needs_an_explicit_namespace() {
    let inject =
        |object: &Value, rbac| inject_stream(object.to_string().as_bytes(), &Options { rbac, ..options() });
    let mut deployment = deployment();
    for rbac in [Rbac::With, Rbac::Only] {
        let errors = inject(&deployment, rbac).unwrap_err();
        let error = errors[0].to_string();
        assert!(
            error.starts_with(
                "document 1 (Deployment payments) has no namespace, which its Role needs: set --namespace"
            ),
            "{error}"
        );
    }
    assert!(inject(&deployment, Rbac::Without).is_ok());
    deployment["spec"]["template"]["metadata"]["annotations"]["hotcert.dev/api"] = json!("disabled");
    assert!(inject(&deployment, Rbac::With).is_ok());
}

#[test]
fn without_a_pod_that_asks_the_label_that_cannot_be_seen_is_pointed_out() {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    let InjectedStream { yaml, warnings } = with_rbac(&namespace.to_string(), Rbac::Only);
    assert!(yaml.is_empty() && warnings.len() == 1, "{yaml} {warnings:?}");
    assert!(warnings[0].contains("are not read") && warnings[0].contains("pod template"), "{warnings:?}");
}

#[test]
fn rbac_lets_each_service_account_read_its_secret_and_nothing_else() {
    let account = |name: &str, namespace: &str| {
        let mut object = deployment();
        object["metadata"]["namespace"] = json!(namespace);
        object["spec"]["template"]["spec"]["serviceAccountName"] = json!(name);
        object
    };
    let mut on_the_volume = deployment();
    on_the_volume["spec"]["template"]["metadata"]["annotations"]["hotcert.dev/secret"] = json!("other");
    on_the_volume["spec"]["template"]["metadata"]["annotations"]["hotcert.dev/api"] = json!("disabled");
    let text = stream(&[
        account("b", "shop"),
        account("a", "shop"),
        account("b", "shop"),
        deployment(),
        on_the_volume,
    ]);

    let only = values(&with_rbac(&text, Rbac::Only).yaml);
    let names: Vec<String> = only
        .iter()
        .map(|object| {
            format!("{} {}/{}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"])
                .replace('"', "")
        })
        .collect();
    assert_eq!(
        names,
        [
            "Role default/hotcert-agent-payments-tls",
            "RoleBinding default/hotcert-agent-payments-tls:default",
            "Role shop/hotcert-agent-payments-tls",
            "RoleBinding shop/hotcert-agent-payments-tls:a",
            "RoleBinding shop/hotcert-agent-payments-tls:b",
        ]
    );
    assert_eq!(
        only[2]["rules"],
        json!([{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["payments-tls"], "verbs": ["get", "list", "watch"] }])
    );
    let subject = |name: &str, namespace: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
    assert_eq!(only[1]["subjects"], json!([subject("default", "default")]));
    assert_eq!(only[3]["subjects"], json!([subject("a", "shop")]));
    assert_eq!(only[4]["subjects"], json!([subject("b", "shop")]));
    assert_eq!(
        only[3]["roleRef"],
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hotcert-agent-payments-tls" })
    );

    let without = injected(&text).yaml;
    let both = with_rbac(&text, Rbac::With).yaml;
    assert_eq!(both.strip_prefix(&without), Some(with_rbac(&text, Rbac::Only).yaml.as_str()));
}

#[test]
fn rbac_is_appended_to_a_last_line_without_an_end() {
    let yaml = with_rbac(&format!("{}---\n# end", stream(&[deployment()])), Rbac::With).yaml;
    assert!(yaml.contains("# end\n---\napiVersion: rbac.authorization.k8s.io/v1\n"), "{yaml}");
}
