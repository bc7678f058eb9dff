//! Where everything is kept: in the Kubernetes API, or in a directory for one machine. A store is observed
//! ([`Store::observe`]) and written to, one object a write; it decides nothing.
//!
//! Every write names the resource version that it replaces. If another writer was first, the store refuses it
//! with [`StoreError::Conflict`], and the caller observes and plans again. So two writers, or one that crashed
//! and came back, do no harm to each other.

pub mod codec;
pub mod directory;
pub mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::api::condition::EventReason;
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ServiceCertificateSpec,
};
use crate::pki::keyring::{Keyring, RootId};
use crate::planner::observed::{Observed, PodList, ResourceVersion};

pub trait Store: Send + Sync + 'static {
    /// Distrusts what is remembered: the next observation shows everything that was written before this
    /// call, or fails.
    fn relist(&self) -> impl Future<Output = ()> + Send;

    /// Everything but the pods (`Observed::pods` is empty).
    fn observe(&self) -> impl Future<Output = Result<Observed, StoreError>> + Send;

    /// The pods of these namespaces that mount target Secrets; an error in one namespace is in its list.
    /// `Pod::proof` is `None`: a store does not probe.
    fn pods(&self, namespaces: &BTreeSet<String>) -> impl Future<Output = BTreeMap<String, PodList>> + Send;

    /// With its keys.
    fn keyring(
        &self,
        authority: &str,
    ) -> impl Future<Output = Result<Option<(Keyring, ResourceVersion)>, StoreError>> + Send;

    /// As it is now, not as it was observed; `None` if there is no keyring. Cheaper than to read its keys.
    fn keyring_version(
        &self,
        authority: &str,
    ) -> impl Future<Output = Result<Option<ResourceVersion>, StoreError>> + Send;

    /// Writes the whole keyring over the one with this resource version; `None` creates it.
    fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The root to import from this Secret: certificate and key, PEM.
    fn import(&self, secret: &str) -> impl Future<Output = Result<ImportedPem, StoreError>> + Send;

    /// Stores a version, which is never changed. A conflict if there is one of this number.
    fn create_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        stored: &StoredVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn load_version(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> impl Future<Output = Result<StoredVersion, StoreError>> + Send;

    /// Deletes a version; succeeds if there is none, and is a conflict if it is another one of that number.
    fn delete_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the key of a version; what is recorded of it and its certificate stay. Succeeds if it has no key, and is a
    /// conflict if it is another version of that number.
    fn remove_key(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The bundle in the target Secret as it is now, PEM; empty if there is none that can be read.
    fn published_bundle(
        &self,
        certificate: &ObjectName,
        secret: &str,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Writes the target Secret, whole: readers never see parts of two versions. Without a leaf `over` is the Secret
    /// that has it.
    fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes kubelet update the volumes of the pod at once.
    fn nudge(&self, pod: &ObjectName, revision: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the whole status. A conflict if anything of the object was changed: a request or a spec that the
    /// status does not answer.
    fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// As [`Self::report_authority`].
    fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Sets the request `renewal-hint` of an object: an id and parameters. A conflict if anything of the object was
    /// changed: another receiver may have left a hint.
    fn set_renewal_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns when something may have changed since the last observation.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Records an event about an object. It may get lost: what matters is in the status.
    fn record_event(&self, event: &EventRecord) -> impl Future<Output = ()> + Send;
}

/// What commands do to the objects.
pub trait Editor: Send + Sync + 'static {
    /// Sets a request of an object: `verb` as in [`crate::api::resource::annotation`] without the prefix,
    /// `text` an id and parameters. It replaces an earlier one of that verb.
    fn ask(
        &self,
        about: &ObjectRef,
        verb: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A conflict if there is one of this name.
    fn create_authority(
        &self,
        name: &str,
        spec: &CertificateAuthoritySpec,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A conflict if there is one of this name.
    fn create_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Missing if there is none. Its keyring stays.
    fn delete_authority(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Missing if there is none. What is published stays.
    fn delete_certificate(&self, name: &ObjectName) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A version with its key.
#[derive(Clone)]
pub struct StoredVersion {
    /// PEM, leaf first.
    pub certificate: String,
    /// PKCS#8, PEM.
    pub key: Zeroizing<String>,
    pub root: RootId,
    /// The bundle that came with it, PEM. `None`: its authority's.
    pub bundle: Option<String>,
    pub made_for: String,
    pub created_at: SystemTime,
    pub request: Option<String>,
    pub copy_of: Option<u64>,
}

/// A leaf with its key.
#[derive(Clone)]
pub struct LeafPem {
    /// `tls.crt`, leaf first.
    pub certificate: String,
    /// `tls.key`
    pub key: Zeroizing<String>,
}

/// What is written into a target Secret.
#[derive(Clone)]
pub struct Contents {
    /// `None`: the one that is there stays.
    pub leaf: Option<LeafPem>,
    /// `ca.crt`
    pub bundle: String,
    /// `revision`
    pub revision: u64,
    /// Beside the contents: which version this is.
    pub version: u64,
    /// Beside the contents, to the millisecond.
    pub written_at: SystemTime,
}

pub struct ImportedPem {
    pub certificate: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
}

/// An event about an object.
#[derive(Clone, Debug)]
pub struct EventRecord {
    pub object: ObjectRef,
    pub warning: bool,
    pub reason: EventReason,
    pub message: String,
}

#[derive(Clone, Debug)]
pub enum ObjectRef {
    Authority(String),
    Certificate(ObjectName),
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(name) => f.write_str(name),
            Self::Certificate(name) => name.fmt(f),
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Observe again, and decide again.
    #[error("{0} was changed by another writer")]
    Conflict(String),
    /// The object does not exist.
    #[error("there is no {0}")]
    Missing(String),
    /// The object exists and its content is invalid.
    #[error("{what} cannot be used: {cause}")]
    Malformed { what: String, cause: String },
    /// Access, network or disk: what failed, why, and what to do.
    #[error("{what} failed: {cause}")]
    Failed { what: String, cause: String },
}

impl StoreError {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::Missing(_) => "missing",
            Self::Malformed { .. } => "malformed",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Debug for StoredVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredVersion")
            .field("root", &self.root)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("version", &self.version)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
