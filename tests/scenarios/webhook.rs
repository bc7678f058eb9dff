//! The admission webhook, called by a real API server: its own certificate changes under way and no
//! pod is refused for it, and a dead one holds up the pods that asked for it and no others.

use std::fs::read_to_string;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use hotcert::pki::x509_facts::Leaf;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kit::agent::{Agent, Launch};
use kit::client::{Curl, Fetched, both};
use kit::kube::{Account, ApiServer};
use kit::pki::write;
use kit::until;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::manifests::objects::{folder, object, parse};

const SYSTEM: &str = "hotcert-system";
const SECRET: &str = "hotcert-webhook";

pub struct Cluster {
    pub server: ApiServer,
    account: Account,
}

impl Cluster {
    /// With the rights that the manifests give and no others.
    pub fn start() -> Self {
        let server = ApiServer::start();
        for namespace in [SYSTEM, "shop", "asking"] {
            server.namespace(namespace);
        }
        let label = json!({"metadata": {"labels": {"hotcert.dev/inject": "enabled"}}});
        let namespaces = Api::<Namespace>::all(server.admin());
        server.run(namespaces.patch("asking", &PatchParams::default(), &Patch::Merge(label))).unwrap();
        let account = server.service_account(SYSTEM, "hotcert-controller");
        let rights = server.kubectl(&["apply", "-f", folder("base/rbac.yaml").to_str().unwrap()], "");
        assert!(rights.status.success(), "{}", both(&rights));
        Self { server, account }
    }

    pub fn controller(&self, args: &[&str]) -> Agent {
        Launch::controller(&self.account.kubeconfig).args(["--namespace", SYSTEM]).args(args).start()
    }

    /// The webhook configuration of the manifests, but for the addresses: each entry is another replica's.
    pub fn configure(&self, replicas: [&Agent; 2]) {
        let mut configuration = object(
            &parse(&read_to_string(folder("base/webhook.yaml")).unwrap()),
            "MutatingWebhookConfiguration",
        );
        for (entry, replica) in configuration["webhooks"].as_array_mut().unwrap().iter_mut().zip(replicas) {
            let path = entry["clientConfig"]["service"]["path"].as_str().unwrap();
            entry["clientConfig"] = json!({"url": format!("https://{}{path}", replica.address("webhook"))});
        }
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
        let configurations = Api::all(self.server.admin());
        self.server.run(configurations.create(&PostParams::default(), &configuration)).unwrap();
    }

    fn configuration(&self) -> MutatingWebhookConfiguration {
        self.server.run(Api::all(self.server.admin()).get("hotcert")).unwrap()
    }

    pub fn bundle(&self) -> String {
        let webhooks = self.configuration().webhooks.unwrap();
        let bundles: Vec<_> = webhooks
            .into_iter()
            .map(|webhook| String::from_utf8(webhook.client_config.ca_bundle.unwrap_or_default().0).unwrap())
            .collect();
        assert_eq!(bundles[0], bundles[1]);
        bundles[0].clone()
    }

    /// A pod as the API server made it, or its refusal.
    fn pod(&self, namespace: &str, labels: Value, annotations: Value) -> Result<Pod, String> {
        // Of names that the API server makes up, two among a thousand are the same now and then.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("app-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let pod = json!({
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app:1"}]},
        });
        let pod = serde_json::from_value(pod).unwrap();
        let pods = self.server.api::<Pod>(namespace);
        self.server.run(pods.create(&PostParams::default(), &pod)).map_err(|error| error.to_string())
    }

    /// A pod that asks for the agent itself.
    fn asking_pod(&self) -> Result<Pod, String> {
        self.pod("shop", json!({"hotcert.dev/inject": "enabled"}), secret())
    }

    /// Creates a pod that asks for the agent, and gets it.
    #[track_caller]
    pub fn inject(&self) {
        assert!(injected(&self.asking_pod().unwrap()));
    }

    /// Waits until the API server calls the webhook and gets an answer.
    #[track_caller]
    pub fn wait_injecting(&self) {
        until("a pod injected", || self.asking_pod().ok().filter(injected));
    }
}

fn secret() -> Value {
    json!({"hotcert.dev/secret": "app-tls"})
}

