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
mod effects;
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
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::StreamExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::api::condition::EventReason;
use crate::backoff::Backoff;
use crate::digest::sha256_hex;
use crate::notify::config::NotifyConfig;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, sanitize};
use crate::store::{EventRecord, Store, StoreError};
use effects::{Effects, HintRequest};
use rate_limiter::RateLimiter;
use replay_cache::ReplayCache;
use subject::Subject;

pub use accepted::{Accepted, Outcome};
pub use message::Message;
pub use rejection::Rejection;

/// The key of the rate limiter for log lines; no sender has an empty name.
const LOG: &str = "";
/// How long a message may take to be recorded. Less than the 10 s after which senders give up on an answer: one that
/// is told to send it again tries a few times only.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(8);
/// How long after its arrival another attempt to record it begins.
const RETRY_FOR: Duration = Duration::from_secs(6);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
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
                if !accepted.warnings.is_empty() {
                    warn!(sender, "{}", accepted.warnings.join("; "));
                }
                if accepted.limited && self.rate_limiter.allow(LOG, now) {
                    warn!(sender, unchanged, "a revocation is not followed so soon after another");
                }
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
        if event.kind == IncomingKind::Unknown {
            return Err(Rejection::UnknownEvent(event.name));
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
        let given_up = Instant::now() + RETRY_FOR;
        let mut failures = 0;
        loop {
            match self.follow(&event, &id, sender, now).await {
                Err(Rejection::Store(error)) if Instant::now() < given_up => {
                    debug!(sender, "notification not recorded yet: {error}");
                    failures += 1;
                    sleep(BACKOFF.delay(failures)).await;
                }
                result => return result,
            }
        }
    }

    /// Records what follows from the event.
    async fn follow(
        &self,
        event: &IncomingEvent,
        id: &str,
        sender: &str,
        now: SystemTime,
    ) -> Result<Accepted, Rejection> {
        let config = self.config();
        let source = config.senders.get(sender).ok_or(Rejection::UnknownSender)?;
        let observed = self.store.observe().await?;
        let Effects { requests, warnings, mut accepted } =
            Effects::of(event, sender, source, &config.managers, &observed, now)?;
        // Stored before the message is acknowledged; if that fails, the sender sends it again.
        let mut stored = futures_util::stream::iter(requests)
            .map(|(subject, HintRequest { hints, over })| async move {
                let text = hints.to_request(id);
                let stored = self.store.set_renewal_hint(&subject.object_ref(), &text, &over).await;
                stored.map(|()| subject.to_string())
            })
            .buffer_unordered(MAX_CONCURRENT);
        // One object that was written meanwhile holds up none of the others.
        let mut conflict = None;
        while let Some(stored) = stored.next().await {
            match stored {
                Ok(name) => accepted.requested.push(name),
                Err(error @ StoreError::Conflict(_)) => conflict = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(conflict) = conflict {
            return Err(conflict.into());
        }
        accepted.requested.sort();
        self.replay_cache.insert(id, now);
        accepted.warnings.extend(self.record(warnings).await);
        Ok(accepted)
    }

    /// An Event of each object, and what it says.
    async fn record(&self, warnings: Vec<(Subject, String)>) -> Vec<String> {
        let recorded = futures_util::stream::iter(warnings).map(|(subject, message)| {
            let reason = EventReason::ProblemReported;
            let event = EventRecord { object: subject.object_ref(), warning: true, reason, message };
            async move {
                self.store.record_event(&event).await;
                format!("{subject}: {}", event.message)
            }
        });
        recorded.buffered(MAX_CONCURRENT).collect().await
    }
}

#[cfg(test)]
mod tests;
