//! Public keys that a sender signs with: read from files, or fetched from an address of the settings file and
//! cached. An address in a message is never used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Method;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use crate::external::http_client::{Endpoint, HttpRequest};

/// Shorter than a sender waits for its response.
const TIMEOUT: Duration = Duration::from_millis(800);
const MAX_BODY: usize = 64 * 1024;
/// A message that is signed with an unknown key has the keys fetched again, at most this often.
const REFETCH_AFTER: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub struct VerificationKeys {
    /// Where they are fetched; `None` if they are in files.
    endpoint: Option<Endpoint>,
    cache: Arc<Mutex<Cache>>,
}

struct Cache {
    keys: Arc<[DecodingKey]>,
    /// The keys are not fetched again before.
    not_before: Option<Instant>,
}

/// The response of IBM Certificate Manager.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyResponse {
    public_key: String,
}

impl VerificationKeys {
    /// Each key in PEM.
    pub fn fixed<'a>(pems: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, String> {
        let keys = pems.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { endpoint: None, cache: Cache::new(keys.into()) })
    }

    pub fn fetched_from(endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), cache: Cache::new(Arc::from([])) }
    }

    /// The cached keys; fetched if there are none yet.
    pub async fn current(&self) -> Result<Arc<[DecodingKey]>, String> {
        let cached = Arc::clone(&self.lock().keys);
        if !cached.is_empty() {
            return Ok(cached);
        }
        self.refetch().await.map(|fetched| fetched.unwrap_or(cached))
    }

    /// Fetches the keys again; `None` if they were fetched a moment ago, or are in files.
    pub async fn refetch(&self) -> Result<Option<Arc<[DecodingKey]>>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        {
            let mut cache = self.lock();
            let now = Instant::now();
            if cache.not_before.is_some_and(|not_before| now < not_before) {
                return if cache.keys.is_empty() {
                    Err("the last attempt failed a moment ago".into())
                } else {
                    Ok(None)
                };
            }
            cache.not_before = Some(now + RETRY_AFTER);
        }
        // A task of its own: it completes even if the request that needs the keys is cancelled.
        let (endpoint, cache) = (endpoint.clone(), Arc::clone(&self.cache));
        let fetching = tokio::spawn(async move {
            let keys = fetch(&endpoint).await?;
            let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
            (cache.keys, cache.not_before) = (Arc::clone(&keys), Some(Instant::now() + REFETCH_AFTER));
            Ok(Some(keys))
        });
        fetching.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(endpoint: &Endpoint) -> Result<Arc<[DecodingKey]>, String> {
    let response = endpoint.send(HttpRequest::new(Method::GET), TIMEOUT, MAX_BODY).await;
    let response = response.map_err(|error| error.to_string())?;
    if !response.status.is_success() {
        return Err(format!("{} answered {}", endpoint.origin(), response.status));
    }
    // PEM, or JSON that contains it.
    let json = serde_json::from_slice::<KeyResponse>(&response.body);
    let pem = json.map_or(response.body.to_vec(), |json| json.public_key.into_bytes());
    Ok(Arc::from([parse(&pem)?]))
}

impl Cache {
    fn new(keys: Arc<[DecodingKey]>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { keys, not_before: None }))
    }
}

fn parse(pem: &[u8]) -> Result<DecodingKey, String> {
    DecodingKey::from_rsa_pem(pem).map_err(|_| "not an RSA public key in PEM".to_owned())
}

impl fmt::Debug for VerificationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKeys").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
