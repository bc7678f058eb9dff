//! The store of one machine without a cluster: a directory, DIR.
//!
//! | in DIR | what it is | who writes it |
//! |---|---|---|
//! | `authorities/NAME.yaml` | a CertificateAuthority, as it stands in a cluster | people |
//! | `certificates/NAMESPACE/NAME.yaml` | a ServiceCertificate, likewise | people |
//! | `imports/NAME/tls.crt`, `tls.key` | a root to import | people |
//! | `pods/NAMESPACE/NAME.yaml` | an agent on this machine: `uid`, `secret`, `proof` (ADDRESS:PORT), `agent` | people |
//! | `secrets/NAMESPACE/SECRET/` | what `hotcert-agent run --identity` is pointed at | hotcert |
//! | `state/authorities/NAME/keyring/N/` | `state.json`, and certificate and key of each root | hotcert |
//! | `state/versions/NAMESPACE/NAME/N/` | a leaf, its key and `facts.json` | hotcert |
//! | `state/versions/NAMESPACE/NAME/N.keyless/` | the same without the key, once no rollback may need it | hotcert |
//! | `state/…/report.json`, `requests.json` | an object's status, and what commands ask of it | hotcert |
//! | `lock` | held while anything is read or written | hotcert |
//! | `leader` | held by the controller that leads, for as long as it does | hotcert |
//!
//! What is in state/ is for hotcert's user alone (0700, 0600). So are target Secrets, unless a directory at or
//! above them is setgid: then its group may read them (0750, 0640), for agents of other users.
//!
//! Every write takes the lock, compares what is there with what it was planned on, is flushed to the disk, and ends
//! in one rename. So a crash, of the machine too, leaves the step before or the step after, and two programs on
//! one DIR do no harm.

mod access;
pub mod atomic_volume;
mod changes;
mod deleted;
mod disk;
mod files;
mod imports;
mod keyring;
mod leadership;
mod listing;
mod lock;
mod objects;
mod pods;
mod target_secret;
mod tree;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use changes::Changes;
pub use leadership::{Attempt, Leadership};
use lock::{Lock, LockMode};
use tree::Tree;

use super::codec::{self, Malformed};
use super::{Contents, Editor, EventRecord, ImportedPem, ObjectRef, Store, StoreError, StoredVersion};
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ServiceCertificateSpec,
};
use crate::pki::keyring::Keyring;
use crate::planner::observed::{Observed, PodList, Published, ResourceVersion};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    tree: Arc<Tree>,
    changes: Arc<Changes>,
}

impl DirectoryStore {
    /// Takes DIR over, making what is missing of it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        // Paths are kept and watched: they must not depend on where the program goes.
        let directory = std::path::absolute(&directory).map_err(files::failed("finding", &directory))?;
        let tree = Tree::new(directory);
        for directory in [tree.authorities(), tree.certificates(), tree.all_pods()] {
            files::make(&directory, 0o777)?;
        }
        access::make_unshared(&tree.secrets())?;
        files::make_private(&tree.imports())?;
        files::make_private(&tree.state())?;
        // It may have been made or copied by hand, with another mode.
        files::set_mode(&tree.state(), 0o700)?;
        Ok(Self { changes: Arc::new(Changes::of(&tree)), tree: Arc::new(tree) })
    }

    pub fn root(&self) -> &Path {
        self.tree.root()
    }

    /// The user that DIR belongs to, if root works on another's: what root writes there, that user cannot read.
    pub fn user_in_place_of_root(&self) -> Option<u32> {
        let owner = std::fs::metadata(self.tree.state()).ok()?.uid();
        (rustix::process::geteuid().is_root() && owner != 0).then_some(owner)
    }

    /// Agents that serve this Secret, and their admin ports where they are known.
    pub async fn agents(&self, namespace: &str, secret: &str) -> Vec<(String, Option<SocketAddr>)> {
        let (namespace, secret) = (namespace.to_owned(), secret.to_owned());
        let found =
            self.work(LockMode::Shared, move |tree| Ok(pods::agents(tree, &namespace, &secret))).await;
        found.unwrap_or_default()
    }

    /// To what a Secret belongs if it is there and not this certificate's.
    pub async fn foreign_owner(
        &self,
        certificate: &ObjectName,
        secret: &str,
    ) -> Result<Option<String>, StoreError> {
        let secret = ObjectName::new(&certificate.namespace, secret);
        let certificate = certificate.clone();
        self.work(LockMode::Shared, move |tree| {
            Ok(match target_secret::read(&tree.secret(&secret)?, &certificate) {
                Published::OwnedByOther(owner) => Some(owner),
                Published::Absent | Published::Ours(_) | Published::Inaccessible(_) => None,
            })
        })
        .await
    }

    /// Writes the object's file over the one that is there. Comments in that one are lost.
    pub async fn replace_authority(
        &self,
        name: &str,
        spec: &CertificateAuthoritySpec,
    ) -> Result<(), StoreError> {
        let (about, spec) = (ObjectRef::Authority(name.to_owned()), spec.clone());
        self.work(LockMode::Exclusive, move |tree| objects::replace(tree, &about, &spec)).await
    }

    /// Writes the object's file over the one that is there. Comments in that one are lost.
    pub async fn replace_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> Result<(), StoreError> {
        let (about, spec) = (ObjectRef::Certificate(name.clone()), spec.clone());
        self.work(LockMode::Exclusive, move |tree| objects::replace(tree, &about, &spec)).await
    }

    /// Under the lock, on a thread that may block. Once started it is finished, even if
    /// the caller is dropped.
    async fn work<T: Send + 'static>(
        &self,
        mode: LockMode,
        work: impl FnOnce(&Tree) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |tree| {
            let _lock = Lock::take(tree, mode)?;
            work(tree)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tree = Arc::clone(&self.tree);
        tokio::task::spawn_blocking(move || work(&tree)).await.unwrap_or_else(|_| {
            let what = format!("working in {}", self.tree.root().display());
            Err(StoreError::Failed { what, cause: "the program is ending".into() })
        })
    }
}

