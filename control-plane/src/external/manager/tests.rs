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

use super::*;
use crate::api::leaf_request::LeafRequest;
use crate::external::http_client::{AddressPolicy, Endpoint};
use crate::external::manager::https::Pointers;
use crate::pki::authority::{Authority, AuthorityRequest};

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
    let allow = BTreeMap::from([("shop".to_owned(), vec!["pay*".parse().unwrap()])]);
    Manager { kind, allow, trust: None, digest: String::new() }
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

async fn ibm(fake: &FakeManager) -> Manager {
    let url = fake.start().await;
    fake.respond_to("POST /identity/token", 200, json!({"access_token": "t0k", "expires_in": 3600}));
    let key = Zeroizing::new("k3y&x".to_owned());
    manager(Kind::Ibm(Ibm::new(endpoint(&url), endpoint(&format!("{url}/identity/token")), key)))
}

/// The cached token.
fn token_of(manager: &Manager) -> std::sync::MutexGuard<'_, Option<ibm::Token>> {
    match &manager.kind {
        Kind::Ibm(ibm) => ibm.lock(),
        Kind::Https(_) => panic!("another kind"),
    }
}

#[tokio::test]
async fn secrets_manager_is_read_with_a_cached_token() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = ibm(&fake).await;
    let windows = test.leaf.replace('\n', "\r\n");
    let secret = json!({"id": "payments", "secret_type": "private_cert", "certificate": windows, "private_key": test.key,
        "issuing_ca": test.root, "ca_chain": [test.root]});
    fake.respond_to("GET /api/v2/secrets/payments", 200, secret);
    let (version, roots) = ibm.fetch("shop", "payments").await.unwrap();
    assert_eq!((version.certificate, roots), (test.leaf.clone(), test.root.clone()));
    assert_eq!(version.key.trim(), test.key.trim());
    ibm.fetch("shop", "payments").await.unwrap();
    let received = fake.take_received();
    let paths: Vec<_> = received.iter().map(|(_, path, ..)| path.as_str()).collect();
    let secret = "/api/v2/secrets/payments";
    assert_eq!(paths, ["/identity/token", secret, secret]);
    let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=k3y%26x";
    assert_eq!((&received[0].3, received[1].2.as_str()), (&json!(form), "Bearer t0k"));

    // A revoked token is not used again.
    fake.respond_to("GET /api/v2/secrets/payments", 401, Value::Null);
    let error = ibm.fetch("shop", "payments").await.unwrap_err();
    assert!(error.is_manager_failing() && error.to_string().contains("answered 401"), "{error}");
    let paths: Vec<_> = fake.take_received().into_iter().map(|(_, path, ..)| path).collect();
    assert_eq!(paths, [secret, "/identity/token", secret]);
}

#[tokio::test]
async fn a_version_is_pushed_once() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = ibm(&fake).await;
    let version = Version {
        certificate: format!("{}{}", test.leaf, test.root),
        key: Zeroizing::new(test.key.clone()),
        roots: None,
    };
    // The secret exists without a version.
    fake.respond_to("GET /api/v2/secrets/payments", 200, imported(json!({})));
    fake.respond_to("POST /api/v2/secrets/payments/versions", 201, json!({}));
    ibm.push("shop", "payments", &version).await.unwrap();
    let (method, path, _, body) = fake.take_received().pop().unwrap();
    assert_eq!((method, path.as_str()), (Method::POST, "/api/v2/secrets/payments/versions"));
    assert_eq!(body["certificate"].as_str().unwrap().trim(), test.leaf.trim());
    assert_eq!(
        (body["intermediate"].as_str().unwrap().trim(), body["private_key"].as_str().unwrap()),
        (test.root.trim(), test.key.as_str())
    );
    let known = imported(json!({"certificate": test.leaf, "private_key": test.key}));
    fake.respond_to("GET /api/v2/secrets/payments", 200, known);
    ibm.push("shop", "payments", &version).await.unwrap();
    assert!(
        fake.take_received().iter().all(|(method, ..)| *method == Method::GET),
        "the version is current already"
    );
    // A manager that does not disclose the key is recognised by the certificate alone.
    fake.respond_to("GET /api/v2/secrets/payments", 200, imported(json!({"certificate": test.leaf})));
    ibm.push("shop", "payments", &version).await.unwrap();
    assert!(
        fake.take_received().iter().all(|(method, ..)| *method == Method::GET),
        "the version is current already"
    );
    // Whether it is there cannot be known now: nothing is done twice on a guess.
    fake.respond_to("GET /api/v2/secrets/payments", 503, Value::Null);
    assert!(ibm.push("shop", "payments", &version).await.unwrap_err().is_manager_failing());
    assert!(fake.take_received().iter().all(|(method, ..)| *method == Method::GET));
}

