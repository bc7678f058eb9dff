//! Namespaces that are forgotten, closed or deleted while pods in them serve what was published there.

use hotcert::api::resource::ServiceCertificate;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kit::client::both;
use kit::within;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::shop::Shop;
use crate::control_plane::{AUTHORITY, Service, TAKEOVER};

/// Opens a namespace, and publishes the only certificate in it.
fn open_namespace(shop: &Shop, namespace: &str) {
    let server = &shop.cluster.server;
    server.namespace(namespace);
    server.create::<RoleBinding>(
        namespace,
        json!({
            "metadata": {"name": "hotcert"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hotcert-namespace"},
            "subjects": [{"kind": "ServiceAccount", "name": "hotcert-controller", "namespace": "hotcert-system"}],
        }),
    );
    server.create::<ServiceCertificate>(
        namespace,
        json!({
            "apiVersion": "hotcert.dev/v1alpha1", "kind": "ServiceCertificate",
            "metadata": {"name": "mtls-demo-probe"}, "spec": {"authority": AUTHORITY},
        }),
    );
    within(TAKEOVER, "the certificate published", || shop.cluster.secret_in(namespace, "probe").map(drop));
}

fn pod(shop: &Shop, namespace: &str) -> Service {
    let probe = shop.cluster.service_in(namespace, "probe", |launch, app| launch.inbound("", app.address));
    shop.wait_healthy();
    probe
}

fn delete_certificate(shop: &Shop, namespace: &str) {
    shop.cluster.server.delete::<ServiceCertificate>(namespace, "mtls-demo-probe");
}

#[test]
fn pod_of_the_last_certificate_of_a_namespace_holds_a_rollover_after_a_restart_until_it_is_gone() {
    let mut shop = Shop::open();
    shop.edit_authority(AUTHORITY, &json!({"namespaces": ["*"]}));
    open_namespace(&shop, "lab");
    let probe = pod(&shop, "lab");
    let calls = shop.calls();
    delete_certificate(&shop, "lab");
    shop.stop_controller();
    shop.start_controller();
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--reason", "after a restart"]);
    let why = shop.wait_held("Distributing", "lab/probe");
    assert!(why.contains("probe-tls, which no certificate publishes any more"), "{why}");
    probe.agent.wait_ready();
    shop.delete_pod("lab", "probe");
    shop.wait_steady();
    shop.wait_healthy();
    calls.end();
}

#[test]
fn namespace_that_was_closed_holds_a_rollover_until_a_person_lets_it_go_on() {
    let shop = Shop::open();
    shop.edit_authority(AUTHORITY, &json!({"namespaces": ["*"]}));
    open_namespace(&shop, "lab");
    let _probe = pod(&shop, "lab");
    let calls = shop.calls();
    shop.cluster.server.delete::<RoleBinding>("lab", "hotcert");
    delete_certificate(&shop, "lab");
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--reason", "after the namespace was closed"]);
    let why = shop.wait_held("Distributing", "namespace lab");
    assert!(why.contains("403"), "{why}");

    let override_of = |name: &str| {
        let args = ["rollover", AUTHORITY, "--override", name, "--reason", "the lab is closed"];
        shop.cluster.run(&[&args[..], &["--timeout", "30s"]].concat())
    };
    let refused = override_of("shop/nobody");
    let said = both(&refused);
    assert!(!refused.status.success() && said.contains("does not wait for shop/nobody"), "{said}");
    // Nothing is known of what is in it; the namespace as a whole can be passed over.
    let refused = override_of("lab/nobody");
    let said = both(&refused);
    assert!(!refused.status.success() && said.contains("does not wait for lab/nobody"), "{said}");
    shop.wait_held("Distributing", "namespace lab");
    let overridden = override_of("lab/*");
    assert!(overridden.status.success(), "{}", both(&overridden));
    shop.wait_steady();
    let overrides = shop.cluster.authority()["rolloverHistory"][0]["overrides"].clone();
    assert_eq!(overrides, json!(["lab/*: the lab is closed"]));
    let late = override_of("lab/*");
    let said = both(&late);
    assert!(!late.status.success() && said.contains("no rollover of"), "{said}");
    calls.end();
}

#[test]
fn namespace_that_was_deleted_holds_nothing() {
    let shop = Shop::open();
    shop.edit_authority(AUTHORITY, &json!({"namespaces": ["*"]}));
    open_namespace(&shop, "lab");
    let calls = shop.calls();
    shop.cluster.server.delete::<RoleBinding>("lab", "hotcert");
    delete_certificate(&shop, "lab");
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--reason", "before the namespace is gone"]);
    shop.wait_held("Distributing", "namespace lab");
    delete_namespace(&shop, "lab");
    shop.wait_steady();
    shop.wait_healthy();
    assert!(shop.cluster.ledger(AUTHORITY).unwrap().iter().all(|secret| secret.starts_with("shop/")));
    calls.end();
}

/// As the controller of namespaces does, of which there is none here.
fn delete_namespace(shop: &Shop, name: &str) {
    let server = &shop.cluster.server;
    let secrets = server.api::<Secret>(name);
    for secret in server.run(secrets.list(&ListParams::default())).unwrap() {
        server.delete::<Secret>(name, &secret.name_any());
    }
    let namespaces = Api::<Namespace>::all(server.admin());
    server.run(namespaces.delete(name, &DeleteParams::default())).unwrap();
    let mut namespace = server.run(namespaces.get(name)).unwrap();
    namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
    let finalized =
        server.run(namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace));
    finalized.unwrap();
    within(TAKEOVER, "the namespace gone", || {
        server.run(namespaces.get_opt(name)).unwrap().is_none().then_some(())
    });
}
