//! The control plane in a cluster: two replicas with the rights of the manifests and no others, a real
//! API server, and real agents that follow their Secrets through it and prove what they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hotcert::api::resource::ServiceCertificate;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kit::agent::{Agent, Launch, program};
use kit::app::App;
use kit::client::{Curl, SERVER, both, served};
use kit::kube::{Account, ApiServer, SYSTEM};
use kit::pki::{Credentials, Pair, Pki, serial, write};
use kit::{until, within};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::managers::Manager;

pub const AUTHORITY: &str = "root-demo-shop";
pub const PROOF: u16 = 9643;
/// A lease lasts 15 s; then come the looks of the next leader.
pub const TAKEOVER: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub server: ApiServer,
    account: Account,
    pub home: TempDir,
}

pub struct Service {
    pub name: &'static str,
    pub agent: Agent,
    _app: App,
}

impl Cluster {
    /// With the authority and the certificates of the demo.
    fn start() -> Self {
        let cluster = Self::empty();
        cluster.server.apply("demo/certificates.yaml");
        cluster
    }

    pub fn empty() -> Self {
        let (server, account) = ApiServer::with_hotcert(&["shop"]);
        Self { server, account, home: TempDir::new().unwrap() }
    }

    fn controller(&self) -> Agent {
        self.launch_controller().start()
    }

    pub fn launch_controller(&self) -> Launch {
        Launch::controller(&self.account.kubeconfig).args(["--namespace", SYSTEM])
    }

    fn service(&self, name: &'static str) -> Service {
        self.service_as(name, |launch, app| launch.inbound("", app.address))
    }

    /// An agent that follows the Secret of this service through the API, with these routes, and the pod that it
    /// would be in.
    pub fn service_as(&self, name: &'static str, routes: impl FnOnce(Launch, &App) -> Launch) -> Service {
        self.service_in("shop", name, routes)
    }

    pub fn service_in(
        &self,
        namespace: &str,
        name: &'static str,
        routes: impl FnOnce(Launch, &App) -> Launch,
    ) -> Service {
        let secret = format!("{name}-tls");
        let account = self.server.service_account(namespace, name);
        self.server.grant(&account, &secret);
        let (app, address) = (App::default(), address());
        let proof = SocketAddr::from((address, PROOF)).to_string();
        let launch = Launch::bare(2)
            .args(["--log-format", "json", "--admin", "127.0.0.1:0", "--proof", &proof])
            .args(["--secret", &format!("{namespace}/{secret}"), "--kubeconfig"])
            .args([&account.kubeconfig]);
        let agent = routes(launch, &app).ready();
        self.pod_in(namespace, name, &secret, address, with_agent(&secret));
        Service { name, agent, _app: app }
    }

    /// A pod that mounts the Secret of this service, as it is when kubelet has started it.
    fn pod(&self, name: &str, address: Ipv4Addr, containers: Value) {
        self.pod_with(name, &format!("{name}-tls"), address, containers);
    }

    pub fn pod_with(&self, name: &str, secret: &str, address: Ipv4Addr, containers: Value) {
        self.pod_in("shop", name, secret, address, containers);
    }

