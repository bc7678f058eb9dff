//! Tokens that IAM issues, for an API key or for the service account of the pod that a trusted profile trusts. One is
//! cached until shortly before it expires.

use std::path::{Path, PathBuf};

use hyper::Method;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::TIMEOUT;
use crate::external::http_client::{Endpoint, HttpRequest};
use crate::external::manager::error::{ManagerError, check_token_status};
use crate::external::manager::json::{MAX_MESSAGE, position};
use crate::external::token_cache::{IssuedToken, TokenCache};

/// Upper bound of a service account's token.
const MAX_ACCOUNT_TOKEN: usize = 64 << 10;

pub struct TokenSource {
    iam: Endpoint,
    credential: Credential,
    cached: TokenCache,
}

/// What IAM issues tokens for.
pub enum Credential {
    ApiKey(Zeroizing<String>),
    TrustedProfile {
        profile: Profile,
        /// The service account's token. It is read for every request: Kubernetes replaces it within the hour.
        token_file: PathBuf,
    },
}

#[derive(Debug)]
pub enum Profile {
    Id(String),
    Name(String),
}

impl TokenSource {
    pub fn new(iam: Endpoint, credential: Credential) -> Self {
        Self { iam, credential, cached: TokenCache::default() }
    }

    /// A valid token, and whether it was cached.
    pub(super) async fn token(&self) -> Result<(Zeroizing<String>, bool), ManagerError> {
        if let Some(token) = self.cached.get() {
            return Ok((token, true));
        }
        let issued = self.request().await.map_err(|error| ManagerError::NoToken(Box::new(error)))?;
        Ok((self.cached.keep(issued), false))
    }

    /// Has the next token requested anew: the cached one may have been revoked.
    pub(super) fn forget(&self) {
        self.cached.forget();
    }

    async fn request(&self) -> Result<IssuedToken, ManagerError> {
        let request = HttpRequest::new(Method::POST)
            .header("content-type", "application/x-www-form-urlencoded")?
            .header("accept", "application/json")?
            .body(self.credential.form().await?);
        let response = self.iam.send(request, TIMEOUT, MAX_MESSAGE).await?;
        let response = check_token_status(&self.iam, response, self.credential.hint())?;
        serde_json::from_slice(&response.body)
            .map_err(|error| ManagerError::Malformed { endpoint: self.iam.origin(), cause: position(&error) })
    }
}

impl Credential {
    async fn form(&self) -> Result<Zeroizing<Vec<u8>>, ManagerError> {
        match self {
            Self::ApiKey(key) => Ok(form(key.len(), |form| {
                form.append_pair("grant_type", "urn:ibm:params:oauth:grant-type:apikey");
                form.append_pair("apikey", key);
            })),
            Self::TrustedProfile { profile, token_file } => {
                let token = account_token(token_file).await?;
                let (field, profile) = match profile {
                    Profile::Id(id) => ("profile_id", id),
                    Profile::Name(name) => ("profile_name", name),
                };
                Ok(form(token.len() + profile.len(), |form| {
                    form.append_pair("grant_type", "urn:ibm:params:oauth:grant-type:cr-token");
                    form.append_pair("cr_token", &token);
                    form.append_pair(field, profile);
                }))
            }
        }
    }

    /// What to do where IAM refuses it.
    fn hint(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "check the API key",
            Self::TrustedProfile { .. } => {
                "check the trusted profile, and that it trusts the cluster, the namespace and the service account of the \
                 controller"
            }
        }
    }
}

/// `secret`: the length of the values, which may be secret.
fn form(
    secret: usize,
    fill: impl FnOnce(&mut form_urlencoded::Serializer<'_, String>),
) -> Zeroizing<Vec<u8>> {
    // Enough capacity for values in which every character is escaped: a String that reallocates leaves copies behind.
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(128 + 3 * secret));
    fill(&mut form);
    Zeroizing::new(form.finish().into_bytes())
}

async fn account_token(path: &Path) -> Result<Zeroizing<String>, ManagerError> {
    let unreadable = |cause: String| ManagerError::AccountToken { path: path.to_owned(), cause };
    let file = File::open(path).await.map_err(|error| unreadable(error.to_string()))?;
    // The whole capacity at once: a Vec that reallocates leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ACCOUNT_TOKEN + 1));
    let limit = u64::try_from(MAX_ACCOUNT_TOKEN).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut bytes).await;
    read.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() >= MAX_ACCOUNT_TOKEN {
        return Err(unreadable(format!("it is longer than {MAX_ACCOUNT_TOKEN} bytes")));
    }
    match str::from_utf8(&bytes).map(str::trim) {
        Ok(token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
        _ => Err(unreadable("it contains no token".to_owned())),
    }
}
