//! Where everything is: the Kubernetes API, or a directory for one machine. A store is looked at
//! ([`Store::observe`]) and written to, one object a write; it decides nothing.
//!
//! Every write says what it is written over. If that is no longer there, because somebody else wrote
//! since the look, the store refuses it with [`StoreError::Conflict`], and whoever planned it looks
//! again. So two writers, or one that crashed and came back, do no harm to each other.

mod codec;
pub mod directory;
pub mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ServiceCertificateSpec,
};
use crate::pki::keyring::{Keyring, RootId};
use crate::planner::observed::{ObjectName, Observed, PodList, ResourceVersion};

pub trait Store: Send + Sync + 'static {
    /// Everything but the pods (`Observed::pods` is empty).
    fn observe(&self) -> impl Future<Output = Result<Observed, StoreError>> + Send;

    /// The pods of these namespaces that mount Secrets of ours; what fails for one namespace is said in
    /// its look. Proofs are none of a store's business: `Pod::proof` is `None`.
    fn pods(&self, namespaces: &BTreeSet<String>) -> impl Future<Output = BTreeMap<String, PodList>> + Send;

    /// With its keys.
    fn keyring(
        &self,
        authority: &str,
    ) -> impl Future<Output = Result<Option<(Keyring, ResourceVersion)>, StoreError>> + Send;

    /// Writes the whole keyring over the one with this stamp; `None` creates it.
    fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A root that somebody put there to be imported: certificate and key, PEM.
    fn import(&self, secret: &str) -> impl Future<Output = Result<ImportedPem, StoreError>> + Send;

    /// Keeps a version for good. Refused as conflict if there is one of this number.
    fn keep(
        &self,
        certificate: &ObjectName,
        version: u64,
        kept: &StoredVersion,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn kept(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> impl Future<Output = Result<StoredVersion, StoreError>> + Send;

    /// Forgets a version; it is no error if there is none.
    fn prune(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the target Secret, whole: readers see all of it or none.
    fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Has the pod look at its volume at once.
    fn nudge(&self, pod: &ObjectName, revision: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Leaves what somebody outside says of an object with it, as the request `notice`: an id and words.
    fn notice(&self, about: &ObjectRef, text: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns when something may be different from the last look, or was when it was called.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Tells a person what happened to an object. It may get lost: what matters is in the status.
    fn tell(&self, news: &EventRecord) -> impl Future<Output = ()> + Send;
}

/// What a person does to the objects by a command.
pub trait Editor: Send + Sync + 'static {
    /// Leaves a request with an object: `verb` as in [`crate::api::resource::annotation`] without the prefix,
    /// `text` an id and words. It replaces an earlier one of that verb.
    fn ask(
        &self,
        about: &ObjectRef,
        verb: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Refused as conflict if there is one of this name.
    fn create_authority(
        &self,
        name: &str,
        spec: &CertificateAuthoritySpec,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Refused as conflict if there is one of this name.
    fn create_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
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

/// What is written into a target Secret.
#[derive(Clone)]
pub struct Contents {
    /// `tls.crt`
    pub certificate: String,
    /// `tls.key`
    pub key: Zeroizing<String>,
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

/// Something that a person should know.
#[derive(Clone, Debug)]
pub struct EventRecord {
    pub about: ObjectRef,
    pub warning: bool,
    /// One word in CamelCase.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Debug)]
pub enum ObjectRef {
    Authority(String),
    Certificate(ObjectName),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PodList again.
    #[error("somebody else wrote {0} first")]
    Conflict(String),
    /// What is asked for is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// It is there, and is not what it should be.
    #[error("{what} cannot be used: {cause}")]
    Malformed { what: String, cause: String },
    /// Rights, reach or disk: what, why, and what to do about it.
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
