//! A person's commands on a cluster: which cluster they are about, what they leave behind when they are refused, and what
//! kubectl shows of the objects. A controller runs only where one is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hotcert::api::resource::{CertificateAuthority, ServiceCertificate};
use hyper::http::Request;
use k8s_openapi::api::core::v1::Secret;
use kit::agent::{Launch, program};
use kit::client::both;
use kit::kube::{ApiServer, SYSTEM};
use kit::pki::write;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

fn hotcert(args: &[&str], kubeconfig: &Path) -> Output {
    let mut hotcert = Command::new(program("hotcert"));
    hotcert.args(args).arg("--kubeconfig").arg(kubeconfig).env_remove("HOTCERT_DIR").output().unwrap()
}

#[track_caller]
fn refused(args: &[&str], kubeconfig: &Path) -> String {
    let output = hotcert(args, kubeconfig);
    assert_eq!(output.status.code(), Some(1), "hotcert {args:?}: {}", both(&output));
    both(&output)
}

#[track_caller]
fn succeeds(args: &[&str], kubeconfig: &Path) -> String {
    let output = hotcert(args, kubeconfig);
    assert!(output.status.success(), "hotcert {args:?}: {}", both(&output));
    both(&output)
}

fn objects(server: &ApiServer) -> String {
    both(&server.kubectl(&["get", "hca,hcert", "-A", "-o", "name"], ""))
}

#[test]
fn kubectl_shows_when_an_object_expires_and_its_root() {
    let (server, _account) = ApiServer::with_hotcert(&["shop"]);
    server.apply("demo/certificates.yaml");
    let (end, sha256) = ("2126-01-31T09:15:00Z", "0123456789abcdef".repeat(4));
    let of_authority = json!({"status": {"root": {"sha256": sha256, "serial": "77", "notAfter": end}}});
    let of_certificate = json!({"status": {"notAfter": end}});
    let how = PatchParams::default();
    let authorities = Api::<CertificateAuthority>::all(server.admin());
    server.run(authorities.patch_status("root-demo-shop", &how, &Patch::Merge(of_authority))).unwrap();
    let certificates = server.api::<ServiceCertificate>("shop");
    server.run(certificates.patch_status("mtls-demo-payments", &how, &Patch::Merge(of_certificate))).unwrap();
    for kind in ["certificateauthorities", "servicecertificates"] {
        let table = Request::get(format!("/apis/hotcert.dev/v1alpha1/{kind}"))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .unwrap();
        let table = server.run(server.admin().request_text(table)).unwrap();
        let parsed: Value = serde_json::from_str(&table).unwrap();
        assert_eq!(parsed["kind"], "Table", "{table}");
        assert!(!table.contains("<invalid>") && !table.contains("\\u003cinvalid"), "{parsed:#}");
        let cells = parsed["rows"].as_array().unwrap().iter().map(|row| row["cells"].to_string());
        assert!(cells.collect::<String>().contains(end), "{parsed:#}");
    }
    let wide = both(&server.kubectl(&["get", "hca", "-o", "wide"], ""));
    assert!(wide.contains(&sha256), "{wide}");
}

