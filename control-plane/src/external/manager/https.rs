//! Any manager that answers JSON over HTTPS: a URL to get a certificate from, one to put it to, and JSON pointers
//! to its parts.

use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::{ManagerError, check_status};
use super::json::{MAX_MESSAGE, SecretJson, position};
use super::version::{Version, normalize_key, normalize_pem, split_leaf};
use crate::external::http_client::{Endpoint, Headers, HttpRequest, HttpResponse};

/// The placeholder in a URL's path that the certificate's id replaces.
pub const ID: &str = "{id}";
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Https {
    pub get: RequestTemplate,
    /// Of a response.
    pub pointers: Pointers,
    /// `None`: certificates cannot be pushed.
    pub put: Option<Box<Put>>,
}

pub struct Put {
    pub request: RequestTemplate,
    /// Of its body: many APIs wrap what is written otherwise than what is read.
    pub pointers: Pointers,
}

pub struct RequestTemplate {
    pub endpoint: Endpoint,
    /// Contains [`ID`].
    pub path: String,
    pub method: Method,
    pub headers: Headers,
}

/// JSON pointers to each part, PEM.
#[derive(Clone, Debug)]
pub struct Pointers {
    pub certificate: String,
    pub key: String,
    /// Intermediates, unless they follow the certificate.
    pub chain: Option<String>,
    /// Roots to trust, if the manager sends them.
    pub roots: Option<String>,
}

impl Https {
    pub async fn fetch(&self, id: &str) -> Result<Version, ManagerError> {
        let json = self.get_json(id).await?;
        let text = |pointer: &str| json.text(pointer);
        let required = |pointer: &str| {
            let cause = format!("no string at {pointer}");
            text(pointer)
                .ok_or_else(|| ManagerError::Malformed { endpoint: self.get.endpoint.origin(), cause })
        };
        let Pointers { certificate, key, chain, roots } = &self.pointers;
        let key = Zeroizing::new(required(key)?);
        let mut certificate = normalize_pem(&required(certificate)?);
        if let Some(chain) = chain.as_deref().and_then(text) {
            certificate.push_str(&normalize_pem(&chain));
        }
        let roots = roots.as_deref().and_then(text).map(|roots| normalize_pem(&roots));
        Ok(Version { certificate, key: normalize_key(&key), roots, metadata: None })
    }

    /// Makes this the current version, unless it already is; the manager need not disclose its key for that.
    pub async fn push(&self, id: &str, version: &Version) -> Result<(), ManagerError> {
        match self.get_json(id).await {
            Ok(json) => {
                let current = json.text(&self.pointers.certificate);
                if current.is_some_and(|pem| version.has_leaf_of(&pem)) {
                    return Ok(());
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let put = self.put.as_ref().ok_or(ManagerError::NoPutAddress)?;
        let Pointers { certificate, key, chain, .. } = &put.pointers;
        let mut body = SecretJson(json!({}));
        let (leaf, rest) = split_leaf(&version.certificate);
        match chain {
            Some(chain) => {
                insert_at(&mut body.0, certificate, leaf);
                insert_at(&mut body.0, chain, rest);
            }
            None => insert_at(&mut body.0, certificate, &version.certificate),
        }
        insert_at(&mut body.0, key, &version.key);
        put.request.send(id, body.into_bytes()).await.map(drop)
    }

    async fn get_json(&self, id: &str) -> Result<SecretJson, ManagerError> {
        let response = self.get.send(id, Zeroizing::default()).await?;
        let json = serde_json::from_slice(&response.body);
        json.map(SecretJson).map_err(|error| ManagerError::Malformed {
            endpoint: self.get.endpoint.origin(),
            cause: position(&error),
        })
    }
}

impl RequestTemplate {
    async fn send(&self, id: &str, body: Zeroizing<Vec<u8>>) -> Result<HttpResponse, ManagerError> {
        let mut request = HttpRequest::new(self.method.clone()).path(self.path.replace(ID, id));
        request = request.header("accept", "application/json")?.header("content-type", "application/json")?;
        for (name, value) in &self.headers {
            request = request.header(name, value)?;
        }
        let response = self.endpoint.send(request.body(body), TIMEOUT, MAX_MESSAGE).await?;
        check_status(&self.endpoint, response)
    }
}

/// Writes the text where the pointer leads, and makes the objects on the way.
fn insert_at(body: &mut Value, pointer: &str, text: &str) {
    let mut at = body;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = text.into();
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").field("get", &self.get.endpoint).finish_non_exhaustive()
    }
}
