//! Keyrings: `state/authorities/NAME/keyring/N/`, the highest number counts. A writing is a new directory
//! of the next number, so the state and all keys change in one rename; those below are removed after it.

use std::path::Path;

use super::tree::Tree;
use crate::pki::keyring::Keyring;
use crate::planner::observed::ResourceVersion;
use crate::store::StoreError;
use crate::store::codec::{self, Part};
use crate::store::directory::files;

pub fn put(
    tree: &Tree,
    authority: &str,
    files: &[Part],
    over: Option<&ResourceVersion>,
) -> Result<(), StoreError> {
    let directory = tree.keyring(authority)?;
    let numbers = files::numbers(&directory)?;
    let current = numbers.last().copied();
    if version(tree, authority)?.as_ref() != over {
        return Err(StoreError::Conflict(format!("the keyring of {authority}")));
    }
    files::create_directory(&directory.join((current.unwrap_or(0) + 1).to_string()), files)?;
    for number in numbers {
        files::remove(&directory.join(number.to_string()))?;
    }
    Ok(())
}

pub fn load(tree: &Tree, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
    let directory = tree.keyring(authority)?;
    let Some(number) = files::numbers(&directory)?.last().copied() else { return Ok(None) };
    let keyring = read(&directory.join(number.to_string()))?;
    Ok(Some((keyring, resource_version(&directory, number)?)))
}

pub fn version(tree: &Tree, authority: &str) -> Result<Option<ResourceVersion>, StoreError> {
    let directory = tree.keyring(authority)?;
    let current = files::numbers(&directory)?.last().copied();
    current.map(|number| resource_version(&directory, number)).transpose()
}

fn read(directory: &Path) -> Result<Keyring, StoreError> {
    let malformed = |error| files::malformed_part(directory, error);
    let names = files::names(directory)?;
    let wanted = codec::keyring::part_names(names.iter().map(String::as_str)).map_err(malformed)?;
    let parts = files::read_all(directory, wanted.iter().map(String::as_str))?;
    codec::keyring::decode(parts.names(), |name| parts.value(name)).map_err(malformed)
}

fn resource_version(directory: &Path, number: u64) -> Result<ResourceVersion, StoreError> {
    let directory = directory.join(number.to_string());
    let ResourceVersion(files) = files::resource_version(&directory, &files::names(&directory)?);
    Ok(ResourceVersion(format!("{number}-{files}")))
}
