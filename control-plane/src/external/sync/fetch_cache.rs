//! Versions that were fetched and are not stored yet, with their keys. Shared with the step that applies the plan;
//! in memory only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::object_name::ObjectName;
use crate::pki::x509_facts::Fingerprint;
use crate::store::StoredVersion;

#[derive(Clone, Debug, Default)]
pub struct FetchCache(Arc<Mutex<BTreeMap<ObjectName, CachedFetch>>>);

type CachedFetch = (Fingerprint, Arc<StoredVersion>);

impl FetchCache {
    /// The version stays in the cache until the plan has no more use for it: storing it may fail.
    pub fn get(&self, certificate: &ObjectName, fingerprint: Fingerprint) -> Option<Arc<StoredVersion>> {
        let cached = self.lock();
        let (cached_fingerprint, version) = cached.get(certificate)?;
        (*cached_fingerprint == fingerprint).then(|| Arc::clone(version))
    }

    pub(super) fn put(&self, certificate: ObjectName, fingerprint: Fingerprint, version: StoredVersion) {
        self.lock().insert(certificate, (fingerprint, Arc::new(version)));
    }

    pub(super) fn retain(&self, keep: impl Fn(&ObjectName) -> bool) {
        self.lock().retain(|certificate, _| keep(certificate));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectName, CachedFetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
