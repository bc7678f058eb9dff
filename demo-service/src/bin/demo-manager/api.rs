//! The HTTP API: the parts of IBM's APIs that versions are fetched from and pushed to, the same as plain JSON, and the
//! requests that control the demo.

mod secrets_manager;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use bytes::Bytes;
use hotcert::external::manager::split_leaf;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::cloud::{Cloud, CloudRequest, Record, segments};
use crate::inventory::{Inventory, Version};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1 << 20;
const MAX_TOKENS: usize = 100;
/// Seconds.
const TOKEN_LIFETIME: u64 = 3600;
const PUBLIC_KEY: &str = "notifications/publicKey";

pub struct Api {
    inventory: Arc<Inventory>,
    cloud: Arc<Cloud>,
    record: Option<Record>,
    api_key: Zeroizing<String>,
    /// The newest last.
    tokens: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

type Reply = (StatusCode, Value);

#[derive(Deserialize)]
struct PlainVersion {
    data: PlainData,
}

#[derive(Deserialize)]
struct PlainData {
    certificate: String,
    key: String,
    chain: Option<String>,
}

impl Api {
    pub fn new(
        inventory: Arc<Inventory>,
        cloud: Arc<Cloud>,
        record: Option<Record>,
        api_key: Zeroizing<String>,
        changed: watch::Sender<()>,
    ) -> Self {
        Self { inventory, cloud, record, api_key, tokens: Mutex::default(), changed }
    }

    pub async fn serve(self: Arc<Self>, acceptor: TlsAcceptor, socket: TcpStream) {
        let Ok(Ok(stream)) = timeout(TIMEOUT, acceptor.accept(socket)).await else { return };
        let service = service_fn(move |request| {
            let api = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(api.respond(request).await) }
        });
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let _ = http.await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let read = timeout(TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
        let (status, body) = match read {
            Ok(Ok(body)) => {
                let header = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let bearer = header.and_then(|value| value.strip_prefix("Bearer "));
                let body = body.to_bytes();
                let segments = segments(head.uri.path());
                let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let request = CloudRequest {
                    method: &head.method,
                    path: segments.iter().map(String::as_str).collect(),
                    query: form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                        .into_owned()
                        .collect(),
                    content_type: content_type.unwrap_or_default(),
                    body: &body,
                };
                let reply = self
                    .route(&request, head.uri.path(), bearer)
                    .unwrap_or_else(|error| problem(StatusCode::BAD_REQUEST, &format!("{error:#}")));
                if let Some(record) = &self.record {
                    record.write(&request, reply.0);
                }
                reply
            }
            _ => problem(StatusCode::BAD_REQUEST, "the body is too long or too slow"),
        };
        let text = if status == StatusCode::NO_CONTENT { String::new() } else { body.to_string() };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn route(&self, request: &CloudRequest<'_>, path: &str, bearer: Option<&str>) -> anyhow::Result<Reply> {
        let (method, body) = (request.method, request.body);
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let is_get = method == Method::GET;
        match parts.as_slice() {
            ["identity", "token"] if method == Method::POST => return self.token(body),
            ["api", "v1", "instances", crn, _, _] if is_get && path.ends_with(PUBLIC_KEY) => {
                let crn = crn.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/");
                return Ok(match crn == self.inventory.instance {
                    true => (StatusCode::OK, json!({"publicKey": self.inventory.public_key()})),
                    false => problem(StatusCode::NOT_FOUND, "unknown instance"),
                });
            }
            _ => {}
        }
        let has_token = bearer.is_some_and(|token| self.tokens().iter().any(|known| known == token));
        let has_key = bearer == Some(self.api_key.as_str());
        let is_plain = matches!(parts.first(), Some(&("plain" | "demo")));
        if !(has_token || is_plain && has_key) {
            return Ok(problem(StatusCode::UNAUTHORIZED, "send a token or the API key as a bearer token"));
        }
        if has_token && let Some(reply) = self.cloud.route(request)? {
            return Ok(reply);
        }
        if let ["api", "v2", path @ ..] = parts.as_slice() {
            let reply = match (method.as_str(), path) {
                ("GET", ["secrets"]) => self.list_secrets(request)?,
                _ => self.secrets_manager(method, path, body)?,
            };
            if reply.0 == StatusCode::CREATED {
                self.changed.send_replace(());
            }
            return Ok(reply);
        }
        let id = match parts.as_slice() {
            ["demo", "secrets", id, _] | ["plain", id] => *id,
            _ => return Ok(problem(StatusCode::NOT_FOUND, "unknown path")),
        };
        if !self.inventory.has(id) {
            return Ok(problem(StatusCode::NOT_FOUND, "unknown secret"));
        }
        let reply = match (method.as_str(), &parts[..]) {
            ("GET", ["plain", _]) => (StatusCode::OK, self.plain(id)?),
            ("POST", ["plain", _]) => {
                let PlainVersion { data: PlainData { certificate, key, chain } } =
                    serde_json::from_slice(body)?;
                let (chain, key) = (join_chain(&certificate, chain.as_deref()), Zeroizing::new(key));
                (StatusCode::CREATED, metadata(&self.inventory.push(id, &chain, Some(&key))?))
            }
            ("POST", ["demo", _, _, "rotate"]) => (StatusCode::CREATED, metadata(&self.inventory.issue(id)?)),
            ("POST", ["demo", _, _, "expire"]) => {
                let Some(newest) = self.inventory.numbers(id)?.last().copied() else {
                    return Ok(problem(StatusCode::CONFLICT, "the secret has no version"));
                };
                self.inventory.update_delivery(id, |delivery| delivery.requested_expiry = Some(newest))?;
                (StatusCode::ACCEPTED, json!({"version": newest}))
            }
            _ => return Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "unsupported method or path")),
        };
        if method == Method::POST {
            self.changed.send_replace(());
        }
        Ok(reply)
    }

