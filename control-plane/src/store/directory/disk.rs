//! What the store changes on the disk. Every change passes through here, so that a test can follow in which
//! order changes and flushes come: a rename may only be followed by what is on the disk by then.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// A new file with these contents, flushed. `mode` is not subject to the umask.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    // Nobody else reads it before it is whole.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600 & mode).open(path)?;
    trace::record(trace::Change::Create(path));
    file.write_all(contents)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    trace::record(trace::Change::FlushFile(path));
    Ok(())
}

/// A new directory; `mode` is subject to the umask.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    trace::record(trace::Change::Create(path));
    Ok(())
}

pub fn link(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)?;
    trace::record(trace::Change::Create(path));
    Ok(())
}

/// Puts what is at `from` in the place of what is at `to`.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    trace::record(trace::Change::Replace(from, to));
    fs::rename(from, to)
}

/// Moves a directory to where it is removed.
pub fn discard(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    trace::record(trace::Change::Remove(from));
    Ok(())
}

/// A file or a directory with everything in it.
pub fn remove(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    trace::record(trace::Change::Remove(path));
    if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Which names are in it.
pub fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    trace::record(trace::Change::FlushDirectory(path));
    Ok(())
}

#[cfg(not(test))]
mod trace {
    use std::path::Path;

    #[allow(dead_code)]
    pub enum Change<'p> {
        Create(&'p Path),
        FlushFile(&'p Path),
        FlushDirectory(&'p Path),
        Replace(&'p Path, &'p Path),
        Remove(&'p Path),
    }

    pub fn record(_: Change<'_>) {}
}

#[cfg(test)]
pub mod trace;
