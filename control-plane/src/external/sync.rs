//! Does what there is to do with managers outside: fetches certificates, and brings them there. Beside the
//! rounds, as the dispatcher brings news: a manager that is slow or gone delays nobody. What was fetched waits on a
//! fetch_cache, with its key, until the next plan has it kept or has no use for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hotcert_agent::tls::config::SingleRootVerifier;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::api::leaf_request::Usage;
use crate::api::resource::Naming;
use crate::external::manager::{Manager, ManagerError, Version};
use crate::notify::config::NotifyConfig;
use crate::pki::keyring::RootId;
use crate::pki::preflight::{self, Validated};
use crate::pki::x509_facts;
use crate::pki::x509_facts::{Fingerprint, Leaf};
use crate::planner::observed::{ExternalState, Fetched, ObjectName, Observed};
use crate::planner::outbox::{Key, Outbox, Outcome};
use crate::planner::{Action, Plan, SyncAction, SyncTask};
use crate::store::{Store, StoreError, StoredVersion};

/// Errands under way at the same time.
const AT_ONCE: usize = 32;

pub struct ExternalSync {
    settings: watch::Receiver<Arc<NotifyConfig>>,
    /// Others know the managers, and are left to it.
    disabled: bool,
    known: Arc<BTreeSet<String>>,
    managers: BTreeMap<String, Arc<Manager>>,
    outbox: Outbox<SyncTask>,
    /// Those with a task under way. Each has one at a time: two would overtake each other.
    busy: BTreeMap<ObjectName, Key>,
    fetched: Arc<BTreeMap<ObjectName, Fetched>>,
    fetch_cache: FetchCache,
    results: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    counts: Counts,
}

/// What was fetched and is not kept yet.
#[derive(Clone, Debug, Default)]
pub struct FetchCache(Arc<Mutex<BTreeMap<ObjectName, CachedFetch>>>);

type CachedFetch = (Fingerprint, Arc<StoredVersion>);

struct Done {
    key: Key,
    task: Arc<SyncTask>,
    /// As it was written down when the task began.
    manager: Arc<Manager>,
    result: Result<Option<Found>, SyncError>,
}

struct Found {
    fingerprint: Fingerprint,
    roots: BTreeSet<RootId>,
    kept: StoredVersion,
}

/// Why a task came to nothing.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{0}")]
    Manager(#[from] ManagerError),
    #[error("what its manager has would be refused by an agent, so it is not taken: {0}")]
    Refused(String),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("version {0} is no longer what was published as it")]
    Replaced(u64),
}

/// By manager, of which there are as many as a person wrote down.
#[derive(Clone, Debug, Default)]
pub struct Counts(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    manager: Arc<str>,
    task: &'static str,
    outcome: &'static str,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "external_sync",
            "Certificates fetched from and pushed to external managers, by manager, task and outcome",
            self.0.clone(),
        );
    }
}

impl FetchCache {
    /// It stays until the plan has no more use for it: the keeping may fail.
    pub fn get(&self, certificate: &ObjectName, fingerprint: Fingerprint) -> Option<Arc<StoredVersion>> {
        let fetch_cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, kept) = fetch_cache.get(certificate)?;
        (*known == fingerprint).then(|| Arc::clone(kept))
    }

    fn put(&self, certificate: ObjectName, fingerprint: Fingerprint, kept: StoredVersion) {
        let mut fetch_cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fetch_cache.insert(certificate, (fingerprint, Arc::new(kept)));
    }

    fn retain(&self, keep: impl Fn(&ObjectName) -> bool) {
        let mut fetch_cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fetch_cache.retain(|certificate, _| keep(certificate));
    }
}

impl ExternalSync {
    pub fn new(settings: watch::Receiver<Arc<NotifyConfig>>, counts: Counts) -> Self {
        Self {
            settings,
            disabled: false,
            known: Arc::default(),
            managers: BTreeMap::new(),
            outbox: Outbox::default(),
            busy: BTreeMap::new(),
            fetched: Arc::default(),
            fetch_cache: FetchCache::default(),
            results: mpsc::channel(AT_ONCE),
            counts,
        }
    }

    /// Who leaves that to others.
    pub fn disabled() -> Self {
        Self { disabled: true, ..Self::new(watch::channel(Arc::default()).1, Counts::default()) }
    }