impl Store for DirectoryStore {
    /// Nothing is remembered: every observation reads DIR.
    async fn relist(&self) {}

    /// Returns once DIR is no longer what the last [`Store::observe`] saw, by any program's change.
    async fn changed(&self) {
        loop {
            let (tree, changes) = (Arc::clone(&self.tree), Arc::clone(&self.changes));
            let changed = tokio::task::spawn_blocking(move || changes.since_observation(&tree)).await;
            if changed.unwrap_or(true) {
                return;
            }
            self.changes.hinted().await;
        }
    }

    async fn observe(&self) -> Result<Observed, StoreError> {
        let changes = Arc::clone(&self.changes);
        self.work(LockMode::Shared, move |tree| {
            changes.looking(tree);
            listing::observe(tree)
        })
        .await
    }

    async fn pods(&self, namespaces: &BTreeSet<String>) -> BTreeMap<String, PodList> {
        let wanted = namespaces.clone();
        let lists = self.work(LockMode::Shared, move |tree| {
            Ok(wanted
                .into_iter()
                .map(|namespace| (namespace.clone(), pods::list(tree, &namespace)))
                .collect())
        });
        lists.await.unwrap_or_else(|error| {
            let failed = PodList {
                listed_at: std::time::SystemTime::now(),
                error: Some(error.to_string()),
                pods: Vec::new(),
            };
            namespaces.iter().map(|namespace| (namespace.clone(), failed.clone())).collect()
        })
    }

    async fn keyring(&self, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
        let authority = authority.to_owned();
        self.work(LockMode::Shared, move |tree| keyring::load(tree, &authority)).await
    }

    async fn keyring_version(&self, authority: &str) -> Result<Option<ResourceVersion>, StoreError> {
        let authority = authority.to_owned();
        self.work(LockMode::Shared, move |tree| keyring::version(tree, &authority)).await
    }

