//! The mounted directory as a source of `Credential`. A Secret volume swaps all its files by renaming
//! one symlink, `..data`: it is resolved once, and every file is read from the directory it named.

pub(crate) mod watch;

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, StatxFlags};
use zeroize::Zeroizing;

use crate::credential::{Credential, Layout, LeafFiles, MAX_FILE_BYTES, Part, PartError};

/// kubelet removes the old directory right after the swap; a read that straddles one starts over.
const ATTEMPTS: usize = 4;

/// Reads a directory once, as a [`Reloader`](crate::Reloader) does each time: all files of one version. Blocks on
/// the file system. Never fails as a whole: a file that is missing or unreadable is part of the result.
pub fn read_directory(directory: impl Into<PathBuf>, layout: &Layout) -> Credential {
    Volume::new(directory, layout.clone()).read()
}

#[derive(Clone, Debug)]
pub(crate) struct Volume {
    directory: PathBuf,
    layout: Layout,
}

impl Volume {
    pub fn new(directory: impl Into<PathBuf>, layout: Layout) -> Self {
        Self { directory: directory.into(), layout }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file system, if it is in memory, where kubelet keeps Secrets, so that a read never has to wait.
    /// Blocks on the file system.
    pub fn in_memory(&self) -> Option<Device> {
        const TMPFS: u64 = 0x0102_1994;
        let system = rustix::fs::statfs(&self.directory).ok()?;
        (system.f_type as u64 == TMPFS).then(|| device(&self.directory))?
    }

    /// Reads all files of one version. Blocks on the file system; never fails as a whole: a missing or
    /// unreadable file is part of the result.
    pub fn read(&self) -> Credential {
        for attempt in 1.. {
            let data = std::fs::read_link(self.directory.join("..data")).ok();
            let credential = self.read_version(data.as_deref());
            let swapped = data.is_some() && std::fs::read_link(self.directory.join("..data")).ok() != data;
            if !swapped || attempt == ATTEMPTS {
                return credential;
            }
        }
        unreachable!("the loop returns by its last attempt")
    }

    fn read_version(&self, data: Option<&Path>) -> Credential {
        let version = data.map_or_else(|| self.directory.clone(), |target| self.directory.join(target));
        let absent = self.absent();
        let read = |file: &str| {
            if let Some(error) = &absent {
                return Err(error.clone());
            }
            match read_file(&version, file) {
                // Lists may have another publisher than the Secret, who can write beside `..data` alone.
                Err(PartError::Missing { .. }) if data.is_some() && file == self.layout.revocation => {
                    read_file(&self.directory, file)
                }
                part => part,
            }
        };
        Credential::read_parts(&self.layout, self.changed_at(data.is_some(), &version), data.is_some(), read)
    }

    /// The error of a directory that is missing as a whole, which is another mistake than a missing file.
    fn absent(&self) -> Option<PartError> {
        let problem = match std::fs::metadata(&self.directory) {
            Ok(meta) if meta.is_dir() => return None,
            Ok(_) => "is not a directory",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist",
            // The error is reported for each file.
            Err(_) => return None,
        };
        Some(PartError::NoDirectory { directory: self.directory.display().to_string(), problem })
    }

    /// With `..data`, the moment of its rename; without, the latest change of a file.
    fn changed_at(&self, atomic: bool, version: &Path) -> Option<SystemTime> {
        if atomic {
            return std::fs::symlink_metadata(self.directory.join("..data"))
                .ok()
                .and_then(|meta| changed(&meta));
        }
        let names = self.names();
        names.into_iter().filter_map(|name| changed(&std::fs::metadata(version.join(name)).ok()?)).max()
    }

    /// Files beside `..data` that replace the links into it: whoever put them there expects them to be read. Blocks on the
    /// file system.
    pub fn files_beside_data(&self) -> Vec<&str> {
        let is_link = |name: &str| {
            let path = self.directory.join(name);
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_symlink() => {
                    std::fs::read_link(&path).is_ok_and(|target| target.starts_with("..data"))
                }
                Ok(_) => false,
                Err(_) => true,
            }
        };
        let mut names = self.names();
        // Lists are read there if the Secret has none.
        let data = self.directory.join("..data");
        names.retain(|name| *name != self.layout.revocation || data.join(name).exists());
        names.retain(|name| !is_link(name));
        names
    }

    fn names(&self) -> Vec<&str> {
        let mut names = match &self.layout.leaf {
            LeafFiles::Pair { certificate, key } => vec![certificate.as_str(), key],
            LeafFiles::Bundle { file } => vec![file.as_str()],
        };
        names.extend([self.layout.trust.as_str(), &self.layout.revocation]);
        names
    }
}

/// The number of a file system.
pub(crate) type Device = (u32, u32);

/// The file system that is mounted there, without asking it: it may be one that hangs.
pub(crate) fn device(directory: &Path) -> Option<Device> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(rustix::fs::CWD, directory, flags, StatxFlags::TYPE).ok()?;
    Some((found.stx_dev_major, found.stx_dev_minor))
}

fn changed(meta: &std::fs::Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(meta.ctime()).ok()?;
    let nanos = u32::try_from(meta.ctime_nsec()).ok()?;
    Some(UNIX_EPOCH + Duration::new(seconds, nanos))
}

fn read_file(root: &Path, name: &str) -> Part {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PartError::Missing { file: name.into() },
        io::ErrorKind::PermissionDenied => {
            PartError::Unreadable { file: name.into(), cause: permission_denied() }
        }
        _ => PartError::Unreadable { file: name.into(), cause: error.to_string() },
    };
    let unusable = |kind: FileType| PartError::Unreadable { file: name.into(), cause: not_a_file(kind) };
    let path = root.join(name);
    // Before it is opened, which is an event for a pipe and an action for some devices.
    let kind = std::fs::metadata(&path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        return Err(unusable(kind));
    }
    // In case it has become another since.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file =
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(unusable(meta.file_type()));
    }
    if meta.len() > MAX_FILE_BYTES as u64 {
        return Err(PartError::TooLarge { file: name.into() });
    }
    read_bounded(&file, meta.len() as usize)
        .map_err(unreadable)?
        .ok_or_else(|| PartError::TooLarge { file: name.into() })
}

fn not_a_file(kind: FileType) -> String {
    let found = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    format!("it is {found}, and must be a regular file")
}

/// Names the user that must be able to read the file, rather than advise to make a key readable for all.
fn permission_denied() -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!(
        "permission denied to uid {uid} of this process; make it readable by that user or by its group, in a pod \
         with securityContext.fsGroup"
    )
}

/// Reads into one buffer of the file's size, so that no unwiped copy is left by growing. `None` if
/// the file outgrew it meanwhile beyond the limit.
fn read_bounded(mut file: &File, size: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Room for a file that grew a little between the two calls: its change causes another read.
    let mut bytes = Zeroizing::new(vec![0; size + 4096]);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok((filled <= MAX_FILE_BYTES).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_memory_file_system_counts_as_in_memory() {
        let in_memory = |directory: &str| Volume::new(directory, Layout::default()).in_memory();
        assert!(in_memory("/dev/shm").is_some() && in_memory("/dev/shm") == device(Path::new("/dev/shm")));
        assert_ne!(in_memory("/dev/shm"), device(Path::new("/proc")));
        assert!(in_memory("/proc").is_none() && in_memory("/nowhere").is_none());
    }
}
