//! Does what there is to do with managers outside: fetches certificates, and brings them there. Beside the
//! rounds, as the courier brings news: a manager that is slow or gone delays nobody. What was fetched waits on a
//! shelf, with its key, until the next plan has it kept or has no use for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hotcert_agent::tls::config::RootAlone;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::api::resource::Naming;
use crate::external::manager::{Manager, ManagerError, Version};
use crate::notify::config::Notifications;
use crate::pki::authority::Usage;
use crate::pki::keyring::RootId;
use crate::pki::preflight::{self, Judged};
use crate::pki::x509_facts;
use crate::planner::observed::{Fetched, Fingerprint, Leaf, ObjectName, Observed, Outside};
use crate::planner::outbox::{Book, Key, Outcome};
use crate::planner::{Action, Errand, Plan, Task};
use crate::store::{Kept, Store, StoreError};

/// Errands under way at the same time.
const AT_ONCE: usize = 32;

pub struct Porter {
    settings: watch::Receiver<Arc<Notifications>>,
    /// Others know the managers, and are left to it.
    idle: bool,
    known: Arc<BTreeSet<String>>,
    managers: BTreeMap<String, Arc<Manager>>,
    book: Book<Errand>,
    /// Those with an errand under way. Each has one at a time: two would overtake each other.
    busy: BTreeMap<ObjectName, Key>,
    fetched: Arc<BTreeMap<ObjectName, Fetched>>,
    shelf: Shelf,
    results: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    counts: Counts,
}

/// What was fetched and is not kept yet.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<BTreeMap<ObjectName, Shelved>>>);

type Shelved = (Fingerprint, Arc<Kept>);

struct Done {
    key: Key,
    errand: Arc<Errand>,
    /// As it was written down when the errand began.
    manager: Arc<Manager>,
    result: Result<Option<Found>, ErrandError>,
}

struct Found {
    fingerprint: Fingerprint,
    roots: BTreeSet<RootId>,
    kept: Kept,
}

/// Why an errand came to nothing.
#[derive(Debug, thiserror::Error)]
enum ErrandError {
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
    errand: &'static str,
    outcome: &'static str,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "manager_errands",
            "Certificates fetched from managers outside and brought there, by what came of it",
            self.0.clone(),
        );
    }
}

impl Shelf {
    /// It stays until the plan has no more use for it: the keeping may fail.
    pub fn get(&self, certificate: &ObjectName, fingerprint: Fingerprint) -> Option<Arc<Kept>> {
        let shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, kept) = shelf.get(certificate)?;
        (*known == fingerprint).then(|| Arc::clone(kept))
    }

    fn put(&self, certificate: ObjectName, fingerprint: Fingerprint, kept: Kept) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.insert(certificate, (fingerprint, Arc::new(kept)));
    }

    fn retain(&self, keep: impl Fn(&ObjectName) -> bool) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.retain(|certificate, _| keep(certificate));
    }
}

impl Porter {
    pub fn new(settings: watch::Receiver<Arc<Notifications>>, counts: Counts) -> Self {
        Self {
            settings,
            idle: false,
            known: Arc::default(),
            managers: BTreeMap::new(),
            book: Book::default(),
            busy: BTreeMap::new(),
            fetched: Arc::default(),
            shelf: Shelf::default(),
            results: mpsc::channel(AT_ONCE),
            counts,
        }
    }

    /// Who leaves that to others.
    pub fn idle() -> Self {
        Self { idle: true, ..Self::new(watch::channel(Arc::default()).1, Counts::default()) }
    }

    pub fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// What is known of the managers now, as the settings are now.
    pub fn look(&mut self) -> Outside {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        if !self.managers.keys().eq(settings.managers.keys())
            || !self.managers.values().zip(settings.managers.values()).all(|(old, new)| Arc::ptr_eq(old, new))
        {
            let is_like = |name: &str| {
                let (before, now) = (self.managers.get(name), settings.managers.get(name));
                matches!((before, now), (Some(before), Some(now)) if before.is_like(now))
            };
            // One that was written anew is tried anew, and what came from it is fetched anew.
            self.book.forget(is_like);
            if !self.fetched.is_empty() {
                Arc::make_mut(&mut self.fetched).retain(|_, fetched| is_like(&fetched.from.name));
            }
            self.managers.clone_from(&settings.managers);
            self.known = Arc::new(self.managers.keys().cloned().collect());
        }
        while let Ok(done) = self.results.1.try_recv() {
            self.record(done);
        }
        Outside {
            managers: (!self.idle).then(|| Arc::clone(&self.known)),
            fetched: Arc::clone(&self.fetched),
            done: self.book.delivered(),
            failing: self.book.failing(),
        }
    }

