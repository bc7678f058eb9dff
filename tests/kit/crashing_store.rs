//! A store that crashes at a chosen write, before it or just after it, and answers nothing from then on. It leaves
//! behind what a killed process leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{AuthorityStatus, CertificateStatus};
use hotcert::pki::keyring::Keyring;
use hotcert::planner::observed::{Observed, PodList, ResourceVersion};
use hotcert::store::{Contents, EventRecord, ImportedPem, ObjectRef, Store, StoreError, StoredVersion};

pub struct CrashingStore<S> {
    store: Arc<S>,
    writes: AtomicUsize,
    /// Which write is the last one; none for a healthy writer.
    last: Option<usize>,
    at: CrashPoint,
    dead: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The write is never made.
    Before,
    /// The write is made, and its answer is lost.
    After,
}

impl<S: Store> CrashingStore<S> {
    pub fn at(store: &Arc<S>, last: usize, at: CrashPoint) -> Self {
        Self {
            store: Arc::clone(store),
            writes: AtomicUsize::new(0),
            last: Some(last),
            at,
            dead: AtomicBool::new(false),
        }
    }

    pub fn never(store: &Arc<S>) -> Self {
        Self { last: None, ..Self::at(store, 0, CrashPoint::Before) }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    async fn alive<T>(&self, ask: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.is_dead() { Err(dead()) } else { ask.await }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.is_dead() {
            return Err(dead());
        }
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        if self.last != Some(number) {
            return write.await;
        }
        self.dead.store(true, Ordering::SeqCst);
        if self.at == CrashPoint::After {
            let _ = write.await;
        }
        Err(dead())
    }
}

fn dead() -> StoreError {
    StoreError::Failed { what: "everything".into(), cause: "the writer is dead".into() }
}

impl<S: Store> Store for CrashingStore<S> {
    async fn relist(&self) {
        self.store.relist().await;
    }

    async fn observe(&self) -> Result<Observed, StoreError> {
        self.alive(self.store.observe()).await
    }

    async fn pods(&self, namespaces: &BTreeSet<String>) -> BTreeMap<String, PodList> {
        self.store.pods(namespaces).await
    }

    async fn keyring(&self, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
        self.alive(self.store.keyring(authority)).await
    }

    async fn keyring_version(&self, authority: &str) -> Result<Option<ResourceVersion>, StoreError> {
        self.alive(self.store.keyring_version(authority)).await
    }

    async fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        self.write(self.store.put_keyring(authority, keyring, over)).await
    }

    async fn import(&self, secret: &str) -> Result<ImportedPem, StoreError> {
        self.alive(self.store.import(secret)).await
    }

    async fn create_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        stored: &StoredVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.create_version(certificate, version, stored)).await
    }

    async fn load_version(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> Result<StoredVersion, StoreError> {
        self.alive(self.store.load_version(certificate, version)).await
    }

    async fn remove_key(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.remove_key(certificate, version, over)).await
    }

    async fn delete_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.delete_version(certificate, version, over)).await
    }

    async fn published_bundle(&self, certificate: &ObjectName, secret: &str) -> Result<String, StoreError> {
        self.alive(self.store.published_bundle(certificate, secret)).await
    }

    async fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        self.write(self.store.publish(certificate, secret, contents, over)).await
    }

    async fn nudge(&self, pod: &ObjectName, revision: u64) -> Result<(), StoreError> {
        self.write(self.store.nudge(pod, revision)).await
    }

    async fn set_renewal_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.set_renewal_hint(about, text, over)).await
    }

    async fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.report_authority(authority, status, over)).await
    }

    async fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write(self.store.report_certificate(certificate, status, over)).await
    }

    async fn changed(&self) {
        self.store.changed().await;
    }

    async fn record_event(&self, event: &EventRecord) {
        if !self.is_dead() {
            self.store.record_event(event).await;
        }
    }
}
