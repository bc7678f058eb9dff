//! The watches that feed the cache: both kinds of objects everywhere, every Secret of the control plane's
//! own namespace, and in each namespace that has to do with us the Secrets with our labels, or [`everywhere`]. One that
//! fails is begun again; what it has said so far stays known.

mod everywhere;
mod watch_sink;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tracing::warn;

use super::cache::{Cache, ListSpan, Listing, NamespaceIndex};
use super::custom::Custom;
use super::label::{HOTCERT, MANAGED_BY, WATCH};
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::backoff::Backoff;
use crate::store::kubernetes::api_error;
use crate::store::kubernetes::secret_object::SecretObject;
use crate::store::kubernetes::target_secret;
use watch_sink::{
    AuthoritiesSink, CertificatesSink, EventSink, OwnNamespaceSink, OwnedSecretsSink, WatchedSink,
};

/// Before a watch that failed is begun again.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// How often namespaces without anything of hotcert's are dropped.
const RESCAN_NAMESPACES: Duration = Duration::from_secs(60);
/// How many objects come at a time: whole Secrets, until their facts are read.
const PAGE: u32 = 200;

#[derive(Clone)]
pub struct Informers {
    pub client: Client,
    pub namespace: String,
    pub cache: Arc<Cache>,
    /// How often a conflicting Secret is checked again.
    pub recheck: Duration,
}

impl Informers {
    /// Runs until dropped.
    pub async fn run(self) {
        let authorities = Api::<Custom<CertificateAuthority>>::all(self.client.clone());
        let certificates = Api::<Custom<ServiceCertificate>>::all(self.client.clone());
        let own = self.secrets(&self.namespace);
        tokio::join!(
            watch(authorities, Config::default(), AuthoritiesSink(Arc::clone(&self.cache))),
            watch(certificates, Config::default(), CertificatesSink(Arc::clone(&self.cache))),
            watch(own, Config::default(), OwnNamespaceSink(Arc::clone(&self.cache))),
            self.watch_secrets(),
            self.recheck_conflicting_secrets(),
            self.look_for_closed_namespaces(),
        );
    }

    async fn watch_namespaces(&self) {
        let mut watched_namespaces: BTreeMap<String, [AbortOnDrop; 2]> = BTreeMap::new();
        loop {
            let wanted = self.retain_relevant_namespaces();
            watched_namespaces.retain(|namespace, _| wanted.contains(namespace));
            for namespace in wanted {
                watched_namespaces
                    .entry(namespace)
                    .or_insert_with_key(|namespace| self.watch_namespace(namespace));
            }
            let _ = tokio::time::timeout(RESCAN_NAMESPACES, self.cache.namespaces_changed.notified()).await;
        }
    }

    /// Forgets the namespaces that have nothing to do with us any more. Returns the others.
    fn retain_relevant_namespaces(&self) -> BTreeSet<String> {
        let mut state = self.cache.state();
        let wanted = state.relevant_namespaces();
        state.namespaces.retain(|namespace, _| wanted.contains(namespace));
        wanted
    }

    fn watch_namespace(&self, namespace: &str) -> [AbortOnDrop; 2] {
        // What was known of it before stays until it is listed anew.
        self.cache.change(|state| {
            let index = state.namespace_mut(namespace);
            (index.owned, index.watched) = (Listing::default(), Listing::default());
        });
        let of = |label: &str| Config::default().labels(label);
        let (cache, system) = (Arc::clone(&self.cache), self.namespace.clone());
        let owned = OwnedSecretsSink { cache, system, namespace: namespace.to_owned() };
        let watched = WatchedSink { cache: Arc::clone(&self.cache), namespace: namespace.to_owned() };
        let secrets = self.secrets(namespace);
        [
            AbortOnDrop::spawn(watch(secrets.clone(), of(&format!("{MANAGED_BY}={HOTCERT}")), owned)),
            AbortOnDrop::spawn(watch(secrets, of(&format!("{WATCH}=true")), watched)),
        ]
    }

