//! Receives events from senders. A message is verified before anything else of it is read; the event it carries is a
//! hint, and a request is stored with each object it concerns before the message is acknowledged. What follows from
//! the request, if anything, is decided by the plan.
//!
//! | provider | messages | proved by |
//! |---|---|---|
//! | [`standard`] | CloudEvents signed as Standard Webhooks defines, as hotcert itself sends them | HMAC or Ed25519 |
//! | [`certificate_manager`] | callbacks of IBM Certificate Manager | the JWT's signature (RS256) |
//! | [`secrets_manager`] | events of IBM Secrets Manager through Event Notifications | a secret header, or mTLS |

mod accepted;
mod certificate_manager;
mod message;
mod rate_limiter;
mod rejection;
mod replay_cache;
mod secrets_manager;
mod standard;
mod subject;
mod verify;

use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::digest::sha256_hex;
use crate::external::manager::Managers;
use crate::notify::config::NotifyConfig;
use crate::notify::event_source::EventSource;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, sanitize};
use crate::planner::observed::Observed;
use crate::store::Store;
use rate_limiter::RateLimiter;
use replay_cache::ReplayCache;
use subject::Subject;

pub use accepted::{Accepted, Outcome};
pub use message::Message;
pub use rejection::Rejection;

/// The key of the rate limiter for log lines; no sender has an empty name.
const LOG: &str = "";
/// Requests that are stored concurrently.
const MAX_CONCURRENT: usize = 16;

pub struct Receiver<S> {
    store: Arc<S>,
    config: watch::Receiver<Arc<NotifyConfig>>,
    rate_limiter: RateLimiter,
    replay_cache: ReplayCache,
    metrics: Metrics,
}

/// Labels are bounded: senders are those of the settings file, outcomes those of [`Outcome`] and [`Rejection`].
#[derive(Clone, Debug, Default)]
pub struct Metrics(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    sender: Arc<str>,
    outcome: &'static str,
}

impl Metrics {
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

impl<S: Store> Receiver<S> {
    pub fn new(store: Arc<S>, config: watch::Receiver<Arc<NotifyConfig>>, metrics: Metrics) -> Self {
        let (rate_limiter, replay_cache) = (RateLimiter::default(), ReplayCache::default());
        Self { store, config, rate_limiter, replay_cache, metrics }
    }

    pub fn config(&self) -> Arc<NotifyConfig> {
        Arc::clone(&self.config.borrow())
    }

    pub async fn receive(
        &self,
        sender: &str,
        message: Message<'_>,
        now: SystemTime,
    ) -> Result<Accepted, Rejection> {
        let received = self.evaluate(sender, message, now).await;
        match &received {
            Ok(accepted) => {
                let outcome = accepted.outcome().as_str();
                let unchanged: Vec<_> =
                    accepted.unchanged.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                let (requested, unchanged) = (accepted.requested.join(", "), unchanged.join("; "));
                info!(sender, requested, unchanged, outcome, "notification received");
                self.metrics.count(self.label(sender), outcome);
            }
            Err(rejection) => self.reject(sender, rejection.reason(), rejection, now),
        }
        received
    }

    /// Counts and logs a message that is rejected, here or before it was read completely.
    pub fn reject(&self, sender: &str, reason: &'static str, why: &dyn Display, now: SystemTime) {
        self.metrics.count(self.label(sender), reason);
        // Any client may send messages: all are counted, and only as many logged as a person can read.
        if self.rate_limiter.allow(LOG, now) {
            warn!(sender = sanitize(sender), reason, "notification rejected: {why}");
        }
    }

    /// Empty for a sender that is not in the settings: labels are bounded.
    fn label<'s>(&self, sender: &'s str) -> &'s str {
        if self.config.borrow().senders.contains_key(sender) { sender } else { "" }
    }

    async fn evaluate(
        &self,
        sender: &str,
        message: Message<'_>,
        now: SystemTime,
    ) -> Result<Accepted, Rejection> {
        let config = self.config();
        let source = config.senders.get(sender).ok_or(Rejection::UnknownSender)?;
        let event = verify::verify(source, &message, now).await?;
        // After the verification: other clients cannot use up what the sender may send.
        if !self.rate_limiter.allow(sender, now) {
            return Err(Rejection::RateLimited);
        }
        // Only verified messages are remembered: other clients cannot have one taken for a replay.
        let id = sha256_hex(format!("{sender:?} {:?}", event.id).as_bytes())[..32].to_owned();
        if self.replay_cache.contains(&id, now) {
            return Ok(Accepted { replay: true, ..Accepted::default() });
        }
        if event.kind == IncomingKind::Test {
            self.replay_cache.insert(&id, now);
            return Ok(Accepted { test: true, ..Accepted::default() });
        }
        let observed = self.store.observe().await?;
        let (requests, mut accepted) = requests(&event, source, &config.managers, &observed, now)?;
        // Stored before the message is acknowledged; if that fails, the sender sends it again.
        let mut stored = futures_util::stream::iter(requests)
            .map(|(subject, hint)| {
                let text = format!("{id} {hint} from={sender}");
                async move {
                    self.store
                        .add_renewal_hint(&subject.object_ref(), &text)
                        .await
                        .map(|()| subject.to_string())
                }
            })
            .buffer_unordered(MAX_CONCURRENT);
        while let Some(name) = stored.try_next().await? {
            accepted.requested.push(name);
        }
        accepted.requested.sort();
        self.replay_cache.insert(&id, now);
        Ok(accepted)
    }
}

/// The objects that the event asks to be changed, each with its hint; and those for which nothing follows.
fn requests(
    event: &IncomingEvent,
    source: &EventSource,
    managers: &Managers,
    observed: &Observed,
    now: SystemTime,
) -> Result<(Vec<(Subject, String)>, Accepted), Rejection> {
    let (mut requests, mut unknown, mut accepted) = (Vec::new(), Vec::new(), Accepted::default());
    for certificate in &event.certificates {
        let subjects = match subject::resolve(source, certificate, observed, managers) {
            Ok(subjects) => subjects,
            Err(names) => {
                unknown.extend(names);
                continue;
            }
        };
        for subject in subjects {
            let name = subject.to_string();
            let no_effect = if !source.events.contains(&event.kind) {
                Some(format!("the settings do not accept the event {} from this sender", event.kind))
            } else if !source.names.iter().any(|pattern| pattern.matches(&name)) {
                Some("the settings do not accept events for this name from this sender".into())
            } else {
                subject.no_effect(event.kind, certificate, observed, now)
            };
            match no_effect {
                Some(why) => drop(accepted.unchanged.insert(name, why)),
                None => requests.push((subject, certificate.hint.to_arguments())),
            }
        }
    }
    // The sender may well keep certificates that are not ours.
    if requests.is_empty() && accepted.unchanged.is_empty() && !unknown.is_empty() {
        return Err(Rejection::UnknownCertificate(unknown));
    }
    let unknown = unknown.into_iter().map(|name| (name, "no certificate or authority has this name".into()));
    accepted.unchanged.extend(unknown);
    Ok((requests, accepted))
}

#[cfg(test)]
mod tests;
