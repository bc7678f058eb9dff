//! The reload loop: the only writer. Whatever wakes it, it does the same thing: look, compare with
//! what is served, judge, handshake_test, publish. It reports to `status` and calls nobody else.

mod events;
pub mod handshake_test;
pub mod status;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::tls::config::{ClientAuth, Configs};
use crate::tls::credential::{Credential, Fingerprint};
use crate::tls::identity::{Identity, Policy, Rejection, Validation};
use crate::tls::reload::handshake_test::handshake_test;
use crate::tls::reload::status::{Attempt, Outcome, Status};
use crate::tls::snapshot::{Delivery, Publisher, Snapshot};
use crate::tls::source::directory::Volume;
use crate::tls::source::directory::watch::Watch;
use crate::tls::source::kubernetes::{SecretWatcher, WatchState};
use crate::tls::source::{Candidate, SourceSelector};

/// Where files are not swapped at once, what is amiss is believed only when nothing has moved for
/// this long.
const SETTLE: Duration = Duration::from_millis(250);
/// First look again after something that may be half written; doubles up to the poll interval.
const RETRY: Duration = Duration::from_millis(20);
/// The poll while no events are to be expected.
const UNWATCHED_POLL: Duration = Duration::from_millis(250);

/// At least one of the two sources is there.
pub struct Reload {
    pub volume: Option<Volume>,
    pub secret: Option<SecretWatcher>,
    pub policy: Policy,
    pub client_auth: ClientAuth,
    pub poll: Duration,
    pub publisher: Publisher,
    pub status: Status,
}

