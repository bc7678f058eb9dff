//! Who may read a target Secret. An administrator says so as for any shared directory, by a group and the setgid
//! bit: of `secrets/`, of `secrets/NAMESPACE`, or of the Secret's directory. What is made below such a directory
//! is of its group, 0750 and 0640, whoever publishes. Without it, hotcert's user alone reads what is published.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::disk;
use crate::store::StoreError;
use crate::store::directory::files;

const SETGID: u32 = 0o2000;
const SHARED: u32 = SETGID | 0o750;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Readers {
    Owner,
    /// The group of this number.
    Group(u32),
    /// As kubelet's default is, and hotcert's was: who may come near is decided by a directory above.
    Everyone,
}

impl Readers {
    /// Of what is published in this directory.
    pub fn of(directory: &Path, data: &Path) -> Result<Self, StoreError> {
        let meta = fs::metadata(directory).map_err(files::failed("reading the mode of", directory))?;
        let is_open = |meta: &Metadata| meta.mode() & 0o005 == 0o005;
        Ok(match &meta {
            meta if meta.mode() & (SETGID | 0o057) == SETGID | 0o050 => Self::Group(meta.gid()),
            // Its agents would be cut off from the next publication if that was closed.
            meta if is_open(meta) && fs::metadata(data).is_ok_and(|meta| is_open(&meta)) => Self::Everyone,
            _ => Self::Owner,
        })
    }

    pub fn directory_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group(_) => 0o750,
            Self::Everyone => 0o755,
        }
    }

    pub fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group(_) => 0o640,
            Self::Everyone => 0o644,
        }
    }

    /// Whether the group that these are can read a publication, and nobody beyond it. What is for the owner alone is
    /// not asked: there are file systems without modes, and there it would be published again for ever.
    pub fn fit<'f>(self, data: &Path, files: impl IntoIterator<Item = &'f str>) -> bool {
        let Self::Group(group) = self else { return true };
        let fits = |path: &Path, mode| match fs::metadata(path) {
            Ok(meta) => meta.mode() & 0o777 == mode && meta.gid() == group,
            // One that is missing is noticed by its contents.
            Err(_) => true,
        };
        fits(data, self.directory_mode())
            && files.into_iter().all(|name| fits(&data.join(name), self.file_mode()))
    }
}

/// The directory of a target Secret, and that of its namespace.
pub fn prepare(secret: &Path) -> Result<(), StoreError> {
    let namespace = secret.parent().unwrap_or(secret);
    if let Some(secrets) = namespace.parent() {
        make_unshared(secrets)?;
    }
    for directory in [namespace, secret] {
        if !directory.exists() {
            make(directory)?;
        }
    }
    Ok(())
}

fn make(directory: &Path) -> Result<(), StoreError> {
    let parent = directory.parent().unwrap_or(directory);
    let above = fs::metadata(parent).map_err(files::failed("reading the mode of", parent))?;
    let is_shared = above.mode() & (SETGID | 0o017) == SETGID | 0o010;
    let failed = |error| files::failed("creating", directory)(error);
    // Its group and the setgid bit are inherited, the rest of the mode is subject to the umask.
    disk::make_directory(directory, if is_shared { 0o750 } else { 0o700 }).map_err(failed)?;
    if is_shared && !keep_shared(directory).map_err(failed)? {
        fs::remove_dir(directory).map_err(failed)?;
        let cause = format!(
            "the mode {SHARED:o} was not kept: run hotcert with the umask 027 (UMask=0027 in its unit), or make its \
             user a member of the group {}",
            above.gid()
        );
        return Err(StoreError::Failed {
            what: format!("sharing {} with its group", directory.display()),
            cause,
        });
    }
    disk::flush_directory(parent).map_err(files::failed("writing", parent))
}

/// Gives the group what the umask took from it, if that is possible: the kernel takes the setgid bit from who
/// changes a mode and is not of the group.
fn keep_shared(directory: &Path) -> io::Result<bool> {
    let is_kept = || fs::metadata(directory).map(|meta| meta.mode() & (SETGID | 0o777) == SHARED);
    if !is_kept()? {
        disk::set_mode(directory, SHARED)?;
    }
    is_kept()
}

/// A directory that is not shared because one above it is: sharing begins where somebody says so, below it.
pub fn make_unshared(directory: &Path) -> Result<(), StoreError> {
    if directory.exists() {
        return Ok(());
    }
    files::make(directory, 0o755)?;
    let meta = fs::metadata(directory).map_err(files::failed("reading the mode of", directory))?;
    if meta.permissions().mode() & SETGID != 0 {
        files::set_mode(directory, meta.mode() & 0o777)?;
    }
    Ok(())
}