    pub fn pod_in(&self, namespace: &str, name: &str, secret: &str, address: Ipv4Addr, containers: Value) {
        self.server.create::<Pod>(
            namespace,
            json!({
                "metadata": {"name": name, "annotations": {"hotcert.dev/secret": secret}},
                "spec": {
                    "nodeName": "node", "automountServiceAccountToken": false, "containers": containers,
                    "volumes": [{"name": "hotcert-identity", "secret": {"secretName": secret}}],
                },
            }),
        );
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        let pods = self.server.api::<Pod>(namespace);
        self.server.run(pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))).unwrap();
    }

    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.secret_in("shop", name)
    }

    pub fn secret_in(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.server.run(self.server.api::<Secret>(namespace).get_opt(&format!("{name}-tls"))).unwrap()
    }

    #[track_caller]
    pub fn wait_published(&self, name: &str) {
        within(TAKEOVER, "the certificate published", || self.secret(name).map(drop));
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.run_by(&program("hotcert"), args)
    }

    /// A command of this `hotcert`.
    pub fn run_by(&self, hotcert: &Path, args: &[&str]) -> Output {
        let mut hotcert = Command::new(hotcert);
        hotcert.args(args).arg("--kubeconfig").arg(self.server.admin_kubeconfig()).env_remove("HOTCERT_DIR");
        hotcert.output().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "hotcert {args:?}: {}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(&[args, &["--json"]].concat())).unwrap()
    }

    pub fn authority(&self) -> Value {
        self.authority_named(AUTHORITY)
    }

    pub fn authority_named(&self, name: &str) -> Value {
        let fleet = self.json(&["status"]);
        fleet["authorities"].as_array().unwrap().iter().find(|a| a["name"] == name).unwrap()["status"].clone()
    }

    /// The parts of an authority's keyring.
    pub fn keyring(&self, authority: &str) -> BTreeMap<String, Vec<u8>> {
        let secrets = self.server.api::<Secret>(SYSTEM);
        let keyring = self.server.run(secrets.get(&format!("hotcert-ca-{authority}"))).unwrap();
        keyring.data.unwrap().into_iter().map(|(name, data)| (name, data.0)).collect()
    }

    /// The Secrets that are recorded with it; `None` if nothing was ever recorded.
    pub fn ledger(&self, authority: &str) -> Option<BTreeSet<String>> {
        let ledger: Value = serde_json::from_slice(self.keyring(authority).get("ledger.json")?).unwrap();
        let namespaces = ledger.as_object().unwrap().iter();
        let secrets = namespaces.flat_map(|(namespace, secrets)| {
            let secrets = secrets.as_object().unwrap().keys();
            secrets.map(move |secret| format!("{namespace}/{secret}"))
        });
        Some(secrets.collect())
    }

    fn shown(&self, service: &Service) -> String {
        let data = self.secret(service.name).unwrap().data.unwrap();
        let save = |name: &str| write(&self.home.path().join(name), &data[name].0);
        let who = Credentials { cert: save("tls.crt"), key: save("tls.key"), ca: save("ca.crt") };
        served(service.agent.address("inbound"), &who).expect("OpenSSL is let in")
    }
}

/// Of a pod with an agent for this Secret.
pub fn with_agent(secret: &str) -> Value {
    json!([{"name": "app", "image": "app"}, {
        "name": "hotcert-agent", "image": "hotcert-agent", "env": [{"name": "HOTCERT_SECRET", "value": secret}],
    }])
}

/// An address of this machine that no other test has: the port of proofs is the same in every pod.
pub fn address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = (std::process::id() << 4 | NEXT.fetch_add(1, Ordering::Relaxed)) & 0x003f_ffff;
    Ipv4Addr::from_bits(0x7f80_0000 | own)
}

pub fn roots(agent: &Agent) -> Vec<String> {
    let roots = agent.health()["served"]["roots"].clone();
    roots.as_array().unwrap().iter().map(|root| root["sha256"].as_str().unwrap().to_owned()).collect()
}

pub fn leads(controller: &Agent) -> bool {
    controller.health()["leading"] == true
}

