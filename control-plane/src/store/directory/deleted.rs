//! Versions of certificates that were deleted: they hold private keys, and nothing refers to them. Target Secrets
//! stay, since agents may serve them.
//!
//! A file that is gone for a moment is not deleted: an editor or a checkout may be writing it anew. So a
//! directory of certificates has to be unchanged for a while. One without any entry may be a file system that is
//! not mounted, and counts as if it could not be read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lock::LockMode;
use super::tree::Tree;
use super::{DirectoryStore, files};
use crate::api::object_name::ObjectName;
use crate::store::codec::name;
use crate::store::{ObjectRef, StoreError};

/// For how long nothing has changed where the certificate was.
const QUIET: Duration = Duration::from_secs(10);

impl DirectoryStore {
    /// Removes the versions of certificates that were deleted, and says of which.
    pub async fn remove_versions_of_deleted(&self, now: SystemTime) -> Result<Vec<ObjectName>, StoreError> {
        let deleted = self.work(LockMode::Shared, move |tree| list(tree, now)).await?;
        if deleted.is_empty() {
            return Ok(deleted);
        }
        self.work(LockMode::Exclusive, move |tree| {
            let mut removed = Vec::new();
            for certificate in deleted {
                if remove_versions(tree, &certificate, now)? {
                    tracing::info!(%certificate, "the versions of a deleted certificate were removed");
                    removed.push(certificate);
                }
            }
            Ok(removed)
        })
        .await
    }
}

/// Certificates that are deleted and have versions.
fn list(tree: &Tree, now: SystemTime) -> Result<Vec<ObjectName>, StoreError> {
    let mut deleted = Vec::new();
    for namespace in names(&tree.all_versions())? {
        for name in names(&tree.all_versions().join(&namespace))? {
            let certificate = ObjectName::new(&namespace, name);
            if is_deleted(tree, &certificate, now)? {
                deleted.push(certificate);
            }
        }
    }
    Ok(deleted)
}

/// Unless it was made again.
fn remove_versions(tree: &Tree, certificate: &ObjectName, now: SystemTime) -> Result<bool, StoreError> {
    if !is_deleted(tree, certificate, now)? {
        return Ok(false);
    }
    // What is left of an earlier removal goes with it.
    files::remove(&tree.versions(certificate)?)?;
    Ok(true)
}

fn is_deleted(tree: &Tree, certificate: &ObjectName, now: SystemTime) -> Result<bool, StoreError> {
    let file = tree.object(&ObjectRef::Certificate(certificate.clone()))?;
    match fs::symlink_metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map(|_| false).map_err(files::failed("reading", &file)),
    }
    let mut directory = tree.certificates().join(&certificate.namespace);
    // A link whose target is not there is not gone.
    if fs::symlink_metadata(&directory).is_err() {
        directory = tree.certificates();
        if files::names(&directory)?.is_empty() {
            return Ok(false);
        }
    }
    let meta = fs::metadata(&directory).map_err(files::failed("reading", &directory))?;
    // It went after its last version was made. An older directory is one that a file system is mounted on, and is not
    // now.
    let versions = tree.versions(certificate)?;
    let made = fs::metadata(&versions).map_err(files::failed("reading", &versions))?;
    if (meta.ctime(), meta.ctime_nsec()) < (made.ctime(), made.ctime_nsec()) {
        return Ok(false);
    }
    let changed_at = u64::try_from(meta.ctime()).map(Duration::from_secs).unwrap_or_default();
    let changed_at = SystemTime::UNIX_EPOCH + changed_at;
    Ok(now.duration_since(changed_at).is_ok_and(|quiet| quiet > QUIET))
}

fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    Ok(files::names(directory)?.into_iter().filter(|name| name::is_valid(name)).collect())
}
