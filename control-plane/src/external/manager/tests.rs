//! What is read from a manager's responses and what is sent to it, over plain HTTP on loopback. HTTPS between
//! processes is covered by the scenario tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

mod errors;
mod ibm;

use super::*;
use crate::api::leaf_request::LeafRequest;
use crate::external::http_client::{AddressPolicy, Endpoint};
use crate::external::manager::https::{Pointers, Put};
use crate::external::manager::ibm::{Credential, DEFAULT_GROUP, Profile, TokenSource};
use crate::pki::authority::{Authority, AuthorityRequest};

/// The id of a secret, as Secrets Manager makes them.
const ID: &str = "3f2a77b1-8fda-4d05-9ad8-b1de1ec7e712";

/// A fake manager: canned responses by method and path, and every request that it received.
#[derive(Clone, Default)]
struct FakeManager {
    responses: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

type Received = (Method, String, String, Value);

impl FakeManager {
    fn respond_to(&self, path: &str, status: u16, body: Value) {
        self.responses.lock().unwrap().insert(path.into(), (status, body));
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = self.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let fake = fake.clone();
                let service = service_fn(move |request| {
                    let fake = fake.clone();
                    async move { Ok::<_, hyper::Error>(fake.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        format!("http://{address}")
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let path = head.uri.path().to_owned();
        let key = format!("{} {path}", head.method);
        self.received.lock().unwrap().push((head.method, path, authorization.unwrap_or_default(), body));
        let (status, body) = self.responses.lock().unwrap().get(&key).cloned().unwrap_or((404, Value::Null));
        Response::builder().status(status).body(Full::new(body.to_string().into())).unwrap()
    }

    fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url, AddressPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()] }, None).unwrap()
}

fn manager(kind: Kind) -> Manager {
    let both = BTreeMap::from([("shop".to_owned(), vec!["pay*".parse().unwrap(), "3f2a*".parse().unwrap()])]);
    Manager { kind, allow: Allow { both, ..Allow::default() }, trust: None, digest: String::new() }
}

struct TestLeaf {
    root: String,
    leaf: String,
    key: String,
}

fn test_leaf() -> TestLeaf {
    let now = std::time::SystemTime::now();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: hours(9), ..AuthorityRequest::default() };
    let root = Authority::create(&request, now).unwrap();
    let request =
        LeafRequest { common_name: "payments".into(), lifetime: hours(1), ..LeafRequest::default() };
    let leaf = root.issue(&LeafRequest { dns_names: vec!["localhost".into()], ..request }, now).unwrap();
    TestLeaf {
        root: root.certificate_pem().to_owned(),
        leaf: leaf.certificate_pem,
        key: leaf.key_pem.to_string(),
    }
}

async fn secrets_manager(fake: &FakeManager) -> Manager {
    secrets_manager_in(fake, DEFAULT_GROUP).await
}

async fn secrets_manager_in(fake: &FakeManager, group: &str) -> Manager {
    let key = Zeroizing::new("k3y&x".to_owned());
    secrets_manager_with(fake, Credential::ApiKey(key), group).await
}

async fn secrets_manager_with(fake: &FakeManager, credential: Credential, group: &str) -> Manager {
    let url = fake.start().await;
    fake.respond_to("POST /identity/token", 200, json!({"access_token": "t0k", "expires_in": 3600}));
    let tokens = TokenSource::new(endpoint(&format!("{url}/identity/token")), credential);
    manager(Kind::Ibm(Ibm::new(endpoint(&url), tokens, group.to_owned())))
}

#[tokio::test]
async fn an_https_manager_is_read_and_written_by_json_pointers() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let url = fake.start().await;
    let headers = vec![("authorization".to_owned(), Zeroizing::new("secret".to_owned()))];
    let request = |method, path: &str| https::RequestTemplate {
        endpoint: endpoint(&url),
        path: path.into(),
        method,
        headers: headers.clone(),
    };
    let pointers = Pointers {
        certificate: "/data/cert".into(),
        key: "/data/a~1b".into(),
        chain: Some("/data/chain".into()),
        roots: Some("/roots".into()),
    };
    let (get, request) = (request(Method::GET, "/get/{id}?a=b"), request(Method::PUT, "/put/{id}"));
    let put = Some(Box::new(Put { request, pointers: pointers.clone() }));
    let manager = manager(Kind::Https(Https { get, pointers, put }));
    let answer =
        json!({"data": {"cert": test.leaf, "a/b": test.key, "chain": test.root}, "roots": test.root});
    fake.respond_to("GET /get/payments", 200, answer);
    let (version, roots) = manager.fetch("shop", "payments").await.unwrap();
    assert_eq!((&version.certificate, &roots), (&format!("{}{}", test.leaf, test.root), &test.root));
    assert_eq!(fake.take_received()[0].2, "secret");
    fake.respond_to("GET /get/payments", 404, Value::Null);
    fake.respond_to("PUT /put/payments", 204, Value::Null);
    manager.push("shop", "payments", &version).await.unwrap();
    let (.., body) = fake.take_received().pop().unwrap();
    let trimmed = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap().trim().to_owned();
    assert_eq!(trimmed("/data/cert"), test.leaf.trim());
    assert_eq!(
        (trimmed("/data/a~1b"), trimmed("/data/chain")),
        (test.key.trim().into(), test.root.trim().into())
    );
}

