//! The API server that other scenarios build on is a real one, and fails as a real one does.

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kit::client::both;
use kit::kube::{Account, ApiServer};
use kit::pki::{Pair, Pki};
use kit::within;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Client, Error, ResourceExt as _};
use serde_json::json;

const NAMESPACE: &str = "shop";
const SECRET: &str = "payments-tls";

struct Cluster {
    server: ApiServer,
    pki: Pki,
}

impl Cluster {
    fn start() -> Self {
        let server = ApiServer::start();
        server.namespace(NAMESPACE);
        Self { server, pki: Pki::default() }
    }

    fn publish(&self, name: &str) -> (Pair, Secret) {
        let pair = self.pki.leaf("payments");
        let secret = self.server.publish(NAMESPACE, name, &pair, self.pki.roots(), Some(7));
        (pair, secret)
    }

    fn account(&self) -> (Account, Client) {
        let account = self.server.service_account(NAMESPACE, "payments");
        let client = self.server.client(&account.kubeconfig);
        (account, client)
    }

    /// The first word of a watch on one Secret: what happened, or the code of the error.
    fn watch(&self, client: &Client, name: &str, version: &str) -> Result<Event, u16> {
        self.server.run(async {
            let params = WatchParams::default().fields(&format!("metadata.name={name}"));
            let events = secrets(client).watch(&params, version).await.map_err(|error| code(&error))?;
            next(&mut Box::pin(events)).await
        })
    }

    /// What reading a Secret answers: nothing, or the code of the error.
    fn get(&self, client: &Client, name: &str) -> Result<Secret, u16> {
        self.server.run(secrets(client).get(name)).map_err(|error| code(&error))
    }
}

type Event = (&'static str, Secret);

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn next(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Secret>>> + Unpin),
) -> Result<Event, u16> {
    match events.next().await.expect("the watch goes on").map_err(|error| code(&error))? {
        WatchEvent::Added(secret) => Ok(("added", secret)),
        WatchEvent::Modified(secret) => Ok(("modified", secret)),
        WatchEvent::Deleted(secret) => Ok(("deleted", secret)),
        WatchEvent::Bookmark(_) => panic!("no bookmark was asked for"),
        WatchEvent::Error(status) => Err(status.code),
    }
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        other => panic!("not an answer of the API server: {other}"),
    }
}

#[test]
fn an_account_watches_the_one_secret_it_was_granted() {
    let cluster = Cluster::start();
    let (pair, secret) = cluster.publish(SECRET);
    let (_, other) = cluster.publish("another");
    let (account, client) = cluster.account();
    let version = |secret: &Secret| secret.resource_version().unwrap();
    assert_eq!(cluster.watch(&client, SECRET, "0").unwrap_err(), 403, "before the grant");

    cluster.server.grant(&account, SECRET);
    let (what, seen) = cluster.watch(&client, SECRET, "0").unwrap();
    assert_eq!((what, seen.data.unwrap()["tls.crt"].0.as_slice()), ("added", pair.cert.as_bytes()));
    assert_eq!(cluster.watch(&client, "another", &version(&other)).unwrap_err(), 403);
    assert_eq!(cluster.get(&client, "another").unwrap_err(), 403);

    let (next, replaced) = cluster.publish(SECRET);
    let (what, seen) = cluster.watch(&client, SECRET, &version(&secret)).unwrap();
    assert_eq!((what, version(&seen)), ("modified", version(&replaced)));
    let data = seen.data.unwrap();
    assert_eq!(
        (data["tls.crt"].0.as_slice(), data["revision"].0.as_slice()),
        (next.cert.as_bytes(), &b"7"[..])
    );
    cluster.server.delete::<Secret>(NAMESPACE, SECRET);
    assert_eq!(cluster.watch(&client, SECRET, &version(&replaced)).unwrap().0, "deleted");

    cluster.server.revoke(&account, SECRET);
    assert_eq!(cluster.get(&client, SECRET).unwrap_err(), 403);
}

#[test]
fn what_was_written_survives_a_crash_and_a_restart() {
    let mut cluster = Cluster::start();
    let [etcd, server] = cluster.server.resident().map(|kib| kib / 1024);
    eprintln!("ready after {:.1?}; etcd {etcd} MiB, API server {server} MiB", cluster.server.ready_after);
    let (_, secret) = cluster.publish(SECRET);
    let address = cluster.server.address;
    for end in [ApiServer::kill, ApiServer::stop] {
        end(&mut cluster.server);
        assert!(std::net::TcpStream::connect(address).is_err(), "the API server still listens");
        cluster.server.start_again();
        assert_eq!(cluster.server.address, address);
        assert_eq!(cluster.get(&cluster.server.admin(), SECRET).unwrap(), secret);
    }
}

#[test]
fn a_version_from_before_compaction_is_gone() {
    let mut cluster = Cluster::start();
    let (_, secret) = cluster.publish(SECRET);
    let (_, replaced) = cluster.publish(SECRET);
    let admin = cluster.server.admin();
    let watch =
        |cluster: &Cluster, of: &Secret| cluster.watch(&admin, SECRET, &of.resource_version().unwrap());
    assert_eq!(watch(&cluster, &secret).unwrap().0, "modified");
    cluster.server.kill();
    cluster.server.compact();
    cluster.server.start_again();
    assert_eq!(watch(&cluster, &secret).unwrap_err(), 410);
    assert_eq!(watch(&cluster, &replaced).unwrap_err(), 410, "the newest there is");
    assert_eq!(cluster.watch(&admin, SECRET, "0").unwrap().0, "added");
}

#[test]
fn a_token_is_worth_nothing_without_the_object_it_is_bound_to() {
    let cluster = Cluster::start();
    let (account, _) = cluster.account();
    cluster.server.grant(&account, SECRET);
    let (_, secret) = cluster.publish(SECRET);
    let (_, bound) = cluster.publish("bound");
    account.write_token(&cluster.server.token(NAMESPACE, &account.name, Some(&bound)));
    let client = cluster.server.client(&account.kubeconfig);
    assert_eq!(cluster.get(&client, SECRET).unwrap(), secret);
    cluster.server.delete::<Secret>(NAMESPACE, "bound");
    within(kit::DEADLINE, "401", || (cluster.get(&client, SECRET) == Err(401)).then_some(()));
    account.write_token(&cluster.server.token(NAMESPACE, &account.name, None));
    assert_eq!(cluster.get(&cluster.server.client(&account.kubeconfig), SECRET).unwrap(), secret);
}

#[test]
fn kubectl_is_told_what_the_api_server_thinks() {
    let cluster = Cluster::start();
    let apply = |name: &str| {
        let containers = json!([{"name": name, "image": "app"}]);
        let metadata = json!({"name": "app", "namespace": NAMESPACE});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}});
        cluster.server.kubectl(&["apply", "--dry-run=server", "-f", "-"], &pod.to_string())
    };
    let taken = apply("app");
    assert!(taken.status.success(), "{}", both(&taken));
    let refused = apply("APP");
    assert!(
        !refused.status.success() && both(&refused).contains("spec.containers[0].name"),
        "{}",
        both(&refused)
    );
}