    pub fn fetch_cache(&self) -> FetchCache {
        self.fetch_cache.clone()
    }

    /// What is known of the managers now, as the settings are now.
    pub fn observe(&mut self) -> ExternalState {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        if !self.managers.keys().eq(settings.managers.keys())
            || !self.managers.values().zip(settings.managers.values()).all(|(old, new)| Arc::ptr_eq(old, new))
        {
            let is_like = |name: &str| {
                let (before, now) = (self.managers.get(name), settings.managers.get(name));
                matches!((before, now), (Some(before), Some(now)) if before.is_like(now))
            };
            // One that was written anew is tried anew, and what came from it is fetched anew.
            self.outbox.forget(is_like);
            if !self.fetched.is_empty() {
                Arc::make_mut(&mut self.fetched).retain(|_, fetched| is_like(&fetched.from.name));
            }
            self.managers.clone_from(&settings.managers);
            self.known = Arc::new(self.managers.keys().cloned().collect());
        }
        while let Ok(done) = self.results.1.try_recv() {
            self.record(done);
        }
        ExternalState {
            managers: (!self.disabled).then(|| Arc::clone(&self.known)),
            fetched: Arc::clone(&self.fetched),
            done: self.outbox.delivered(),
            failing: self.outbox.failing(),
        }
    }

    /// What the plan wants now, which was made of this look.
    pub fn set_desired(&mut self, plan: &Plan, observed: &Observed) {
        let busy = &self.busy;
        let sync_tasks = plan.sync_tasks.iter().map(|task| (task.key(), task));
        self.outbox.want(
            sync_tasks
                .filter(|(key, task)| busy.get(&task.certificate).is_none_or(|under_way| under_way == key)),
        );
        for action in &plan.actions {
            // Then it is to be fetched again.
            if let Action::Keep { certificate, fingerprint, .. } = action
                && self.fetch_cache.get(certificate, *fingerprint).is_none()
            {
                Arc::make_mut(&mut self.fetched).remove(certificate);
            }
        }
        let is_of_use = |(certificate, fetched): (&ObjectName, &Fetched)| {
            let spec = observed.certificates.get(certificate).map(|certificate| &certificate.spec);
            spec.is_some_and(|spec| spec.authority.is_empty() && spec.manager.as_ref() == Some(&fetched.from))
        };
        if !self.fetched.iter().all(is_of_use) {
            Arc::make_mut(&mut self.fetched).retain(|certificate, fetched| is_of_use((certificate, fetched)));
        }
        let fetched = &self.fetched;
        self.fetch_cache.retain(|certificate| {
            let (known, found) = (observed.certificates.get(certificate), fetched.get(certificate));
            matches!((known, found), (Some(known), Some(found)) if !found.is_known(known))
        });
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.outbox.next_due(AT_ONCE)
    }

    /// Begins what is due.
    pub fn send<S: Store>(&mut self, store: &Arc<S>, now: SystemTime) {
        for (key, task) in self.outbox.due(now, AT_ONCE) {
            let Some(manager) = self.managers.get(&key.0).map(Arc::clone) else {
                let why = "there is no such manager any more".to_owned();
                self.outbox.record(&key, &Outcome::Failed { why, after: None, of_all: true }, now);
                continue;
            };
            self.busy.insert(task.certificate.clone(), key.clone());
            let (results, store) = (self.results.0.clone(), Arc::clone(store));
            tokio::spawn(async move {
                let result = run(&task, &manager, store.as_ref()).await;
                let _ = results.send(Done { key, task, manager, result }).await;
            });
        }
    }

    /// Waits for a task to end, well or not: what came of it is to be planned on.
    pub async fn wait(&mut self) {
        // Never: one of the senders is ours.
        let Some(done) = self.results.1.recv().await else { return std::future::pending().await };
        self.record(done);
    }

