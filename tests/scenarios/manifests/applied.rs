//! The manifests before a real API server: taken, taken again, and giving no more rights than are used.

use std::process::Command;

use kit::client::both;
use kit::kube::ApiServer;

use super::objects::{folder, injected, said};

#[track_caller]
fn kubectl(server: &ApiServer, args: &[&str], input: &str) -> String {
    let output = server.kubectl(args, input);
    assert!(output.status.success(), "kubectl {args:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn apply(server: &ApiServer, name: &str) -> String {
    let said = kubectl(server, &["apply", "-k", folder(name).to_str().unwrap()], "");
    let ours =
        ["certificateauthorities", "servicecertificates"].map(|kind| format!("crd/{kind}.hotcert.dev"));
    let wait = ["wait", "--for=condition=established", "--timeout=60s", &ours[0], &ours[1]];
    kubectl(server, &wait, "");
    said
}

#[test]
fn an_api_server_takes_the_manifests_and_takes_them_again() {
    let server = ApiServer::start();
    for name in ["base", "demo"] {
        apply(&server, name);
    }
    // What the controller writes is not undone when the base is applied again.
    let webhook = "mutatingwebhookconfiguration/hotcert";
    let bundle = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    let patch = r#"[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "ROOT"}]"#;
    let root = said(Command::new("base64").arg("--wrap=0").arg(server.ca()), "");
    kubectl(&server, &["patch", webhook, "--type=json", "-p", &patch.replace("ROOT", &root)], "");
    for name in ["base", "demo"] {
        let said = apply(&server, name);
        assert!(
            said.lines().all(|line| line.ends_with("unchanged") || line.ends_with("configured")),
            "{said}"
        );
    }
    assert_eq!(kubectl(&server, &["get", webhook, "-o", bundle], ""), root);

    let dry_run = ["apply", "--dry-run=server", "-f", "-"];
    kubectl(&server, &dry_run, &injected("demo", &["--rbac", "--sidecar=container"]));

    let has_policy = kubectl(&server, &["api-versions"], "").lines().any(|version| version == "policy/v1");
    let overlay = server.kubectl(&["apply", "-k", folder("overlays/disruption").to_str().unwrap()], "");
    assert_eq!(overlay.status.success(), has_policy, "{}", both(&overlay));
}

#[test]
fn nobody_may_more_than_it_does() {
    let server = ApiServer::start();
    for name in ["base", "demo"] {
        apply(&server, name);
    }
    let may = |account: &str, verb: &str, what: &str, namespace: &str| {
        let account = format!("system:serviceaccount:{account}");
        let output = server.kubectl(&["auth", "can-i", verb, what, "-n", namespace, "--as", &account], "");
        match both(&output) {
            said if said.lines().any(|line| line == "yes") => true,
            said if said.lines().any(|line| line == "no" || line.starts_with("no - ")) => false,
            said => panic!("{said}"),
        }
    };
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let (controller, system) = ("hotcert-system:hotcert-controller", "hotcert-system");
    for (account, what, namespace, allowed) in [
        (controller, "secrets", system, &["get", "list", "watch", "create", "update"][..]),
        (controller, "secrets", "shop", &["get", "list", "watch", "create", "update", "patch", "delete"]),
        (controller, "secrets", "default", &[]),
        (controller, "secrets", "kube-system", &[]),
        (controller, "events", "shop", &["create"]),
        (controller, "events", "default", &["create"]),
        (controller, "leases.coordination.k8s.io", system, &["get", "create", "update"]),
        (controller, "leases.coordination.k8s.io", "shop", &[]),
        (controller, "certificateauthorities.hotcert.dev", system, &["list", "watch"]),
        (controller, "servicecertificates.hotcert.dev", "shop", &["list", "watch"]),
        (controller, "mutatingwebhookconfigurations/hotcert", system, &["get", "list", "watch", "patch"]),
        (controller, "mutatingwebhookconfigurations/another", system, &[]),
        (controller, "nodes", system, &["list"]),
        (controller, "namespaces", system, &["get"]),
        (controller, "pods", "shop", &["list", "patch"]),
        (controller, "pods", system, &[]),
        ("shop:storefront", "secrets/storefront-tls", "shop", &["get", "list", "watch"]),
        ("shop:storefront", "secrets/payments-tls", "shop", &[]),
        ("shop:storefront", "secrets", "shop", &[]),
        ("shop:payments", "secrets/payments-tls", "shop", &["get", "list", "watch"]),
        ("shop:payments", "secrets/storefront-tls", "shop", &[]),
    ] {
        let may: Vec<_> = all.into_iter().filter(|verb| may(account, verb, what, namespace)).collect();
        assert_eq!(may, allowed, "{account}: {what} in {namespace}");
    }
}
