//! The webhook's own certificate. It lives in a Secret and in the `caBundle` of the webhook
//! configuration; every replica looks at both, and whoever sees a step that is due takes it. Each
//! write is refused by the API server if somebody else wrote since the look, so replicas need not
//! know of each other: the loser looks again.

mod ca_bundle;
mod pair;
pub mod plan;
mod state;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::Notify;
use tracing::{info, warn};

use ca_bundle::{ENTRIES, WebhookConfiguration};
use pair::PairError;
use plan::{Seen, Step, Timing, plan};
use state::State;

use super::health::Status;

pub const SECRET: &str = "hotcert-webhook";

/// How often to look without being told of a change.
const POLL: Duration = Duration::from_secs(60);
const LOOK_WITHIN: Duration = Duration::from_secs(15);
/// Between steps; doubles, so that two who disagree do not keep the API server busy.
const PACE: Duration = Duration::from_millis(10);
const MOST_DOUBLINGS: u32 = 9;

pub struct Certificate {
    pub client: Client,
    pub namespace: String,
    /// By which API servers reach the webhook.
    pub service: String,
    /// Of the MutatingWebhookConfiguration.
    pub webhook: String,
    pub timing: Timing,
    pub status: Status,
}

/// What was found out about the certificate, for `health`.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub phase: Option<&'static str>,
    pub revision: u64,
    /// Subjects of the roots that API servers trust.
    pub trusted: Vec<String>,
    pub renew_at: Option<SystemTime>,
    /// Why the last look did not come to its end.
    pub problem: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("somebody else wrote {0} first")]
    Conflict(&'static str),
    #[error("{what} failed: {cause}{}", hint(.cause))]
    Api { what: &'static str, cause: Box<kube::Error> },
    #[error("the API server did not answer within {LOOK_WITHIN:?}")]
    TimedOut,
    #[error(transparent)]
    Pair(#[from] PairError),
}

fn hint(cause: &kube::Error) -> &'static str {
    match cause {
        kube::Error::Api(status) if status.is_forbidden() => {
            "; apply the Role and ClusterRole of hotcert-controller"
        }
        _ => "",
    }
}

impl Certificate {
    /// Runs until dropped.
    pub async fn run(self) {
        let changed = Arc::new(Notify::new());
        let secrets = watch_object(self.secrets(), SECRET).default_backoff();
        let webhooks = watch_object(self.webhooks(), &self.webhook).default_backoff();
        tokio::select! {
            () = tell(secrets, &changed) => {}
            () = tell(webhooks, &changed) => {}
            () = self.look_again_and_again(&changed) => {}
        }
    }

    async fn look_again_and_again(&self, changed: &Notify) {
        let mut steps = 0;
        loop {
            let now = SystemTime::now();
            let looked = tokio::time::timeout(LOOK_WITHIN, self.look(now)).await;
            let pace = PACE * 2_u32.pow(steps);
            match looked.unwrap_or(Err(LookError::TimedOut)) {
                Ok(Step::Wait(until)) => {
                    steps = 0;
                    let due = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
                    tokio::select! {
                        () = changed.notified() => {}
                        () = tokio::time::sleep(due.unwrap_or(POLL).min(POLL)) => {}
                    }
                }
                Ok(_) | Err(LookError::Conflict(_)) => {
                    steps = (steps + 1).min(MOST_DOUBLINGS);
                    tokio::time::sleep(pace).await;
                }
                Err(error) => {
                    steps = (steps + 1).min(MOST_DOUBLINGS);
                    self.complain(&error);
                    tokio::time::sleep(pace.max(PACE * 16)).await;
                }
            }
        }
    }

    /// Looks at both objects and takes the one step that is due.
    async fn look(&self, now: SystemTime) -> Result<Step, LookError> {
        let secret = self.secrets().get_opt(SECRET).await.map_err(api("reading the Secret"))?;
        let webhook = self.webhooks().get_opt(&self.webhook).await;
        let webhook = webhook.map_err(api("reading the MutatingWebhookConfiguration"))?;
        let trusting = webhook.as_ref().and_then(WebhookConfiguration::read);
        let wanted = WebhookConfiguration::wanted(trusting.as_ref(), &self.service, &self.namespace);
        let mut state = State::read(secret.as_ref(), &wanted, now);
        let seen = state.seen(&wanted, trusting.as_ref(), now);
        let trusted = trusting.as_ref().map(|trusting| trusting.roots(now)).unwrap_or_default();
        self.report(&seen, &state, trusted.iter().map(|root| root.subject.clone()).collect());

        let step = plan(&seen, now, self.timing);
        match step {
            Step::Wait(_) => return Ok(step),
            Step::Trust => {
                if let Some(trusting) = &trusting {
                    let patch = Patch::Strategic(trusting.patch(&state.bundle()));
                    let patched = self.webhooks().patch(&self.webhook, &PatchParams::default(), &patch).await;
                    patched.map_err(api("writing the caBundle"))?;
                }
            }
            _ => {
                state.take(step, &wanted, trusted, self.timing.lifetime, now)?;
                self.write(&state, secret).await?;
            }
        }
        info!(step = ?step, phase = seen.phase(), revision = state.revision, "webhook certificate");
        Ok(step)
    }

    async fn write(&self, state: &State, read: Option<Secret>) -> Result<(), LookError> {
        let is_new = read.is_none();
        let secret = state.write(read, SECRET);
        let post = PostParams::default();
        let written = match is_new {
            true => self.secrets().create(&post, &secret).await,
            false => self.secrets().replace(SECRET, &post, &secret).await,
        };
        written.map(drop).map_err(api("writing the Secret"))
    }

    fn report(&self, seen: &Seen, state: &State, trusted: Vec<String>) {
        let problem = seen.trust.is_none().then(|| {
            format!(
                "there is no MutatingWebhookConfiguration {} with an entry {}: apply the manifests",
                self.webhook,
                ENTRIES.join(" or ")
            )
        });
        let found = Found {
            phase: Some(seen.phase()),
            revision: state.revision,
            trusted,
            renew_at: seen.current.map(|current| current.renew_at(self.timing.lifetime)),
            problem,
        };
        if let Some(problem) = found.problem.as_deref().filter(|problem| self.status.is_new_problem(problem))
        {
            warn!("{problem}");
        }
        self.status.update(|report| report.certificate = found);
    }

    fn complain(&self, error: &LookError) {
        let problem = error.to_string();
        if self.status.is_new_problem(&problem) {
            warn!("webhook certificate: {problem}; trying again");
        }
        self.status.update(|report| report.certificate.problem = Some(problem));
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn webhooks(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }
}

/// An event says no more than "look again", and so does an error: what happened meanwhile is unknown.
async fn tell<T>(events: impl Stream<Item = T>, changed: &Notify) {
    let mut events = std::pin::pin!(events);
    while events.next().await.is_some() {
        changed.notify_one();
    }
}

fn api(what: &'static str) -> impl FnOnce(kube::Error) -> LookError {
    move |cause| match &cause {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            LookError::Conflict(what)
        }
        _ => LookError::Api { what, cause: Box::new(cause) },
    }
}

#[cfg(test)]
mod tests;
