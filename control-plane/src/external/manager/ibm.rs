//! IBM Secrets Manager, API v2: reads a secret's current version, and creates a new one, or the secret with its first.
//! Requests carry a [token] of IAM.

mod secret;
mod token;

use std::fmt;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::{ManagerError, check_status};
use super::json::{MAX_MESSAGE, SecretJson, position};
use super::version::{Metadata, Version, split_leaf};
use crate::external::http_client::{Endpoint, HttpRequest, HttpResponse};
use secret::Secret;

pub use token::{Credential, Profile, TokenSource};

/// Where IAM issues tokens, unless the settings name another address.
pub const IAM: &str = "https://iam.cloud.ibm.com/identity/token";
/// The secret group that every instance has. It is named by its id.
pub const DEFAULT_GROUP: &str = "default";
const SECRETS: &str = "/api/v2/secrets";
const CERTIFICATE_TYPES: [&str; 3] = ["imported_cert", "private_cert", "public_cert"];
const NO_SUCH_ID: &str = "there is none with this id, and Secrets Manager chooses the ids of new ones itself: \
                          to import it, give a name in place of the id";
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Ibm {
    /// The Secrets Manager instance.
    endpoint: Endpoint,
    tokens: TokenSource,
    group: String,
}

#[derive(Deserialize)]
struct Groups {
    secret_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    id: String,
    name: String,
}

impl Ibm {
    /// `group`: the name of the secret group in which secrets are found by their names.
    pub fn new(endpoint: Endpoint, tokens: TokenSource, group: String) -> Self {
        Self { endpoint, tokens, group }
    }

    /// `reference`: the id of a secret, or its name.
    pub async fn fetch(&self, reference: &str) -> Result<Version, ManagerError> {
        let version = self.secret(reference).await?.into_version(reference);
        version.map_err(|cause| ManagerError::Malformed { endpoint: self.endpoint.origin(), cause })
    }

    /// Whether the current version is another one than when this was said of the secret. No key is sent for that.
    pub async fn has_changed(&self, seen: &Metadata) -> Result<bool, ManagerError> {
        let now: Metadata = self.get(format!("{SECRETS}/{}/metadata", seen.id)).await?;
        Ok(now != *seen)
    }

    /// Makes this the current version, unless it already is. A secret that does not exist is created.
    pub async fn push(&self, reference: &str, version: &Version) -> Result<(), ManagerError> {
        let read_only = |reason| Err(ManagerError::ReadOnly { id: reference.to_owned(), reason });
        let secret = match self.secret(reference).await {
            Err(error) if error.is_not_found() && is_id(reference) => return read_only(NO_SUCH_ID),
            Err(error) if error.is_not_found() => return self.create(reference, version).await,
            secret => secret?,
        };
        if let Some(reason) = secret.read_only_reason() {
            return read_only(reason);
        }
        if secret.certificate.as_deref().is_some_and(|pem| version.has_leaf_of(pem)) {
            return Ok(());
        }
        // The id becomes a part of the path.
        let Some(id) = Some(&secret.id).filter(|id| is_id(id)) else {
            let cause = "the id of the secret is not a UUID".to_owned();
            return Err(ManagerError::Malformed { endpoint: self.endpoint.origin(), cause });
        };
        let path = format!("/api/v2/secrets/{id}/versions");
        self.call(Method::POST, path, version_body(version).into_bytes()).await.map(drop)
    }

    /// Imports the first version.
    async fn create(&self, name: &str, version: &Version) -> Result<(), ManagerError> {
        let group = self.group_id().await?;
        let mut body = version_body(version);
        for (field, value) in [("name", name), ("secret_type", "imported_cert"), ("secret_group_id", &group)]
        {
            body.0[field] = value.into();
        }
        self.call(Method::POST, SECRETS.to_owned(), body.into_bytes()).await.map(drop)
    }

    /// The id of the secret group, which is looked up by its name.
    async fn group_id(&self) -> Result<String, ManagerError> {
        if self.group == DEFAULT_GROUP {
            return Ok(DEFAULT_GROUP.to_owned());
        }
        let groups: Groups = self.get("/api/v2/secret_groups".to_owned()).await?;
        let group = groups.secret_groups.into_iter().find(|group| group.name == self.group);
        group.map(|group| group.id).ok_or_else(|| ManagerError::NoGroup { group: self.group.clone() })
    }

    /// One that is named may be of any type that has a certificate.
    async fn secret(&self, reference: &str) -> Result<Secret, ManagerError> {
        if is_id(reference) {
            return self.get(format!("{SECRETS}/{reference}")).await;
        }
        let [types @ .., last] = CERTIFICATE_TYPES;
        for secret_type in types {
            match self.get(self.path_by_name(secret_type, reference)).await {
                Err(error) if error.is_not_found() => {}
                found => return found,
            }
        }
        self.get(self.path_by_name(last, reference)).await
    }

    fn path_by_name(&self, secret_type: &str, name: &str) -> String {
        format!("/api/v2/secret_groups/{}/secret_types/{secret_type}/secrets/{name}", self.group)
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ManagerError> {
        let response = self.call(Method::GET, path, Zeroizing::default()).await?;
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
        let (token, is_cached) = self.tokens.token().await?;
        let response = self.call_with(&token, method.clone(), &path, body.clone()).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return check_status(&self.endpoint, response);
        }
        self.tokens.forget();
        if !is_cached {
            return check_status(&self.endpoint, response);
        }
        let (token, _) = self.tokens.token().await?;
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

    #[cfg(test)]
    pub(super) fn forget_token(&self) {
        self.tokens.forget();
    }
}

/// A UUID, as all ids are. Anything else is a name.
fn is_id(reference: &str) -> bool {
    let parts: Vec<&str> = reference.split('-').collect();
    let is_hex = |part: &&str| part.chars().all(|c| c.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(is_hex)
}

fn version_body(version: &Version) -> SecretJson {
    let (leaf, chain) = split_leaf(&version.certificate);
    let mut body = SecretJson(json!({ "certificate": leaf, "private_key": version.key.as_str() }));
    if !chain.is_empty() {
        body.0["intermediate"] = chain.into();
    }
    body
}

impl fmt::Debug for Ibm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ibm").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
