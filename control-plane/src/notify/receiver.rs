//! Notifications that come in: who sent one is proved before it is read any further, what it says is a hint,
//! and the hint is left with the object that it is about before the sender hears that it was accepted. What
//! follows from it, if anything, is decided by the plan.
//!
//! | form | proved by |
//! |---|---|
//! | [`standard`]: CloudEvents, signed as Standard Webhooks has it (hotcert's own) | HMAC or Ed25519 |
//! | [`certificate_manager`]: IBM Certificate Manager's callback | the JWT it is (RS256) |
//! | [`secrets_manager`]: IBM Secrets Manager, through Event Notifications | a header that is a secret, or mTLS |

mod certificate_manager;
mod guard;
mod incoming_event;
mod keys;
mod secrets_manager;
mod standard;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use hotcert_agent::tls::hex::sha256_hex;
use hotcert_agent::tls::names::Names;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::notify::config::NotifyConfig;
use crate::notify::signature::SignatureError;
use crate::store::{Store, StoreError};
use guard::Guard;
use incoming_event::Said;
pub use incoming_event::What;
pub use keys::Keys;

/// No name of a sender.
const LOG: &str = "";
/// Objects that are written to at the same time.
const AT_ONCE: usize = 16;

/// Whom is listened to, and how each is known. As a person wrote it down.
#[derive(Debug)]
pub struct EventSource {
    pub form: Provider,
    /// Which instance of it: CRN, or source of CloudEvents.
    pub instance: String,
    /// What it may say.
    pub events: Vec<What>,
    /// What it may speak of.
    pub names: Vec<crate::api::events::Pattern>,
    /// What it calls ours.
    pub certificates: BTreeMap<String, String>,
}

#[derive(Debug)]
pub enum Provider {
    Standard(crate::notify::signature::Verifier),
    CertificateManager(Keys),
    SecretsManager(Credential),
}

/// Of a form that is not signed.
pub enum Credential {
    /// The SHA-256 of a header's value.
    Header { name: String, sha256: String },
    /// Names of the client's certificate, which the listener has verified.
    Client(Vec<hotcert_agent::tls::san_pattern::SanPattern>),
}

impl EventSource {
    /// What it says, once it is proved that it is the one who says it.
    async fn verify(&self, message: &Message<'_>, now: SystemTime) -> Result<Said, Refusal> {
        let (instance, mut said) = match &self.form {
            Provider::Standard(verifier) => standard::read(verifier, message, now)?,
            Provider::CertificateManager(keys) => certificate_manager::read(keys, message).await?,
            Provider::SecretsManager(credential) => {
                if !credential.fits(message) {
                    return Err(Refusal::Credential);
                }
                secrets_manager::read(message)?
            }
        };
        if instance != self.instance {
            return Err(Refusal::Instance(incoming_event::shown(&instance)));
        }
        let revoked = said.what == What::Revoked;
        said.about.iter_mut().for_each(|about| about.notice.revoked = revoked);
        Ok(said)
    }
}

impl Credential {
    fn fits(&self, message: &Message<'_>) -> bool {
        match self {
            // Digests are compared: how far they agree tells nothing of the secret.
            Self::Header { name, sha256 } => {
                let mut given = message.headers.get_all(name).iter();
                let first = given.next().map(|value| sha256_hex(value.as_bytes()));
                first.as_ref() == Some(sha256) && given.next().is_none()
            }
            Self::Client(patterns) => {
                message.client.is_some_and(|names| patterns.iter().any(|pattern| pattern.matches(names)))
            }
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "Header({name})"),
            Self::Client(patterns) => f.debug_tuple("Client").field(patterns).finish(),
        }
    }
}

/// A request, read within its limits.
pub struct Message<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// Of the client's certificate, if one was asked for.
    pub client: Option<&'a Names>,
}

/// Why nothing follows from a message, and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such sender")]
    UnknownSender,
    #[error("too many messages of this sender in a short time")]
    TooMany,
    #[error("{0}")]
    Signature(#[from] SignatureError),
    #[error("its signature does not fit: {0}")]
    Token(String),
    #[error("the credential that this sender is known by is missing or wrong")]
    Credential,
    #[error("it comes from the instance {0:?}, and another one is expected")]
    Instance(String),
    #[error("it cannot be read: {0}")]
    Malformed(String),
    #[error("it says {0:?}, which is not an event of this provider")]
    UnknownEvent(String),
    #[error("nothing here is called {}", .0.join(" or "))]
    UnknownCertificate(Vec<String>),
    #[error("the keys of this sender cannot be fetched: {0}")]
    NoKeys(String),
    #[error("it could not be recorded: {0}")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// The word for it in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownSender => "unknown_sender",
            Self::TooMany => "rate",
            Self::Signature(error) => error.reason(),
            Self::Token(_) => "signature",
            Self::Credential => "credential",
            Self::Instance(_) => "instance",
            Self::Malformed(_) => "malformed",
            Self::UnknownEvent(_) => "unknown_event",
            Self::UnknownCertificate(_) => "unknown_certificate",
            Self::NoKeys(_) => "no_keys",
            Self::Store(_) => "store",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownSender => StatusCode::NOT_FOUND,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Signature(_) | Self::Token(_) | Self::Credential => StatusCode::UNAUTHORIZED,
            Self::Instance(_) => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnknownEvent(_) => StatusCode::UNPROCESSABLE_ENTITY,
            // It may be of somebody else, and nothing is gained by sending it again.
            Self::UnknownCertificate(_) => StatusCode::OK,
            // It should come again.
            Self::NoKeys(_) | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What became of a message.
#[derive(Debug, Default, PartialEq)]
pub struct Accepted {
    /// Objects that a request was left with.
    pub requested: Vec<String>,
    /// Of which nothing follows, and why.
    pub unchanged: BTreeMap<String, String>,
    /// It was here before.
    pub replay: bool,
    /// To see whether it arrives.
    pub test: bool,
}

impl Accepted {
    fn outcome(&self) -> &'static str {
        match self {
            Self { replay: true, .. } => "replay",
            Self { test: true, .. } => "test",
            Self { requested, .. } if requested.is_empty() => "unchanged",
            _ => "accepted",
        }
    }

    pub fn json(&self) -> Value {
        json!({ "outcome": self.outcome(), "requested": self.requested, "unchanged": self.unchanged })
    }
}

