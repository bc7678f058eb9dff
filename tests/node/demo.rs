//! The demo as it runs on the node: its pods, its Secrets, and load on it from outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod as PodObject, Secret, Service};
use kit::client::{get, python_files, served};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, serial, write};
use kit::within;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::readme;

const NAMESPACE: &str = "shop";
const INBOUND: u16 = 8443;
const ADMIN: u16 = 9640;

pub struct Demo {
    home: TempDir,
    client: Credentials,
    identities: String,
}

/// A pod as it should stay.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    /// `storefront` or `payments`.
    pub service: String,
    pub address: IpAddr,
    pub ready: bool,
    /// Container ids by name, and how often each was restarted.
    pub containers: BTreeMap<String, (String, i32)>,
}

/// One leaf that one pod came to serve.
pub struct Served {
    /// What openssl and kubectl took.
    kubectl: Duration,
    /// From their start to a handshake that shows the new leaf.
    after: Duration,
}

impl Demo {
    /// Runs the README's commands, the last one of which rotates once.
    pub fn by_readme() -> Self {
        let home = TempDir::new().unwrap();
        let commands = readme::commands();
        for command in &commands {
            readme::run(command, home.path());
        }
        let identities = commands.iter().find(|command| command.contains("demo/identities")).unwrap();
        let identities = identities.split('#').next().unwrap().trim().to_owned();
        // The demo's own storefront is as good a client as any.
        let secret: Secret = kubectl_json(&["get", "secret", "storefront-tls"]);
        let data = secret.data.unwrap();
        let save = |name: &str| write(&home.path().join(name), &data[name].0);
        let client = Credentials { cert: save("tls.crt"), key: save("tls.key"), ca: save("ca.crt") };
        Self { client, identities, home }
    }

    pub fn pods(&self) -> Vec<Pod> {
        let there = pods().into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut pods: Vec<_> = there.map(Pod::from).collect();
        pods.sort_by(|one, other| one.service.cmp(&other.service));
        pods
    }

    pub fn health(&self, pod: &Pod) -> Value {
        get(SocketAddr::new(pod.address, ADMIN), "/healthz").unwrap().json()
    }

    /// New identities for both at once, and how long each pod took to serve its own.
    pub fn rotate(&self, pods: &[Pod], source: &str, deadline: Duration) -> Vec<Served> {
        std::thread::scope(|scope| {
            let rotating: Vec<_> =
                pods.iter().map(|pod| scope.spawn(move || self.rotate_one(pod, source, deadline))).collect();
            rotating.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn rotate_one(&self, pod: &Pod, source: &str, deadline: Duration) -> Served {
        let before = self.secret(&pod.service).serial;
        let begin = Instant::now();
        readme::run(&format!("{} {}", self.identities, pod.service), self.home.path());
        let kubectl = begin.elapsed();
        let what = format!("{} to serve what was published", pod.service);
        within(deadline, &what, || self.serves_another(pod, &before, source).then_some(()));
        let after = begin.elapsed();
        let now = self.secret(&pod.service).serial;
        assert_ne!(now, before, "the Secret was replaced");
        let shown = served(SocketAddr::new(pod.address, INBOUND), &self.client);
        assert_eq!(shown, Some(now), "{} shows OpenSSL what was published", pod.service);
        Served { kubectl, after }
    }

    /// By the agent's own handshake.
    fn serves_another(&self, pod: &Pod, before: &str, source: &str) -> bool {
        let served = self.health(pod)["served"].clone();
        serial(served["serial"].as_str().unwrap_or_default()) != before
            && served["proof"]["outcome"] == "served"
            && served["delivered_by"] == source
    }

    fn secret(&self, service: &str) -> Pair {
        let secret: Secret = kubectl_json(&["get", "secret", &format!("{service}-tls")]);
        Pair::new(String::from_utf8(secret.data.unwrap()["tls.crt"].0.clone()).unwrap(), "")
    }

    /// Has the pods replaced by ones that do not ask the API.
    pub fn use_the_volume_alone(&self) {
        let patch = r#"{"spec":{"template":{"metadata":{"annotations":{"hotcert.dev/api":"disabled"}}}}}"#;
        for service in ["payments", "storefront"] {
            kubectl(&["patch", "deployment", service, "--patch", patch]);
        }
        for service in ["payments", "storefront"] {
            kubectl(&["rollout", "status", "deployment", service, "--timeout=120s"]);
        }
        // The old ones finish what they have.
        within(Duration::from_secs(90), "the old pods gone", || (pods().len() == 2).then_some(()));
        for pod in self.pods() {
            assert_eq!(self.health(&pod)["source"]["api"], Value::Null);
        }
    }

    fn storefront(&self) -> SocketAddr {
        let service: Service = kubectl_json(&["get", "service", "storefront"]);
        SocketAddr::new(service.spec.unwrap().cluster_ip.unwrap().parse().unwrap(), INBOUND)
    }
}

impl From<PodObject> for Pod {
    fn from(pod: PodObject) -> Self {
        let status = pod.status.unwrap();
        let sidecars = status.init_container_statuses.unwrap_or_default();
        let containers = [sidecars, status.container_statuses.unwrap_or_default()].concat();
        Self {
            service: pod.metadata.labels.unwrap()["app.kubernetes.io/name"].clone(),
            address: status.pod_ip.unwrap().parse().unwrap(),
            ready: containers.iter().all(|container| container.ready),
            containers: containers
                .into_iter()
                .map(|container| {
                    let id = container.container_id.unwrap_or_default();
                    (container.name, (id, container.restart_count))
                })
                .collect(),
        }
    }
}

impl Served {
    pub fn summary(all: &[Self]) -> String {
        let shown = |of: fn(&Self) -> Duration| {
            let mut spans: Vec<_> = all.iter().map(of).collect();
            spans.sort();
            format!("median {:.2?}, longest {:.2?}", spans[spans.len() / 2], spans[spans.len() - 1])
        };
        format!(
            "{} times served; from the start of openssl and kubectl: {}; after kubectl had returned: {}",
            all.len(),
            shown(|served| served.after),
            shown(|served| served.after.saturating_sub(served.kubectl))
        )
    }
}

/// Requests to storefront, each of which asks payments, until told to end.
pub struct Load(Pipe);

impl Load {
    pub fn start(demo: &Demo) -> Self {
        let script = readme::repository().join("tests/clients/load.py");
        let mut load = Command::new("python3");
        load.arg("-u").arg(script).arg(demo.storefront().to_string()).args(python_files(&demo.client));
        load.args(["--server", "storefront.shop.svc", "--path", "/", "--has", r#""service":"payments""#]);
        let mut load = Pipe::program(load);
        assert_eq!(load.line()["running"], true);
        Self(load)
    }

    pub fn end(mut self) -> Value {
        self.0.end();
        self.0.line()
    }
}

fn pods() -> Vec<PodObject> {
    let list: Value = kubectl_json(&["get", "pods"]);
    serde_json::from_value(list["items"].clone()).unwrap()
}

fn kubectl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("kubectl")
        .args(["--namespace", NAMESPACE])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "kubectl {args:?}: {}", output.status);
    output.stdout
}

fn kubectl_json<T: DeserializeOwned>(args: &[&str]) -> T {
    serde_json::from_slice(&kubectl(&[args, &["--output", "json"]].concat())).unwrap()
}
