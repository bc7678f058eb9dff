//! The webhook's own certificate. It is stored in a Secret, and its root in the `caBundle` of the webhook
//! configuration. Every replica reconciles both: the API server rejects a write based on an outdated read, so
//! replicas need no coordination, and the one that was second reads again.

mod configuration;
mod pair;
pub mod plan;
mod secret;

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

use configuration::{ENTRIES, WebhookConfiguration};
use pair::PairError;
use plan::{Observed, Step, Timing, plan};
use secret::SecretState;

use super::status::{CertificateReport, Status};
use crate::api::duration;
use crate::api::settings::ClusterDomain;
use crate::backoff::Backoff;

pub const SECRET_NAME: &str = "hotcert-webhook";

/// How often to reconcile without an event.
const RESYNC: Duration = Duration::from_secs(60);
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between steps, so that replicas in conflict do not overload the API server.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(5));
/// The least after an error that is no conflict.
const MIN_AFTER_ERROR: Duration = Duration::from_millis(160);

pub struct WebhookCertificate {
    pub client: Client,
    pub namespace: String,
    /// The Service through which API servers reach the webhook.
    pub service: String,
    pub cluster_domain: ClusterDomain,
    /// Name of the MutatingWebhookConfiguration.
    pub webhook: String,
    pub timing: Timing,
    pub status: Status,
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("conflict: {0} was changed since it was read")]
    Conflict(&'static str),
    #[error("{what} failed: {cause}{}", hint(.cause))]
    Api { what: &'static str, cause: Box<kube::Error> },
    #[error("the API server did not respond within {}", duration::format(RECONCILE_TIMEOUT))]
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

impl WebhookCertificate {
    /// Runs until dropped.
    pub async fn run(self) {
        let changed = Arc::new(Notify::new());
        let secrets = watch_object(self.secrets(), SECRET_NAME).default_backoff();
        let webhooks = watch_object(self.webhooks(), &self.webhook).default_backoff();
        tokio::select! {
            () = notify_on_events(secrets, &changed) => {}
            () = notify_on_events(webhooks, &changed) => {}
            () = self.reconcile_loop(&changed) => {}
        }
    }

    async fn reconcile_loop(&self, changed: &Notify) {
        let mut steps = 0_u32;
        loop {
            let now = SystemTime::now();
            let result = tokio::time::timeout(RECONCILE_TIMEOUT, self.reconcile(now)).await;
            match result.unwrap_or(Err(ReconcileError::TimedOut)) {
                Ok(Step::Wait(until)) => {
                    steps = 0;
                    let due = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
                    tokio::select! {
                        () = changed.notified() => {}
                        () = tokio::time::sleep(due.unwrap_or(RESYNC).min(RESYNC)) => {}
                    }
                }
                Ok(_) | Err(ReconcileError::Conflict(_)) => {
                    steps = steps.saturating_add(1);
                    tokio::time::sleep(BACKOFF.delay(steps)).await;
                }
                Err(error) => {
                    steps = steps.saturating_add(1);
                    self.report_error(&error);
                    tokio::time::sleep(BACKOFF.delay(steps).max(MIN_AFTER_ERROR)).await;
                }
            }
        }
    }

    /// Reads both objects and takes the next step.
    async fn reconcile(&self, now: SystemTime) -> Result<Step, ReconcileError> {
        let secret = self.secrets().get_opt(SECRET_NAME).await.map_err(api("reading the Secret"))?;
        let webhook = self.webhooks().get_opt(&self.webhook).await;
        let webhook = webhook.map_err(api("reading the MutatingWebhookConfiguration"))?;
        let configuration = webhook.as_ref().and_then(WebhookConfiguration::read);
        let services = self.cluster_domain.service_names(&self.service, &self.namespace);
        let names = WebhookConfiguration::server_names(configuration.as_ref(), services);
        let mut state = SecretState::read(secret.as_ref(), &names, now);
        let observed = state.observe(&names, configuration.as_ref(), now);
        let trusted =
            configuration.as_ref().map(|configuration| configuration.roots(now)).unwrap_or_default();
        self.report(&observed, &state, trusted.iter().map(|root| root.subject.clone()).collect());

        let step = plan(&observed, now, self.timing);
        match step {
            Step::Wait(_) => return Ok(step),
            Step::Trust => {
                if let Some(configuration) = &configuration {
                    let patch = Patch::Strategic(configuration.patch(&state.bundle()));
                    let patched = self.webhooks().patch(&self.webhook, &PatchParams::default(), &patch).await;
                    patched.map_err(api("writing the caBundle"))?;
                }
            }
            _ => {
                state.apply(step, &names, trusted, self.timing.lifetime, now)?;
                self.write(&state, secret).await?;
            }
        }
        info!(
            step = step.as_str(),
            phase = observed.phase().as_str(),
            revision = state.revision,
            "webhook certificate"
        );
        Ok(step)
    }

    async fn write(&self, state: &SecretState, read: Option<Secret>) -> Result<(), ReconcileError> {
        let is_new = read.is_none();
        let secret = state.write(read, SECRET_NAME);
        let post = PostParams::default();
        let written = match is_new {
            true => self.secrets().create(&post, &secret).await,
            false => self.secrets().replace(SECRET_NAME, &post, &secret).await,
        };
        written.map(drop).map_err(api("writing the Secret"))
    }

    fn report(&self, observed: &Observed, state: &SecretState, trusted: Vec<String>) {
        let problem = observed.trust.is_none().then(|| {
            format!(
                "the MutatingWebhookConfiguration {} is missing, or has no entry {}: apply the manifests",
                self.webhook,
                ENTRIES.join(" or ")
            )
        });
        let certificate = CertificateReport {
            phase: Some(observed.phase()),
            revision: state.revision,
            trusted,
            renew_at: observed.current.map(|current| current.renew_at(self.timing.lifetime)),
            problem,
        };
        if let Some(problem) =
            certificate.problem.as_deref().filter(|problem| self.status.is_new_problem(problem))
        {
            warn!("{problem}");
        }
        self.status.update(|report| report.certificate = certificate);
    }

    fn report_error(&self, error: &ReconcileError) {
        let problem = error.to_string();
        if self.status.is_new_problem(&problem) {
            warn!("webhook certificate: {problem}; retrying");
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

/// Events only trigger a reconciliation, and so do watch errors: what was missed meanwhile is unknown.
async fn notify_on_events<T>(events: impl Stream<Item = T>, changed: &Notify) {
    let mut events = std::pin::pin!(events);
    while events.next().await.is_some() {
        changed.notify_one();
    }
}

fn api(what: &'static str) -> impl FnOnce(kube::Error) -> ReconcileError {
    move |cause| match &cause {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            ReconcileError::Conflict(what)
        }
        _ => ReconcileError::Api { what, cause: Box::new(cause) },
    }
}

#[cfg(test)]
mod tests;
