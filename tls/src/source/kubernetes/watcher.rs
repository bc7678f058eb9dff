//! The watch on one Secret. It needs `get`, `list` and `watch` on that Secret and on nothing else. Every
//! failure becomes part of the `WatchState` and is retried; nothing here decides what is served.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::sync::watch;
use tracing::instrument::{WithDispatch, WithSubscriber as _};
use tracing::subscriber::NoSubscriber;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::object::SecretObject;
use crate::credential::Layout;
use crate::source::{ApiState, SecretRef, WatchError, WatchState};

/// For a list, and for the head of the response to a watch.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// A watch that lasted this long was healthy: the backoff starts over.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// The API server ends a watch after minutes; one that ends sooner counts as an error.
const MIN_WATCH: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct SecretWatcher {
    pub secret: SecretRef,
    pub layout: Layout,
    /// In place of the service account that is mounted in the pod.
    pub kubeconfig: Option<PathBuf>,
    /// A watch without an event for longer is taken for dead. API servers send a bookmark about once a
    /// minute when nothing changes.
    pub silence: Duration,
}

impl SecretWatcher {
    /// Watches in a task of its own until the last receiver is dropped.
    pub fn start(self) -> watch::Receiver<WatchState> {
        let (sender, receiver) = watch::channel(WatchState::default());
        tokio::spawn(async move {
            let receivers = sender.clone();
            tokio::select! {
                () = self.run(&sender) => {}
                () = receivers.closed() => {}
            }
        });
        receiver
    }

    async fn run(self, state: &watch::Sender<WatchState>) {
        let mut backoff = Backoff::default();
        loop {
            let begin = Instant::now();
            let Err(error) = self.watch(state).await;
            if begin.elapsed() > HEALTHY_AFTER {
                backoff = Backoff::default();
            }
            if backoff.first_of(error.reason) {
                warn!(
                    secret = %self.secret,
                    reason = error.reason.as_str(),
                    detail = error.detail,
                    "the Secret cannot be watched through the Kubernetes API; retrying"
                );
            }
            let pause = backoff.next_pause(&error);
            state.send_modify(|state| state.record_failure(error, SystemTime::now()));
            tokio::time::sleep(pause).await;
        }
    }

    /// Builds a client each time: the token and the roots in the pod may have changed.
    async fn watch(&self, state: &watch::Sender<WatchState>) -> Result<Infallible, WatchError> {
        let mut config = self.config().await?;
        // Retries happen in `run`, where they are counted.
        config.default_retry = false;
        config.connect_timeout = Some(RESPONSE_TIMEOUT);
        let namespace = self.secret.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| WatchError::of(&error))?;
        let api: Api<SecretObject> = Api::namespaced(client, &namespace);
        // By name, so that a right to this one Secret is enough.
        let selector = format!("metadata.name={}", self.secret.name);

        let list = within_timeout(api.list(&ListParams::default().fields(&selector))).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        let mut exists = self.record_object(state, list.items.into_iter().next());
        loop {
            let events =
                within_timeout(api.watch(&WatchParams::default().fields(&selector), &version)).await?;
            self.set_healthy(state, exists);
            let (mut events, begin) = (std::pin::pin!(events), Instant::now());
            loop {
                let Ok(event) = tokio::time::timeout(self.silence, unlogged(events.next())).await else {
                    return Err(WatchError::silent(self.silence));
                };
                match event.transpose().map_err(|error| WatchError::of(&error))? {
                    Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        version = object.resource_version().unwrap_or(version);
                        exists = self.record_object(state, Some(object));
                        self.set_healthy(state, exists);
                    }
                    Some(WatchEvent::Deleted(object)) => {
                        version = object.resource_version().unwrap_or(version);
                        exists = false;
                        self.set_healthy(state, exists);
                    }
                    Some(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
                    Some(WatchEvent::Error(status)) => return Err(WatchError::of_status(&status)),
                    // The API server's own timeout: the next watch continues from `version`.
                    None if begin.elapsed() > MIN_WATCH => break,
                    None => return Err(WatchError::ended()),
                }
            }
        }
    }

    async fn config(&self) -> Result<Config, WatchError> {
        match &self.kubeconfig {
            Some(path) => {
                let file =
                    Kubeconfig::read_from(path).map_err(|error| WatchError::kubeconfig(path, &error))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| WatchError::kubeconfig(path, &error))
            }
            None => Config::incluster().map_err(|_| WatchError::no_service_account()),
        }
    }

    /// Records the content of the Secret. Returns whether it exists.
    fn record_object(&self, state: &watch::Sender<WatchState>, object: Option<SecretObject>) -> bool {
        let version = object.map(|object| object.into_version(&self.layout));
        let exists = version.is_some();
        if let Some(version) = version {
            state.send_modify(|state| state.record(version));
        }
        exists
    }

    fn set_healthy(&self, state: &watch::Sender<WatchState>, exists: bool) {
        let next = if exists { ApiState::Watching } else { ApiState::Absent };
        state.send_if_modified(|state| {
            let changed = state.state != next;
            match next {
                ApiState::Watching if changed => info!(secret = %self.secret, "watching the Secret"),
                _ if changed => warn!(secret = %self.secret, "the Secret does not exist"),
                _ => {}
            }
            state.set_state(next, SystemTime::now());
            changed
        });
    }
}

/// `kube` logs a response that it cannot parse as a whole, and it may hold a private key. Its errors are reported by
/// the caller.
fn unlogged<F>(request: F) -> WithDispatch<F> {
    request.with_subscriber(NoSubscriber::default())
}

async fn within_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WatchError> {
    match tokio::time::timeout(RESPONSE_TIMEOUT, unlogged(request)).await {
        Ok(response) => response.map_err(|error| WatchError::of(&error)),
        Err(_) => Err(WatchError::silent(RESPONSE_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests;