#[test]
fn certificates_are_published_rotated_rolled_back_and_restored() {
    let cluster = Cluster::start();
    let _controller = cluster.controller();
    cluster.wait_published("payments");
    let payments = cluster.service("payments");

    let rotated = cluster.json(&["rotate", "shop/mtls-demo-payments"]);
    assert_eq!(rotated["status"]["served"]["serving"], 1, "{rotated:#}");
    let second = serial(rotated["status"]["serial"].as_str().unwrap());
    assert_eq!(cluster.shown(&payments), second);
    cluster.succeeds(&["rollback", "shop/mtls-demo-payments"]);
    let first = cluster.shown(&payments);
    assert_ne!(first, second);
    let history = cluster.json(&["history", "shop/mtls-demo-payments"]);
    let versions = history["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[2]["copyOf"]), (3, &json!(1)), "{history:#}");
    assert_eq!(serial(versions[1]["serial"].as_str().unwrap()), second);

    // A Secret that is deleted or edited by hand comes back, and the agent serves on.
    let secrets = cluster.server.api::<Secret>("shop");
    cluster.server.run(secrets.delete("payments-tls", &DeleteParams::default())).unwrap();
    cluster.wait_published("payments");
    let edit = json!({"stringData": {"tls.crt": "nonsense"}});
    cluster.server.run(secrets.patch("payments-tls", &PatchParams::default(), &Patch::Merge(edit))).unwrap();
    until("the edit undone", || {
        let data = cluster.secret("payments")?.data?;
        let leaf = String::from_utf8(data["tls.crt"].0.clone()).unwrap();
        (leaf != "nonsense" && Pair::new(leaf, "").serial == first).then_some(())
    });
    assert_eq!(cluster.shown(&payments), first);

    let made = ["issue", "shop/mtls-demo-ledger", "--authority", "root-demo-ledger", "--create-authority"];
    let made = cluster.json(&made);
    assert_eq!(made["status"]["secretName"], "ledger-tls", "{made:#}");
    assert!(cluster.secret("ledger").is_some());

    let table = cluster.server.kubectl(&["get", "hca,hcert", "-A"], "");
    let table = both(&table);
    assert!(
        table.contains("Steady") && table.contains("payments-tls") && table.contains("Published"),
        "{table}"
    );
    let events = both(&cluster.server.kubectl(&["get", "events", "-n", "shop"], ""));
    assert!(events.contains("RolledBack"), "{events}");
    // Its key belongs to the control plane alone.
    let key = ["auth", "can-i", "get", &format!("secrets/hotcert-ca-{AUTHORITY}"), "-n", SYSTEM];
    let agent = ["--as", "system:serviceaccount:shop:payments"];
    assert!(!cluster.server.kubectl(&[&key[..], &agent].concat(), "").status.success());
}

#[test]
fn a_rollover_survives_its_leader_and_waits_for_a_pod_that_hangs() {
    let cluster = Cluster::start();
    let mut replicas = vec![cluster.controller(), cluster.controller()];
    cluster.wait_published("storefront");
    let (payments, storefront) = (cluster.service("payments"), cluster.service("storefront"));
    let old = roots(&payments.agent);
    within(TAKEOVER, "both served", || cluster.run(&["check"]).status.success().then_some(()));

    payments.agent.signal(Signal::STOP);
    cluster.succeeds(&["rollover", AUTHORITY, "--reason", "a Tuesday"]);
    within(TAKEOVER, "the pod that holds the step to be named", || {
        let waiting = cluster.authority()["rollover"]["waitingFor"].as_array().cloned().unwrap_or_default();
        (waiting.len() == 1 && waiting[0].as_str().unwrap().contains("shop/payments")).then_some(())
    });
    assert_eq!(cluster.authority()["phase"], "Distributing");
    assert_eq!(roots(&storefront.agent).len(), 2, "the old root is trusted still");
    let again = both(&cluster.run(&["rollover", AUTHORITY, "--reason", "again"]));
    assert!(again.contains("is under way") && again.contains("--follow"), "{again}");
    // As a command of the previous release leaves it.
    let annotate = ["annotate", "hca", AUTHORITY, "--overwrite", "hotcert.dev/rollover=earlier again"];
    assert!(cluster.server.kubectl(&annotate, "").status.success());
    within(TAKEOVER, "the request refused", || {
        let handled = cluster.authority()["handledRequests"]["rollover"].clone();
        let refused = handled["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("refused: "));
        (handled["id"] == "earlier" && refused).then_some(())
    });

    let leader = replicas.iter().position(leads).expect("a leader");
    drop(replicas.remove(leader));
    payments.agent.signal(Signal::CONT);
    within(TAKEOVER, "the other replica to lead", || leads(&replicas[0]).then_some(()));
    cluster.succeeds(&["rollover", AUTHORITY, "--follow"]);
    assert_eq!(cluster.authority()["phase"], "Steady");
    for service in [&payments, &storefront] {
        let new = roots(&service.agent);
        assert!(new.len() == 1 && new != old, "{} trusts {new:?}", service.name);
        cluster.shown(service);
    }
}

#[test]
fn a_pod_without_an_agent_holds_a_rollover_until_a_person_says_otherwise() {
    let cluster = Cluster::start();
    let _controller = cluster.controller();
    cluster.wait_published("payments");
    let _payments = cluster.service("payments");
    cluster.pod("storefront", address(), json!([{"name": "app", "image": "app"}]));
    let held = cluster.run(&["rollover", AUTHORITY, "--watch", "--timeout", "15s"]);
    assert!(!held.status.success() && both(&held).contains("without an agent"), "{}", both(&held));
    cluster.succeeds(&[
        "rollover",
        AUTHORITY,
        "--watch",
        "--override",
        "shop/storefront",
        "--reason",
        "it reads no certificate",
    ]);
    let history = cluster.json(&["history", AUTHORITY]);
    assert!(history["rollovers"][0]["overrides"][0].as_str().unwrap().contains("it reads no certificate"));
}

/// What is accepted is left with the object by whichever replica hears it, with the rights of the overlay.
#[test]
fn an_announcement_from_outside_rotates_and_what_became_of_it_is_announced() {
    let cluster = Cluster::start();
    cluster.server.apply("overlays/notifications/receiver.yaml");
    let pki = Pki::default();
    let (volume, who) = (pki.volume(SERVER), pki.client("sender"));
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let home = cluster.home.path();
    let settings = json!({
        "topics": [{"name": "all", "subscriptions": [{
            "name": "nobody", "url": "https://127.0.0.1:1/", "keys": ["hook.key"],
        }]}],
        "senders": [{
            "name": "ibm", "provider": "ibm-secrets-manager", "instance": "crn:1",
            "header": {"name": "x-token", "file": "hook.key"}, "events": ["revoked"], "names": ["*"],
        }],
    });
    let token = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    write(&home.join("hook.key"), token);
    let settings = write(&home.join("notifications.yaml"), settings.to_string());
    let launch = || {
        let launch = Launch::controller(&cluster.account.kubeconfig).args(["--namespace", SYSTEM]);
        let launch = launch.args(["--receiver-listen", "127.0.0.1:0", "--receiver-identity"]);
        launch.args([&volume.path]).args(["--notifications".as_ref(), settings.as_path()]).start()
    };
    let replicas = [launch(), launch()];
    cluster.wait_published("payments");
    let payments = cluster.service("payments");
    let first = cluster.shown(&payments);
    let leader = until("a leader", || replicas.iter().position(leads));
    let other = &replicas[1 - leader];
    let address = until("the receiver listens", || other.addresses("receiver").first().copied());
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "crn:1", "type": "com.ibm.cloud.secrets-manager.secret_revoked",
        "data": {"source_instance_crn": "crn:1", "secrets": [{"secret_name": "mtls-demo-payments", "serial_number": first}]},
    });
    let send = || {
        let curl = Curl::https(address, "/notifications/ibm", &who);
        let token = format!("x-token: {token}");
        curl.args(["-H", &token, "--data-binary", &event.to_string()]).run().answer
    };
    let answer = send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["requested"], json!(["shop/mtls-demo-payments"]), "{}", answer.text());
    within(TAKEOVER, "another leaf served", || (cluster.shown(&payments) != first).then_some(()));
    assert!(send().json()["outcome"] == "replay");
    // The notification is not delivered, which is reported: in the log now, in the status and an event after a minute.
    let refused = "which is not a public address";
    within(TAKEOVER, "the subscription to be refused", || {
        (replicas[leader].logged(refused) > 0).then_some(())
    });
    let status = cluster.json(&["status"]).to_string();
    assert!(status.contains("\"lastNotified\"") && status.contains("all/nobody"), "{status}");
}

