//! Public keys that a sender signs with: from a file, or fetched from an address that a person wrote down,
//! and kept. Never from an address in a message.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Method;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use crate::external::http_client::{Endpoint, HttpRequest};

/// Less than a sender waits for its answer.
const WITHIN: Duration = Duration::from_millis(800);
const MAX_ANSWER: usize = 64 * 1024;
/// A message of an unknown key has them fetched anew, and no more often than this.
const AGAIN: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

pub struct Keys {
    /// Where they are fetched.
    endpoint: Option<Endpoint>,
    known: Arc<Mutex<Known>>,
}

struct Known {
    keys: Arc<[DecodingKey]>,
    /// Before this they are not fetched again.
    again: Option<Instant>,
}

/// As IBM Certificate Manager serves it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    public_key: String,
}

impl Keys {
    /// Of files, each with a PEM.
    pub fn of<'a>(pems: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, String> {
        let keys = pems.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { endpoint: None, known: Known::of(keys.into()) })
    }

    pub fn at(endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), known: Known::of(Arc::from([])) }
    }

    /// Those that are known, fetched if there are none yet.
    pub async fn known(&self) -> Result<Arc<[DecodingKey]>, String> {
        let known = Arc::clone(&self.lock().keys);
        if !known.is_empty() {
            return Ok(known);
        }
        self.renewed().await.map(|renewed| renewed.unwrap_or(known))
    }

    /// Fetched anew; `None` if they were a moment ago, or are in a file.
    pub async fn renewed(&self) -> Result<Option<Arc<[DecodingKey]>>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        {
            let mut known = self.lock();
            let now = Instant::now();
            if known.again.is_some_and(|again| now < again) {
                return if known.keys.is_empty() {
                    Err("they could not be fetched a moment ago".into())
                } else {
                    Ok(None)
                };
            }
            known.again = Some(now + AFTER_FAILURE);
        }
        // Brought to its end also when the one who asked goes away.
        let (endpoint, known) = (endpoint.clone(), Arc::clone(&self.known));
        let fetching = tokio::spawn(async move {
            let keys = fetch(&endpoint).await?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.keys, known.again) = (Arc::clone(&keys), Some(Instant::now() + AGAIN));
            Ok(Some(keys))
        });
        fetching.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(endpoint: &Endpoint) -> Result<Arc<[DecodingKey]>, String> {
    let answer = endpoint.send(HttpRequest::new(Method::GET), WITHIN, MAX_ANSWER).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("{} answers {}", endpoint.shown(), answer.status));
    }
    // A PEM by itself, or in JSON.
    let served = serde_json::from_slice::<Served>(&answer.body);
    let pem = served.map_or(answer.body.to_vec(), |served| served.public_key.into_bytes());
    Ok(Arc::from([key(&pem)?]))
}

impl Known {
    fn of(keys: Arc<[DecodingKey]>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { keys, again: None }))
    }
}

fn key(pem: &[u8]) -> Result<DecodingKey, String> {
    DecodingKey::from_rsa_pem(pem).map_err(|_| "it is no RSA public key in PEM".to_owned())
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