/// Messages by sender and what came of them.
#[derive(Clone, Debug, Default)]
pub struct Counts(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    sender: Arc<str>,
    outcome: &'static str,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "notifications_received",
            "Notifications received, by sender and outcome",
            self.0.clone(),
        );
    }

    fn count(&self, sender: &str, outcome: &'static str) {
        self.0.get_or_create(&Labels { sender: Arc::from(sender), outcome }).inc();
    }
}

pub struct Receiver<S> {
    store: Arc<S>,
    settings: watch::Receiver<Arc<NotifyConfig>>,
    guard: Guard,
    counts: Counts,
}

impl<S: Store> Receiver<S> {
    pub fn new(store: Arc<S>, settings: watch::Receiver<Arc<NotifyConfig>>, counts: Counts) -> Self {
        Self { store, settings, guard: Guard::default(), counts }
    }

    pub fn settings(&self) -> Arc<NotifyConfig> {
        Arc::clone(&self.settings.borrow())
    }

    /// A body that never became a message.
    pub fn unreadable(
        &self,
        sender: &str,
        reason: &'static str,
        why: &dyn std::fmt::Display,
        now: SystemTime,
    ) {
        self.counts.count(self.known(sender), reason);
        self.complain(sender, reason, why, now);
    }

    /// Anybody may send anything: all of it is counted, and no more of it logged than somebody can read.
    fn complain(&self, sender: &str, reason: &'static str, why: &dyn std::fmt::Display, now: SystemTime) {
        if self.guard.lets_pass(LOG, now) {
            warn!(sender = incoming_event::shown(sender), reason, "a notification was refused: {why}");
        }
    }

    /// Labels are bounded by what a person wrote down.
    fn known<'s>(&self, sender: &'s str) -> &'s str {
        if self.settings.borrow().senders.contains_key(sender) { sender } else { "" }
    }

    pub async fn receive(
        &self,
        name: &str,
        message: Message<'_>,
        now: SystemTime,
    ) -> Result<Accepted, Refusal> {
        let received = self.judge(name, message, now).await;
        match &received {
            Ok(accepted) => {
                info!(sender = name, requested = ?accepted.requested, unchanged = ?accepted.unchanged,
                    outcome = accepted.outcome(), "notified");
                self.counts.count(self.known(name), accepted.outcome());
            }
            Err(refusal) => {
                self.complain(name, refusal.reason(), refusal, now);
                self.counts.count(self.known(name), refusal.reason());
            }
        }
        received
    }

    async fn judge(&self, name: &str, message: Message<'_>, now: SystemTime) -> Result<Accepted, Refusal> {
        let settings = self.settings();
        let sender = settings.senders.get(name).ok_or(Refusal::UnknownSender)?;
        let said = sender.verify(&message, now).await?;
        // Of those that are proved: a stranger does not use up what the sender may say.
        if !self.guard.lets_pass(name, now) {
            return Err(Refusal::TooMany);
        }
        // Only what is proved is remembered: nobody else can have it taken for a replay.
        let id = sha256_hex(format!("{name:?} {:?}", said.id).as_bytes())[..32].to_owned();
        if self.guard.was_here(&id, now) {
            return Ok(Accepted { replay: true, ..Accepted::default() });
        }
        if said.what == What::Test {
            self.guard.remember(&id, now);
            return Ok(Accepted { test: true, ..Accepted::default() });
        }
        let observed = self.store.observe().await?;
        let mut accepted = Accepted::default();
        let mut asked = Vec::new();
        let mut strangers = Vec::new();
        for about in &said.about {
            let subjects = match sender.subjects(about, &observed, &settings.managers) {
                Ok(subjects) => subjects,
                Err(names) => {
                    strangers.extend(names);
                    continue;
                }
            };
            for subject in subjects {
                let of = subject.to_string();
                if !sender.events.contains(&said.what) {
                    accepted
                        .unchanged
                        .insert(of, format!("{} is nothing this sender is listened to for", said.what));
                } else if !sender.names.iter().any(|pattern| pattern.matches(&of)) {
                    accepted.unchanged.insert(of, "it is nothing this sender is listened to about".into());
                } else if let Some(why) = subject.obsolete(said.what, about, &observed, now) {
                    accepted.unchanged.insert(of, why);
                } else {
                    let text = format!("{id} {} from={name}", about.notice.words());
                    asked.push((subject, of, text));
                }
            }
        }
        // A manager may well keep what is not ours.
        if asked.is_empty() && accepted.unchanged.is_empty() && !strangers.is_empty() {
            return Err(Refusal::UnknownCertificate(strangers));
        }
        accepted
            .unchanged
            .extend(strangers.into_iter().map(|name| (name, "it is not known here".to_owned())));
        // Recorded before it is answered; if that fails, the sender tries again.
        let mut recorded = futures_util::stream::iter(asked)
            .map(|(subject, of, text)| async move {
                self.store.notice(&subject.about(), &text).await.map(|()| of)
            })
            .buffer_unordered(AT_ONCE);
        while let Some(of) = recorded.try_next().await? {
            accepted.requested.push(of);
        }
        accepted.requested.sort();
        self.guard.remember(&id, now);
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests;
