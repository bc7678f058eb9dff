//! Files and directories as the store needs them: read within limits, written whole. What is being made
//! has a name that begins with a dot until one rename puts it in its place, so a crash leaves what was
//! there before or what was to be there. Names that begin with a dot are ignored, and the next
//! writer of the same thing removes them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::digest::sha256_hex;
use crate::planner::observed::ResourceVersion;
use crate::store::StoreError;
use crate::store::codec::{Malformed, Part};
use crate::store::directory::disk;

/// As large as a Secret.
const MAX_FILE: u64 = 1 << 20;
/// In one directory.
const MAX_ENTRIES: usize = 10_000;

/// Of what the control plane alone may read.
pub const PRIVATE: u32 = 0o600;
pub const PUBLIC: u32 = 0o644;

/// The whole file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    // Non-blocking, so that a pipe of that name blocks no reader.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut file = match OpenOptions::new().read(true).custom_flags(nonblock).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("reading", path))?,
    };
    let meta = file.metadata().map_err(failed("reading", path))?;
    if !meta.is_file() {
        return Err(malformed(path, "it is not a regular file: put one in its place"));
    }
    // Room for all that may be there, since a buffer that grows leaves copies of keys behind.
    let mut bytes = Zeroizing::new(vec![0; meta.len().min(MAX_FILE) as usize + 1]);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("reading", path)(error)),
        }
    }
    if filled as u64 > MAX_FILE {
        return Err(malformed(path, format!("it is larger than {MAX_FILE} bytes")));
    }
    if filled == bytes.len() {
        return Err(malformed(path, "it grew while it was read: write it whole, by a rename"));
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// A file that has to be there.
pub fn need(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    read(path)?.ok_or_else(|| malformed(path, "it is missing"))
}

/// The files of these names; one that is missing is left out.
pub fn read_all<'a>(directory: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Parts, StoreError> {
    let mut parts = BTreeMap::new();
    for name in names {
        if let Some(bytes) = read(&directory.join(name))? {
            parts.insert(name.to_owned(), bytes);
        }
    }
    Ok(Parts(parts))
}

/// Files of a directory, by name.
pub struct Parts(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Parts {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Empty if there is no such file.
    pub fn value(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], |bytes| bytes)
    }
}

/// Names, sorted; none if there is no such directory. What begins with a dot is temporary, or not ours.
pub fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed("listing", directory))?,
    };
    let mut names = Vec::new();
    for entry in listed {
        let name = entry.map_err(failed("listing", directory))?.file_name();
        // A name that is not UTF-8 is refused where names are validated.
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > MAX_ENTRIES {
            let cause = format!("it holds more than {MAX_ENTRIES} names: remove what is not needed");
            return Err(malformed(directory, cause));
        }
    }
    names.sort();
    Ok(names)
}

/// Those of its entries whose name is a number.
pub fn numbers(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let number = |name: &String| name.parse().ok().filter(|number: &u64| number.to_string() == *name);
    let mut numbers: Vec<u64> = names(directory)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A directory for the control plane alone, with those above it.
pub fn make_private(directory: &Path) -> Result<(), StoreError> {
    make(directory, 0o700)
}

/// A directory with those above it; succeeds if there is one.
pub fn make(directory: &Path, mode: u32) -> Result<(), StoreError> {
    match disk::make_directory(directory, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory.parent().is_some() => {
            if let Some(parent) = directory.parent() {
                make(parent, mode)?;
            }
            make(directory, mode)
        }
        made => {
            made.map_err(failed("creating", directory))?;
            directory.parent().map_or(Ok(()), flush)
        }
    }
}

/// One file, whole.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), StoreError> {
    let (directory, name) = split(path)?;
    make_private(directory)?;
    let temporary = directory.join(format!(".{name}.new"));
    clear(&temporary)?;
    disk::write_new(&temporary, contents, mode).map_err(failed("writing", &temporary))?;
    disk::replace(&temporary, path).map_err(failed("writing", path))?;
    flush(directory)
}

/// A directory of files, whole, where there is none yet.
pub fn create_directory(directory: &Path, files: &[Part]) -> Result<(), StoreError> {
    let (parent, _) = split(directory)?;
    make_private(parent)?;
    if fs::symlink_metadata(directory).is_ok() {
        return Err(StoreError::Conflict(directory.display().to_string()));
    }
    let temporary = parent.join(".new");
    clear(&temporary)?;
    disk::make_directory(&temporary, 0o700).map_err(failed("creating", &temporary))?;
    for (name, contents) in files {
        let path = temporary.join(name);
        disk::write_new(&path, contents, PRIVATE).map_err(failed("writing", &path))?;
    }
    flush(&temporary)?;
    disk::replace(&temporary, directory).map_err(failed("creating", directory))?;
    flush(parent)
}

/// Removes a directory; succeeds if there is none. For readers it disappears at once.
pub fn remove(directory: &Path) -> Result<(), StoreError> {
    let (parent, _) = split(directory)?;
    let temporary = parent.join(".old");
    clear(&temporary)?;
    match disk::discard(directory, &temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(failed("removing", directory))?,
    }
    clear(&temporary)?;
    flush(parent)
}

/// Removes a file; false if there is none.
pub fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match disk::remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed.map_err(failed("removing", path))?,
    }
    let (directory, _) = split(path)?;
    flush(directory).map(|()| true)
}

/// Changes with every change of these files, by any program.
pub fn resource_version(directory: &Path, names: &[impl AsRef<str>]) -> ResourceVersion {
    let mut text = String::new();
    for name in names {
        text.push_str(&mark(&directory.join(name.as_ref())));
    }
    ResourceVersion(sha256_hex(text.as_bytes())[..16].to_owned())
}

/// Changes with a file, its contents and its replacement.
pub fn mark(path: &Path) -> String {
    fs::symlink_metadata(path).map_or_else(
        |_| "absent;".into(),
        |meta| format!("{}.{}.{}.{};", meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.len()),
    )
}

pub fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    disk::set_mode(path, mode).map_err(failed("setting the mode of", path))
}

pub fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let what = format!("{doing} {}", path.display());
    move |error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; it must belong to the user that hotcert runs as",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that disk",
            io::ErrorKind::ReadOnlyFilesystem => "; mount it writable",
            _ => "",
        };
        StoreError::Failed { what, cause: format!("{error}{hint}") }
    }
}

/// Of a file in this directory, which a person can restore.
pub fn malformed_part(directory: &Path, Malformed { part, cause }: Malformed) -> StoreError {
    malformed(&directory.join(part), format!("{cause}: restore it from a backup"))
}

pub fn malformed(path: &Path, cause: impl Into<String>) -> StoreError {
    StoreError::Malformed { what: path.display().to_string(), cause: cause.into() }
}

fn flush(directory: &Path) -> Result<(), StoreError> {
    disk::flush_directory(directory).map_err(failed("writing", directory))
}

/// What a crash left.
fn clear(temporary: &Path) -> Result<(), StoreError> {
    match disk::remove(temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed("removing", temporary)),
    }
}

fn split(path: &Path) -> Result<(&Path, &str), StoreError> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| malformed(path, "it has no name"))
}
