//! IBM Secrets Manager, API v2: a secret's current version, and a new version of it. A token is had from IAM
//! for an API key.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{MAX_ANSWER, ManagerError, Version, WITHIN, accepted, parted, place, tidy, tidy_key, wiped};
use crate::external::http_client::{Endpoint, HttpRequest, HttpResponse};

/// Where tokens are had, unless the settings say otherwise.
pub const IAM: &str = "https://iam.cloud.ibm.com/identity/token";
/// Before the end of a token there is another.
const MARGIN: Duration = Duration::from_secs(60);

pub struct Ibm {
    /// Of the instance.
    endpoint: Endpoint,
    iam: Endpoint,
    api_key: Zeroizing<String>,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: Zeroizing<String>,
    until: Instant,
}

/// As IBM Secrets Manager tells of a secret of the kinds imported_cert, public_cert and private_cert.
#[derive(Deserialize)]
struct IbmSecret {
    certificate: Option<String>,
    intermediate: Option<String>,
    private_key: Option<String>,
    issuing_ca: Option<String>,
    #[serde(default)]
    ca_chain: Vec<String>,
}

#[derive(Deserialize)]
struct IamAnswer {
    access_token: String,
    expires_in: u64,
}

impl Ibm {
    pub fn new(endpoint: Endpoint, iam: Endpoint, api_key: Zeroizing<String>) -> Self {
        Self { endpoint, iam, api_key, token: Mutex::default() }
    }

    pub async fn fetch(&self, id: &str) -> Result<Version, ManagerError> {
        let mut secret = self.secret(id).await?;
        let malformed = |cause: String| ManagerError::Malformed { endpoint: self.endpoint.shown(), cause };
        let key = Zeroizing::new(secret.private_key.take().unwrap_or_default());
        let missing = |what: &str| malformed(format!("the secret {id} has no {what}: is it a certificate?"));
        let leaf = secret.certificate.take().ok_or_else(|| missing("certificate"))?;
        if key.is_empty() {
            return Err(missing("private key"));
        }
        let above: Vec<_> = secret.ca_chain.iter().chain(&secret.issuing_ca).map(|pem| tidy(pem)).collect();
        let (mut roots, between): (Vec<_>, Vec<_>) = above.into_iter().partition(|pem| is_root(pem));
        let mut certificate = tidy(&leaf);
        for pem in secret.intermediate.iter().map(|pem| tidy(pem)).chain(between) {
            if !certificate.contains(pem.trim()) {
                certificate.push_str(&pem);
            }
        }
        roots.dedup();
        let roots = (!roots.is_empty()).then(|| roots.concat());
        Ok(Version { certificate, key: tidy_key(&key), roots })
    }

    pub async fn certificate(&self, id: &str) -> Result<Option<String>, ManagerError> {
        let mut secret = self.secret(id).await?;
        drop(Zeroizing::new(secret.private_key.take().unwrap_or_default()));
        Ok(secret.certificate)
    }

    async fn secret(&self, id: &str) -> Result<IbmSecret, ManagerError> {
        let answer = self.call(Method::GET, format!("/api/v2/secrets/{id}"), Zeroizing::default()).await?;
        serde_json::from_slice(&answer.body).map_err(|error| ManagerError::Malformed {
            endpoint: self.endpoint.shown(),
            cause: place(&error),
        })
    }

    pub async fn push(&self, id: &str, version: &Version) -> Result<(), ManagerError> {
        let (leaf, chain) = parted(&version.certificate);
        let mut body = json!({ "certificate": leaf, "private_key": version.key.as_str() });
        if !chain.is_empty() {
            body["intermediate"] = chain.into();
        }
        let body = wiped(body);
        self.call(Method::POST, format!("/api/v2/secrets/{id}/versions"), body).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, ManagerError> {
        let (token, is_kept) = self.token().await?;
        let answer = self.call_with(&token, method.clone(), &path, body.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return accepted(&self.endpoint, answer);
        }
        // One that was kept may have been taken back.
        *self.lock() = None;
        if !is_kept {
            return accepted(&self.endpoint, answer);
        }
        let (token, _) = self.token().await?;
        accepted(&self.endpoint, self.call_with(&token, method, &path, body).await?)
    }

    async fn call_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, ManagerError> {
        let call = HttpRequest::new(method).at(path).header("accept", "application/json")?;
        let call = call.header("content-type", "application/json")?;
        let call = call.header("authorization", &Zeroizing::new(format!("Bearer {token}")))?;
        Ok(self.endpoint.send(call.body(body), WITHIN, MAX_ANSWER).await?)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// And whether it is one that was kept.
    async fn token(&self) -> Result<(Zeroizing<String>, bool), ManagerError> {
        let now = Instant::now();
        if let Some(token) = self.lock().as_ref().filter(|token| now < token.until) {
            return Ok((token.text.clone(), true));
        }
        let given = self.new_token().await.map_err(|error| ManagerError::NoToken(Box::new(error)))?;
        let text = Zeroizing::new(given.access_token);
        let life = Duration::from_secs(given.expires_in.min(24 * 60 * 60)).saturating_sub(MARGIN);
        let token = Token { text: text.clone(), until: now + life };
        *self.lock() = Some(token);
        Ok((text, false))
    }

    async fn new_token(&self) -> Result<IamAnswer, ManagerError> {
        let call =
            HttpRequest::new(Method::POST).header("content-type", "application/x-www-form-urlencoded")?;
        let call = call.header("accept", "application/json")?.body(token_request(&self.api_key));
        let answer = accepted(&self.iam, self.iam.send(call, WITHIN, MAX_ANSWER).await?)?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| ManagerError::Malformed { endpoint: self.iam.shown(), cause: place(&error) })
    }
}

fn token_request(api_key: &str) -> Zeroizing<Vec<u8>> {
    // Room for a key in which every character has to be escaped.
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(128 + 3 * api_key.len()));
    form.append_pair("grant_type", "urn:ibm:params:oauth:grant-type:apikey");
    form.append_pair("apikey", api_key);
    Zeroizing::new(form.finish().into_bytes())
}

/// It stands for itself; whether it signs what it came with is judged before anything is kept.
fn is_root(pem: &str) -> bool {
    CertificateDer::from_pem_slice(pem.as_bytes()).is_ok_and(|der| {
        X509Certificate::from_der(&der)
            .is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
    })
}

impl fmt::Debug for Ibm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ibm").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
