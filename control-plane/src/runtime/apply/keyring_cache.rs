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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (ResourceVersion, Arc<Keyring>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
