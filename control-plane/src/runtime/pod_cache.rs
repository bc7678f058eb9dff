//! The pods of the namespaces that the plan asks for, listed no more often than it is worth: often after a
//! write, and less often the longer nothing was written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::planner::Plan;
use crate::planner::observed::PodList;
use crate::store::Store;

/// Between two lists of the same pods: a quarter of the time since the last write, between these.
const RELIST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A list that is older is discarded.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

pub struct PodCache {
    /// Namespaces that the last plan asks for.
    requested: BTreeSet<String>,
    /// By namespace, as last listed.
    lists: BTreeMap<String, PodList>,
    last_write: SystemTime,
}

impl Default for PodCache {
    fn default() -> Self {
        Self { requested: BTreeSet::new(), lists: BTreeMap::new(), last_write: UNIX_EPOCH }
    }
}

impl PodCache {
    /// Lists the pods of the requested namespaces, unless they were listed recently and nothing was written
    /// since. Returns all lists; [`keep`](Self::keep) takes them back.
    pub async fn refresh<S: Store>(&mut self, store: &S) -> BTreeMap<String, PodList> {
        let now = SystemTime::now();
        let age = |list: &PodList| now.duration_since(list.listed_at).unwrap_or(MAX_AGE);
        self.lists.retain(|_, list| age(list) < MAX_AGE);
        let interval = self.relist_interval(now);
        let is_fresh =
            |list: &PodList| list.listed_at > self.last_write && age(list) < interval && list.error.is_none();
        let is_outdated = |namespace: &&String| !self.lists.get(*namespace).is_some_and(is_fresh);
        let outdated: BTreeSet<_> = self.requested.iter().filter(is_outdated).cloned().collect();
        if !outdated.is_empty() {
            self.lists.extend(store.pods(&outdated).await);
        }
        std::mem::take(&mut self.lists)
    }

    /// Keeps the lists that the plan asks for again, or wants retained.
    pub fn keep(&mut self, mut lists: BTreeMap<String, PodList>, plan: &Plan) {
        self.requested.clone_from(&plan.list_pods);
        lists.retain(|namespace, _| {
            plan.list_pods.contains(namespace) || plan.retain_pods.contains(namespace)
        });
        self.lists = lists;
    }

    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    pub fn record_write(&mut self) {
        self.last_write = SystemTime::now();
    }

    /// How long until the pods are listed again, if any are requested.
    pub fn next_refresh(&self, now: SystemTime) -> Option<Duration> {
        let is_new = |namespace: &String| !self.lists.contains_key(namespace);
        // What was never listed is listed at once.
        if self.requested.iter().any(is_new) {
            return Some(Duration::ZERO);
        }
        (!self.requested.is_empty()).then(|| self.relist_interval(now))
    }

    fn relist_interval(&self, now: SystemTime) -> Duration {
        let quiet = now.duration_since(self.last_write).unwrap_or_default();
        (quiet / 4).clamp(RELIST.0, RELIST.1)
    }
}