#[tokio::test]
async fn only_a_plain_imported_certificate_is_written_to() {
    let (fake, test, other) = (FakeManager::default(), test_leaf(), test_leaf());
    let ibm = ibm(&fake).await;
    let version = Version { certificate: test.leaf, key: Zeroizing::new(test.key), roots: None };
    let csr = json!({"common_name": "payments", "key_type": "ec", "csr": "-----BEGIN CERTIFICATE REQUEST-----",
        "private_key": other.key});
    for (fields, reason) in [
        (json!({"secret_type": "public_cert", "common_name": "payments.example"}), "by rotation"),
        (json!({"secret_type": "private_cert", "certificate_template": "t"}), "by rotation"),
        (json!({"secret_type": "arbitrary", "payload": "x"}), "not a certificate"),
        (json!({"secret_type": null}), "cannot parse"),
        (json!({"managed_csr": csr}), "managed CSR"),
        (json!({"managed_csr": csr, "certificate": other.leaf}), "managed CSR"),
    ] {
        fake.respond_to("GET /api/v2/secrets/payments", 200, imported(fields));
        fake.respond_to("POST /api/v2/secrets/payments/versions", 201, json!({}));
        let error = ibm.push("shop", "payments", &version).await.unwrap_err();
        assert!(error.to_string().contains(reason) && !error.is_manager_failing(), "{error}");
        assert!(fake.take_received().iter().all(|(_, path, ..)| !path.ends_with("/versions")), "{reason}");
    }
    // Its key is where the CSR is, and it is fetched as any other.
    let fields = json!({"managed_csr": csr, "certificate": other.leaf, "intermediate": other.root});
    fake.respond_to("GET /api/v2/secrets/payments", 200, imported(fields));
    let Kind::Ibm(secrets_manager) = &ibm.kind else { panic!("another kind") };
    let fetched = secrets_manager.fetch("payments").await.unwrap();
    assert_eq!(fetched.key.trim(), other.key.trim());
}

