//! IBM Secrets Manager, API v2: reads a secret's current version and creates a new one. Requests carry a token that
//! IAM issues for an API key; it is cached until shortly before it expires.

mod secret;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::{ManagerError, check_status, check_token_status};
use super::json::{MAX_MESSAGE, SecretJson, position};
use super::version::{Version, split_leaf};
use crate::external::http_client::{Endpoint, HttpRequest, HttpResponse};
use secret::Secret;

/// Where IAM issues tokens, unless the settings name another address.
pub const IAM: &str = "https://iam.cloud.ibm.com/identity/token";
/// A token is replaced this long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Ibm {
    /// The Secrets Manager instance.
    endpoint: Endpoint,
    iam: Endpoint,
    api_key: Zeroizing<String>,
    token: Mutex<Option<Token>>,
}

pub(super) struct Token {
    text: Zeroizing<String>,
    expires: Instant,
}

#[derive(Deserialize)]
struct IamResponse {
    access_token: String,
    expires_in: u64,
}

impl Ibm {
    pub fn new(endpoint: Endpoint, iam: Endpoint, api_key: Zeroizing<String>) -> Self {
        Self { endpoint, iam, api_key, token: Mutex::default() }
    }

    pub async fn fetch(&self, id: &str) -> Result<Version, ManagerError> {
        let version = self.secret(id).await?.into_version(id);
        version.map_err(|cause| ManagerError::Malformed { endpoint: self.endpoint.origin(), cause })
    }

    /// Makes this the current version, unless it already is.
    pub async fn push(&self, id: &str, version: &Version) -> Result<(), ManagerError> {
        let secret = self.secret(id).await?;
        if let Some(reason) = secret.read_only_reason() {
            return Err(ManagerError::ReadOnly { id: id.to_owned(), reason });
        }
        if secret.certificate.as_deref().is_some_and(|pem| version.has_leaf_of(pem)) {
            return Ok(());
        }
        let (leaf, chain) = split_leaf(&version.certificate);
        let mut body = SecretJson(json!({ "certificate": leaf, "private_key": version.key.as_str() }));
        if !chain.is_empty() {
            body.0["intermediate"] = chain.into();
        }
        let path = format!("/api/v2/secrets/{id}/versions");
        self.call(Method::POST, path, body.into_bytes()).await.map(drop)
    }

    async fn secret(&self, id: &str) -> Result<Secret, ManagerError> {
        let response = self.call(Method::GET, format!("/api/v2/secrets/{id}"), Zeroizing::default()).await?;
        serde_json::from_slice(&response.body).map_err(|error| ManagerError::Malformed {
            endpoint: self.endpoint.origin(),
            cause: position(&error),
        })
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, ManagerError> {
        let (token, is_cached) = self.token().await?;
        let response = self.call_with(&token, method.clone(), &path, body.clone()).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return check_status(&self.endpoint, response);
        }
        // A cached token may have been revoked.
        *self.lock() = None;
        if !is_cached {
            return check_status(&self.endpoint, response);
        }
        let (token, _) = self.token().await?;
        check_status(&self.endpoint, self.call_with(&token, method, &path, body).await?)
    }

    async fn call_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, ManagerError> {
        let request = HttpRequest::new(method).path(path).header("accept", "application/json")?;
        let request = request.header("content-type", "application/json")?;
        let request = request.header("authorization", &Zeroizing::new(format!("Bearer {token}")))?;
        Ok(self.endpoint.send(request.body(body), TIMEOUT, MAX_MESSAGE).await?)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A valid token, and whether it was cached.
    async fn token(&self) -> Result<(Zeroizing<String>, bool), ManagerError> {
        let now = Instant::now();
        if let Some(token) = self.lock().as_ref().filter(|token| now < token.expires) {
            return Ok((token.text.clone(), true));
        }
        let issued = self.request_token().await.map_err(|error| ManagerError::NoToken(Box::new(error)))?;
        let text = Zeroizing::new(issued.access_token);
        let lifetime = Duration::from_secs(issued.expires_in.min(24 * 60 * 60)).saturating_sub(TOKEN_MARGIN);
        let token = Token { text: text.clone(), expires: now + lifetime };
        *self.lock() = Some(token);
        Ok((text, false))
    }

    async fn request_token(&self) -> Result<IamResponse, ManagerError> {
        let request = HttpRequest::new(Method::POST)
            .header("content-type", "application/x-www-form-urlencoded")?
            .header("accept", "application/json")?
            .body(token_request(&self.api_key));
        let response = check_token_status(&self.iam, self.iam.send(request, TIMEOUT, MAX_MESSAGE).await?)?;
        serde_json::from_slice(&response.body)
            .map_err(|error| ManagerError::Malformed { endpoint: self.iam.origin(), cause: position(&error) })
    }
}

fn token_request(api_key: &str) -> Zeroizing<Vec<u8>> {
    // Enough capacity for a key in which every character is escaped: a String that reallocates leaves copies behind.
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(128 + 3 * api_key.len()));
    form.append_pair("grant_type", "urn:ibm:params:oauth:grant-type:apikey");
    form.append_pair("apikey", api_key);
    Zeroizing::new(form.finish().into_bytes())
}

impl fmt::Debug for Ibm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ibm").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
