//! The manifests before a real API server: taken, taken again, and giving no more rights than are used.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use k8s_openapi::api::core::v1::Secret;
use kit::agent::program;
use kit::client::{both, command};
use kit::kube::ApiServer;
use tempfile::TempDir;

use super::objects::{folder, injected, said};

#[track_caller]
fn kubectl(server: &ApiServer, args: &[&str], input: &str) -> String {
    let output = server.kubectl(args, input);
    assert!(output.status.success(), "kubectl {args:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn apply(server: &ApiServer, name: &str) -> String {
    kubectl(server, &["apply", "-k", folder(name).to_str().unwrap()], "")
}

#[test]
fn an_api_server_takes_the_manifests_and_takes_them_again() {
    let server = ApiServer::start();
    for name in ["base", "demo"] {
        apply(&server, name);
    }
    // What the controller writes is not undone by whoever applies the base again.
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
        (controller, "secrets/hotcert-webhook", system, &["get", "list", "watch", "create", "update"][..]),
        (controller, "secrets/another", system, &["create"]),
        (controller, "secrets", system, &["create"]),
        (controller, "secrets/storefront-tls", "shop", &[]),
        (controller, "mutatingwebhookconfigurations/hotcert", system, &["get", "list", "watch", "patch"]),
        (controller, "mutatingwebhookconfigurations/another", system, &[]),
        (controller, "nodes", system, &["list"]),
        (controller, "pods", "shop", &[]),
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

/// `manifests/demo/identities`, in a home of its own.
struct Identities {
    server: ApiServer,
    home: TempDir,
}

impl Identities {
    fn run(&self, kubeconfig: &Path, services: &[&str]) -> Output {
        let mut identities = command(folder("demo/identities"));
        identities.env("KUBECONFIG", kubeconfig).env("HOME", self.home.path());
        identities.arg(self.root()).args(services).output().unwrap()
    }

    #[track_caller]
    fn rotate(&self, services: &[&str]) {
        let output = self.run(self.server.admin_kubeconfig(), services);
        assert!(output.status.success(), "{}", both(&output));
    }

    fn root(&self) -> std::path::PathBuf {
        self.home.path().join("root")
    }

    fn secret(&self, service: &str) -> BTreeMap<String, Vec<u8>> {
        let secrets = self.server.api::<Secret>("shop");
        let secret = self.server.run(secrets.get(&format!("{service}-tls"))).unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(secret.metadata.annotations, None, "a copy of the key");
        secret.data.unwrap().into_iter().map(|(name, content)| (name, content.0)).collect()
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().path());
        let open = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0;
        let mut names: Vec<_> = entries
            .inspect(|path| assert!(!open(path), "{} is open to others", path.display()))
            .map(|path| path.file_name().unwrap().to_str().unwrap().into())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn identities_of_the_demo_are_made_and_rotated() {
    let demo = Identities { server: ApiServer::start(), home: TempDir::new().unwrap() };
    demo.server.namespace("shop");
    demo.rotate(&[]);
    let first = ["storefront", "payments"].map(|service| demo.secret(service));
    for (service, files) in ["storefront", "payments"].iter().zip(&first) {
        assert_eq!(files.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
        let directory = TempDir::new().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let mut check = Command::new(program("hotcert-agent"));
        check.arg("check").arg(directory.path());
        for name in [
            format!("dns:{service}.shop.svc"),
            format!("dns:{service}.shop.svc.cluster.local"),
            format!("spiffe://shop/ns/shop/sa/{service}"),
        ] {
            check.args(["--expect-name", &name]);
        }
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
    }
    assert_eq!(demo.kept(), ["root.crt", "root.key"]);

    demo.rotate(&["payments"]);
    let second = demo.secret("payments");
    assert_eq!(demo.secret("storefront"), first[0], "not asked for");
    assert_eq!(second["ca.crt"], first[1]["ca.crt"]);
    assert_ne!(second["tls.crt"], first[1]["tls.crt"]);
    assert_ne!(second["tls.key"], first[1]["tls.key"]);

    // Nothing is left of what could not be published, nor of half a root.
    assert!(!demo.run(Path::new("/nowhere"), &[]).status.success());
    assert_eq!(demo.kept(), ["root.crt", "root.key"]);
    fs::remove_file(demo.root().join("root.crt")).unwrap();
    let refused = demo.run(demo.server.admin_kubeconfig(), &[]);
    assert!(both(&refused).contains("root.crt"), "{}", both(&refused));
    assert_eq!(demo.secret("payments"), second);
}
