//! The keyrings that were read last: to sign ten thousand leaves, a key is not read ten thousand times. And what the
//! store was asked of them: whether the one that was observed is still the one that counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::pki::keyring::Keyring;
use crate::planner::observed::ResourceVersion;
use crate::store::StoreError;

/// How long an answer counts. As long as a round starts writes: a process that was stopped in the middle of one asks
/// again.
const MAX_AGE: Duration = Duration::from_secs(5);

/// By authority.
#[derive(Debug, Default)]
pub struct KeyringCache {
    keyrings: Mutex<BTreeMap<String, (ResourceVersion, Arc<Keyring>)>>,
    checks: Mutex<BTreeMap<String, Check>>,
}

/// Which version the store has: asked once, however many wait for it.
pub type Answer = Arc<OnceCell<Result<Option<ResourceVersion>, StoreError>>>;

#[derive(Debug)]
struct Check {
    since: Instant,
    answer: Answer,
}

impl KeyringCache {
    pub fn get(&self, authority: &str, version: &ResourceVersion) -> Option<Arc<Keyring>> {
        let keyrings = self.keyrings();
        let (cached, keyring) = keyrings.get(authority)?;
        (cached == version).then(|| Arc::clone(keyring))
    }

    pub fn insert(&self, authority: &str, version: ResourceVersion, keyring: Keyring) -> Arc<Keyring> {
        let keyring = Arc::new(keyring);
        self.keyrings().insert(authority.to_owned(), (version, Arc::clone(&keyring)));
        keyring
    }

    pub fn remove(&self, authority: &str) {
        self.keyrings().remove(authority);
        self.checks().remove(authority);
    }

    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.keyrings().retain(|authority, _| exists(authority));
    }

    pub fn clear(&self) {
        self.keyrings().clear();
        self.begin_round();
    }

    /// The store is asked anew.
    pub fn begin_round(&self) {
        self.checks().clear();
    }

    /// The answer of this round, or the place for it.
    pub fn answer(&self, authority: &str, now: Instant) -> Answer {
        let mut checks = self.checks();
        let new = || Check { since: now, answer: Answer::default() };
        let check = checks.entry(authority.to_owned()).or_insert_with(new);
        if now.duration_since(check.since) > MAX_AGE {
            *check = new();
        }
        Arc::clone(&check.answer)
    }

    fn keyrings(&self) -> MutexGuard<'_, BTreeMap<String, (ResourceVersion, Arc<Keyring>)>> {
        self.keyrings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<String, Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::SystemTime;

    use super::*;
    use crate::pki::authority::{Authority, AuthorityRequest};

    fn keyring() -> Keyring {
        let request = AuthorityRequest {
            common_name: "root".into(),
            lifetime: Duration::from_secs(3600),
            ..Default::default()
        };
        Keyring::new(Authority::create(&request, SystemTime::now()).unwrap())
    }

    #[test]
    fn keyring_of_an_authority_that_is_gone_is_dropped() {
        let (cache, version) = (KeyringCache::default(), ResourceVersion("1".into()));
        let [kept, gone] =
            ["kept", "gone"].map(|name| Arc::downgrade(&cache.insert(name, version.clone(), keyring())));
        cache.retain(|authority| authority == "kept");
        assert!(gone.upgrade().is_none() && cache.get("gone", &version).is_none());
        assert!(kept.upgrade().is_some() && cache.get("kept", &version).is_some());
        cache.clear();
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn store_is_asked_once_a_round_and_again_when_the_round_has_lasted_too_long() {
        let (cache, now) = (KeyringCache::default(), Instant::now());
        let first = cache.answer("a", now);
        assert!(Arc::ptr_eq(&first, &cache.answer("a", now + MAX_AGE)));
        assert!(!Arc::ptr_eq(&first, &cache.answer("b", now)));
        let late = now + MAX_AGE + Duration::from_millis(1);
        let second = cache.answer("a", late);
        assert!(!Arc::ptr_eq(&first, &second));
        cache.begin_round();
        assert!(!Arc::ptr_eq(&second, &cache.answer("a", late)));
    }
}
