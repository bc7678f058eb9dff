//! The keyrings that were read last: to sign ten thousand leaves, a key is not read ten thousand times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pki::keyring::Keyring;
use crate::planner::observed::ResourceVersion;

/// By authority.
#[derive(Debug, Default)]
pub struct KeyringCache(Mutex<BTreeMap<String, (ResourceVersion, Arc<Keyring>)>>);

impl KeyringCache {
    pub fn get(&self, authority: &str, version: &ResourceVersion) -> Option<Arc<Keyring>> {
        let keyrings = self.lock();
        let (cached, keyring) = keyrings.get(authority)?;
        (cached == version).then(|| Arc::clone(keyring))
    }

    pub fn insert(&self, authority: &str, version: ResourceVersion, keyring: Keyring) -> Arc<Keyring> {
        let keyring = Arc::new(keyring);
        self.lock().insert(authority.to_owned(), (version, Arc::clone(&keyring)));
        keyring
    }

    pub fn remove(&self, authority: &str) {
        self.lock().remove(authority);
    }

    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.lock().retain(|authority, _| exists(authority));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (ResourceVersion, Arc<Keyring>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::api::algorithm::Algorithm;
    use crate::pki::authority::{Authority, AuthorityRequest};

    #[test]
    fn keyring_of_an_authority_that_is_gone_is_dropped() {
        let request = AuthorityRequest {
            common_name: "root".into(),
            algorithm: Algorithm::P256,
            lifetime: Duration::from_secs(3600),
        };
        let (cache, version) = (KeyringCache::default(), ResourceVersion("1".into()));
        let [kept, gone] = ["kept", "gone"].map(|name| {
            let root = Authority::create(&request, SystemTime::now()).unwrap();
            Arc::downgrade(&cache.insert(name, version.clone(), Keyring::new(root)))
        });
        cache.retain(|authority| authority == "kept");
        assert!(gone.upgrade().is_none() && cache.get("gone", &version).is_none());
        assert!(kept.upgrade().is_some() && cache.get("kept", &version).is_some());
    }
}
