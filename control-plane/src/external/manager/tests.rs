//! What is read of a manager's answers and what is sent to it. That it does so over HTTPS is tested between
//! processes.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::api::leaf_request::LeafRequest;
use crate::external::http_client::AddressPolicy;
use crate::external::manager::https::Pointers;
use crate::pki::authority::{Authority, AuthorityRequest};

/// Answers by path, and everything that it was asked: method, path, authorization, body.
#[derive(Clone, Default)]
struct There {
    answers: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Asked = (Method, String, String, Value);

impl There {
    fn answers(&self, path: &str, status: u16, body: Value) {
        self.answers.lock().unwrap().insert(path.into(), (status, body));
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let there = self.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let there = there.clone();
                let service = service_fn(move |request| {
                    let there = there.clone();
                    async move { Ok::<_, hyper::Error>(there.answer(request).await) }
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
        self.asked.lock().unwrap().push((head.method, path, authorization.unwrap_or_default(), body));
        let (status, body) = self.answers.lock().unwrap().get(&key).cloned().unwrap_or((404, Value::Null));
        Response::builder().status(status).body(Full::new(body.to_string().into())).unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url, AddressPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()] }, None).unwrap()
}

fn manager(kind: Kind) -> Manager {
    let allow = BTreeMap::from([("shop".to_owned(), vec!["pay*".parse().unwrap()])]);
    Manager { kind, allow, trust: None, digest: String::new() }
}

struct Made {
    root: String,
    leaf: String,
    key: String,
}

fn made() -> Made {
    let now = std::time::SystemTime::now();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: hours(9), ..AuthorityRequest::default() };
    let root = Authority::create(&request, now).unwrap();
    let request =
        LeafRequest { common_name: "payments".into(), lifetime: hours(1), ..LeafRequest::default() };
    let leaf = root.issue(&LeafRequest { dns_names: vec!["localhost".into()], ..request }, now).unwrap();
    Made {
        root: root.certificate_pem().to_owned(),
        leaf: leaf.certificate_pem,
        key: leaf.key_pem.to_string(),
    }
}

async fn ibm(there: &There) -> Manager {
    let url = there.start().await;
    there.answers("POST /identity/token", 200, json!({"access_token": "t0k", "expires_in": 3600}));
    let key = Zeroizing::new("k3y&x".to_owned());
    manager(Kind::Ibm(Ibm::new(endpoint(&url), endpoint(&format!("{url}/identity/token")), key)))
}

#[tokio::test]
async fn a_secret_of_secrets_manager_is_read_with_a_token_that_is_kept() {
    let (there, made) = (There::default(), made());
    let ibm = ibm(&there).await;
    let windows = made.leaf.replace('\n', "\r\n");
    let secret = json!({"id": "payments", "secret_type": "private_cert", "certificate": windows, "private_key": made.key,
        "issuing_ca": made.root, "ca_chain": [made.root]});
    there.answers("GET /api/v2/secrets/payments", 200, secret);
    let (version, roots) = ibm.fetch("shop", "payments").await.unwrap();
    assert_eq!((version.certificate, roots), (made.leaf.clone(), made.root.clone()));
    assert_eq!(version.key.trim(), made.key.trim());
    ibm.fetch("shop", "payments").await.unwrap();
    let asked = there.asked();
    let paths: Vec<_> = asked.iter().map(|(_, path, ..)| path.as_str()).collect();
    let secret = "/api/v2/secrets/payments";
    assert_eq!(paths, ["/identity/token", secret, secret]);
    let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=k3y%26x";
    assert_eq!((&asked[0].3, asked[1].2.as_str()), (&json!(form), "Bearer t0k"));

    // One that was taken back is not used again.
    there.answers("GET /api/v2/secrets/payments", 401, Value::Null);
    let error = ibm.fetch("shop", "payments").await.unwrap_err();
    assert!(error.is_of_all() && error.to_string().contains("answers 401"), "{error}");
    let paths: Vec<_> = there.asked().into_iter().map(|(_, path, ..)| path).collect();
    assert_eq!(paths, [secret, "/identity/token", secret]);
}