    /// Secrets without our labels are not watched: whether one still conflicts has to be asked.
    async fn recheck_conflicting_secrets(&self) {
        loop {
            tokio::time::sleep(self.recheck).await;
            let mut conflicting = Vec::new();
            for (namespace, index) in &self.cache.state().namespaces {
                for secret in index.conflicting.keys() {
                    let claimants = index.claimants(secret).next().cloned();
                    let secret = ObjectName::new(namespace.clone(), secret.clone());
                    conflicting.extend(claimants.map(|certificate| (secret, certificate)));
                }
            }
            for (secret, certificate) in conflicting {
                let secrets = self.secrets(&secret.namespace);
                let found = api_error::answer(
                    "checking a conflicting Secret",
                    secrets.get_metadata_opt(&secret.name),
                )
                .await;
                if let Ok(found) = found {
                    let whose = found
                        .and_then(|found| target_secret::owner_if_foreign(&found.metadata, &certificate));
                    self.cache.change(|state| {
                        state.update_namespace(&secret.namespace, |index| {
                            index.set_conflicting(&secret.name, whose)
                        });
                    });
                }
            }
        }
    }

    /// The right to a namespace's Secrets goes with the namespace: whether that is why it is missing has to be asked.
    async fn look_for_closed_namespaces(&self) {
        loop {
            tokio::time::sleep(self.recheck).await;
            let closed: Vec<_> = {
                let state = self.cache.state();
                let is_closed = |index: &NamespaceIndex| {
                    matches!(index.owned, Listing::Forbidden(_) | Listing::NamespaceGone)
                };
                let closed = state.namespaces.iter().filter(|(_, index)| is_closed(index));
                closed.map(|(namespace, _)| namespace.clone()).collect()
            };
            let namespaces = Api::<Namespace>::all(self.client.clone());
            for namespace in closed {
                let found =
                    api_error::answer("looking for a namespace", namespaces.get_metadata_opt(&namespace))
                        .await;
                if let Ok(found) = found {
                    self.cache.change_and_wake(|state| {
                        state.update_namespace(&namespace, |index| index.record_presence(found.is_some()));
                    });
                }
            }
        }
    }

    fn secrets(&self, namespace: &str) -> Api<SecretObject> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Ended when dropped.
struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch<K>(api: Api<K>, config: Config, event_sink: impl EventSink<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = config.page_size(PAGE);
    let begin = || watcher::watcher(api.clone(), config.clone()).boxed();
    let mut events = begin();
    let mut listed = BTreeSet::new();
    let mut list = ListSpan { since: Instant::now(), newest: 0 };
    let (mut failures, mut last) = (0_u32, String::new());
    while let Some(event) = events.next().await {
        match event {
            // Before the list is asked for.
            Ok(Event::Init) => {
                listed = BTreeSet::new();
                list = ListSpan { since: Instant::now(), newest: 0 };
            }
            Ok(Event::InitApply(object)) => {
                list.newest = list.newest.max(number(&object));
                listed.insert(name(&object));
                event_sink.apply(object);
            }
            Ok(Event::InitDone) => {
                event_sink.listed(&std::mem::take(&mut listed), list);
                failures = 0;
                last.clear();
            }
            Ok(Event::Apply(object)) => {
                event_sink.apply(object);
                failures = 0;
            }
            Ok(Event::Delete(object)) => {
                event_sink.delete(object);
                failures = 0;
            }
            Err(error) => {
                let error = WatchError::of(&error);
                if error.message != last {
                    warn!(
                        forbidden = error.forbidden,
                        "{}: {}; trying again",
                        event_sink.description(),
                        error.message
                    );
                    last.clone_from(&error.message);
                }
                if error.forbidden {
                    // Events are missed until access is granted again: list anew.
                    events = begin();
                }
                event_sink.failed(error);
                failures = failures.saturating_add(1);
                tokio::time::sleep(PAUSE.delay(failures)).await;
            }
        }
    }
}

fn name<K: Resource>(object: &K) -> ObjectName {
    let metadata = object.meta();
    let of = |field: &Option<String>| field.clone().unwrap_or_default();
    ObjectName::new(of(&metadata.namespace), of(&metadata.name))
}

/// The resource version; 0 where it is not a number.
fn number<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Why a watch does not go on.
pub struct WatchError {
    pub forbidden: bool,
    pub message: String,
}

impl WatchError {
    fn of(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => {
                Self { forbidden: api_error::is_forbidden(cause), message: api_error::describe(cause) }
            }
            watcher::Error::WatchError(status) => {
                Self { forbidden: status.code == 403, message: status.message.clone() }
            }
            watcher::Error::NoResourceVersion => {
                Self { forbidden: false, message: "the API server's answer has no version".into() }
            }
        }
    }
}
