//! The pods of the namespaces that the plan asks for, listed no more often than it is worth: at once after something was
//! published in the namespace, less often the longer nothing was, and the less often the longer it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::object_name::ObjectName;
use crate::planner::Plan;
use crate::planner::observed::PodList;
use crate::store::Store;

/// Between two lists of the same pods: half of the time since the last write there, between these.
const RELIST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// A namespace is listed again after so many times as long as its list took.
const SPACING: u32 = 4;
/// What nothing was written to is listed again after so many times as long as the lists of all namespaces take.
const SPACING_OF_ALL: u32 = 10;
/// However long lists take, a namespace is listed again after this time.
const LONGEST: Duration = Duration::from_secs(60);
/// A write that is later than now by more than this is one of a clock that was set back.
const SET_BACK: Duration = Duration::from_secs(1);
/// A list that is older is discarded.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

pub struct PodCache {
    /// Namespaces that the last plan asks for.
    requested: BTreeSet<String>,
    /// Those whose list it keeps.
    retained: BTreeSet<String>,
    /// By namespace, as last listed.
    lists: BTreeMap<String, PodList>,
    /// When something was written last in a namespace whose pods are wanted.
    written: BTreeMap<String, SystemTime>,
    /// When a keyring was written last.
    keyring_written: SystemTime,
    /// How long a list took, by namespace.
    took: BTreeMap<String, Duration>,
}

impl Default for PodCache {
    fn default() -> Self {
        Self {
            requested: BTreeSet::new(),
            retained: BTreeSet::new(),
            lists: BTreeMap::new(),
            written: BTreeMap::new(),
            keyring_written: UNIX_EPOCH,
            took: BTreeMap::new(),
        }
    }
}

impl PodCache {
    /// Lists the pods of the requested namespaces, unless they were listed recently and nothing was written
    /// there since. Returns all lists; [`keep`](Self::keep) takes them back.
    pub async fn refresh<S: Store>(&mut self, store: &S) -> BTreeMap<String, PodList> {
        let now = SystemTime::now();
        self.lists.retain(|_, list| age(list, now) < MAX_AGE);
        let of_all = self.took_of_all();
        let is_due = |namespace: &&String| self.due(namespace, of_all, now) <= now;
        let mut due: BTreeSet<_> = self.requested.iter().filter(is_due).cloned().collect();
        due.extend(self.retained.iter().filter(|namespace| self.expiring(namespace) <= now).cloned());
        if !due.is_empty() {
            let begin = SystemTime::now();
            let lists = store.pods(&due).await;
            let took = SystemTime::now().duration_since(begin).unwrap_or_default();
            let each = took / u32::try_from(due.len()).unwrap_or(u32::MAX);
            self.took.extend(due.into_iter().map(|namespace| (namespace, each)));
            self.lists.extend(lists);
        }
        std::mem::take(&mut self.lists)
    }

    /// Keeps the lists that the plan asks for again, or wants retained. `nudged`: pods, and the revision that each was
    /// nudged for.
    pub fn keep(&mut self, mut lists: BTreeMap<String, PodList>, plan: &Plan, nudged: &[(ObjectName, u64)]) {
        self.requested.clone_from(&plan.list_pods);
        self.retained.clone_from(&plan.retain_pods);
        let is_wanted =
            |namespace: &String| plan.list_pods.contains(namespace) || plan.retain_pods.contains(namespace);
        lists.retain(|namespace, _| is_wanted(namespace));
        self.written.retain(|namespace, _| is_wanted(namespace));
        self.took.retain(|namespace, _| is_wanted(namespace));
        // Or they would be nudged again before they are listed.
        for (name, revision) in nudged {
            let pods = lists.get_mut(&name.namespace).into_iter().flat_map(|list| &mut list.pods);
            pods.filter(|pod| pod.name == name.name).for_each(|pod| pod.nudged_revision = Some(*revision));
        }
        self.lists = lists;
    }

    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// A Secret was published in this namespace: a pod that came before may serve what was there.
    pub fn record_publication(&mut self, namespace: &str) {
        self.written.insert(namespace.to_owned(), SystemTime::now());
    }

    /// What was seen before a step counts for no other.
    pub fn record_transition(&mut self) {
        self.keyring_written = SystemTime::now();
    }

    /// How long until pods are listed again, if any are requested.
    pub fn next_refresh(&self, now: SystemTime) -> Option<Duration> {
        let of_all = self.took_of_all();
        let due = self.requested.iter().map(|namespace| self.due(namespace, of_all, now));
        let due = due.chain(self.retained.iter().map(|namespace| self.expiring(namespace))).min()?;
        Some(due.duration_since(now).unwrap_or_default())
    }