fn injected(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref().unwrap();
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers).any(|container| container.name == "hotcert-agent")
}

fn serial(health: &Value) -> String {
    health["served"]["serial"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_pod_gets_its_agent_while_the_webhooks_certificate_changes() {
    let cluster = Cluster::start();
    let args = ["--webhook-lifetime", "12s", "--webhook-overlap", "2s"];
    let replicas = [cluster.controller(&args), cluster.controller(&args)];
    cluster.configure([&replicas[0], &replicas[1]]);
    for replica in &replicas {
        replica.wait_ready();
    }
    cluster.wait_injecting();
    let before = replicas.each_ref().map(|replica| replica.health());
    let done = AtomicBool::new(false);
    let created = std::thread::scope(|scope| {
        let create = scope.spawn(|| {
            let mut created = 0;
            while !done.load(Ordering::Relaxed) {
                for (namespace, labels) in
                    [("shop", json!({"hotcert.dev/inject": "enabled"})), ("asking", json!({}))]
                {
                    let pod = cluster.pod(namespace, labels, secret()).unwrap();
                    assert!(injected(&pod), "{pod:?}");
                    created += 1;
                }
            }
            created
        });
        let mut last = before.each_ref().map(serial);
        for _ in 0..3 {
            for (replica, last) in replicas.iter().zip(&mut last) {
                let health = replica.wait_until("another leaf", |health| serial(health) != *last);
                *last = serial(&health);
            }
            assert!(!create.is_finished(), "a pod was refused");
        }
        done.store(true, Ordering::Relaxed);
        create.join().expect("no pod refused")
    });
    assert!(created > 40, "{created} pods");
    println!("{created} pods created while the webhook's certificate changed three times, none refused");
    for (replica, before) in replicas.iter().zip(&before) {
        let after = replica.health();
        assert!(after["generation"].as_u64() >= before["generation"].as_u64().map(|n| n + 3), "{after:#}");
        assert_eq!(after["pods"]["malformed"], 0);
    }
    let calls: u64 =
        replicas.iter().map(|replica| replica.health()["pods"]["injected"].as_u64().unwrap()).sum();
    assert!(calls >= created, "{calls} calls for {created} pods");
}

#[test]
fn a_dead_webhook_holds_up_the_pods_that_ask_for_it_and_no_others() {
    let cluster = Cluster::start();
    let mut controller = cluster.controller(&["--shutdown-delay", "1s"]);
    let webhook = controller.address("webhook");
    assert!(TcpStream::connect(webhook).is_err(), "it listens without a certificate");
    assert_eq!(controller.admin("/readyz").status, 503);
    cluster.configure([&controller, &controller]);
    controller.wait_ready();
    cluster.wait_injecting();

    let metrics = controller.metrics();
    assert!(metrics.one("hotcert_controller_webhook_not_after_timestamp_seconds", &[]) > 0.0);
    let disabled = json!({"hotcert.dev/inject": "disabled"});
    let pod = cluster.pod("asking", disabled.clone(), json!({})).unwrap();
    assert!(!injected(&pod));
    let typo = cluster.pod("asking", json!({}), json!({"hotcert.dev/sekret": "x"})).unwrap_err();
    assert!(typo.contains("hotcert.dev/sekret") && typo.contains("hotcert.dev/secret"), "{typo}");
    let sidecar = controller.health()["sidecar"].clone();
    assert_eq!(sidecar["kind"], "container", "no node is known to take another: {sidecar}");

    controller.signal(Signal::TERM);
    until("unready", || (controller.admin("/readyz").status == 503).then_some(()));
    assert!(injected(&cluster.asking_pod().unwrap()), "still served");
    assert!(controller.wait_exit(kit::DEADLINE).success());

    for refused in [cluster.asking_pod(), cluster.pod("asking", json!({}), secret())] {
        let refused = refused.unwrap_err();
        assert!(refused.contains("hotcert.dev") && refused.contains("failed calling webhook"), "{refused}");
    }
    assert!(!injected(&cluster.pod("shop", json!({}), json!({})).unwrap()));
    assert!(!injected(&cluster.pod("asking", disabled, json!({})).unwrap()));
}

#[test]
fn a_lost_secret_and_an_edited_bundle_are_mended() {
    let cluster = Cluster::start();
    let controller = cluster.controller(&["--webhook-overlap", "2s"]);
    cluster.configure([&controller, &controller]);
    controller.wait_ready();
    cluster.wait_injecting();
    let (bundle, first) = (cluster.bundle(), serial(&controller.health()));

    let edit = json!([
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": ""},
        {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7},
    ]);
    let edit = Patch::<()>::Json(serde_json::from_value(edit).unwrap());
    let configurations = Api::<MutatingWebhookConfiguration>::all(cluster.server.admin());
    cluster.server.run(configurations.patch("hotcert", &PatchParams::default(), &edit)).unwrap();
    until("the caBundle mended", || {
        let webhooks = cluster.configuration().webhooks.unwrap();
        webhooks
            .iter()
            .all(|webhook| webhook.client_config.ca_bundle.clone().unwrap_or_default().0 == bundle.as_bytes())
            .then_some(())
    });
    assert_eq!(cluster.configuration().webhooks.unwrap()[0].timeout_seconds, Some(7));
    assert_eq!(serial(&controller.health()), first);

    cluster.server.delete::<Secret>(SYSTEM, SECRET);
    controller.wait_until("another leaf", |health| serial(health) != first);
    controller.wait_ready();
    assert!(injected(&cluster.asking_pod().unwrap()));
    controller.wait_until("the old root forgotten", |health| health["phase"] == "steady");
    assert!(!cluster.bundle().contains(&bundle));
    assert!(injected(&cluster.asking_pod().unwrap()));
}

#[test]
fn certificate_that_expired_while_no_controller_ran_is_replaced_without_waiting_for_the_overlap() {
    let cluster = Cluster::start();
    let controller = cluster.controller(&["--webhook-lifetime", "6s", "--webhook-overlap", "1s"]);
    cluster.configure([&controller, &controller]);
    controller.wait_ready();
    drop(controller);
    let secret = cluster.server.run(cluster.server.api::<Secret>(SYSTEM).get(SECRET)).unwrap();
    let end = Leaf::read(&secret.data.unwrap()["tls.crt"].0).unwrap().not_after;
    until("its certificate expired", || (SystemTime::now() > end).then_some(()));
    // An API server may take five minutes to load a changed caBundle: for them nothing would be served.
    cluster.controller(&[]).wait_ready();
}

#[test]
fn garbage_is_refused_in_words_and_changes_nothing() {
    let cluster = Cluster::start();
    let controller = cluster.controller(&[]);
    cluster.configure([&controller, &controller]);
    controller.wait_ready();
    let directory = tempfile::tempdir().unwrap();
    let root = write(&directory.path().join("root.pem"), cluster.bundle());
    let post = |path: &str, body: &[u8], args: &[&str]| -> Fetched {
        let body_file = directory.path().join("body");
        std::fs::write(&body_file, body).unwrap();
        let url = format!("https://{}{path}", controller.address("webhook"));
        let data = format!("@{}", body_file.display());
        Curl::new(&url).args(["--data-binary", &data, "--cacert", root.to_str().unwrap()]).args(args).run()
    };
    let large = vec![b' '; 5 << 20];
    let bodies: [(&[u8], u16); 5] =
        [(b"", 400), (b"{", 400), (b"\xff\x00", 400), (b"{\"kind\":\"Pod\"}", 400), (&large, 413)];
    for version in ["--http1.1", "--http2"] {
        for (body, status) in bodies {
            let fetched = post("/mutate/pods", body, &[version]);
            assert_eq!(fetched.answer.status, status, "{version} {fetched:?}");
            assert!(fetched.answer.text().len() > 10, "{fetched:?}");
        }
        assert_eq!(post("/mutate", b"{}", &[version]).answer.status, 404);
        assert_eq!(post("/mutate/pods", b"", &[version, "-X", "GET"]).answer.status, 405);
    }
    cluster.wait_injecting();
    assert_eq!(controller.health()["pods"]["malformed"], 10);

    // A body that does not arrive is not waited for longer than an API server waits.
    let slow = post("/mutate/pods", b"", &["--http1.1", "-H", "content-length: 100", "--max-time", "20"]);
    assert_eq!(slow.answer.status, 408, "{slow:?}");
}