    /// What the plan wants now, which was made of this look.
    pub fn want(&mut self, plan: &Plan, observed: &Observed) {
        let busy = &self.busy;
        let errands = plan.errands.iter().map(|errand| (errand.key(), errand));
        self.book.want(
            errands.filter(|(key, errand)| {
                busy.get(&errand.certificate).is_none_or(|under_way| under_way == key)
            }),
        );
        for action in &plan.actions {
            // Then it is to be fetched again.
            if let Action::Keep { certificate, fingerprint, .. } = action
                && self.shelf.get(certificate, *fingerprint).is_none()
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
        self.shelf.retain(|certificate| {
            let (known, found) = (observed.certificates.get(certificate), fetched.get(certificate));
            matches!((known, found), (Some(known), Some(found)) if !found.is_known(known))
        });
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.book.next_due(AT_ONCE)
    }

    /// Begins what is due.
    pub fn send<S: Store>(&mut self, store: &Arc<S>, now: SystemTime) {
        for (key, errand) in self.book.due(now, AT_ONCE) {
            let Some(manager) = self.managers.get(&key.0).map(Arc::clone) else {
                let why = "there is no such manager any more".to_owned();
                self.book.record(&key, &Outcome::Failed { why, after: None, of_all: true }, now);
                continue;
            };
            self.busy.insert(errand.certificate.clone(), key.clone());
            let (results, store) = (self.results.0.clone(), Arc::clone(store));
            tokio::spawn(async move {
                let result = run(&errand, &manager, store.as_ref()).await;
                let _ = results.send(Done { key, errand, manager, result }).await;
            });
        }
    }

    /// Waits for an errand to end, well or not: what came of it is to be planned on.
    pub async fn stirs(&mut self) {
        // Never: one of the senders is ours.
        let Some(done) = self.results.1.recv().await else { return std::future::pending().await };
        self.record(done);
    }

    fn record(&mut self, done: Done) {
        let Done { key, errand, manager, result } = done;
        self.busy.remove(&errand.certificate);
        // What another address answered says nothing about this one.
        if !self.managers.get(&key.0).is_some_and(|now| now.is_like(&manager)) {
            self.book.recall(&key);
            return;
        }
        let Errand { certificate, with, task } = errand.as_ref();
        let (outcome, counted) = match result {
            Ok(found) => {
                if let (Some(Found { fingerprint, roots, kept }), Task::Fetch { occasion }) = (found, task) {
                    let fetched =
                        Fetched { from: with.clone(), occasion: occasion.clone(), fingerprint, roots };
                    Arc::make_mut(&mut self.fetched).insert(certificate.clone(), fetched);
                    self.shelf.put(certificate.clone(), fingerprint, kept);
                }
                (Outcome::Delivered, "done")
            }
            Err(error) => {
                let (of_all, after) = match &error {
                    ErrandError::Manager(error) => (error.is_of_all(), error.after()),
                    _ => (false, None),
                };
                (Outcome::Failed { why: error.to_string(), after, of_all }, "failed")
            }
        };
        let labels = Labels { manager: Arc::from(key.0.as_str()), errand: task.as_str(), outcome: counted };
        self.counts.0.get_or_create(&labels).inc();
        self.book.record(&key, &outcome, SystemTime::now());
        let (manager, id, errand) = (&key.0, &with.id, task.as_str());
        match (&outcome, task) {
            // Each time is a time of its own.
            (Outcome::Delivered, Task::Fetch { .. }) => {
                debug!(manager, id, %certificate, "fetched");
                self.book.forget_letter(&key);
            }
            (Outcome::Delivered, _) => info!(manager, id, %certificate, "brought to its manager"),
            (Outcome::Failed { why, .. }, _) => {
                warn!(manager, id, %certificate, errand, "an errand failed: {why}; trying again");
            }
            (Outcome::Gone, _) => {}
        }
    }
}

async fn run(errand: &Errand, manager: &Manager, store: &impl Store) -> Result<Option<Found>, ErrandError> {
    let Errand { certificate, with, task } = errand;
    let (namespace, id) = (certificate.namespace.as_str(), with.id.as_str());
    match task {
        Task::Fetch { .. } => {
            let (version, bundle) = manager.fetch(namespace, id).await?;
            let kind = certificate.name.parse::<Naming>().ok().and_then(|naming| naming.kind.usage());
            let serves = kind.is_none_or(|usage| usage != Usage::ClientOnly);
            judge(version, bundle, serves, SystemTime::now()).map(Some)
        }
        Task::Bring { version, sha256 } => {
            let Kept { certificate, key, .. } = store.kept(certificate, *version).await?;
            if Leaf::read(certificate.as_bytes()).is_none_or(|leaf| leaf.sha256 != *sha256) {
                return Err(ErrandError::Replaced(*version));
            }
            manager.bring(namespace, id, &Version { certificate, key, roots: None }).await?;
            Ok(None)
        }
    }
}

/// As an agent would, before anything is kept of it.
fn judge(version: Version, bundle: String, serves: bool, now: SystemTime) -> Result<Found, ErrandError> {
    let Version { certificate, key, .. } = version;
    let judged = preflight::judge(certificate.as_bytes(), key.as_bytes(), bundle.as_bytes(), serves, now);
    let judged = judged.map_err(|rejection| ErrandError::Refused(rejection.to_string()))?;
    let root = root_of(&judged, now)
        .ok_or_else(|| ErrandError::Refused("none of the roots that came with it verifies it".to_owned()))?;
    let fingerprint = Fingerprint::of(certificate.as_bytes(), key.as_bytes());
    let roots = x509_facts::roots(bundle.as_bytes());
    let kept = Kept {
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
fn root_of(judged: &Judged, now: SystemTime) -> Option<RootId> {
    let at = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let chain = &judged.leaf.certified.cert;
    let verifies = |alone: &RootAlone| alone.trusts_server(chain, at) || alone.trusts_client(chain, at);
    let mut roots = judged.trust.iter().flat_map(|trust| &trust.roots);
    let root = roots.find(|root| RootAlone::new(root).is_ok_and(|alone| verifies(&alone)))?;
    Some(RootId(root.sha256.clone()))
}