#[test]
fn a_context_is_chosen_among_merged_kubeconfigs() {
    let (server, _account) = ApiServer::with_hotcert(&["shop"]);
    server.apply("demo/certificates.yaml");
    let home = tempfile::tempdir().unwrap();
    let admin: Value = serde_json::from_slice(&std::fs::read(server.admin_kubeconfig()).unwrap()).unwrap();
    // The first has the current context, to a port where nobody listens; the second the cluster.
    let elsewhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "elsewhere",
        "clusters": [{"name": "elsewhere", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "elsewhere", "context": {"cluster": "elsewhere"}}],
    });
    let first = write(&home.path().join("first"), elsewhere.to_string());
    let second = write(&home.path().join("second"), admin.to_string());
    let list: [PathBuf; 3] = [first, home.path().join("missing"), second];
    let list = std::env::join_paths(list).unwrap();
    let status = |args: &[&str]| {
        let mut hotcert = Command::new(program("hotcert"));
        hotcert.arg("status").args(args).env_remove("HOTCERT_DIR").env_remove("HOTCERT_KUBECONFIG");
        hotcert.env("KUBECONFIG", &list).output().unwrap()
    };
    let chosen = status(&["--context", "test"]);
    assert!(chosen.status.success() && both(&chosen).contains("root-demo-shop"), "{}", both(&chosen));
    assert!(!status(&[]).status.success(), "the current context is that of the first file");
    let wrong = both(&status(&["--context", "prod"]));
    assert!(
        wrong.contains("there is no context prod: choose one with --context, of elsewhere, test"),
        "{wrong}"
    );
    let dir = status(&["--context", "test", "--dir", "/nowhere"]);
    assert_eq!(dir.status.code(), Some(2), "{}", both(&dir));
}

#[test]
fn an_issue_that_the_api_server_refuses_leaves_nothing_behind() {
    let (server, _account) = ApiServer::with_hotcert(&["shop"]);
    server.apply("demo/certificates.yaml");
    let before = objects(&server);
    for (name, said) in
        [("shop/mtls-demo-payments", "already exists"), ("nowhere/mtls-demo-vault", "nowhere")]
    {
        let args = ["issue", name, "--authority", "root-demo-other", "--create-authority"];
        let refused = refused(&args, server.admin_kubeconfig());
        assert!(refused.contains(said), "{refused}");
        assert_eq!(objects(&server), before);
    }
}

/// Who may not read Secrets does not see that one of another owner is in the way; the controller does.
#[test]
fn an_issue_that_the_controller_refuses_leaves_nothing_behind() {
    let (server, account) = ApiServer::with_hotcert(&["shop"]);
    let person = server.service_account("shop", "person");
    let role = json!({
        "apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "person"},
             "rules": [{"apiGroups": ["hotcert.dev"], "resources": ["*"], "verbs": ["*"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "person"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "person"},
             "subjects": [{"kind": "ServiceAccount", "name": "person", "namespace": "shop"}]},
        ],
    });
    let applied = server.kubectl(&["apply", "-f", "-"], &role.to_string());
    assert!(applied.status.success(), "{}", both(&applied));
    kit::until("the rights to count", || {
        hotcert(&["status"], &person.kubeconfig).status.success().then_some(())
    });
    server.create::<Secret>("shop", json!({"metadata": {"name": "ledger-tls"}, "stringData": {"a": "b"}}));
    let _controller = Launch::controller(&account.kubeconfig).args(["--namespace", SYSTEM]).start();
    let args = ["issue", "shop/mtls-demo-ledger", "--authority", "root-demo-ledger", "--create-authority"];
    let refused = refused(&args, &person.kubeconfig);
    for part in ["shop/mtls-demo-ledger: refused: its Secret exists", "nothing was created"] {
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
    assert_eq!(objects(&server), "");
}

#[test]
fn objects_of_a_cluster_are_deleted_after_a_look() {
    let (server, _account) = ApiServer::with_hotcert(&["shop"]);
    server.apply("demo/certificates.yaml");
    let admin = server.admin_kubeconfig();
    let before = objects(&server);
    let said = succeeds(&["delete", "shop/mtls-demo-payments"], admin);
    assert!(said.contains("nothing is published for it") && said.contains("--yes"), "{said}");
    let named = refused(&["delete", "root-demo-shop", "--yes"], admin);
    assert!(named.contains("shop/mtls-demo-payments, shop/mtls-demo-storefront"), "{named}");
    assert_eq!(objects(&server), before);
    for name in ["shop/mtls-demo-payments", "shop/mtls-demo-storefront", "root-demo-shop"] {
        succeeds(&["delete", name, "--yes"], admin);
    }
    assert_eq!(objects(&server), "");
    let gone = refused(&["delete", "root-demo-shop"], admin);
    assert!(gone.contains("there is no authority root-demo-shop"), "{gone}");
}