    /// IAM: issues a token for the API key.
    fn token(&self, form: &[u8]) -> anyhow::Result<Reply> {
        let is_valid =
            form_urlencoded::parse(form).any(|(name, value)| name == "apikey" && value == *self.api_key);
        if !is_valid {
            let error =
                json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."});
            return Ok((StatusCode::BAD_REQUEST, error));
        }
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        let now = UNIX_EPOCH.elapsed()?.as_secs();
        let end = now + TOKEN_LIFETIME;
        // A JWT, whose dates clients read.
        let claims = json!({"jti": hex::encode(bytes), "iat": now, "exp": end, "iss": "demo-manager"});
        let key = EncodingKey::from_rsa_pem(self.inventory.signing_key().as_bytes())?;
        let token = encode(&Header::new(Algorithm::RS256), &claims, &key)?;
        let mut tokens = self.tokens();
        tokens.push(token.clone());
        if tokens.len() > MAX_TOKENS {
            tokens.remove(0);
        }
        let issued = json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME, "expiration": end});
        Ok((StatusCode::OK, issued))
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plain(&self, id: &str) -> anyhow::Result<Value> {
        let Some(version) = self.inventory.newest(id)? else { return Ok(json!({"data": {}})) };
        let (leaf, chain) = split_leaf(&version.certificate);
        let mut data = json!({"certificate": leaf, "key": version.key.as_str()});
        if !chain.is_empty() {
            data["chain"] = chain.into();
        }
        if self.inventory.issues(id) {
            data["roots"] = self.inventory.root().into();
        }
        Ok(json!({ "data": data }))
    }
}

fn metadata(version: &Version) -> Value {
    json!({
        "id": version.number.to_string(),
        "version": version.number,
        "created_at": date(version.created),
        "serial_number": version.leaf.serial,
        "sha256": version.leaf.sha256,
        "expiration_date": date(version.leaf.not_after),
    })
}

fn date(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// An error as Secrets Manager answers it.
fn problem(status: StatusCode, message: &str) -> Reply {
    let code = status.canonical_reason().unwrap_or("error").to_lowercase().replace(' ', "_");
    (status, json!({"status_code": status.as_u16(), "errors": [{"code": code, "message": message}]}))
}

fn join_chain(first: &str, rest: Option<&str>) -> String {
    let rest = rest.map(|rest| format!("{}\n", rest.trim())).unwrap_or_default();
    format!("{}\n{rest}", first.trim())
}