#[tokio::test]
async fn what_is_written_may_be_wrapped_otherwise_than_what_is_read() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let url = fake.start().await;
    let request = |method| https::RequestTemplate {
        endpoint: endpoint(&url),
        path: "/v1/secret/data/{id}".into(),
        method,
        headers: Vec::new(),
    };
    let pointers = |within: &str| Pointers {
        certificate: format!("{within}/certificate"),
        key: format!("{within}/key"),
        chain: None,
        roots: None,
    };
    let put = Some(Box::new(Put { request: request(Method::POST), pointers: pointers("/data") }));
    let https = Https { get: request(Method::GET), pointers: pointers("/data/data"), put };
    let manager = manager(Kind::Https(https));
    let path = "/v1/secret/data/payments";
    fake.respond_to(&format!("POST {path}"), 200, Value::Null);
    let version = Version {
        certificate: test.leaf.clone(),
        key: Zeroizing::new(test.key.clone()),
        roots: None,
        metadata: None,
    };
    manager.push("shop", "payments", &version).await.unwrap();
    let (.., body) = fake.take_received().pop().unwrap();
    assert_eq!(body, json!({"data": {"certificate": test.leaf, "key": test.key}}));
    // As it is read it is the same version, which is not pushed again.
    fake.respond_to(&format!("GET {path}"), 200, json!({"data": body, "metadata": {"version": 1}}));
    manager.push("shop", "payments", &version).await.unwrap();
    assert!(fake.take_received().iter().all(|(method, ..)| method == Method::GET));
}

#[test]
fn a_namespace_may_be_allowed_one_direction_alone() {
    let ids =
        |namespace: &str, id: &str| AllowedIds::from([(namespace.to_owned(), vec![id.parse().unwrap()])]);
    let allow =
        Allow { both: ids("shop", "both"), fetch: ids("shop", "fetched-*"), push: ids("*", "pushed") };
    for (access, namespace, id, expected) in [
        (Access::Fetch, "shop", "both", true),
        (Access::Push, "shop", "both", true),
        (Access::Fetch, "shop", "fetched-a", true),
        (Access::Push, "shop", "fetched-a", false),
        (Access::Fetch, "shop", "pushed", false),
        (Access::Push, "shop", "pushed", true),
        (Access::Push, "bank", "pushed", true),
        (Access::Fetch, "bank", "fetched-a", false),
        (Access::Fetch, "bank", "both", false),
    ] {
        assert_eq!(allow.allows(access, namespace, id), expected, "{access:?} {namespace} {id}");
    }
    let namespace = "shop".to_owned();
    let refused = ManagerError::NotAllowed { access: Access::Push, namespace, id: "fetched-a".into() };
    assert!(
        refused.to_string().contains("to push fetched-a: add it to the manager's allowPush"),
        "{refused}"
    );
}