#[test]
fn a_refused_spec_and_broken_settings_are_seen_by_kubectl() {
    let cluster = Cluster::start();
    let settings = write(&cluster.home.path().join("notifications.yaml"), "# on call\ntpoics: []\n");
    let launch = Launch::controller(&cluster.account.kubeconfig).args(["--namespace", SYSTEM]);
    let controller = launch.args(["--notifications".as_ref(), settings.as_path()]).start();
    cluster.wait_published("payments");
    let kubectl = |args: &[&str]| cluster.server.kubectl(&[args, &["-n", "shop"]].concat(), "");
    let wait = |condition: &str| {
        let condition = format!("--for=condition={condition}");
        let output = kubectl(&["wait", "hcert/mtls-demo-payments", &condition, "--timeout=60s"]);
        assert!(output.status.success(), "{condition}: {}", both(&output));
    };
    let name_authority = |name: &str| {
        let patch = json!({"spec": {"authority": name}}).to_string();
        let output = kubectl(&["patch", "hcert", "mtls-demo-payments", "--type=merge", "-p", &patch]);
        assert!(output.status.success(), "{}", both(&output));
    };
    wait("Ready");
    name_authority("root-demo-shpo");
    for condition in ["Ready=False", "Published=True", "Reconciling=True", "Degraded=True"] {
        wait(condition);
    }
    name_authority(AUTHORITY);
    wait("Ready");

    let line = "notifications.yaml:2: unknown field `tpoics`";
    until("the settings to be reported", || both(&cluster.run(&["check"])).contains(line).then_some(()));
    let health = controller.health();
    assert_eq!(health["healthy"], json!(false), "{health:#}");
    assert!(health["settings_problem"].as_str().unwrap().contains(line), "{health:#}");
    until("an event of the authority", || {
        let events = both(&cluster.server.kubectl(&["get", "events", "-n", "default"], ""));
        events.contains("InvalidSettings").then_some(())
    });
    let events = both(&kubectl(&["get", "events"]));
    assert_eq!(events.matches("AuthorityNotFound").count(), 1, "one event for one problem: {events}");
}

