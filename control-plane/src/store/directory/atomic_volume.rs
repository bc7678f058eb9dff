//! A directory written the way kubelet's `AtomicWriter` writes a mounted Secret.
//!
//! ```text
//! ..2026_01_31_09_15_00.2917461024/tls.crt    the files, in a directory of their own
//! ..data    -> ..2026_01_31_09_15_00.2917461024    replaced by one rename
//! tls.crt   -> ..data/tls.crt                 what a program opens
//! ```
//!
//! The rename of `..data` is the only moment at which contents change, so a reader that resolves
//! `..data` once sees files of one publication. A crash at any point, of the machine too, leaves the last
//! complete publication readable; what it left lying about is removed by the next one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

use super::access::Readers;
use super::disk;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// One mounted Secret. There must be one writer a directory, as kubelet is.
#[derive(Debug)]
pub struct SecretVolume {
    directory: PathBuf,
    readers: Readers,
}

/// What could not be written, and where.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("file name {0:?}: give a plain name that does not begin with two dots, as a Secret's keys are")]
    InvalidName(String),
    #[error("cannot {action} {}: {source}; the directory must be writable and be on one file system", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the mode and the group of what is in {} were not kept: use a file system that keeps them", .0.display())]
    NotShared(PathBuf),
    #[error("the system's random number generator failed: no directory can be named")]
    NoRandomness,
}

impl SecretVolume {
    /// Takes a directory over, creating it and its parents if it does not exist. Everybody may read what is
    /// published, as is kubelet's default; who may reach the volume at all is decided by the mount.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, VolumeError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(at("create", &directory))?;
        Ok(Self { directory, readers: Readers::Everyone })
    }

    /// A directory that exists, for these readers.
    pub(super) fn shared_with(directory: impl Into<PathBuf>, readers: Readers) -> Self {
        Self { directory: directory.into(), readers }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces everything in the volume by these files (name and contents).
    ///
    /// Returns the instant just after the rename: from then on readers see the new files. Unlike
    /// kubelet it also renames when nothing has changed.
    pub fn publish(&self, files: &[(&str, &[u8])]) -> Result<Instant, VolumeError> {
        for (name, _) in files {
            if name.is_empty() || *name == "." || name.starts_with("..") || name.contains('/') {
                return Err(VolumeError::InvalidName((*name).to_owned()));
            }
        }
        let data = self.directory.join(DATA);
        let current = match fs::read_link(&data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.map_err(at("read", &data))?),
        };
        self.remove_leftovers(current.as_deref())?;

        let version = version_name()?;
        let target = self.directory.join(&version);
        disk::make_directory(&target, 0o700).map_err(at("create", &target))?;
        for (name, contents) in files {
            let path = target.join(name);
            disk::write_new(&path, contents, self.readers.file_mode()).map_err(at("write", &path))?;
        }
        disk::set_mode(&target, self.readers.directory_mode()).map_err(at("set the mode of", &target))?;
        if !self.readers.fit(&target, files.iter().map(|(name, _)| *name)) {
            return Err(VolumeError::NotShared(target));
        }
        flush(&target)?;
        flush(&self.directory)?;
        let next = self.directory.join(DATA_NEXT);
        disk::link(Path::new(&version), &next).map_err(at("link", &next))?;
        disk::replace(&next, &data).map_err(at("rename", &next))?;
        let swapped = Instant::now();
        flush(&self.directory)?;

        self.link_user_visible(files)?;
        self.remove_leftovers(Some(Path::new(&version)))?;
        Ok(swapped)
    }

    /// Links for names that are new, none for names that are gone.
    fn link_user_visible(&self, files: &[(&str, &[u8])]) -> Result<(), VolumeError> {
        let mut is_linked = false;
        for (name, _) in files {
            let link = self.directory.join(name);
            if fs::symlink_metadata(&link).is_err() {
                disk::link(&Path::new(DATA).join(name), &link).map_err(at("link", &link))?;
                is_linked = true;
            }
        }
        if is_linked {
            flush(&self.directory)?;
        }
        for entry in self.entries()? {
            let stale = files.iter().all(|(name, _)| OsStr::new(name) != entry.file_name());
            let ours = fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(DATA));
            if ours && stale {
                disk::remove(&entry.path()).map_err(at("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Every version but `keep`, and a link that never became `..data`.
    fn remove_leftovers(&self, keep: Option<&Path>) -> Result<(), VolumeError> {
        for entry in self.entries()? {
            let (name, path) = (entry.file_name(), entry.path());
            let is_ours = name.as_encoded_bytes().starts_with(b"..") && name != DATA;
            if is_ours && keep != Some(Path::new(&name)) {
                disk::remove(&path).map_err(at("remove", &path))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, VolumeError> {
        fs::read_dir(&self.directory).and_then(Iterator::collect).map_err(at("list", &self.directory))
    }
}

fn flush(directory: &Path) -> Result<(), VolumeError> {
    disk::flush_directory(directory).map_err(at("flush", directory))
}

fn version_name() -> Result<String, VolumeError> {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| VolumeError::NoRandomness)?;
    let now = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S");
    Ok(format!("..{now}.{}", u32::from_ne_bytes(random)))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
