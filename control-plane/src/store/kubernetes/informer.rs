//! The watches that feed the cache: both kinds of objects everywhere, every Secret of the control plane's
//! own namespace, and in each namespace that has to do with us the Secrets with our labels. One that
//! fails is begun again; what it has said so far stays known.

mod event_sink;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tracing::warn;

use super::cache::{Cache, Listing};
use super::custom::Custom;
use super::label::{HOTCERT, MANAGED_BY, WATCH};
use super::secret::SecretObject;
use super::target;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::planner::observed::ObjectName;
use crate::store::kubernetes::api_error;
use event_sink::{Authorities, Certificates, EventSink, Ours, Own, Watched};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often namespaces are looked through for those that have nothing to do with us any more.
const TIDY: Duration = Duration::from_secs(60);
/// How many objects come at a time: whole Secrets, until their facts are read.
const PAGE: u32 = 200;

pub struct Informers {
    pub client: Client,
    pub namespace: String,
    pub cache: Arc<Cache>,
    /// How often a Secret that is in the way is looked at again.
    pub recheck: Duration,
}

impl Informers {
    /// Runs until dropped.
    pub async fn run(self) {
        let authorities = Api::<Custom<CertificateAuthority>>::all(self.client.clone());
        let certificates = Api::<Custom<ServiceCertificate>>::all(self.client.clone());
        let own = self.secrets(&self.namespace);
        tokio::join!(
            follow(authorities, Config::default(), Authorities(Arc::clone(&self.cache))),
            follow(certificates, Config::default(), Certificates(Arc::clone(&self.cache))),
            follow(own, Config::default(), Own(Arc::clone(&self.cache))),
            self.follow_namespaces(),
            self.look_at_strange_secrets(),
        );
    }

    async fn follow_namespaces(&self) {
        let mut followed: BTreeMap<String, [Task; 2]> = BTreeMap::new();
        loop {
            let wanted = {
                let mut facts = self.cache.facts();
                let wanted = facts.namespaces();
                facts.places.retain(|namespace, _| wanted.contains(namespace));
                wanted
            };
            followed.retain(|namespace, _| wanted.contains(namespace));
            for namespace in wanted {
                followed.entry(namespace).or_insert_with_key(|namespace| self.follow_namespace(namespace));
            }
            let _ = tokio::time::timeout(TIDY, self.cache.moved.notified()).await;
        }
    }

    fn follow_namespace(&self, namespace: &str) -> [Task; 2] {
        // What was known of it before stays until it is listed anew.
        self.cache.change(|facts| {
            let place = facts.place(namespace);
            (place.ours, place.watched) = (Listing::default(), Listing::default());
        });
        let of = |label: &str| Config::default().labels(label);
        let (cache, system) = (Arc::clone(&self.cache), self.namespace.clone());
        let ours = Ours { cache, system, namespace: namespace.to_owned() };
        let watched = Watched { cache: Arc::clone(&self.cache), namespace: namespace.to_owned() };
        let secrets = self.secrets(namespace);
        [
            Task::spawn(follow(secrets.clone(), of(&format!("{MANAGED_BY}={HOTCERT}")), ours)),
            Task::spawn(follow(secrets, of(&format!("{WATCH}=true")), watched)),
        ]
    }

    /// Secrets without our labels are not watched: whether one is still in the way has to be asked.
    async fn look_at_strange_secrets(&self) {
        loop {
            tokio::time::sleep(self.recheck).await;
            let mut strange = Vec::new();
            for (namespace, place) in &self.cache.facts().places {
                for secret in place.strange.keys() {
                    let wanting = place.wanting(secret).next().cloned();
                    let secret = ObjectName::new(namespace.clone(), secret.clone());
                    strange.extend(wanting.map(|certificate| (secret, certificate)));
                }
            }
            for (secret, certificate) in strange {
                let secrets = self.secrets(&secret.namespace);
                let looked = api_error::answer("looking", secrets.get_metadata_opt(&secret.name)).await;
                if let Ok(found) = looked {
                    let whose = found.and_then(|found| target::whose(&found.metadata, &certificate));
                    self.cache.change(|facts| {
                        facts.known(&secret.namespace, |place| place.find_strange(&secret.name, whose));
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
struct Task(AbortHandle);

impl Task {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow<K>(api: Api<K>, config: Config, event_sink: impl EventSink<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = config.page_size(PAGE);
    let begin = || watcher::watcher(api.clone(), config.clone()).boxed();
    let mut events = begin();
    let (mut listed, mut since) = (BTreeSet::new(), Instant::now());
    let (mut pause, mut last) = (FIRST_PAUSE, String::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => (listed, since) = (BTreeSet::new(), Instant::now()),
            Ok(Event::InitApply(object)) => {
                listed.insert(name(&object));
                event_sink.put(object);
            }
            Ok(Event::InitDone) => {
                event_sink.complete(&std::mem::take(&mut listed), since);
                pause = FIRST_PAUSE;
                last.clear();
            }
            Ok(Event::Apply(object)) => {
                event_sink.put(object);
                pause = FIRST_PAUSE;
            }
            Ok(Event::Delete(object)) => {
                event_sink.remove(object);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                let trouble = WatchError::of(&error);
                if trouble.said != last {
                    warn!(
                        forbidden = trouble.forbidden,
                        "{}: {}; trying again",
                        event_sink.what(),
                        trouble.said
                    );
                    last.clone_from(&trouble.said);
                }
                if trouble.forbidden {
                    // Whatever happens until the right comes back, it is not heard.
                    events = begin();
                }
                event_sink.trouble(trouble);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn name<K: Resource>(object: &K) -> ObjectName {
    let metadata = object.meta();
    let of = |field: &Option<String>| field.clone().unwrap_or_default();
    ObjectName::new(of(&metadata.namespace), of(&metadata.name))
}

/// Why a watch does not go on.
pub struct WatchError {
    pub forbidden: bool,
    pub said: String,
}

impl WatchError {
    fn of(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => {
                Self { forbidden: api_error::is_forbidden(cause), said: api_error::said(cause) }
            }
            watcher::Error::WatchError(status) => {
                Self { forbidden: status.code == 403, said: status.message.clone() }
            }
            watcher::Error::NoResourceVersion => {
                Self { forbidden: false, said: "the API server's answer has no version".into() }
            }
        }
    }
}
