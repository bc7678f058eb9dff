//! The control plane is gone, and `docs/runbook.md` is all that is left: what goes on, what stops, and that its commands
//! mend what they say. A month's leaf lives seconds here, so that the week without a controller passes within a test.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kit::agent::{Agent, Launch, program};
use kit::client::{Answer, Curl, both, get};
use kit::kube::SYSTEM;
use kit::pki::{Credentials, Pair, dns, write};
use kit::{until, within};
use kube::api::PostParams;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::control_plane::{Cluster, PROOF, Service, TAKEOVER, address};
use crate::documents::script::{run_block, run_on};

const PAGE: &str = "docs/runbook.md";
const AUTHORITY: &str = "root-prod-shop";
/// Of a leaf. It is renewed when a third of it is left, as the default of 30 days is.
const MONTH: &str = "24s";
const LONG: &str = "24h";

struct Outage {
    cluster: Cluster,
    controller: Option<Agent>,
}

impl Outage {
    /// A controller, and what it has published, with leaves of this lifetime.
    fn ahead(lifetime: &str) -> Self {
        let cluster = Cluster::empty();
        let certificate = |name: &str| {
            json!({
                "apiVersion": "hotcert.dev/v1alpha1", "kind": "ServiceCertificate",
                "metadata": {"name": format!("mtls-prod-{name}"), "namespace": "shop"},
                "spec": {"authority": AUTHORITY, "lifetime": lifetime},
            })
        };
        let objects = json!({
            "apiVersion": "v1", "kind": "List",
            "items": [authority(), certificate("payments"), certificate("storefront")],
        });
        apply(&cluster, &objects);
        let controller = Some(cluster.launch_controller().start());
        ["payments", "storefront"].iter().for_each(|name| cluster.wait_published(name));
        Self { cluster, controller }
    }

    /// A pod of payments whose agent does not answer yet.
    fn pod_that_does_not_answer(&self) -> String {
        let address = address();
        self.cluster.pod_with(
            "payments-0",
            "payments-tls",
            address,
            json!([{"name": "app", "image": "app"}, {
                "name": "hotcert-agent", "image": "hotcert-agent",
                "env": [{"name": "HOTCERT_SECRET", "value": "payments-tls"}],
            }]),
        );
        format!("{address}:{PROOF}")
    }

    /// Begins a rollover, and waits until it is held by the pod that does not answer.
    #[track_caller]
    fn begin_rollover(&self) {
        self.cluster.succeeds(&["rollover", AUTHORITY]);
        within(TAKEOVER, "the rollover to be held", || self.is_held().then_some(()));
    }

    fn is_held(&self) -> bool {
        let authority = self.authority();
        let waiting = authority["rollover"]["waitingFor"].as_array().cloned().unwrap_or_default();
        authority["phase"] == "Distributing"
            && waiting.len() == 1
            && waiting[0].as_str().unwrap().starts_with("shop/payments-0: ")
    }

    fn authority(&self) -> Value {
        self.cluster.json(&["status"])["authorities"][0]["status"].clone()
    }

