//! One Secret as a source of `Credential`: what the Kubernetes API says of it, followed by a watch on
//! that one object. Whatever goes wrong is part of the view and is tried again; nothing here decides
//! what is served.

mod object;
mod watch_error;
mod watch_state;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::tls::credential::Layout;
use crate::tls::reload::status::ApiLabels;
use object::SecretObject;
pub use watch_error::WatchError;
pub use watch_state::{ApiState, SecretVersion, WatchState};

/// For anything but the watch itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A watch that lasted so long was well: what comes next is new trouble.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// The API server ends a watch after minutes; one that ends sooner is trouble.
const SHORTEST_WATCH: Duration = Duration::from_secs(2);

/// A Secret by name. Without a namespace it is in the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub namespace: Option<String>,
    pub name: String,
}

/// Follows one Secret; needs `get`, `list` and `watch` on it and on nothing else.
#[derive(Clone, Debug)]
pub struct SecretWatcher {
    pub secret: SecretRef,
    pub layout: Layout,
    /// Instead of the service account that is mounted in the pod.
    pub kubeconfig: Option<PathBuf>,
    /// A watch on which nothing moves for longer is taken for dead. API servers record about once a
    /// minute that nothing has changed.
    pub silence: Duration,
}

impl SecretWatcher {
    /// Follows until the last receiver is gone. Failures are counted.
    pub fn start(self, failures: Family<ApiLabels, Counter>) -> watch::Receiver<WatchState> {
        let (sender, receiver) = watch::channel(WatchState::default());
        tokio::spawn(async move {
            let gone = sender.clone();
            tokio::select! {
                () = self.run(&sender, &failures) => {}
                () = gone.closed() => {}
            }
        });
        receiver
    }

    async fn run(self, view: &watch::Sender<WatchState>, failures: &Family<ApiLabels, Counter>) {
        let mut patience = Backoff::default();
        loop {
            let begin = Instant::now();
            let Err(trouble) = self.watch(view).await;
            if begin.elapsed() > WELL_AFTER {
                patience = Backoff::default();
            }
            failures.get_or_create(&ApiLabels { reason: trouble.reason }).inc();
            if patience.said.insert(trouble.reason) {
                warn!(
                    secret = %self.secret,
                    reason = trouble.reason,
                    detail = trouble.detail,
                    "the Secret cannot be followed through the Kubernetes API; trying again"
                );
            }
            let pause = patience.pause(&trouble);
            view.send_modify(|view| view.set_state(ApiState::Lost(trouble), SystemTime::now()));
            tokio::time::sleep(pause).await;
        }
    }

    /// One client, made anew each time: the token and the roots in the pod may have changed.
    async fn watch(&self, view: &watch::Sender<WatchState>) -> Result<Infallible, WatchError> {
        let mut config = self.config().await?;
        // Trying again is what `run` does, where it can be seen.
        config.default_retry = false;
        config.connect_timeout = Some(ANSWER_WITHIN);
        let namespace = self.secret.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| WatchError::of(&error))?;
        let api: Api<SecretObject> = Api::namespaced(client, &namespace);
        // By name, so that a right to this one Secret is enough.
        let only = format!("metadata.name={}", self.secret.name);

        let list = answer(api.list(&ListParams::default().fields(&only))).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        let mut there = self.on_event(view, list.items.into_iter().next());
        loop {
            let events = answer(api.watch(&WatchParams::default().fields(&only), &version)).await?;
            self.set_state(view, there);
            let (mut events, begin) = (std::pin::pin!(events), Instant::now());
            loop {
                let Ok(event) = tokio::time::timeout(self.silence, events.next()).await else {
                    return Err(WatchError::silent(self.silence));
                };
                match event.transpose().map_err(|error| WatchError::of(&error))? {
                    Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        version = object.resource_version().unwrap_or(version);
                        there = self.on_event(view, Some(object));
                        self.set_state(view, there);
                    }
                    Some(WatchEvent::Deleted(object)) => {
                        version = object.resource_version().unwrap_or(version);
                        there = false;
                        self.set_state(view, there);
                    }
                    Some(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
                    Some(WatchEvent::Error(status)) => return Err(WatchError::of_status(&status)),
                    // In its own time: it goes on from where it was.
                    None if begin.elapsed() > SHORTEST_WATCH => break,
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
            None => Config::incluster().map_err(|error| WatchError::no_service_account(&error)),
        }
    }

    /// Takes what the Secret holds, if there is one.
    fn on_event(&self, view: &watch::Sender<WatchState>, object: Option<SecretObject>) -> bool {
        let said = object.map(|object| object.said(&self.layout));
        let there = said.is_some();
        if let Some(said) = said {
            view.send_modify(|view| view.record(said));
        }
        there
    }

    /// The watch is well.
    fn set_state(&self, view: &watch::Sender<WatchState>, there: bool) {
        let state = if there { ApiState::Watching } else { ApiState::Absent };
        view.send_if_modified(|view| {
            let changed = view.state != state;
            match state {
                ApiState::Watching if changed => info!(secret = %self.secret, "watching the Secret"),
                _ if changed => warn!(secret = %self.secret, "there is no such Secret"),
                _ => {}
            }
            view.set_state(state, SystemTime::now());
            changed
        });
    }
}

async fn answer<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, WatchError> {
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer.map_err(|error| WatchError::of(&error)),
        Err(_) => Err(WatchError::silent(ANSWER_WITHIN)),
    }
}

/// What there is of it between two good times.
struct Backoff {
    unreachable: ExponentialBackoff,
    refused: ExponentialBackoff,
    /// Reasons that were logged.
    said: BTreeSet<&'static str>,
}

impl Default for Backoff {
    fn default() -> Self {
        // Jitter adds up to as much again, so that a thousand agents do not come back at once.
        let backoff = |longest| {
            ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(500))
                .with_max_delay(Duration::from_secs(longest))
                .without_max_times()
                .with_jitter()
                .build()
        };
        Self { unreachable: backoff(15), refused: backoff(150), said: BTreeSet::new() }
    }
}

impl Backoff {
    /// What only a person can change is asked for less often.
    fn pause(&mut self, trouble: &WatchError) -> Duration {
        let backoff = if trouble.needs_a_person() { &mut self.refused } else { &mut self.unreachable };
        backoff.next().unwrap_or(ANSWER_WITHIN)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no NAMESPACE/NAME of a Secret, such as shop/payments-tls")]
pub struct SecretRefError(String);

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let fits = |part: &str, longest: usize| {
            let body = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            part.len() <= longest
                && part.chars().all(body)
                && edge(part.chars().next())
                && edge(part.chars().next_back())
        };
        if !fits(name, 253) || !namespace.is_none_or(|namespace| fits(namespace, 63)) {
            return Err(SecretRefError(text.to_owned()));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for good in ["shop/payments-tls", "payments-tls", "a/b.c-d"] {
            assert_eq!(good.parse::<SecretRef>().unwrap().to_string(), good);
        }
        for bad in ["", "/", "shop/", "/x", "a/b/c", "Shop/x", "shop/x_y", "-a/b", "a/b-", "a/b c"] {
            assert_eq!(bad.parse::<SecretRef>(), Err(SecretRefError(bad.into())));
        }
    }
}
