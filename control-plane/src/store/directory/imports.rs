//! Existing roots to import: `imports/NAME/` with tls.crt and tls.key.

use super::tree::Tree;
use crate::pki::authority::Authority;
use crate::pki::keyring::RootId;
use crate::store::directory::files;
use crate::store::{ImportedPem, StoreError};

pub fn read(tree: &Tree, name: &str) -> Result<ImportedPem, StoreError> {
    let directory = tree.import(name)?;
    let part = |file| {
        let path = directory.join(file);
        files::read(&path)?.ok_or_else(|| StoreError::Missing(format!("{}: put it there", path.display())))
    };
    Ok(ImportedPem { certificate: part("tls.crt")?.to_vec(), key: part("tls.key")? })
}

/// Which root it is, or why it cannot be one.
pub fn root(tree: &Tree, name: &str) -> Result<RootId, String> {
    let pem = read(tree, name).map_err(|error| error.to_string())?;
    let root = Authority::import(&pem.certificate, &pem.key).map_err(|error| error.to_string())?;
    Ok(RootId::of(&root))
}