    fn record(&mut self, done: Done) {
        let Done { key, task, manager, result } = done;
        self.busy.remove(&task.certificate);
        // What another address answered says nothing about this one.
        if !self.managers.get(&key.0).is_some_and(|now| now.is_like(&manager)) {
            self.outbox.recall(&key);
            return;
        }
        let SyncTask { certificate, with, task } = task.as_ref();
        let (outcome, counted) = match result {
            Ok(found) => {
                if let (Some(Found { fingerprint, roots, kept }), SyncAction::Fetch { occasion }) =
                    (found, task)
                {
                    let fetched =
                        Fetched { from: with.clone(), occasion: occasion.clone(), fingerprint, roots };
                    Arc::make_mut(&mut self.fetched).insert(certificate.clone(), fetched);
                    self.fetch_cache.put(certificate.clone(), fingerprint, kept);
                }
                (Outcome::Delivered, "done")
            }
            Err(error) => {
                let (of_all, after) = match &error {
                    SyncError::Manager(error) => (error.is_of_all(), error.after()),
                    _ => (false, None),
                };
                (Outcome::Failed { why: error.to_string(), after, of_all }, "failed")
            }
        };
        let labels = Labels { manager: Arc::from(key.0.as_str()), task: task.as_str(), outcome: counted };
        self.counts.0.get_or_create(&labels).inc();
        self.outbox.record(&key, &outcome, SystemTime::now());
        let (manager, id, action) = (&key.0, &with.id, task.as_str());
        match (&outcome, task) {
            // Each time is a time of its own.
            (Outcome::Delivered, SyncAction::Fetch { .. }) => {
                debug!(manager, id, %certificate, "fetched");
                self.outbox.forget_delivery(&key);
            }
            (Outcome::Delivered, _) => info!(manager, id, %certificate, "brought to its manager"),
            (Outcome::Failed { why, .. }, _) => {
                warn!(manager, id, %certificate, action, "sync with the manager failed: {why}; trying again");
            }
            (Outcome::Gone, _) => {}
        }
    }
}

async fn run(task: &SyncTask, manager: &Manager, store: &impl Store) -> Result<Option<Found>, SyncError> {
    let SyncTask { certificate, with, task } = task;
    let (namespace, id) = (certificate.namespace.as_str(), with.id.as_str());
    match task {
        SyncAction::Fetch { .. } => {
            let (version, bundle) = manager.fetch(namespace, id).await?;
            let kind = certificate.name.parse::<Naming>().ok().and_then(|naming| naming.kind.usage());
            let serves = kind.is_none_or(|usage| usage != Usage::ClientOnly);
            judge(version, bundle, serves, SystemTime::now()).map(Some)
        }
        SyncAction::Push { version, sha256 } => {
            let StoredVersion { certificate, key, .. } = store.kept(certificate, *version).await?;
            if Leaf::read(certificate.as_bytes()).is_none_or(|leaf| leaf.sha256 != *sha256) {
                return Err(SyncError::Replaced(*version));
            }
            manager.push(namespace, id, &Version { certificate, key, roots: None }).await?;
            Ok(None)
        }
    }
}

/// As an agent would, before anything is kept of it.
fn judge(version: Version, bundle: String, serves: bool, now: SystemTime) -> Result<Found, SyncError> {
    let Version { certificate, key, .. } = version;
    let judged = preflight::validate(certificate.as_bytes(), key.as_bytes(), bundle.as_bytes(), serves, now);
    let judged = judged.map_err(|rejection| SyncError::Refused(rejection.to_string()))?;
    let root = root_of(&judged, now)
        .ok_or_else(|| SyncError::Refused("none of the roots that came with it verifies it".to_owned()))?;
    let fingerprint = Fingerprint::of(certificate.as_bytes(), key.as_bytes());
    let roots = x509_facts::roots(bundle.as_bytes());
    let kept = StoredVersion {
        certificate,
        key,
        root,
        bundle: Some(bundle),
        made_for: String::new(),
        created_at: now,
        request: None,
        copy_of: None,
    };
    Ok(Found { fingerprint, roots, kept })
}

/// Which of the roots beside it verifies the leaf.
fn root_of(judged: &Validated, now: SystemTime) -> Option<RootId> {
    let at = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let chain = &judged.leaf.certified.cert;
    let verifies =
        |alone: &SingleRootVerifier| alone.trusts_server(chain, at) || alone.trusts_client(chain, at);
    let mut roots = judged.trust.iter().flat_map(|trust| &trust.roots);
    let root = roots.find(|root| SingleRootVerifier::new(root).is_ok_and(|alone| verifies(&alone)))?;
    Some(RootId(root.sha256.clone()))
}