/// An imported_cert of Secrets Manager, with these fields as well.
fn imported(fields: Value) -> Value {
    let mut secret = json!({
        "created_at": "2022-06-27T11:58:15Z", "created_by": "iam-ServiceId-e4a2f0a4-3c76-4bef-b1f2-fbeae11c0f21",
        "crn": "crn:v1:bluemix:public:secrets-manager:eu-gb:a/47998ac029ed4ca69cf807338b7dbd2e:f5ff0271::secret:payments",
        "downloaded": true, "id": "payments", "intermediate_included": false, "labels": [], "locks_total": 0,
        "name": "payments", "private_key_included": true, "secret_group_id": "default",
        "secret_type": "imported_cert", "state": 1, "state_description": "active",
        "updated_at": "2022-10-05T21:33:11Z", "versions_total": 1,
    });
    for (name, value) in fields.as_object().unwrap() {
        secret[name] = value.clone();
    }
    secret
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
    let put = Some(request(Method::PUT, "/put/{id}"));
    let https = Https { get: request(Method::GET, "/get/{id}?a=b"), put, pointers };
    let manager = manager(Kind::Https(https));
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
async fn errors_say_what_the_manager_said() {
    let fake = FakeManager::default();
    let ibm = ibm(&fake).await;
    let body = json!({"status_code": 400, "trace": "5f1c", "errors": [
        {"code": "bad_request", "message": "The certificate\u{1b}[2J is not\nvalid.", "more_info": "https://x"},
        {"code": "expired", "message": "It expired."},
    ]});
    fake.respond_to("GET /api/v2/secrets/payments", 400, body);
    let error = ibm.fetch("shop", "payments").await.unwrap_err().to_string();
    let said =
        "answered 400 Bad Request (bad_request: The certificate [2J is not valid.; expired: It expired.)";
    assert!(error.contains(said), "{error}");
    assert!(!error.contains("key") && !error.contains("token"), "the key was accepted: {error}");

    let body = json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."});
    fake.respond_to("POST /identity/token", 400, body);
    *token_of(&ibm) = None;
    let error = ibm.fetch("shop", "payments").await.unwrap_err();
    let said = "400 Bad Request (BXNIM0415E: Provided API key could not be found.): check the API key";
    assert!(error.to_string().contains(said) && error.is_manager_failing(), "{error}");
}

#[tokio::test]
async fn errors_repeat_no_key_and_are_short() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = ibm(&fake).await;
    let line = test.key.lines().nth(1).unwrap();
    let message = format!("invalid private_key: {} {}", test.key, "long ".repeat(1000));
    let errors: Vec<_> = (0..50).map(|_| json!({"code": line, "message": message})).collect();
    fake.respond_to("GET /api/v2/secrets/payments", 400, json!({ "errors": errors }));
    let error = ibm.fetch("shop", "payments").await.unwrap_err().to_string();
    assert!(error.contains("invalid private_key:"), "{error}");
    assert!(!error.contains(&line[..24]) && error.len() < 800, "{error}");
    for body in [json!([]), json!({"errors": 7}), json!({"errors": [7]}), json!({"errors": []})] {
        fake.respond_to("GET /api/v2/secrets/payments", 400, body);
        let error = ibm.fetch("shop", "payments").await.unwrap_err().to_string();
        assert!(error.contains("answered 400 Bad Request: "), "{error}");
    }
}

#[tokio::test]
async fn errors_do_not_repeat_the_response() {
    let (fake, test) = (FakeManager::default(), test_leaf());
    let ibm = ibm(&fake).await;
    for (body, message) in [
        (json!({"certificate": test.leaf}), "has no private key"),
        (json!({"private_key": test.key}), "has no certificate"),
        (json!({"certificate": 7, "private_key": test.key}), ": at line 1"),
        (json!({"certificate": test.leaf, "private_key": test.key}), "sends no root"),
    ] {
        fake.respond_to("GET /api/v2/secrets/payments", 200, body);
        let error = ibm.fetch("shop", "payments").await.unwrap_err();
        assert!(error.to_string().contains(message) && !error.is_manager_failing(), "{error}");
        assert!(!error.to_string().contains(&test.key[40..60]), "{error}");
    }
    // Errors of one certificate, and errors of the whole manager.
    for (path, status, is_manager_failing) in [
        ("GET /api/v2/secrets/payments", 403, false),
        ("GET /api/v2/secrets/payments", 404, false),
        ("GET /api/v2/secrets/payments", 401, true),
        ("POST /identity/token", 400, true),
    ] {
        fake.respond_to(path, status, Value::Null);
        assert_eq!(
            ibm.fetch("shop", "payments").await.unwrap_err().is_manager_failing(),
            is_manager_failing,
            "{path} {status}"
        );
    }
    fake.take_received();
    for (namespace, id) in [("bank", "payments"), ("shop", "orders"), ("shop", "xpay")] {
        let error = ibm.fetch(namespace, id).await.unwrap_err();
        assert!(matches!(error, ManagerError::NotAllowed { .. }), "{error}");
    }
    assert_eq!(fake.take_received(), [], "no request is sent for an id that is not allowed");
}
