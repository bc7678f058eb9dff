//! The Secrets of all namespaces by two watches, where the controller has the right to all of them: with a thousand
//! namespaces two watches for each are two thousand connections, which are begun anew every few minutes.
//!
//! The watches serve the namespaces that had to do with hotcert when they began. One that is added later has watches
//! of its own, since what these have said of it before was not kept; when there are many of those, the watches begin
//! anew with all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::ListParams;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::watch_sink::{EventSink, OwnedSecretsSink, WatchedSink};
use super::{AbortOnDrop, Informers, PAUSE, RESCAN_NAMESPACES, WatchError, watch};
use crate::api::object_name::ObjectName;
use crate::store::kubernetes::api_error;
use crate::store::kubernetes::cache::{Cache, ListSpan, Listing};
use crate::store::kubernetes::label::{HOTCERT, MANAGED_BY, WATCH};
use crate::store::kubernetes::secret_object::SecretObject;

/// How many namespaces have watches of their own before all are watched together again.
const MAX_ALONE: usize = 16;

impl Informers {
    /// By two watches for all namespaces, or by two for each.
    pub(super) async fn watch_secrets(&self) {
        if may_list_everywhere(&self.client).await {
            info!("watching the Secrets of all namespaces together");
            self.watch_everywhere().await;
            warn!("hotcert may not list the Secrets of all namespaces any more: watching each namespace");
        }
        self.watch_namespaces().await;
    }

    /// Ends when the right is taken away.
    async fn watch_everywhere(&self) {
        // Or the first list would serve no namespace.
        while !self.cache.state().are_objects_listed() {
            self.cache.namespaces_changed.notified().await;
        }
        loop {
            let covered = Covered::default();
            let wanted = self.retain_relevant_namespaces();
            self.cache.change(|state| {
                for namespace in &wanted {
                    let index = state.namespace_mut(namespace);
                    (index.owned, index.watched) = (Listing::default(), Listing::default());
                }
            });
            *covered.namespaces() = wanted;
            let is_over = Arc::new(Notify::new());
            let _watches = self.watch_covered(&covered, &is_over);
            let mut alone = BTreeMap::new();
            while alone.len() <= MAX_ALONE {
                let wanted = self.retain_relevant_namespaces();
                // What is known of one that is not wanted any more is dropped, so that it has to be listed again.
                covered.namespaces().retain(|namespace| wanted.contains(namespace));
                alone.retain(|namespace, _| wanted.contains(namespace));
                let together = covered.namespaces().clone();
                for namespace in wanted.difference(&together) {
                    alone
                        .entry(namespace.clone())
                        .or_insert_with_key(|namespace| self.watch_namespace(namespace));
                }
                let changed = self.cache.namespaces_changed.notified();
                tokio::select! {
                    () = is_over.notified() => return,
                    _ = tokio::time::timeout(RESCAN_NAMESPACES, changed) => {}
                }
            }
        }
    }

    fn watch_covered(&self, covered: &Covered, is_over: &Arc<Notify>) -> [AbortOnDrop; 2] {
        let secrets = Api::<SecretObject>::all(self.client.clone());
        let of = |label: &str| Config::default().labels(label);
        let sink = |of_namespace| EverywhereSink {
            cache: Arc::clone(&self.cache),
            covered: covered.clone(),
            is_over: Arc::clone(is_over),
            of_namespace,
        };
        let (cache, system) = (Arc::clone(&self.cache), self.namespace.clone());
        let owned = sink(Box::new(move |namespace: String| {
            let (cache, system) = (Arc::clone(&cache), system.clone());
            Box::new(OwnedSecretsSink { cache, system, namespace }) as NamespaceSink
        }));
        let cache = Arc::clone(&self.cache);
        let watched = sink(Box::new(move |namespace: String| {
            Box::new(WatchedSink { cache: Arc::clone(&cache), namespace }) as NamespaceSink
        }));
        [
            AbortOnDrop::spawn(watch(secrets.clone(), of(&format!("{MANAGED_BY}={HOTCERT}")), owned)),
            AbortOnDrop::spawn(watch(secrets, of(&format!("{WATCH}=true")), watched)),
        ]
    }
}

/// Whether it may is asked by doing it.
async fn may_list_everywhere(client: &Client) -> bool {
    let secrets = Api::<SecretObject>::all(client.clone());
    let one = ListParams::default().labels(&format!("{MANAGED_BY}={HOTCERT}")).limit(1);
    loop {
        match secrets.list(&one).await {
            Ok(_) => return true,
            Err(error) if api_error::is_forbidden(&error) => return false,
            Err(_) => tokio::time::sleep(PAUSE.delay(1)).await,
        }
    }
}

/// The namespaces that the watches serve.
#[derive(Clone, Default)]
struct Covered(Arc<Mutex<BTreeSet<String>>>);

impl Covered {
    fn namespaces(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type NamespaceSink = Box<dyn EventSink<SecretObject>>;

/// Hands each event to the sink of its namespace.
struct EverywhereSink {
    cache: Arc<Cache>,
    covered: Covered,
    /// The right is gone.
    is_over: Arc<Notify>,
    of_namespace: Box<dyn Fn(String) -> NamespaceSink + Send + Sync>,
}

impl EverywhereSink {
    fn sink(&self, object: &SecretObject) -> Option<NamespaceSink> {
        let namespace = object.metadata.namespace.as_ref()?;
        let is_covered = self.covered.namespaces().contains(namespace);
        is_covered.then(|| (self.of_namespace)(namespace.clone()))
    }
}

impl EventSink<SecretObject> for EverywhereSink {
    fn description(&self) -> String {
        "watching the Secrets of all namespaces".into()
    }

    fn apply(&self, object: SecretObject) {
        if let Some(sink) = self.sink(&object) {
            sink.apply(object);
        }
    }

    fn delete(&self, object: SecretObject) {
        if let Some(sink) = self.sink(&object) {
            sink.delete(object);
        }
    }

    fn listed(&self, listed: &BTreeSet<ObjectName>, list: ListSpan) {
        let covered = self.covered.namespaces().clone();
        for namespace in covered {
            let first = ObjectName::new(namespace.clone(), "");
            let here = listed.range(first..).take_while(|object| object.namespace == namespace);
            let here = here.cloned().collect();
            (self.of_namespace)(namespace).listed(&here, list);
        }
    }

    fn failed(&self, error: WatchError) {
        if error.forbidden {
            self.is_over.notify_one();
            return;
        }
        let covered = self.covered.namespaces().clone();
        self.cache.change(|state| {
            for namespace in &covered {
                state.update_namespace(namespace, |index| {
                    index.owned.record_problem(error.message.clone());
                    index.watched.record_problem(error.message.clone());
                });
            }
        });
    }
}
