//! The demo as it runs on the node: its pods, its Secrets, and load on it from outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as PodObject, Secret};
use kit::agent::program;
use kit::client::{get, served as served_serial};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, write};
use kit::within;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::page;

const NAMESPACE: &str = "shop";
const INBOUND: u16 = 8443;
const ADMIN: u16 = 9640;
const APP: u16 = 8080;

pub struct Demo {
    home: TempDir,
}

/// A pod as it should stay.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    /// `storefront`, `payments` or `client`.
    pub service: String,
    pub address: IpAddr,
    pub ready: bool,
    /// Container ids by name, and how often each was restarted.
    pub containers: BTreeMap<String, (String, i32)>,
}

/// One leaf that one pod came to serve.
pub struct Rotated {
    /// From writing the Secret to the control plane's handshake that showed the new leaf.
    pub after: Duration,
}

impl Demo {
    /// Runs the commands of the page, the last one of which rotates once, and adds the client.
    pub fn by_page() -> Self {
        let home = TempDir::new().unwrap();
        for command in page::commands() {
            page::run(&command, home.path());
        }
        page::run("kubectl apply -f tests/node/client.yaml", home.path());
        page::run("kubectl -n shop rollout status deployment/client --timeout=120s", home.path());
        Self { home }
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

    /// Rotates both services, and says how long each pod took to serve its new leaf.
    pub fn rotate(&self, source: &str) -> Vec<Rotated> {
        ["payments", "storefront"].map(|service| self.rotate_one(service, source)).into()
    }

    fn rotate_one(&self, service: &str, source: &str) -> Rotated {
        let before = self.secret(service).serial;
        let name = format!("shop/mtls-demo-{service}");
        let said: Value = serde_json::from_str(&hotcert(&["rotate", &name, "--json"])).unwrap();
        let served = &said["status"]["served"];
        assert_eq!((&served["pods"], &served["serving"]), (&1.into(), &1.into()), "{said:#}");
        let now = self.secret(service).serial;
        assert_ne!(now, before, "the Secret was replaced");
        let pod = self.pods().into_iter().find(|pod| pod.service == service).unwrap();
        let health = self.health(&pod);
        assert_eq!(health["served"]["delivered_by"], source, "{health:#}");
        // What OpenSSL is shown counts, not what a component reports.
        let shown = served_serial(SocketAddr::new(pod.address, INBOUND), &self.credentials());
        assert_eq!(shown, Some(now), "{service} shows OpenSSL what was published");
        Rotated { after: Duration::from_secs_f64(served["seconds"].as_f64().unwrap()) }
    }

    /// The client's, as they are now.
    fn credentials(&self) -> Credentials {
        let secret: Secret = kubectl_json(&["get", "secret", "storefront-tls"]);
        let data = secret.data.unwrap();
        let save = |name: &str| write(&self.home.path().join(name), &data[name].0);
        Credentials { cert: save("tls.crt"), key: save("tls.key"), ca: save("ca.crt") }
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
            kubectl(&["rollout", "status", &format!("deployment/{service}"), "--timeout=120s"]);
        }
        // The old ones finish what they have.
        within(Duration::from_secs(90), "the old pods gone", || (pods().len() == 3).then_some(()));
        for pod in self.pods().iter().filter(|pod| pod.service != "client") {
            assert_eq!(self.health(pod)["source"]["api"], Value::Null);
        }
    }

    fn client(&self) -> SocketAddr {
        let client = self.pods().into_iter().find(|pod| pod.service == "client").unwrap();
        SocketAddr::new(client.address, APP)
    }
}

impl From<PodObject> for Pod {
    fn from(pod: PodObject) -> Self {
        let status = pod.status.unwrap();
        let sidecars = status.init_container_statuses.unwrap_or_default();
        let containers = [sidecars, status.container_statuses.unwrap_or_default()].concat();
        Self {
            name: pod.metadata.name.unwrap(),
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

impl Rotated {
    pub fn summary(all: &[Self]) -> String {
        let mut spans: Vec<_> = all.iter().map(|rotated| rotated.after).collect();
        spans.sort();
        format!(
            "{} times; from writing the Secret to the control plane's handshake with the new leaf: median {:.2?}, longest {:.2?}",
            all.len(),
            spans[spans.len() / 2],
            spans[spans.len() - 1]
        )
    }
}

/// Requests to the client, which asks storefront, which asks payments, until told to end.
pub struct Load(Pipe);

impl Load {
    pub fn start(demo: &Demo) -> Self {
        let script = page::repository().join("tests/clients/load.py");
        let mut load = Command::new("python3");
        load.arg("-u").arg(script).arg(demo.client().to_string());
        load.args(["--server", "client", "--path", "/", "--has", r#""service":"payments""#]);
        let mut load = Pipe::program(load);
        assert_eq!(load.line()["running"], true);
        Self(load)
    }

    pub fn end(mut self) -> Value {
        self.0.end();
        self.0.line()
    }
}

/// What the program says, which must not fail.
pub fn hotcert(args: &[&str]) -> String {
    let output = Command::new(program("hotcert")).args(args).stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "hotcert {args:?}: {}: {said}", output.status);
    said
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
