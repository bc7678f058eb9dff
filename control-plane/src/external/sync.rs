//! Runs the planned [`SyncTask`]s: fetches certificates from external managers and pushes them there, concurrently
//! with the reconcile rounds, so that a slow manager delays nothing else. A fetched version waits in the
//! [`FetchCache`], with its key, until a later plan has it stored or has no use for it.
//!
//! What is to be done is decided by the plan alone; results are only reported to the next one.

mod fetch_cache;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::api::object_name::ObjectName;
use crate::external::manager::{Manager, Managers, Metadata};
use crate::outbox::{DeliveryKey, DeliveryOutcome, Outbox};
use crate::planner::observed::{ExternalState, Fetched, Observed};
use crate::planner::{Action, Plan, SyncAction, SyncTask};
use crate::store::Store;
use task::{Completed, FetchedVersion, SyncError};

pub use fetch_cache::FetchCache;

const MAX_CONCURRENT: usize = 32;

pub struct ExternalSync {
    configured: watch::Receiver<Arc<Managers>>,
    /// Another process knows the managers and does the work.
    disabled: bool,
    names: Arc<BTreeSet<String>>,
    managers: Arc<Managers>,
    outbox: Outbox<SyncTask>,
    /// The task in progress of each certificate. There is one at a time: two could overtake each other.
    in_progress: BTreeMap<ObjectName, (DeliveryKey, AbortHandle)>,
    fetched: Arc<BTreeMap<ObjectName, Fetched>>,
    /// What the managers said of these.
    metadata: BTreeMap<ObjectName, Metadata>,
    fetch_cache: FetchCache,
    results: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    metrics: Metrics,
}

struct Done {
    key: DeliveryKey,
    task: Arc<SyncTask>,
    /// As it was configured when the task began.
    manager: Arc<Manager>,
    result: Result<Completed, SyncError>,
}

/// Labels are bounded: managers are those of the settings file.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    manager: Arc<str>,
    task: &'static str,
    outcome: &'static str,
}

/// How a task ended, for the metric.
#[derive(Clone, Copy)]
enum SyncOutcome {
    Done,
    Failed,
}

impl SyncOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "external_sync",
            "Certificates fetched from and pushed to external managers, by manager, task and outcome",
            self.0.clone(),
        );
    }
}

impl ExternalSync {
    pub fn new(configured: watch::Receiver<Arc<Managers>>, metrics: Metrics) -> Self {
        Self {
            configured,
            disabled: false,
            names: Arc::default(),
            managers: Arc::default(),
            outbox: Outbox::default(),
            in_progress: BTreeMap::new(),
            fetched: Arc::default(),
            metadata: BTreeMap::new(),
            fetch_cache: FetchCache::default(),
            results: mpsc::channel(MAX_CONCURRENT),
            metrics,
        }
    }

    /// Runs nothing, and leaves the managers to another process.
    pub fn disabled() -> Self {
        Self { disabled: true, ..Self::new(watch::channel(Arc::default()).1, Metrics::default()) }
    }

    pub fn fetch_cache(&self) -> FetchCache {
        self.fetch_cache.clone()
    }

    /// Before another term as the leader, and after one. What was fetched before may be older than what another
    /// leader has published since, and nothing is pushed any more that it may have superseded.
    pub fn forget(&mut self) {
        for (_, running) in std::mem::take(&mut self.in_progress).into_values() {
            running.abort();
        }
        self.results = mpsc::channel(MAX_CONCURRENT);
        self.outbox = Outbox::default();
        self.fetched = Arc::default();
        self.fetch_cache.retain(|_| false);
    }

    /// What is known of the managers, with the current settings.
    pub fn observe(&mut self) -> ExternalState {
        let configured = Arc::clone(&self.configured.borrow_and_update());
        if !Arc::ptr_eq(&self.managers, &configured) {
            self.configure(configured);
        }
        while let Ok(done) = self.results.1.try_recv() {
            self.record(done);
        }
        ExternalState {
            managers: (!self.disabled).then(|| Arc::clone(&self.names)),
            fetched: Arc::clone(&self.fetched),
            done: self.outbox.delivered(),
            failed: self.outbox.failing(),
        }
    }

    /// A manager whose settings changed is tried again at once, and what came from it is fetched again.
    fn configure(&mut self, managers: Arc<Managers>) {
        let is_unchanged = |name: &str| {
            let (before, now) = (self.managers.get(name), managers.get(name));
            matches!((before, now), (Some(before), Some(now)) if before.is_same(now))
        };
        self.outbox.forget(is_unchanged);
        if !self.fetched.is_empty() {
            Arc::make_mut(&mut self.fetched).retain(|_, fetched| is_unchanged(&fetched.from.name));
        }
        self.names = Arc::new(managers.keys().cloned().collect());
        self.managers = managers;
    }

    /// Takes the tasks of a plan that was made from the last [`Self::observe`].
    pub fn set_desired(&mut self, plan: &Plan, observed: &Observed) {
        let in_progress = &self.in_progress;
        let tasks = plan.sync_tasks.iter().map(|task| (task.key(), task));
        self.outbox.set_desired(
            tasks.filter(|(key, task)| {
                in_progress.get(&task.certificate).is_none_or(|(other, _)| other == key)
            }),
        );
        for action in &plan.actions {
            // The cache lost the version that is to be stored: it has to be fetched again.
            if let Action::StoreFetched { certificate, fingerprint, .. } = action
                && self.fetch_cache.get(certificate, *fingerprint).is_none()
            {
                Arc::make_mut(&mut self.fetched).remove(certificate);
            }
        }
        let is_needed = |(certificate, fetched): (&ObjectName, &Fetched)| {
            let spec = observed.certificates.get(certificate).map(|certificate| &certificate.spec);
            spec.is_some_and(|spec| spec.is_fetched() && spec.manager.as_ref() == Some(&fetched.from))
        };
        if !self.fetched.iter().all(is_needed) {
            Arc::make_mut(&mut self.fetched).retain(|certificate, fetched| is_needed((certificate, fetched)));
        }
        let fetched = &self.fetched;
        self.metadata.retain(|certificate, _| fetched.contains_key(certificate));
        self.fetch_cache.retain(|name| {
            let (certificate, fetched) = (observed.certificates.get(name), fetched.get(name));
            matches!((certificate, fetched), (Some(certificate), Some(fetched)) if !fetched.is_known(certificate))
        });
    }