/// Runs until dropped, or until it cannot go on.
pub async fn run(mut reload: Reload) -> Result<(), ReloadError> {
    let hint = Arc::new(Notify::new());
    let mut directory = reload.volume.clone().map(|volume| Directory::new(volume, Arc::clone(&hint)));
    let secret = reload.secret.take();
    let name = secret.as_ref().map(|follow| follow.secret.to_string());
    let mut api = secret.map(|follow| follow.start(reload.status.api_failures.clone()));
    let mut hangup = signal(SignalKind::hangup())?;
    let mut state = State::new(reload);
    loop {
        let look = match directory.take() {
            None => None,
            Some(volume) => {
                let (volume, look) = volume.look().await?;
                directory = Some(volume);
                Some(look)
            }
        };
        let watching = look.as_ref().is_some_and(|look| state.note(look));
        let view = api.as_mut().map(|api| api.borrow_and_update().clone());
        let volume = look.as_ref().map(|look| &look.credential);
        let decision = state.sources.decide(view.as_ref(), volume);
        events::authority(&state.reload.status, &decision, view.as_ref(), name.as_deref());
        if let Some(candidate) = decision.candidate {
            state.consider(candidate, SystemTime::now());
        }
        let wait = state.next_look(watching || look.is_none(), SystemTime::now());
        tokio::select! {
            () = hint.notified() => {}
            _ = hangup.recv() => info!("looking again on SIGHUP"),
            changed = heard(&mut api) => changed.map_err(|_| ReloadError::FollowEnded)?,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn heard(api: &mut Option<watch::Receiver<WatchState>>) -> Result<(), watch::error::RecvError> {
    match api {
        Some(api) => api.changed().await,
        None => std::future::pending().await,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(#[from] std::io::Error),
    #[error("reading the identity directory panicked")]
    LookPanicked,
    #[error("following the Secret ended")]
    FollowEnded,
}

/// The identity directory, and the watch on it.
struct Directory {
    volume: Volume,
    watch: Watch,
    in_memory: bool,
}

impl Directory {
    fn new(volume: Volume, hint: Arc<Notify>) -> Self {
        Self { watch: Watch::new(volume.directory(), hint), volume, in_memory: false }
    }

    /// Off this thread, since a volume may hang; on it, without waiting for another's allow, once it is known to
    /// be in memory.
    async fn look(self) -> Result<(Self, Look), ReloadError> {
        if self.in_memory {
            return Ok(self.look_now());
        }
        tokio::task::spawn_blocking(|| self.look_now()).await.map_err(|_| ReloadError::LookPanicked)
    }

    /// Blocks on the file system.
    fn look_now(mut self) -> (Self, Look) {
        let watching = self.watch.arm();
        self.in_memory = self.volume.is_in_memory();
        let credential = self.volume.look();
        let plain = !credential.atomic && self.volume.directory().exists();
        (self, Look { watching, credential, plain })
    }
}

/// What one look at the directory brought.
struct Look {
    watching: Result<bool, notify::Error>,
    credential: Credential,
    /// The directory is there, without `..data`.
    plain: bool,
}

/// What the loop remembers between looks.
struct State {
    reload: Reload,
    sources: SourceSelector,
    served: Option<Arc<Snapshot>>,
    /// Content that is served whole: both leaf and trust were taken from it.
    served_content: Option<Fingerprint>,
    tried: Option<Tried>,
    retry: Option<Duration>,
    said_plain: bool,
    said_unwatched: bool,
    said_expired: Option<u64>,
}

/// The last content that was not taken whole.
struct Tried {
    content: Fingerprint,
    first_seen: Instant,
    /// Reasons that were announced, so that each is once.
    announced: Option<(Option<&'static str>, Option<&'static str>)>,
}

impl State {
    fn new(reload: Reload) -> Self {
        let directory = reload.volume.as_ref().map(|volume| volume.directory().display().to_string());
        reload.status.update(|report| report.source.directory = directory);
        Self {
            reload,
            sources: SourceSelector::default(),
            served: None,
            served_content: None,
            tried: None,
            retry: None,
            said_plain: false,
            said_unwatched: false,
            said_expired: None,
        }
    }

    /// Reports what is to be said of the source itself; whether events are to be expected.
    fn note(&mut self, look: &Look) -> bool {
        let watching = look.watching.as_ref().copied().unwrap_or_else(|error| {
            if !self.said_unwatched {
                self.said_unwatched = true;
                warn!(%error, "no events from the identity directory: changes are noticed by polling only");
            }
            false
        });
        if look.plain && !self.said_plain {
            self.said_plain = true;
            warn!(
                directory = self.reload.status.report().source.directory,
                "no ..data in the identity directory: if this is a subPath mount of a Secret, Kubernetes never \
                 updates it and a rotated certificate will not arrive; mount the whole Secret as a directory"
            );
        }
        self.reload.status.update(|report| {
            report.source.watching = watching;
            report.source.atomic = look.credential.atomic;
            report.source.notices = match look.plain {
                true => vec!["no ..data: a subPath mount is never updated by Kubernetes".into()],
                false => Vec::new(),
            };
        });
        watching
    }

    fn consider(&mut self, candidate: Candidate<'_>, now: SystemTime) {
        let credential = candidate.credential;
        let content = credential.fingerprint();
        if self.served_content == Some(content) && !self.root_expired(now) {
            self.all_good(Outcome::Unchanged, now);
            return;
        }
        let settled = credential.atomic || self.stood_still(content);
        let served = self.served.as_ref().map(|snapshot| snapshot.identity.clone());
        let in_force = served.as_ref().and_then(|identity| identity.trust.as_ref());
        let mut validation = Identity::parse(credential, &self.reload.policy, in_force, now);
        if !settled && is_doubtful(&validation, served.as_ref()) {
            // Somebody may be writing file by file: look again before believing it.
            self.retry = Some(RETRY);
            return;
        }
        let outcome = self.take(&validation, served.as_ref(), candidate, now).or_else(|rejection| {
            // The parts looked good and the whole does not work: go on with the leaf that does.
            validation.leaf = Err(rejection);
            self.take(&validation, served.as_ref(), candidate, now)
        });
        if let Err(rejection) = &outcome {
            validation.trust = Err(rejection.clone());
        }
        self.conclude(content, &validation, outcome.unwrap_or(Outcome::Refused), now);
    }

    /// Publishes what the validation leaves to be served, if that differs from what is.
    fn take(
        &mut self,
        validation: &Validation,
        served: Option<&Identity>,
        candidate: Candidate<'_>,
        now: SystemTime,
    ) -> Result<Outcome, Rejection> {
        let Some(identity) = validation.merge(served) else {
            return Ok(Outcome::Refused);
        };
        if served.is_some_and(|served| served.same_as(&identity)) {
            return Ok(Outcome::Unchanged);
        }
        let configs = Configs::build(&identity, self.reload.client_auth)
            .map_err(|error| Rejection::HandshakeFailed { cause: error.to_string() })?;
        handshake_test(&identity, &configs, now)?;
        // A first identity is not a swap, and one that was held did not wait for us.
        let swap = self.served.is_some() && self.reload.status.report().held.is_none();
        let delivery = Delivery {
            from: candidate.from,
            changed_at: candidate.credential.changed_at.filter(|_| swap),
            written_at: candidate.written_at,
        };
        let snapshot = self.reload.publisher.publish(identity, configs, delivery);
        events::published(&snapshot);
        self.reload.status.count(Outcome::Published, "none");
        self.served = Some(snapshot);
        Ok(Outcome::Published)
    }

    fn conclude(&mut self, content: Fingerprint, validation: &Validation, outcome: Outcome, now: SystemTime) {
        let (leaf, trust) = (validation.leaf.as_ref().err(), validation.trust.as_ref().err());
        if leaf.is_none() && trust.is_none() {
            self.served_content = Some(content);
            self.all_good(outcome, now);
            return;
        }
        self.served_content = None;
        self.stood_still(content);
        let reasons = (leaf.map(Rejection::reason), trust.map(Rejection::reason));
        let torn = [leaf, trust].into_iter().flatten().any(Rejection::may_be_torn);
        if let Some(tried) = &mut self.tried
            && tried.announced != Some(reasons)
        {
            tried.announced = Some(reasons);
            self.retry = torn.then_some(RETRY);
            events::refused(&self.reload.status, self.served.as_deref(), leaf, trust);
        }
        events::report(&self.reload.status, leaf, trust, now);
    }

    /// What is served is what is there.
    fn all_good(&mut self, outcome: Outcome, now: SystemTime) {
        if self.tried.take().is_some_and(|tried| tried.announced.is_some()) {
            info!(outcome = outcome.as_str(), "what is there is what is served: nothing is refused any more");
        }
        self.retry = None;
        self.reload.status.update(|report| {
            report.refused_leaf = None;
            report.refused_trust = None;
            report.held = None;
            report.last_attempt = Some(Attempt { at: now, outcome, refusal: None });
        });
    }

    /// A root that was served is out of date: the same bytes now mean fewer roots.
    fn root_expired(&self, now: SystemTime) -> bool {
        self.trust_expiry().is_some_and(|expiry| now >= expiry)
    }

    fn trust_expiry(&self) -> Option<SystemTime> {
        self.served.as_ref()?.identity.trust.as_ref()?.first_expiry()
    }

    /// Whether this content has been there for a while.
    fn stood_still(&mut self, content: Fingerprint) -> bool {
        match &self.tried {
            Some(tried) if tried.content == content => tried.first_seen.elapsed() >= SETTLE,
            _ => {
                self.tried = Some(Tried { content, first_seen: Instant::now(), announced: None });
                false
            }
        }
    }

    /// How long to wait if nothing happens: the poll, or less if something is due before.
    fn next_look(&mut self, watching: bool, now: SystemTime) -> Duration {
        let mut wait = if watching { self.reload.poll } else { self.reload.poll.min(UNWATCHED_POLL) };
        if let Some(retry) = self.retry {
            wait = wait.min(retry);
            self.retry = (retry < self.reload.poll).then_some(retry * 2);
        }
        if let Some(held) = self.reload.status.report().held {
            wait = wait.min(held.not_before.duration_since(now).unwrap_or(RETRY));
        }
        if let Some(left) = self.trust_expiry().and_then(|expiry| expiry.duration_since(now).ok()) {
            wait = wait.min(left);
        }
        if let Some(served) = &self.served {
            let leaf = &served.identity.leaf;
            match leaf.usable_until.duration_since(now) {
                Ok(left) => wait = wait.min(left),
                Err(_) if self.said_expired != Some(served.generation) => {
                    self.said_expired = Some(served.generation);
                    error!(
                        serial = leaf.serial,
                        not_after = %humantime::format_rfc3339_seconds(leaf.usable_until),
                        "the served certificate or its chain has expired and no newer one has arrived: this pod is unready"
                    );
                }
                Err(_) => {}
            }
        }
        wait.max(Duration::from_millis(1))
    }
}

/// Something is wrong with it, or it takes away a root: what a half-done writer would leave.
fn is_doubtful(validation: &Validation, served: Option<&Identity>) -> bool {
    let torn = |rejection: Option<&Rejection>| rejection.is_some_and(Rejection::may_be_torn);
    if torn(validation.leaf.as_ref().err()) || torn(validation.trust.as_ref().err()) {
        return true;
    }
    let before = served.and_then(|identity| identity.trust.as_ref());
    match (&validation.trust, before) {
        (Ok(Some(after)), Some(before)) => after.lost_a_root_of(before),
        (Ok(None), Some(_)) => true,
        _ => false,
    }
}