#[tokio::test]
async fn a_version_is_brought_once() {
    let (there, made) = (There::default(), made());
    let ibm = ibm(&there).await;
    let version = Version {
        certificate: format!("{}{}", made.leaf, made.root),
        key: Zeroizing::new(made.key.clone()),
        roots: None,
    };
    // There is the secret, and nothing in it.
    there.answers("GET /api/v2/secrets/payments", 200, json!({"id": "payments"}));
    there.answers("POST /api/v2/secrets/payments/versions", 201, json!({}));
    ibm.push("shop", "payments", &version).await.unwrap();
    let (method, path, _, body) = there.asked().pop().unwrap();
    assert_eq!((method, path.as_str()), (Method::POST, "/api/v2/secrets/payments/versions"));
    assert_eq!(body["certificate"].as_str().unwrap().trim(), made.leaf.trim());
    assert_eq!(
        (body["intermediate"].as_str().unwrap().trim(), body["private_key"].as_str().unwrap()),
        (made.root.trim(), made.key.as_str())
    );
    let known = json!({"certificate": made.leaf, "private_key": made.key});
    there.answers("GET /api/v2/secrets/payments", 200, known);
    ibm.push("shop", "payments", &version).await.unwrap();
    assert!(there.asked().iter().all(|(method, ..)| *method == Method::GET), "it is there already");
    // A manager that keeps the key to itself is none the less known to have it.
    there.answers("GET /api/v2/secrets/payments", 200, json!({"certificate": made.leaf}));
    ibm.push("shop", "payments", &version).await.unwrap();
    assert!(there.asked().iter().all(|(method, ..)| *method == Method::GET), "it is there already");
    // Whether it is there cannot be known now: nothing is done twice on a guess.
    there.answers("GET /api/v2/secrets/payments", 503, Value::Null);
    assert!(ibm.push("shop", "payments", &version).await.unwrap_err().is_of_all());
    assert!(there.asked().iter().all(|(method, ..)| *method == Method::GET));
}

#[tokio::test]
async fn another_manager_is_read_and_written_by_pointers() {
    let (there, made) = (There::default(), made());
    let url = there.start().await;
    let headers = vec![("authorization".to_owned(), Zeroizing::new("secret".to_owned()))];
    let request = |method, path: &str| https::Request {
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
        json!({"data": {"cert": made.leaf, "a/b": made.key, "chain": made.root}, "roots": made.root});
    there.answers("GET /get/payments", 200, answer);
    let (version, roots) = manager.fetch("shop", "payments").await.unwrap();
    assert_eq!((&version.certificate, &roots), (&format!("{}{}", made.leaf, made.root), &made.root));
    assert_eq!(there.asked()[0].2, "secret");
    there.answers("GET /get/payments", 404, Value::Null);
    there.answers("PUT /put/payments", 204, Value::Null);
    manager.push("shop", "payments", &version).await.unwrap();
    let (.., body) = there.asked().pop().unwrap();
    let trimmed = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap().trim().to_owned();
    assert_eq!(trimmed("/data/cert"), made.leaf.trim());
    assert_eq!(
        (trimmed("/data/a~1b"), trimmed("/data/chain")),
        (made.key.trim().into(), made.root.trim().into())
    );
}

#[tokio::test]
async fn what_cannot_be_used_is_said_without_a_word_of_what_came() {
    let (there, made) = (There::default(), made());
    let ibm = ibm(&there).await;
    for (body, said) in [
        (json!({"certificate": made.leaf}), "has no private key"),
        (json!({"private_key": made.key}), "has no certificate"),
        (json!({"certificate": 7, "private_key": made.key}), "cannot be read: at line 1"),
        (json!({"certificate": made.leaf, "private_key": made.key}), "sends no root"),
    ] {
        there.answers("GET /api/v2/secrets/payments", 200, body);
        let error = ibm.fetch("shop", "payments").await.unwrap_err();
        assert!(error.to_string().contains(said) && !error.is_of_all(), "{error}");
        assert!(!error.to_string().contains(&made.key[40..60]), "{error}");
    }
    // Of one certificate, and of all.
    for (path, status, of_all) in [
        ("GET /api/v2/secrets/payments", 403, false),
        ("GET /api/v2/secrets/payments", 404, false),
        ("GET /api/v2/secrets/payments", 401, true),
        ("POST /identity/token", 400, true),
    ] {
        there.answers(path, status, Value::Null);
        assert_eq!(ibm.fetch("shop", "payments").await.unwrap_err().is_of_all(), of_all, "{path} {status}");
    }
    there.asked();
    for (namespace, id) in [("bank", "payments"), ("shop", "orders"), ("shop", "xpay")] {
        let error = ibm.fetch(namespace, id).await.unwrap_err();
        assert!(matches!(error, ManagerError::NotAllowed { .. }), "{error}");
    }
    assert_eq!(there.asked(), [], "nobody is asked for what is not allowed");
}
