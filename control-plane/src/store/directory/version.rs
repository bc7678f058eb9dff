//! Versions of leaves: `state/versions/NAMESPACE/NAME/N/`, made by one rename and never written again. One whose key was
//! removed is `N.keyless`, a name that a release which needs every key does not look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::files::{self, Parts};
use super::tree::Tree;
use crate::api::object_name::ObjectName;
use crate::pki::keyring::RootId;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{ResourceVersion, Version};
use crate::store::codec::version::Record;
use crate::store::codec::{self, BUNDLE, CERTIFICATE, KEY};
use crate::store::{StoreError, StoredVersion};

const FACTS: &str = "facts.json";
/// After the number of a version whose key was removed.
const KEYLESS: &str = ".keyless";

pub fn create(
    tree: &Tree,
    certificate: &ObjectName,
    version: u64,
    stored: &StoredVersion,
) -> Result<(), StoreError> {
    let [directory, keyless] = directories(tree, certificate, version)?;
    if keyless.is_dir() {
        return Err(StoreError::Conflict(format!("version {version} of {certificate}")));
    }
    let record = serde_json::to_vec_pretty(&Record::of(stored))
        .map_err(|error| files::malformed(&directory.join(FACTS), error.to_string()))?;
    let mut files = codec::version::encode(stored);
    files.push((FACTS.to_owned(), Zeroizing::new(record)));
    files::create_directory(&directory, &files)
}

pub fn load(tree: &Tree, certificate: &ObjectName, version: u64) -> Result<StoredVersion, StoreError> {
    let directory = tree.versions(certificate)?.join(version.to_string());
    if !directory.is_dir() {
        return Err(StoreError::Missing(format!("version {version} of {certificate}")));
    }
    read(&directory)
}

/// Succeeds if there is none.
pub fn delete(
    tree: &Tree,
    certificate: &ObjectName,
    version: u64,
    over: &ResourceVersion,
) -> Result<(), StoreError> {
    let directories = directories(tree, certificate, version)?;
    check(&directories, certificate, version, over)?;
    directories.iter().try_for_each(|directory| files::remove(directory))
}

/// Succeeds if it has none. A crash may leave both directories: then the key is removed again.
pub fn remove_key(
    tree: &Tree,
    certificate: &ObjectName,
    version: u64,
    over: &ResourceVersion,
) -> Result<(), StoreError> {
    let directories = directories(tree, certificate, version)?;
    check(&directories, certificate, version, over)?;
    let [directory, keyless] = &directories;
    if directory.is_dir() && !keyless.is_dir() {
        let parts = files::read_all(directory, [FACTS, CERTIFICATE, BUNDLE])?;
        let parts: Vec<_> =
            parts.names().map(|name| (name.to_owned(), Zeroizing::new(parts.value(name).to_vec()))).collect();
        files::create_directory(keyless, &parts)?;
    }
    files::remove(directory)
}

/// Of a version with its key, and without it.
fn directories(tree: &Tree, certificate: &ObjectName, version: u64) -> Result<[PathBuf; 2], StoreError> {
    let versions = tree.versions(certificate)?;
    Ok([versions.join(version.to_string()), versions.join(format!("{version}{KEYLESS}"))])
}

/// A conflict if it is another one.
fn check(
    directories: &[PathBuf; 2],
    certificate: &ObjectName,
    version: u64,
    over: &ResourceVersion,
) -> Result<(), StoreError> {
    match directories.iter().find(|directory| directory.is_dir()) {
        Some(directory) if resource_version(directory) != *over => {
            Err(StoreError::Conflict(format!("version {version} of {certificate}")))
        }
        _ => Ok(()),
    }
}

/// A version is never written again, so the directory stands for its files.
fn resource_version(directory: &Path) -> ResourceVersion {
    files::resource_version(directory, &["."])
}

/// All versions. One that cannot be read is reported as a problem, and counts as its number, so that the next one
/// has another.
pub fn list(
    tree: &Tree,
    certificate: &ObjectName,
    problems: &mut Vec<String>,
) -> Result<BTreeMap<u64, Arc<Version>>, StoreError> {
    let directory = tree.versions(certificate)?;
    let mut versions = BTreeMap::new();
    let keyless = files::names(&directory)?;
    let keyless = keyless.iter().filter_map(|name| name.strip_suffix(KEYLESS)?.parse().ok());
    let with_key = files::numbers(&directory)?.into_iter().map(|number| (number, true));
    // Of both the one with the key counts, whose removal was interrupted: it comes last.
    for (number, has_key) in keyless.map(|number| (number, false)).chain(with_key) {
        let suffix = if has_key { "" } else { KEYLESS };
        let own = directory.join(format!("{number}{suffix}"));
        match facts(&own, has_key) {
            Ok(version) => {
                versions.insert(number, Arc::new(version));
            }
            Err(error) => {
                problems.push(format!("{error}; move the version away, or restore it from a backup"));
                versions.insert(number, Arc::new(unreadable(&own)));
            }
        }
    }
    Ok(versions)
}

/// Expired for ever, and of no root.
fn unreadable(directory: &Path) -> Version {
    let leaf = Leaf {
        sha256: String::new(),
        serial: String::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH,
    };
    let record = Record {
        root: RootId(String::new()),
        made_for: String::new(),
        created_at: SystemTime::UNIX_EPOCH,
        request: None,
        copy_of: None,
    };
    codec::version::facts(record, leaf, resource_version(directory), |_| &[])
}

fn facts(directory: &Path, has_key: bool) -> Result<Version, StoreError> {
    let (record, parts) = parts(directory)?;
    let leaf = Leaf::read(parts.value(CERTIFICATE))
        .ok_or_else(|| files::malformed(&directory.join(CERTIFICATE), "it holds no certificate"))?;
    if has_key {
        // The parts that are not returned have to be valid as well.
        decode(directory, record.clone(), &parts)?;
    }
    Ok(codec::version::facts(record, leaf, resource_version(directory), |name| parts.value(name)))
}

fn read(directory: &Path) -> Result<StoredVersion, StoreError> {
    let (record, parts) = parts(directory)?;
    decode(directory, record, &parts)
}

fn decode(directory: &Path, record: Record, parts: &Parts) -> Result<StoredVersion, StoreError> {
    codec::version::decode(record, |name| parts.value(name))
        .map_err(|error| files::malformed_part(directory, error))
}

fn parts(directory: &Path) -> Result<(Record, Parts), StoreError> {
    let parts = files::read_all(directory, [FACTS, CERTIFICATE, KEY, BUNDLE])?;
    if parts.value(FACTS).is_empty() {
        return Err(files::malformed(&directory.join(FACTS), "it is missing: put it back from a backup"));
    }
    let record = serde_json::from_slice(parts.value(FACTS))
        .map_err(|error| files::malformed(&directory.join(FACTS), error.to_string()))?;
    Ok((record, parts))
}