    async fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        let files = codec::keyring::encode(keyring).map_err(|Malformed { part, cause }| {
            StoreError::Malformed { what: format!("{part} of the keyring of {authority}"), cause }
        })?;
        let (authority, over) = (authority.to_owned(), over.cloned());
        self.work(LockMode::Exclusive, move |tree| keyring::put(tree, &authority, &files, over.as_ref()))
            .await
    }

    async fn import(&self, secret: &str) -> Result<ImportedPem, StoreError> {
        let secret = secret.to_owned();
        self.work(LockMode::Shared, move |tree| imports::read(tree, &secret)).await
    }

    async fn create_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        stored: &StoredVersion,
    ) -> Result<(), StoreError> {
        let (certificate, stored) = (certificate.clone(), stored.clone());
        self.work(LockMode::Exclusive, move |tree| version::create(tree, &certificate, version, &stored))
            .await
    }

    async fn load_version(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> Result<StoredVersion, StoreError> {
        let certificate = certificate.clone();
        self.work(LockMode::Shared, move |tree| version::load(tree, &certificate, version)).await
    }

    async fn remove_key(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let (certificate, over) = (certificate.clone(), over.clone());
        self.work(LockMode::Exclusive, move |tree| version::remove_key(tree, &certificate, version, &over))
            .await
    }

    async fn delete_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let (certificate, over) = (certificate.clone(), over.clone());
        self.work(LockMode::Exclusive, move |tree| version::delete(tree, &certificate, version, &over)).await
    }

    async fn published_bundle(&self, certificate: &ObjectName, secret: &str) -> Result<String, StoreError> {
        let secret = ObjectName::new(&certificate.namespace, secret);
        self.work(LockMode::Shared, move |tree| target_secret::bundle(tree, &secret)).await
    }

    async fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        let secret = ObjectName::new(&certificate.namespace, secret);
        let (certificate, contents, over) = (certificate.clone(), contents.clone(), over.cloned());
        self.work(LockMode::Exclusive, move |tree| {
            target_secret::publish(tree, &certificate, &secret, &contents, over.as_ref())
        })
        .await
    }

    /// Agents here see the rename by themselves.
    async fn nudge(&self, _pod: &ObjectName, _revision: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let about = ObjectRef::Authority(authority.to_owned());
        let (status, over) = (status.clone(), over.clone());
        self.work(LockMode::Exclusive, move |tree| {
            objects::report::<CertificateAuthoritySpec, _>(tree, &about, &status, &over)
        })
        .await
    }

    async fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let about = ObjectRef::Certificate(certificate.clone());
        let (status, over) = (status.clone(), over.clone());
        self.work(LockMode::Exclusive, move |tree| {
            objects::report::<ServiceCertificateSpec, _>(tree, &about, &status, &over)
        })
        .await
    }

    async fn set_renewal_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let (about, text, over) = (about.clone(), text.to_owned(), over.clone());
        self.work(LockMode::Exclusive, move |tree| {
            objects::ask_over(tree, &about, request::RENEWAL_HINT, &text, &over)
        })
        .await
    }

    /// Written to the log.
    async fn record_event(&self, event: &EventRecord) {
        let EventRecord { object, warning, reason, message } = event;
        let reason = reason.as_str();
        if *warning {
            tracing::warn!(%object, reason, "{message}");
        } else {
            tracing::info!(%object, reason, "{message}");
        }
    }
}

impl Editor for DirectoryStore {
    async fn ask(&self, about: &ObjectRef, verb: &str, text: &str) -> Result<(), StoreError> {
        let (about, verb, text) = (about.clone(), verb.to_owned(), text.to_owned());
        self.work(LockMode::Exclusive, move |tree| objects::ask(tree, &about, &verb, &text)).await
    }

    async fn create_authority(&self, name: &str, spec: &CertificateAuthoritySpec) -> Result<(), StoreError> {
        let (about, spec) = (ObjectRef::Authority(name.to_owned()), spec.clone());
        self.work(LockMode::Exclusive, move |tree| objects::create(tree, &about, &spec)).await
    }

    async fn create_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> Result<(), StoreError> {
        let (name, spec) = (name.clone(), spec.clone());
        self.work(LockMode::Exclusive, move |tree| {
            let about = ObjectRef::Certificate(name.clone());
            if std::fs::symlink_metadata(tree.object(&about)?).is_err() {
                // Of an earlier certificate of this name, which were not removed yet.
                files::remove(&tree.versions(&name)?)?;
            }
            objects::create(tree, &about, &spec)
        })
        .await
    }

    async fn delete_authority(&self, name: &str) -> Result<(), StoreError> {
        let about = ObjectRef::Authority(name.to_owned());
        self.work(LockMode::Exclusive, move |tree| objects::delete(tree, &about)).await
    }

    async fn delete_certificate(&self, name: &ObjectName) -> Result<(), StoreError> {
        let about = ObjectRef::Certificate(name.clone());
        self.work(LockMode::Exclusive, move |tree| objects::delete(tree, &about)).await
    }
}

#[cfg(test)]
mod tests;
