//! One Secret as a source of `Material`: what the Kubernetes API says of it, followed by a watch on
//! that one object. Whatever goes wrong is part of the view and is tried again; nothing here decides
//! what is served.

mod object;
mod trouble;
mod view;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Client, Config};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::material::Layout;
use object::SecretObject;
pub use trouble::Trouble;
pub use view::{ApiState, Said, View};

/// A Secret by name. Without a namespace it is in the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub namespace: Option<String>,
    pub name: String,
}

/// Follows one Secret; needs `get`, `list` and `watch` on it and on nothing else.
#[derive(Clone, Debug)]
pub struct Follow {
    pub secret: SecretRef,
    pub layout: Layout,
    /// Instead of the service account that is mounted in the pod.
    pub kubeconfig: Option<PathBuf>,
}

impl Follow {
    /// Follows until the last receiver is gone.
    pub fn start(self) -> watch::Receiver<View> {
        let (sender, receiver) = watch::channel(View::default());
        tokio::spawn(async move {
            let gone = sender.clone();
            tokio::select! {
                () = self.run(&sender) => {}
                () = gone.closed() => {}
            }
        });
        receiver
    }

    async fn run(self, view: &watch::Sender<View>) {
        let mut pause = Pause::default();
        loop {
            let trouble = match self.watch(view, &mut pause).await {
                Ok(()) => Trouble::ended(),
                Err(trouble) => trouble,
            };
            let wait = pause.after(&trouble);
            self.lose(view, trouble);
            tokio::time::sleep(wait).await;
        }
    }

    /// One client, made anew each time: the token and the roots in the pod may have changed.
    async fn watch(&self, view: &watch::Sender<View>, pause: &mut Pause) -> Result<(), Trouble> {
        let mut config = self.config().await?;
        // Trying again is what `run` does, where it can be seen.
        config.default_retry = false;
        let namespace = self.secret.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Trouble::of_client(&error))?;
        let api: Api<SecretObject> = Api::namespaced(client, &namespace);
        let mut looks = Box::pin(watch_object(api, &self.secret.name));
        while let Some(look) = looks.next().await {
            match look {
                Ok(object) => {
                    pause.reset();
                    self.hear(view, object);
                }
                // The history it asked for is gone: the same stream begins with a new list.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                    self.lose(view, Trouble::expired());
                }
                Err(error) => return Err(Trouble::of_watch(&error)),
            }
        }
        Ok(())
    }

    async fn config(&self) -> Result<Config, Trouble> {
        match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| Trouble::kubeconfig(path, &error))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| Trouble::kubeconfig(path, &error))
            }
            None => Config::incluster().map_err(|error| Trouble::no_service_account(&error)),
        }
    }

    fn hear(&self, view: &watch::Sender<View>, object: Option<SecretObject>) {
        let said = object.map(|object| object.said(&self.layout));
        view.send_modify(|view| {
            let now = SystemTime::now();
            let state = if said.is_some() { ApiState::Watching } else { ApiState::Absent };
            if view.state != state {
                match state {
                    ApiState::Watching => info!(secret = %self.secret, "watching the Secret"),
                    _ => warn!(secret = %self.secret, "there is no such Secret"),
                }
            }
            view.enter(state, now);
            if let Some(said) = said {
                view.say(said);
            }
        });
    }

    /// Says it once per reason, and again after it had been well in between.
    fn lose(&self, view: &watch::Sender<View>, trouble: Trouble) {
        view.send_modify(|view| {
            let known = matches!(&view.state, ApiState::Lost(before) if before.reason == trouble.reason);
            if !known {
                warn!(
                    secret = %self.secret,
                    reason = trouble.reason,
                    detail = trouble.detail,
                    "the Secret cannot be followed through the Kubernetes API; trying again"
                );
            }
            *view.failures.entry(trouble.reason).or_default() += 1;
            view.enter(ApiState::Lost(trouble), SystemTime::now());
        });
    }
}

/// Longer pauses after longer trouble, spread out so that a thousand agents do not come back at
/// once. What only a person can change is asked for less often.
struct Pause {
    unreachable: ExponentialBackoff,
    refused: ExponentialBackoff,
}

impl Default for Pause {
    fn default() -> Self {
        let backoff = |longest| {
            ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(500))
                .with_max_delay(Duration::from_secs(longest))
                .without_max_times()
                .with_jitter()
                .build()
        };
        Self { unreachable: backoff(30), refused: backoff(300) }
    }
}

impl Pause {
    fn after(&mut self, trouble: &Trouble) -> Duration {
        let backoff = if trouble.needs_a_person() { &mut self.refused } else { &mut self.unreachable };
        backoff.next().unwrap_or(Duration::from_secs(30))
    }

    fn reset(&mut self) {
        *self = Self::default();
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
