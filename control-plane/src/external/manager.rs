//! Managers outside that keep certificates: a new version is fetched from one, or brought to it. [`ibm`], IBM
//! Secrets Manager (API v2), and [`https`], any other that answers JSON, by addresses and JSON pointers.
//!
//! Keys pass through here: they are wiped where we hold them, and no error repeats what was sent or received.
//! What the JSON and HTTP libraries hold in between is out of our hands.

pub mod https;
pub mod ibm;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use crate::api::events::Pattern;
use crate::external::http_client::{Endpoint, HttpResponse, WebError};
use crate::pki::x509_facts::Leaf;
use https::Https;
use ibm::Ibm;

const WITHIN: Duration = Duration::from_secs(20);
/// Certificate, chain, key and whatever else is told of a secret.
const MAX_ANSWER: usize = 1 << 20;
/// A namespace of [`Manager::allow`].
const ALL: &str = "*";

/// As a person wrote it down.
#[derive(Debug)]
pub struct Manager {
    pub kind: Kind,
    /// By namespace: the ids that its certificates may have.
    pub allow: BTreeMap<String, Vec<Pattern>>,
    /// Roots to be trusted, PEM, whatever the manager says.
    pub trust: Option<String>,
    /// Of all that was written down for it.
    pub digest: String,
}

#[derive(Debug)]
pub enum Kind {
    Ibm(Ibm),
    Https(Https),
}

/// What a manager has.
#[derive(Clone)]
pub struct Version {
    /// PEM, leaf first.
    pub certificate: String,
    pub key: Zeroizing<String>,
    /// Roots to be trusted, PEM, if they come from there.
    pub roots: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("{endpoint} answers {status}: {hint}")]
    Refused { endpoint: String, status: StatusCode, hint: &'static str, after: Option<Duration> },
    #[error("what {endpoint} answers cannot be read: {cause}")]
    Malformed { endpoint: String, cause: String },
    #[error(
        "the settings of this manager do not let the namespace {namespace} have {id}: \
        a person who may change them adds it to its allow"
    )]
    NotAllowed { namespace: String, id: String },
    #[error("nothing is brought to this manager: its settings name no address for it (put)")]
    NoWayIn,
    #[error("no token is had for the API key: {0}")]
    NoToken(Box<ManagerError>),
    #[error("it sends no root to be trusted: name a file with the roots (trust) in its settings")]
    NoRoots,
}

impl ManagerError {
    /// It would have come to the same with any certificate.
    pub fn is_of_all(&self) -> bool {
        match self {
            Self::Web(_) | Self::NoToken(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || status.is_redirection()
                    || matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }

    /// How long it asks to be left alone.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Refused { after, .. } => *after,
            Self::NoToken(cause) => cause.after(),
            _ => None,
        }
    }
}

impl Manager {
    /// Nothing of it was changed.
    pub fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The version that counts there, and the roots to be trusted with it.
    pub async fn fetch(&self, namespace: &str, id: &str) -> Result<(Version, String), ManagerError> {
        self.allows(namespace, id)?;
        let version = self.kind.fetch(id).await?;
        let roots = self.trust.as_ref().or(version.roots.as_ref()).cloned();
        Ok((version, roots.ok_or(ManagerError::NoRoots)?))
    }

    /// Makes this the version that counts there, unless it is already: a crash between the writing there and
    /// the writing down here must not make another.
    pub async fn push(&self, namespace: &str, id: &str, version: &Version) -> Result<(), ManagerError> {
        self.allows(namespace, id)?;
        let there = match self.kind.certificate(id).await {
            Err(ManagerError::Refused { status: StatusCode::NOT_FOUND, .. }) => None,
            there => there?,
        };
        let leaf = |pem: &str| Leaf::read(pem.as_bytes()).map(|leaf| leaf.sha256);
        if there
            .is_some_and(|there| leaf(&there).is_some_and(|there| Some(there) == leaf(&version.certificate)))
        {
            return Ok(());
        }
        match &self.kind {
            Kind::Ibm(ibm) => ibm.push(id, version).await,
            Kind::Https(https) => https.push(id, version).await,
        }
    }

    /// Whether a certificate of this namespace may have this id.
    pub fn allows(&self, namespace: &str, id: &str) -> Result<(), ManagerError> {
        let ids = [namespace, ALL].into_iter().filter_map(|namespace| self.allow.get(namespace));
        if ids.flatten().any(|pattern| pattern.matches(id)) {
            return Ok(());
        }
        Err(ManagerError::NotAllowed { namespace: namespace.to_owned(), id: id.to_owned() })
    }
}

impl Kind {
    async fn fetch(&self, id: &str) -> Result<Version, ManagerError> {
        match self {
            Self::Ibm(ibm) => ibm.fetch(id).await,
            Self::Https(https) => https.fetch(id).await,
        }
    }

    /// Of the version that counts there; its key need not be given away for that.
    async fn certificate(&self, id: &str) -> Result<Option<String>, ManagerError> {
        match self {
            Self::Ibm(ibm) => ibm.certificate(id).await,
            Self::Https(https) => https.certificate(id).await,
        }
    }
}

/// What is not a success, with what to do about it. Its body may hold anything, and is not repeated.
fn accepted(endpoint: &Endpoint, answer: HttpResponse) -> Result<HttpResponse, ManagerError> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let hint = match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "look at the key or token of this manager, and its rights"
        }
        StatusCode::NOT_FOUND => "is the id right, and the instance?",
        StatusCode::TOO_MANY_REQUESTS => "it is asked too often",
        status if status.is_redirection() => {
            "it leads elsewhere, which is not followed: write that address down"
        }
        _ => "it is tried again",
    };
    let (endpoint, status, after) = (endpoint.shown(), answer.status, answer.retry_after);
    Err(ManagerError::Refused { endpoint, status, hint, after })
}

/// Where it went wrong, and nothing of what is there.
fn place(error: &serde_json::Error) -> String {
    format!("at line {}, column {}", error.line(), error.column())
}

/// As PEM is written here, whoever wrote it.
fn tidy(pem: &str) -> String {
    format!("{}\n", pem.replace("\r\n", "\n").trim())
}

/// The same of a key: none of it is left behind.
fn tidy_key(pem: &str) -> Zeroizing<String> {
    let mut tidy = Zeroizing::new(String::with_capacity(pem.len() + 1));
    pem.trim().chars().filter(|c| *c != '\r').for_each(|c| tidy.push(c));
    tidy.push('\n');
    tidy
}

/// The leaf, and what is after it.
pub fn parted(chain: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----";
    let end = chain.find(END).map_or(chain.len(), |at| at + END.len());
    let (leaf, rest) = chain.split_at(end);
    (leaf, rest.trim_start())
}

/// As bytes; what it was made of is wiped.
fn wiped(body: Value) -> Zeroizing<Vec<u8>> {
    let body = Wiped(body);
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    let _ = serde_json::to_writer(&mut *bytes, &body.0);
    bytes
}

/// JSON with a key in it.
struct Wiped(Value);

impl Wiped {
    fn text(&self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
