//! Versions that were stored by this process and are about to be published: they need not be read back. With their
//! keys, so there are few of them, and none for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::object_name::ObjectName;
use crate::store::StoredVersion;

/// A version is published in the round after the one that it was stored in.
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_VERSIONS: usize = 1_024;

#[derive(Debug, Default)]
pub struct UnpublishedVersions(Mutex<BTreeMap<(ObjectName, u64), (Instant, StoredVersion)>>);

impl UnpublishedVersions {
    pub fn insert(&self, certificate: &ObjectName, number: u64, version: StoredVersion) {
        let mut versions = self.versions();
        if versions.len() < MAX_VERSIONS {
            versions.insert((certificate.clone(), number), (Instant::now(), version));
        }
    }

    /// Once: if it is not published then, it is read from the store.
    pub fn take(&self, certificate: &ObjectName, number: u64) -> Option<StoredVersion> {
        self.versions().remove(&(certificate.clone(), number)).map(|(_, version)| version)
    }

    /// How many more are kept.
    pub fn room(&self) -> usize {
        MAX_VERSIONS.saturating_sub(self.versions().len())
    }

    pub fn forget_old(&self) {
        self.versions().retain(|_, (since, _)| since.elapsed() < MAX_AGE);
    }

    pub fn clear(&self) {
        self.versions().clear();
    }

    fn versions(&self) -> MutexGuard<'_, BTreeMap<(ObjectName, u64), (Instant, StoredVersion)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
