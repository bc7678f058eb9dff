//! The mounted directory as a source of `Credential`. A Secret volume swaps all its files by renaming
//! one symlink, `..data`: it is resolved once, and every file is read from the directory it named.

pub(crate) mod watch;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

    /// Whether it is in memory, where kubelet keeps Secrets, so that a read never has to wait.
    /// Blocks on the file system.
    pub fn is_in_memory(&self) -> bool {
        const TMPFS: u64 = 0x0102_1994;
        rustix::fs::statfs(&self.directory).is_ok_and(|system| system.f_type as u64 == TMPFS)
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
        let read = |file: &str| match &absent {
            Some(error) => Err(error.clone()),
            None => read_file(&version, file),
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
        let mut names = vec![&self.layout.trust, &self.layout.revocation];
        match &self.layout.leaf {
            LeafFiles::Pair { certificate, key } => names.extend([certificate, key]),
            LeafFiles::Bundle { file } => names.push(file),
        }
        names.iter().filter_map(|name| changed(&std::fs::metadata(version.join(name)).ok()?)).max()
    }
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
    // Non-blocking, so that a pipe of that name cannot block the read.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file =
        OpenOptions::new().read(true).custom_flags(nonblock).open(root.join(name)).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(PartError::Unreadable { file: name.into(), cause: "not a regular file".into() });
    }
    if meta.len() > MAX_FILE_BYTES as u64 {
        return Err(PartError::TooLarge { file: name.into() });
    }
    read_bounded(&file, meta.len() as usize)
        .map_err(unreadable)?
        .ok_or_else(|| PartError::TooLarge { file: name.into() })
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
        let is_in_memory = |directory: &str| Volume::new(directory, Layout::default()).is_in_memory();
        assert!(is_in_memory("/dev/shm"));
        assert!(!is_in_memory("/proc") && !is_in_memory("/nowhere"));
    }
}