    fn ready(&self, object: &str) -> Value {
        let fleet = self.cluster.json(&["status"]);
        let objects = [&fleet["authorities"], &fleet["certificates"]].map(|list| list.as_array().unwrap());
        let found = objects.into_iter().flatten().find(|found| found["name"] == object).unwrap();
        let conditions = found["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
    }

    fn checked(&self) -> Option<()> {
        self.cluster.run_by(&program("hotcert"), &["check"]).status.success().then_some(())
    }

    /// Whether a new client with the leaf of storefront reaches a service.
    fn is_let_in(&self, service: &Service) -> bool {
        let data = self.cluster.secret("storefront").unwrap().data.unwrap();
        let save = |name: &str| write(&self.cluster.home.path().join(name), &data[name].0);
        let who = Credentials { cert: save("tls.crt"), key: save("tls.key"), ca: save("ca.crt") };
        Curl::https(service.agent.address("inbound"), "/bytes/10", &who).run().answer.status == 200
    }

    /// The serial number of the leaf in a Secret.
    fn published(&self, name: &str) -> String {
        let data = self.cluster.secret(name).unwrap().data.unwrap();
        Pair::new(String::from_utf8(data["tls.crt"].0.clone()).unwrap(), "").serial
    }

    #[track_caller]
    fn run(&self, heading: &str, number: usize) {
        run_block(PAGE, heading, number, self.cluster.home.path(), self.cluster.server.admin_kubeconfig());
    }
}

fn authority() -> Value {
    json!({
        "apiVersion": "hotcert.dev/v1alpha1", "kind": "CertificateAuthority", "metadata": {"name": AUTHORITY},
        "spec": {"namespaces": ["shop"], "drainDeadline": "2s"},
    })
}

#[track_caller]
fn apply(cluster: &Cluster, objects: &Value) {
    let applied = cluster.server.kubectl(&["apply", "-f", "-"], &objects.to_string());
    assert!(applied.status.success(), "{}", both(&applied));
}

/// Storefront asks payments.
fn ask(storefront: &Service) -> Answer {
    get(storefront.agent.address("outbound"), "/bytes/10").expect("the agent answers")
}

/// How long its leaf is certainly good for.
fn left(service: &Service) -> Duration {
    let left = service.agent.health()["served"]["expires_in_seconds"].as_i64().unwrap() - 1;
    Duration::from_secs(left.try_into().unwrap_or_default())
}

#[track_caller]
fn wait_expired(service: &Service) {
    let health = service.agent.wait_until("unready", |health| health["ready"] == false);
    let why = "the served certificate or its chain expired at ";
    assert!(health["reason"].as_str().unwrap().starts_with(why), "{health:#}");
    let probe = service.agent.admin("/readyz");
    assert!(probe.status == 503 && probe.text().contains(why), "{probe:?}");
    assert_eq!(service.agent.admin("/livez").status, 200, "kubelet does not restart it");
    let metrics = service.agent.metrics();
    assert!((metrics.one("hotcert_ready", &[]) - 0.0).abs() < f64::EPSILON);
}

#[test]
fn pods_serve_through_a_week_without_a_controller_and_those_that_expired_are_back_with_it() {
    let mut outage = Outage::ahead(MONTH);
    let payments = outage.cluster.service_as("payments", |launch, app| launch.inbound("http:", app.address));
    let route = format!("{}#{}", payments.agent.address("inbound"), dns("payments"));
    let storefront = outage.cluster.service_as("storefront", |launch, _| launch.outbound("http:", route));
    let silent = outage.pod_that_does_not_answer();
    outage.begin_rollover();
    until("an answer", || (ask(&storefront).status == 200).then_some(()));
    until("a new client let in", || outage.is_let_in(&payments).then_some(()));

    drop(outage.controller.take());
    let end = Instant::now() + left(&payments).min(left(&storefront));
    let mut requests = 0;
    while Instant::now() < end {
        let answer = ask(&storefront);
        assert_eq!(answer.status, 200, "{answer:?}");
        requests += 1;
    }
    assert!(requests > 100, "{requests} requests while nothing was renewed");

    [&payments, &storefront].into_iter().for_each(wait_expired);
    assert_eq!(ask(&storefront).status, 200, "on the connection that is open");
    assert!(!outage.is_let_in(&payments), "a client with an expired leaf");
    let problems = both(&outage.cluster.run_by(&program("hotcert"), &["check"]));
    for name in ["payments", "storefront"] {
        let problem = format!("shop/mtls-prod-{name}: the published version has expired");
        assert!(problems.contains(&problem), "{problems}");
    }

    outage.run("A leaf by hand", 0);
    let by_hand = outage.published("payments");
    payments.agent.wait_serving(&by_hand);
    payments.agent.wait_ready();
    assert_eq!(storefront.agent.admin("/readyz").status, 503);

    outage.controller = Some(outage.cluster.launch_controller().start());
    within(TAKEOVER, "new clients let in again", || outage.is_let_in(&payments).then_some(()));
    assert_eq!(ask(&storefront).status, 200);
    within(TAKEOVER, "a leaf of its own in place of the one by hand", || {
        (outage.published("payments") != by_hand).then_some(())
    });
    [&payments, &storefront].iter().for_each(|service| service.agent.wait_ready());
    // A leaf is replaced every few seconds here, and a pod that is probed while it is has to be probed again.
    within(TAKEOVER, "the rollover where it was", || {
        assert_eq!(outage.authority()["phase"], "Distributing");
        outage.is_held().then_some(())
    });

    let kubeconfig = outage.cluster.server.admin_kubeconfig();
    let _late = Launch::bare(2)
        .args(["--admin", "127.0.0.1:0", "--log-format", "json", "--proof", &silent])
        .args(["--secret", "shop/payments-tls", "--kubeconfig"])
        .args([kubeconfig])
        .ready();
    within(TAKEOVER, "the rollover to end", || (outage.authority()["phase"] == "Steady").then_some(()));
    within(TAKEOVER, "nothing left to report", || outage.checked());
    assert_eq!(ask(&storefront).status, 200);
}

#[test]
fn the_commands_of_the_runbook_work_where_a_controller_has_been() {
    let mut outage = Outage::ahead(LONG);
    outage.pod_that_does_not_answer();
    outage.begin_rollover();
    let mut controller = outage.controller.take().unwrap();
    controller.signal(Signal::TERM);
    assert!(controller.wait_exit(TAKEOVER).success());
    let lease = outage.cluster.server.api::<Lease>(SYSTEM);
    let lease = outage.cluster.server.run(lease.get("hotcert-controller")).unwrap().spec.unwrap();
    assert_eq!(
        lease.holder_identity.unwrap_or_default(),
        "",
        "given up, though its webhook had no certificate"
    );
    run_on(PAGE, outage.cluster.server.admin_kubeconfig());
    let overridden = outage.authority()["rollover"]["overrides"].clone();
    let ended = outage.authority()["rolloverHistory"][0]["overrides"].clone();
    let reason = json!(["shop/payments-0: the node is gone"]);
    assert!(overridden == reason || ended == reason, "{overridden} {ended}");

    // The page has installed the webhook, which does not answer, and injected a Deployment by hand.
    let server = &outage.cluster.server;
    let template = server.run(server.api::<Deployment>("shop").get("orders")).unwrap().spec.template;
    let create = |label: &str| {
        let mut metadata = template.metadata.clone().unwrap();
        metadata.name = Some(format!("orders-{label}"));
        metadata.labels.get_or_insert_default().insert("hotcert.dev/inject".into(), label.into());
        let pod = Pod { metadata, spec: template.spec.clone(), status: None };
        server.run(server.api::<Pod>("shop").create(&PostParams::default(), &pod))
    };
    server.service_account("shop", "orders");
    let refused = create("enabled").unwrap_err().to_string();
    assert!(refused.contains("failed calling webhook \"pods.hotcert.dev\""), "{refused}");
    let created = create("disabled").unwrap().spec.unwrap();
    assert!(created.containers.iter().any(|container| container.name == "hotcert-agent"), "{created:?}");
}

#[test]
fn lost_keyring_and_lost_rolebinding_stop_issuing_until_the_runbook_puts_them_back() {
    let outage = Outage::ahead(LONG);
    let payments = outage.cluster.service_as("payments", |launch, app| launch.inbound("", app.address));
    within(TAKEOVER, "everything served", || outage.checked());
    let (root, served) = (outage.authority()["root"].clone(), outage.published("payments"));
    let rotate = |timeout| {
        let rotate = ["rotate", "shop/mtls-prod-payments", "--timeout", timeout];
        outage.cluster.run_by(&program("hotcert"), &rotate)
    };

    outage.run("A lost keyring", 0);
    let server = &outage.cluster.server;
    server.delete::<Secret>(SYSTEM, &format!("hotcert-ca-{AUTHORITY}"));
    let lost = within(TAKEOVER, "the loss reported", || {
        Some(outage.ready(AUTHORITY)).filter(|ready| ready["status"] == "False")
    });
    let message = lost["message"].as_str().unwrap();
    assert!(lost["reason"] == "NotUsable" && message.starts_with("its keyring is gone"), "{lost:#}");
    assert!(!rotate("2s").status.success());
    assert_eq!(outage.published("payments"), served);
    payments.agent.wait_ready();
    outage.run("A lost keyring", 1);
    within(TAKEOVER, "the root back", || (outage.ready(AUTHORITY)["status"] == "True").then_some(()));
    within(TAKEOVER, "the leaf that was asked for", || {
        (outage.published("payments") != served).then_some(())
    });
    assert_eq!(outage.authority()["root"], root);

    server.delete::<RoleBinding>("shop", "hotcert");
    assert!(!rotate("2s").status.success());
    let denied = within(TAKEOVER, "the missing right reported", || {
        let ready = outage.ready("mtls-prod-payments");
        (ready["reason"] == "ActionFailed" || ready["reason"] == "NoAccess").then_some(ready)
    });
    let message = denied["message"].as_str().unwrap();
    assert!(message.contains("403") && message.contains("hotcert-namespace"), "{denied:#}");
    payments.agent.wait_ready();
    outage.run("A namespace without its RoleBinding", 0);
    within(TAKEOVER, "everything served", || outage.checked());
    let rotated = rotate("60s");
    assert!(rotated.status.success(), "{}", both(&rotated));

    // Without a backup there is another root.
    server.delete::<Secret>(SYSTEM, &format!("hotcert-ca-{AUTHORITY}"));
    let deleted = server.kubectl(&["delete", "hca", AUTHORITY], "");
    assert!(deleted.status.success(), "{}", both(&deleted));
    apply(&outage.cluster, &authority());
    within(TAKEOVER, "everything served under another root", || {
        (!outage.authority()["root"].is_null() && outage.authority()["root"] != root).then_some(())?;
        outage.checked()
    });
    payments.agent.wait_serving(&outage.published("payments"));
}

#[test]
fn keyring_from_before_a_rollover_stops_issuing_until_a_newer_one_is_back_or_it_is_accepted() {
    let outage = Outage::ahead(LONG);
    let payments = outage.cluster.service_as("payments", |launch, app| launch.inbound("", app.address));
    within(TAKEOVER, "everything served", || outage.checked());
    let first = outage.authority()["root"]["sha256"].clone();
    let backup = outage.cluster.home.path().join("keyrings.yaml");
    let back_up = || {
        outage.run("A lost keyring", 0);
        std::fs::read(&backup).unwrap()
    };
    let put_back = |keyrings: &[u8]| {
        std::fs::write(&backup, keyrings).unwrap();
        outage.run("A lost keyring", 1);
    };
    let is_outdated = |object: &str| {
        let ready = outage.ready(object);
        (ready["reason"] == "KeyringOutdated" && ready["status"] == "False").then_some(ready)
    };
    let run = |args: &[&str]| outage.cluster.run_by(&program("hotcert"), args);
    let accept = ["rollover", AUTHORITY, "--accept-keyring", "--reason", "there is no newer one"];

    let older = back_up();
    let known = both(&run(&accept));
    assert!(known.contains("refused: the keyring knows every root"), "{known}");
    outage.cluster.succeeds(&["rollover", AUTHORITY, "--watch"]);
    let second = outage.authority()["root"]["sha256"].clone();
    let served = outage.published("payments");
    let newer = back_up();

    put_back(&older);
    let outdated = within(TAKEOVER, "the old keyring noticed", || is_outdated(AUTHORITY));
    assert!(outdated["message"].as_str().unwrap().contains(&second.as_str().unwrap()[..12]), "{outdated:#}");
    within(TAKEOVER, "its certificates not ready", || is_outdated("mtls-prod-payments"));
    assert!(!run(&["rotate", "shop/mtls-prod-payments", "--timeout", "2s"]).status.success());
    assert_eq!(outage.published("payments"), served);
    payments.agent.wait_ready();

    put_back(&newer);
    within(TAKEOVER, "the leaf that was asked for", || {
        (outage.published("payments") != served).then_some(())
    });
    within(TAKEOVER, "everything served under the newer root", || outage.checked());
    assert_eq!(outage.authority()["root"]["sha256"], second);

    put_back(&older);
    within(TAKEOVER, "the old keyring noticed again", || is_outdated(AUTHORITY));
    let refused = run(&["rollover", AUTHORITY]);
    assert!(!refused.status.success() && both(&refused).contains("older than what is in use"));
    let accepted = outage.cluster.succeeds(&accept);
    assert!(accepted.contains("keyring accepted; Steady under the root"), "{accepted}");
    within(TAKEOVER, "everything served under the older root", || {
        (outage.authority()["root"]["sha256"] == first).then_some(())?;
        outage.checked()
    });
    payments.agent.wait_serving(&outage.published("payments"));
}