    /// When the pods of a namespace are listed again, while they are requested. What was never listed is listed at
    /// once, and what was written to as soon as that leaves time to other work.
    fn due(&self, namespace: &str, took_of_all: Duration, now: SystemTime) -> SystemTime {
        let Some(list) = self.lists.get(namespace).filter(|list| list.listed_at <= now) else { return now };
        let took = self.took.get(namespace).copied().unwrap_or_default();
        let written = self.written.get(namespace).copied().unwrap_or(UNIX_EPOCH).max(self.keyring_written);
        // If it is later than now the clock was set back: any list is one from after it.
        let written = if written <= now + SET_BACK { written } else { UNIX_EPOCH };
        if list.listed_at <= written {
            return list.listed_at + took * SPACING;
        }
        let quiet = now.duration_since(written).unwrap_or_default();
        let interval = (quiet / 2).clamp(RELIST.0, RELIST.1);
        list.listed_at + interval.max((took_of_all * SPACING_OF_ALL).min(LONGEST))
    }

    /// When a list that is kept is made again, so that what was proven of its pods is not lost with it.
    fn expiring(&self, namespace: &str) -> SystemTime {
        self.lists.get(namespace).map_or(UNIX_EPOCH, |list| list.listed_at + MAX_AGE / 2)
    }

    fn took_of_all(&self) -> Duration {
        self.requested.iter().filter_map(|namespace| self.took.get(namespace)).sum()
    }
}

fn age(list: &PodList, now: SystemTime) -> Duration {
    now.duration_since(list.listed_at).unwrap_or(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Namespaces that were listed a second ago, one that takes long among them.
    fn listed(now: SystemTime) -> PodCache {
        let mut cache = PodCache::default();
        for (namespace, took) in [("shop", MILLI), ("bank", MILLI), ("large", 500 * MILLI)] {
            let list = PodList { listed_at: now - 1_000 * MILLI, error: None, pods: Vec::new() };
            cache.requested.insert(namespace.into());
            cache.lists.insert(namespace.into(), list);
            cache.took.insert(namespace.into(), took);
        }
        cache
    }

    fn due(cache: &PodCache, now: SystemTime) -> Vec<&String> {
        let of_all = cache.took_of_all();
        cache.requested.iter().filter(|namespace| cache.due(namespace, of_all, now) <= now).collect()
    }

    #[test]
    fn only_where_something_was_published_pods_are_listed_again_at_once() {
        let now = SystemTime::now();
        let mut cache = listed(now);
        assert!(due(&cache, now).is_empty());
        cache.record_publication("bank");
        assert_eq!(due(&cache, now), ["bank"]);
        cache.requested.insert("new".into());
        assert_eq!(due(&cache, now), ["bank", "new"]);
        assert_eq!(cache.next_refresh(now), Some(Duration::ZERO));
    }

    #[test]
    fn list_that_takes_long_is_made_seldom_and_all_of_them_leave_time_to_other_work() {
        let now = SystemTime::now();
        let mut cache = listed(now);
        cache.record_publication("large");
        assert!(due(&cache, now).is_empty(), "it took half a second");
        assert_eq!(due(&cache, now + 1_000 * MILLI), ["large"]);
        cache.record_transition();
        assert_eq!(due(&cache, now), ["bank", "shop"], "what was seen before a step counts for no other");
        let cache = listed(now);
        assert!(due(&cache, now + 4_000 * MILLI).is_empty());
        assert_eq!(due(&cache, now + 11_000 * MILLI).len(), 3);
    }

    #[test]
    fn list_that_is_kept_is_made_again_before_it_is_too_old() {
        let now = SystemTime::now();
        let mut cache = listed(now);
        cache.requested.clear();
        cache.retained.insert("shop".into());
        let next = cache.next_refresh(now).unwrap();
        assert!(next > MAX_AGE / 3 && next < MAX_AGE / 2, "{next:?}");
    }

    #[test]
    fn write_from_a_clock_that_was_set_back_does_not_make_lists_due_all_the_time() {
        let now = SystemTime::now();
        let mut cache = listed(now);
        cache.keyring_written = now + 1_000 * MAX_AGE;
        assert!(due(&cache, now).is_empty());
        assert_eq!(due(&cache, now + LONGEST).len(), 3);
    }

    #[test]
    fn pod_that_was_nudged_is_known_to_be_before_it_is_listed_again() {
        let mut cache = PodCache::default();
        let pod = crate::planner::observed::Pod {
            name: "one".into(),
            uid: "1".into(),
            mounted_secrets: BTreeSet::new(),
            agent: None,
            nudged_revision: None,
            proofs: BTreeMap::new(),
        };
        let list = PodList { listed_at: SystemTime::now(), error: None, pods: vec![pod] };
        let plan = Plan { list_pods: BTreeSet::from(["shop".into()]), ..Plan::default() };
        let nudged = [(ObjectName::new("shop", "one"), 7)];
        cache.keep(BTreeMap::from([("shop".into(), list)]), &plan, &nudged);
        assert_eq!(cache.lists["shop"].pods[0].nudged_revision, Some(7));
    }
}
