#![allow(clippy::unwrap_used)]

use serde_json::json;

use crate::inject::stream::tests::{deployment, injected, options, stream, values};
use crate::inject::stream::{Injected, Options, Rbac, run};

fn with_rbac(text: &str, rbac: Rbac) -> Injected {
    run(text.as_bytes(), &Options { rbac, ..options() }).unwrap()
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
            "RoleBinding default/hotcert-agent-payments-tls",
            "Role shop/hotcert-agent-payments-tls",
            "RoleBinding shop/hotcert-agent-payments-tls",
        ]
    );
    assert_eq!(
        only[2]["rules"],
        json!([{ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["payments-tls"], "verbs": ["get", "list", "watch"] }])
    );
    let subject = |name: &str, namespace: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
    assert_eq!(only[1]["subjects"], json!([subject("default", "default")]));
    assert_eq!(only[3]["subjects"], json!([subject("a", "shop"), subject("b", "shop")]));
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