#[test]
fn what_a_manager_keeps_is_fetched_into_the_cluster_and_what_is_signed_in_it_is_brought_there() {
    let cluster = Cluster::start();
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let home = cluster.home.path();
    let ca = write(&home.join("roots.crt"), pki.roots());
    let mut manager = Command::new(program("demo-manager"));
    manager.arg("--state").arg(home.join("manager")).arg("--identity").arg(&volume.path);
    manager
        .arg("--api-key")
        .arg(write(&home.join("api.key"), "an-api-key"))
        .args(["--listen", "127.0.0.1:0"]);
    let manager = Manager::start({
        manager.args(["--keep", "payments", "--make", "orders=orders.shop.svc"]);
        manager
    });
    let url = format!("https://localhost:{}", manager.port());
    let settings = json!({"managers": [{
        "name": "demo", "kind": "ibm-secrets-manager", "url": url, "iamUrl": format!("{url}/identity/token"),
        "apiKey": "api.key", "ca": "roots.crt", "allowNetworks": ["127.0.0.0/8", "::1"], "allow": {"shop": ["*"]},
    }]});
    let settings = write(&home.join("notifications.yaml"), settings.to_string());
    let launch = Launch::controller(&cluster.account.kubeconfig).args(["--namespace", SYSTEM]);
    let _controller = launch.args(["--notifications".as_ref(), settings.as_path()]).start();

    cluster.succeeds(&["issue", "shop/mtls-demo-orders", "--manager", "demo/orders"]);
    let orders = cluster.service("orders");
    let first = cluster.shown(&orders);
    let curl = Curl::new(&format!("{url}/demo/secrets/orders/rotate")).args(["--ipv4", "-X", "POST"]);
    let curl = curl.args(["-H", "authorization: Bearer an-api-key", "--cacert"]).args([ca]);
    assert_eq!(curl.run().answer.status, 201);
    // It returns when the pod was seen to serve it, by a client that the pod does not admit.
    cluster.succeeds(&["rotate", "shop/mtls-demo-orders"]);
    assert_ne!(cluster.shown(&orders), first);
    let status = |name: &str| {
        let fleet = cluster.json(&["status"]);
        let certificates = fleet["certificates"].as_array().unwrap();
        certificates.iter().find(|one| one["name"] == name).unwrap()["status"].clone()
    };
    let seen = status("mtls-demo-orders");
    assert_eq!((&seen["version"], &seen["served"]["serving"]), (&json!(2), &json!(1)), "{seen:#}");

    let certificates = cluster.server.api::<ServiceCertificate>("shop");
    let change = Patch::Merge(json!({"spec": {"manager": {"name": "demo", "id": "payments"}}}));
    let how = PatchParams::default();
    cluster.server.run(certificates.patch("mtls-demo-payments", &how, &change)).unwrap();
    let brought = until("the leaf brought", || {
        Some(status("mtls-demo-payments")["externalSync"].clone()).filter(|imported| !imported.is_null())
    });
    assert_eq!(brought["sha256"], status("mtls-demo-payments")["sha256"]);
    let there = std::fs::read(home.join("manager/secrets/payments/1/tls.crt")).unwrap();
    assert_eq!(brought["sha256"], hotcert::pki::x509_facts::Leaf::read(&there).unwrap().sha256);
    // A certificate with neither an authority nor a manager is refused where it is written.
    let nothing = json!({
        "apiVersion": "hotcert.dev/v1alpha1", "kind": "ServiceCertificate",
        "metadata": {"name": "mtls-demo-x"}, "spec": {"history": 3},
    });
    let (nothing, how) = (serde_json::from_value(nothing).unwrap(), PostParams::default());
    let refused = cluster.server.run(certificates.create(&how, &nothing)).unwrap_err().to_string();
    assert!(refused.contains("at least one schema (anyOf), spec.authority: Required value"), "{refused}");
}
