//! Keyrings: `state/authorities/NAME/keyring/N/`, the highest number counts. A writing is a new directory
//! of the next number, so the state and all keys change in one rename; those below are removed after it.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::tree::Tree;
use crate::pki::authority::Authority;
use crate::pki::keyring::{Keyring, RootId, State};
use crate::planner::observed::ResourceVersion;
use crate::store::StoreError;
use crate::store::directory::files::{self, NewFile};

const STATE: &str = "state.json";
/// More than any rollover needs.
const MAX_ROOTS: usize = 16;

/// As it is written.
pub fn files(keyring: &Keyring) -> Result<Vec<NewFile>, StoreError> {
    let state = serde_json::to_vec_pretty(&keyring.state)
        .map_err(|error| StoreError::Malformed { what: "the keyring".into(), cause: error.to_string() })?;
    let mut files = vec![(STATE.to_owned(), Zeroizing::new(state))];
    for (id, root) in &keyring.roots {
        let certificate = Zeroizing::new(root.certificate_pem().as_bytes().to_vec());
        let key = Zeroizing::new(root.key_pem().as_bytes().to_vec());
        files.extend([(format!("{id}.crt"), certificate), (format!("{id}.key"), key)]);
    }
    Ok(files)
}

pub fn put(
    tree: &Tree,
    authority: &str,
    files: &[NewFile],
    over: Option<&ResourceVersion>,
) -> Result<(), StoreError> {
    let directory = tree.keyring(authority)?;
    let numbers = files::numbers(&directory)?;
    let current = numbers.last().copied();
    if current.map(|number| stamp(&directory, number)).transpose()?.as_ref() != over {
        return Err(StoreError::Conflict(format!("the keyring of {authority}")));
    }
    files::place(&directory.join((current.unwrap_or(0) + 1).to_string()), files)?;
    for number in numbers {
        files::remove(&directory.join(number.to_string()))?;
    }
    Ok(())
}

pub fn load(tree: &Tree, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
    let directory = tree.keyring(authority)?;
    let Some(number) = files::numbers(&directory)?.last().copied() else { return Ok(None) };
    let keyring = read(&directory.join(number.to_string()))?;
    Ok(Some((keyring, stamp(&directory, number)?)))
}

fn read(directory: &Path) -> Result<Keyring, StoreError> {
    let path = directory.join(STATE);
    let state: State = serde_json::from_slice(&files::need(&path)?)
        .map_err(|error| files::malformed(&path, format!("{error}: put it back from a backup")))?;
    let names = files::names(directory)?;
    let names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".crt")).collect();
    if names.len() > MAX_ROOTS {
        let cause = format!("it holds more than {MAX_ROOTS} roots: put it back from a backup");
        return Err(files::malformed(directory, cause));
    }
    let mut roots = BTreeMap::new();
    for name in names {
        let certificate = directory.join(format!("{name}.crt"));
        let key = files::need(&directory.join(format!("{name}.key")))?;
        let root = Authority::import(&files::need(&certificate)?, &key)
            .map_err(|error| files::malformed(&certificate, error.to_string()))?;
        roots.insert(RootId::of(&root), root);
    }
    for id in state.needed() {
        if !roots.contains_key(id) {
            let cause = format!("the root {id} that it needs is missing: put it back from a backup");
            return Err(files::malformed(directory, cause));
        }
    }
    Ok(Keyring { state, roots })
}

fn stamp(directory: &Path, number: u64) -> Result<ResourceVersion, StoreError> {
    let directory = directory.join(number.to_string());
    let ResourceVersion(files) = files::stamp(&directory, &files::names(&directory)?);
    Ok(ResourceVersion(format!("{number}-{files}")))
}
