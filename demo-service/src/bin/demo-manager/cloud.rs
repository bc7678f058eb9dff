//! The APIs of IBM Cloud around Secrets Manager: the Resource Controller, the Global Catalog, Global Tagging, IAM's
//! policies, Event Notifications, and the registration of Secrets Manager with it. A request without a field that the
//! documentation calls required is refused. The state is one file.

mod event_notifications;
mod filter;
mod iam;
mod instances;
mod multipart;
mod record;
mod registration;
mod request;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use hotcert::digest::sha256_hex;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use record::Record;
pub use request::{CloudRequest, segments};

type Reply = (StatusCode, Value);

pub struct Cloud {
    path: PathBuf,
    /// CRN of the Secrets Manager instance that is emulated.
    secrets_manager: String,
    state: Mutex<State>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    instances: Vec<instances::Instance>,
    policies: Vec<Value>,
    registration: Option<registration::Registration>,
    topics: Vec<Value>,
    destinations: Vec<Value>,
    subscriptions: Vec<Value>,
    /// By the name of a secret.
    metadata: BTreeMap<String, Metadata>,
    /// For ids.
    made: u64,
}

/// Of a secret, beside its versions.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    pub description: String,
    pub labels: Vec<String>,
}

impl Cloud {
    pub fn open(directory: &Path, secrets_manager: &str) -> Result<Self> {
        let path = directory.join("cloud.json");
        let state = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("cannot read cloud.json")?,
            Err(_) => State::default(),
        };
        Ok(Self { path, secrets_manager: secrets_manager.to_owned(), state: Mutex::new(state) })
    }

    /// `None` if the path is of another API.
    pub fn route(&self, request: &CloudRequest<'_>) -> Result<Option<Reply>> {
        let mut state = self.lock();
        let reply = match request.path.as_slice() {
            ["v2", "resource_groups"] | ["v2", "resource_instances", ..] => {
                state.instances(request, &self.secrets_manager)?
            }
            ["catalog", "api", "v1", rest @ ..] => instances::catalog(request, rest),
            ["v3", "tags"] => state.tags(request),
            ["v1", "policies", ..] => state.policies(request)?,
            ["api", "v2", "notifications", "registration", ..] => {
                state.registration(request, &self.secrets_manager)?
            }
            ["event-notifications", "v1", "instances", instance, rest @ ..] => {
                state.event_notifications(request, instance, rest)?
            }
            _ => return Ok(None),
        };
        self.save(&state)?;
        Ok(Some(reply))
    }

    pub fn metadata(&self, secret: &str) -> Metadata {
        self.lock().metadata.get(secret).cloned().unwrap_or_default()
    }

    /// `None`: the secret is deleted.
    pub fn set_metadata(&self, secret: &str, metadata: Option<Metadata>) -> Result<()> {
        let mut state = self.lock();
        match metadata {
            Some(metadata) => drop(state.metadata.insert(secret.to_owned(), metadata)),
            None => drop(state.metadata.remove(secret)),
        }
        self.save(&state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, state: &State) -> Result<()> {
        let directory = self.path.parent().context("the state is in a directory")?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl State {
    /// A new id, which is a UUID.
    fn id(&mut self, kind: &str) -> String {
        self.made += 1;
        uuid(&format!("{kind} {}", self.made))
    }
}

fn uuid(seed: &str) -> String {
    let digest = sha256_hex(seed.as_bytes());
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digest[part]).join("-")
}

fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// An error as most APIs answer it.
fn problem(status: StatusCode, message: impl Into<String>) -> Reply {
    let code = status.canonical_reason().unwrap_or("error").to_lowercase().replace(' ', "_");
    let message = message.into();
    let body = json!({
        "trace": "demo", "status_code": status.as_u16(), "errors": [{"code": code, "message": message}],
    });
    (status, body)
}

/// The first of these fields that is missing or empty.
fn missing<'f>(body: &Value, fields: &[&'f str]) -> Option<&'f str> {
    fields.iter().copied().find(|field| match &body[*field] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    })
}

fn no_content() -> Reply {
    (StatusCode::NO_CONTENT, Value::Null)
}

fn unsupported() -> Reply {
    problem(StatusCode::METHOD_NOT_ALLOWED, "unsupported method or path")
}

#[cfg(test)]
mod tests;
