//! A directory written the way kubelet's `AtomicWriter` writes a mounted Secret.
//!
//! ```text
//! ..2026_01_31_09_15_00.2917461024/tls.crt    the files, in a directory of their own
//! ..data    -> ..2026_01_31_09_15_00.2917461024    replaced by one rename
//! tls.crt   -> ..data/tls.crt                 what a program opens
//! ```
//!
//! The rename of `..data` is the only moment at which contents change, so a reader that resolves
//! `..data` once sees files of one publication. A crash at any point leaves the last complete
//! publication readable; what it left lying about is removed by the next one.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use time::OffsetDateTime;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";
/// kubelet's default for Secrets; who may reach the volume at all is decided by the mount.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// One mounted Secret. There must be one writer a directory, as kubelet is.
#[derive(Debug)]
pub struct SecretVolume {
    directory: PathBuf,
}

/// What could not be written, and where.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("file name {0:?}: give a plain name that does not begin with two dots, as a Secret's keys are")]
    InvalidName(String),
    #[error("cannot {action} {}: {source}; the directory must be writable and be on one file system", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the system's random number generator failed: no directory can be named")]
    NoRandomness,
}

impl SecretVolume {
    /// Takes a directory over, creating it and its parents if it does not exist.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, VolumeError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(at("create", &directory))?;
        Ok(Self { directory })
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
        create_directory(&target)?;
        for (name, contents) in files {
            let path = target.join(name);
            let mut file = File::create(&path).map_err(at("write", &path))?;
            // After a power cut there is all of it, or what was there before.
            file.write_all(contents).and_then(|()| file.sync_all()).map_err(at("write", &path))?;
            // The mode given at creation is subject to the umask.
            fs::set_permissions(&path, Permissions::from_mode(FILE_MODE))
                .map_err(at("set the mode of", &path))?;
        }
        let next = self.directory.join(DATA_NEXT);
        symlink(&version, &next).map_err(at("link", &next))?;
        fs::rename(&next, &data).map_err(at("rename", &next))?;
        let swapped = Instant::now();

        self.link_user_visible(files)?;
        self.remove_leftovers(Some(Path::new(&version)))?;
        Ok(swapped)
    }

    /// Links for names that are new, none for names that are gone.
    fn link_user_visible(&self, files: &[(&str, &[u8])]) -> Result<(), VolumeError> {
        for (name, _) in files {
            let link = self.directory.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new(DATA).join(name), &link).map_err(at("link", &link))?;
            }
        }
        for entry in self.entries()? {
            let stale = files.iter().all(|(name, _)| OsStr::new(name) != entry.file_name());
            let ours = fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(DATA));
            if ours && stale {
                fs::remove_file(entry.path()).map_err(at("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Every version but `keep`, and a link that never became `..data`.
    fn remove_leftovers(&self, keep: Option<&Path>) -> Result<(), VolumeError> {
        for entry in self.entries()? {
            let (name, path) = (entry.file_name(), entry.path());
            if name == DATA_NEXT {
                fs::remove_file(&path).map_err(at("remove", &path))?;
            } else if name.as_encoded_bytes().starts_with(b"..")
                && name != DATA
                && keep != Some(Path::new(&name))
            {
                fs::remove_dir_all(&path).map_err(at("remove", &path))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, VolumeError> {
        fs::read_dir(&self.directory).and_then(Iterator::collect).map_err(at("list", &self.directory))
    }
}

fn create_directory(path: &Path) -> Result<(), VolumeError> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(path).map_err(at("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)).map_err(at("set the mode of", path))
}

fn version_name() -> Result<String, VolumeError> {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| VolumeError::NoRandomness)?;
    let now = OffsetDateTime::from(SystemTime::now());
    Ok(format!(
        "..{:04}_{:02}_{:02}_{:02}_{:02}_{:02}.{}",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        u32::from_ne_bytes(random),
    ))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
