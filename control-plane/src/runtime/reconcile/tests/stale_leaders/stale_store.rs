//! A store whose watch of keyrings hangs, while everything else is seen as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::api::object_name::ObjectName;
use crate::api::resource::{AuthorityStatus, CertificateStatus};
use crate::pki::keyring::Keyring;
use crate::planner::observed::{KeyringState, Observed, PodList, ResourceVersion};
use crate::store::{Contents, EventRecord, ImportedPem, ObjectRef, Store, StoreError, StoredVersion};

pub struct StaleStore<S> {
    store: Arc<S>,
    /// What is shown of keyrings, by authority. `None`: what is there.
    frozen: Mutex<Option<BTreeMap<String, KeyringState>>>,
    pub observations: AtomicUsize,
    pub version_reads: AtomicUsize,
    /// Of versions of certificates.
    pub loads: AtomicUsize,
}

impl<S: Store> StaleStore<S> {
    pub fn new(store: &Arc<S>) -> Self {
        Self {
            store: Arc::clone(store),
            frozen: Mutex::new(None),
            observations: AtomicUsize::new(0),
            version_reads: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
        }
    }

    /// From now on the watch says nothing of keyrings.
    pub async fn hang(&self) {
        let observed = self.store.observe().await.unwrap();
        let keyrings = observed.authorities.iter();
        let keyrings = keyrings.map(|(name, authority)| (name.clone(), authority.keyring.clone()));
        *self.frozen.lock().unwrap() = Some(keyrings.collect());
    }

    pub fn catch_up(&self) {
        *self.frozen.lock().unwrap() = None;
    }
}

impl<S: Store> Store for StaleStore<S> {
    /// To no avail: the server that it lists from is as late.
    async fn relist(&self) {}

    async fn published_bundle(&self, certificate: &ObjectName, secret: &str) -> Result<String, StoreError> {
        self.store.published_bundle(certificate, secret).await
    }

    async fn observe(&self) -> Result<Observed, StoreError> {
        let mut observed = self.store.observe().await?;
        if let Some(frozen) = &*self.frozen.lock().unwrap() {
            for (name, keyring) in frozen {
                if let Some(authority) = observed.authorities.get_mut(name) {
                    Arc::make_mut(authority).keyring = keyring.clone();
                }
            }
        }
        self.observations.fetch_add(1, Ordering::SeqCst);
        Ok(observed)
    }

    async fn pods(&self, namespaces: &BTreeSet<String>) -> BTreeMap<String, PodList> {
        self.store.pods(namespaces).await
    }

    async fn keyring(&self, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
        self.store.keyring(authority).await
    }

    async fn keyring_version(&self, authority: &str) -> Result<Option<ResourceVersion>, StoreError> {
        self.version_reads.fetch_add(1, Ordering::SeqCst);
        self.store.keyring_version(authority).await
    }

    async fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        self.store.put_keyring(authority, keyring, over).await
    }

    async fn import(&self, secret: &str) -> Result<ImportedPem, StoreError> {
        self.store.import(secret).await
    }

    async fn create_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        stored: &StoredVersion,
    ) -> Result<(), StoreError> {
        self.store.create_version(certificate, version, stored).await
    }

    async fn load_version(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> Result<StoredVersion, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.store.load_version(certificate, version).await
    }

    async fn remove_key(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.store.remove_key(certificate, version, over).await
    }

    async fn delete_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.store.delete_version(certificate, version, over).await
    }

    async fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        self.store.publish(certificate, secret, contents, over).await
    }

    async fn nudge(&self, pod: &ObjectName, revision: u64) -> Result<(), StoreError> {
        self.store.nudge(pod, revision).await
    }

    async fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.store.report_authority(authority, status, over).await
    }

    async fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.store.report_certificate(certificate, status, over).await
    }

    async fn set_renewal_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.store.set_renewal_hint(about, text, over).await
    }

    async fn changed(&self) {
        self.store.changed().await;
    }

    async fn record_event(&self, event: &EventRecord) {
        self.store.record_event(event).await;
    }
}
