//! Versions of leaves: `state/versions/NAMESPACE/NAME/N/`, made by one rename and never written again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::tree::Tree;
use crate::pki::keyring::RootId;
use crate::pki::x509_facts::{Fingerprint, Leaf};
use crate::planner::observed::{ObjectName, Version};
use crate::store::directory::files;
use crate::store::{StoreError, StoredVersion};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const BUNDLE: &str = "ca.crt";
const FACTS: &str = "facts.json";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    root: RootId,
    made_for: String,
    #[serde(with = "humantime_serde")]
    created_at: SystemTime,
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    copy_of: Option<u64>,
}

pub fn keep(
    tree: &Tree,
    certificate: &ObjectName,
    version: u64,
    kept: &StoredVersion,
) -> Result<(), StoreError> {
    let directory = tree.versions(certificate)?.join(version.to_string());
    let facts = Facts {
        root: kept.root.clone(),
        made_for: kept.made_for.clone(),
        created_at: kept.created_at,
        request: kept.request.clone(),
        copy_of: kept.copy_of,
    };
    let facts = serde_json::to_vec_pretty(&facts)
        .map_err(|error| files::malformed(&directory.join(FACTS), error.to_string()))?;
    let own = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
    let mut files = vec![
        (CERTIFICATE.to_owned(), own(kept.certificate.as_bytes())),
        (KEY.to_owned(), own(kept.key.as_bytes())),
        (FACTS.to_owned(), own(&facts)),
    ];
    files.extend(kept.bundle.as_ref().map(|bundle| (BUNDLE.to_owned(), own(bundle.as_bytes()))));
    if matches!(read(&directory), Err(StoreError::Malformed { .. })) && directory.is_dir() {
        set_aside(&directory)?;
    }
    files::place(&directory, &files)
}

/// A version that cannot be read is not counted, so the next one has its number: it must not be refused
/// for good.
fn set_aside(directory: &Path) -> Result<(), StoreError> {
    let aside = directory.with_extension("broken");
    files::remove(&aside)?;
    tracing::warn!(version = %directory.display(), "a version that cannot be read was set aside");
    std::fs::rename(directory, &aside).map_err(files::failed("setting aside", directory))
}

pub fn kept(tree: &Tree, certificate: &ObjectName, version: u64) -> Result<StoredVersion, StoreError> {
    let directory = tree.versions(certificate)?.join(version.to_string());
    if !directory.is_dir() {
        return Err(StoreError::Missing(format!("version {version} of {certificate}")));
    }
    read(&directory)
}

pub fn prune(tree: &Tree, certificate: &ObjectName, version: u64) -> Result<(), StoreError> {
    files::remove(&tree.versions(certificate)?.join(version.to_string()))
}

/// All of them. One that cannot be read is said to be so, and is none.
pub fn look(
    tree: &Tree,
    certificate: &ObjectName,
    problems: &mut Vec<String>,
) -> Result<BTreeMap<u64, Arc<Version>>, StoreError> {
    let directory = tree.versions(certificate)?;
    let mut versions = BTreeMap::new();
    for number in files::numbers(&directory)? {
        let own = directory.join(number.to_string());
        match read(&own).and_then(|kept| facts(&own, kept)) {
            Ok(version) => {
                versions.insert(number, Arc::new(version));
            }
            Err(error) => problems.push(format!("{error}; move it away, or put it back from a backup")),
        }
    }
    Ok(versions)
}

fn facts(directory: &Path, kept: StoredVersion) -> Result<Version, StoreError> {
    let leaf = Leaf::read(kept.certificate.as_bytes())
        .ok_or_else(|| files::malformed(&directory.join(CERTIFICATE), "it holds no certificate"))?;
    let fingerprint = Fingerprint::of(kept.certificate.as_bytes(), kept.key.as_bytes());
    let StoredVersion { root, bundle, made_for, created_at, request, copy_of, .. } = kept;
    let roots = bundle.map(|bundle| crate::pki::x509_facts::roots(bundle.as_bytes()));
    Ok(Version { leaf, root, roots, made_for, created_at, request, copy_of, fingerprint })
}

fn read(directory: &Path) -> Result<StoredVersion, StoreError> {
    let path = directory.join(FACTS);
    let facts: Facts = serde_json::from_slice(&files::need(&path)?)
        .map_err(|error| files::malformed(&path, error.to_string()))?;
    let path = directory.join(KEY);
    let key = files::need(&path)?;
    let key = str::from_utf8(&key).map_err(|_| files::malformed(&path, "it is no PEM"))?;
    let bundle = directory.join(BUNDLE);
    let bundle = files::read(&bundle)?.map(|bytes| files::text(&bundle, &bytes)).transpose()?;
    Ok(StoredVersion {
        certificate: files::need_text(&directory.join(CERTIFICATE))?,
        key: Zeroizing::new(key.to_owned()),
        root: facts.root,
        bundle,
        made_for: facts.made_for,
        created_at: facts.created_at,
        request: facts.request,
        copy_of: facts.copy_of,
    })
}