    pub fn next_due(&self) -> Option<SystemTime> {
        self.outbox.next_due(MAX_CONCURRENT)
    }

    /// Starts the tasks that are due.
    pub fn send<S: Store>(&mut self, store: &Arc<S>, now: SystemTime) {
        for (key, task) in self.outbox.due(now, MAX_CONCURRENT) {
            let Some(manager) = self.managers.get(&key.0).map(Arc::clone) else {
                let why = "the manager was removed from the settings".to_owned();
                self.outbox.record(
                    &key,
                    &DeliveryOutcome::Failed { why, retry_after: None, is_destination_failing: true },
                    now,
                );
                continue;
            };
            let (results, store) = (self.results.0.clone(), Arc::clone(store));
            let entry = (task.certificate.clone(), key.clone());
            let seen = self.seen(&task);
            let running = tokio::spawn(async move {
                let result = task::run(&task, &manager, seen.as_ref(), store.as_ref()).await;
                let _ = results.send(Done { key, task, manager, result }).await;
            });
            self.in_progress.insert(entry.0, (entry.1, running.abort_handle()));
        }
    }

    /// What its manager said of the version that was fetched last, while what was fetched is still known.
    fn seen(&self, task: &SyncTask) -> Option<Metadata> {
        let fetched = self.fetched.get(&task.certificate);
        fetched
            .filter(|fetched| fetched.from == task.with)
            .and_then(|_| self.metadata.get(&task.certificate).cloned())
    }

    /// Waits until a task ends, successfully or not.
    pub async fn wait(&mut self) {
        // The channel never closes: `results` holds one of its senders.
        let Some(done) = self.results.1.recv().await else { return std::future::pending().await };
        self.record(done);
    }

    fn record(&mut self, done: Done) {
        let Done { key, task, manager, result } = done;
        self.in_progress.remove(&task.certificate);
        // The settings of the manager changed meanwhile: the result says nothing about the new ones.
        if !self.managers.get(&key.0).is_some_and(|now| now.is_same(&manager)) {
            self.outbox.recall(&key);
            return;
        }
        let (outcome, counted) = match result {
            Ok(completed) => {
                match completed {
                    Completed::Fetched(fetched, metadata) => self.cache(&task, *fetched, metadata),
                    Completed::Unchanged => self.seen_again(&task),
                    Completed::Pushed => {}
                }
                (DeliveryOutcome::Delivered, SyncOutcome::Done)
            }
            Err(error) => {
                let (is_manager_failing, retry_after) = match &error {
                    SyncError::Manager(error) => (error.is_manager_failing(), error.retry_after()),
                    _ => (false, None),
                };
                (
                    DeliveryOutcome::Failed {
                        why: error.to_string(),
                        retry_after,
                        is_destination_failing: is_manager_failing,
                    },
                    SyncOutcome::Failed,
                )
            }
        };
        let SyncTask { certificate, with, action } = task.as_ref();
        let labels =
            Labels { manager: Arc::from(key.0.as_str()), task: action.as_str(), outcome: counted.as_str() };
        self.metrics.0.get_or_create(&labels).inc();
        self.outbox.record(&key, &outcome, SystemTime::now());
        let (manager, id) = (&with.name, &with.id);
        match (&outcome, action) {
            (DeliveryOutcome::Delivered, SyncAction::Fetch { .. }) => {
                debug!(manager, id, %certificate, "certificate fetched from its manager");
                self.outbox.forget_delivery(&key);
            }
            (DeliveryOutcome::Delivered, SyncAction::Push { .. }) => {
                info!(manager, id, %certificate, "certificate pushed to its manager");
            }
            (DeliveryOutcome::Failed { why, .. }, _) => {
                warn!(manager, id, %certificate, action = action.as_str(), "sync with the manager failed and will be retried: {why}");
            }
            (DeliveryOutcome::Gone, _) => {}
        }
    }

    /// The manager still has the version that was fetched last.
    fn seen_again(&mut self, task: &SyncTask) {
        let SyncAction::Fetch { trigger, .. } = &task.action else { return };
        if let Some(fetched) = Arc::make_mut(&mut self.fetched).get_mut(&task.certificate) {
            fetched.trigger.clone_from(trigger);
        }
    }

    fn cache(&mut self, task: &SyncTask, fetched: FetchedVersion, metadata: Option<Metadata>) {
        let SyncTask { certificate, with, action } = task;
        let SyncAction::Fetch { trigger, .. } = action else { return };
        match metadata {
            Some(metadata) => drop(self.metadata.insert(certificate.clone(), metadata)),
            None => drop(self.metadata.remove(certificate)),
        }
        let FetchedVersion { fingerprint, roots, version } = fetched;
        let fetched = Fetched { from: with.clone(), trigger: trigger.clone(), fingerprint, roots };
        Arc::make_mut(&mut self.fetched).insert(certificate.clone(), fetched);
        self.fetch_cache.put(certificate.clone(), fingerprint, version);
    }
}

#[cfg(test)]
mod tests;
