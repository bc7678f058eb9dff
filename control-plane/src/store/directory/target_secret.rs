//! Target Secrets, which agents are pointed at: `secrets/NAMESPACE/SECRET/`, swapped as kubelet swaps a mounted Secret.
//! The owner is in `owner.json` and is swapped with the rest, so a directory is either wholly hotcert's or not
//! at all; one of another owner is never written to.
//!
//! Who may read a publication is part of it: one that is not for the readers that its directory names is replaced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::access::{self, Readers};
use super::tree::Tree;
use crate::api::object_name::ObjectName;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{Publication, Published, ResourceVersion, WatchedSecret};
use crate::store::codec::{self, BUNDLE, CERTIFICATE, KEY, REVISION, name};
use crate::store::directory::atomic_volume::SecretVolume;
use crate::store::directory::files;
use crate::store::{Contents, StoreError};

const DATA: &str = "..data";
const OWNER: &str = "owner.json";
const FILES: [&str; 5] = [CERTIFICATE, KEY, BUNDLE, REVISION, OWNER];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    /// NAMESPACE/NAME of the ServiceCertificate.
    certificate: String,
    version: u64,
    #[serde(with = "humantime_serde")]
    written_at: SystemTime,
}

pub fn publish(
    tree: &Tree,
    certificate: &ObjectName,
    secret: &ObjectName,
    contents: &Contents,
    over: Option<&ResourceVersion>,
) -> Result<(), StoreError> {
    let directory = tree.secret(secret)?;
    let current = match read(&directory, certificate) {
        Published::Absent => None,
        Published::Ours(publication) => Some(publication.resource_version),
        // It was absent when this was planned.
        Published::OwnedByOther(_) => return Err(conflict(secret)),
        Published::Inaccessible(cause) => {
            return Err(StoreError::Failed { what: format!("publishing {secret}"), cause });
        }
    };
    if current.as_ref() != over {
        return Err(conflict(secret));
    }
    let owner = Owner {
        certificate: certificate.to_string(),
        version: contents.version,
        written_at: contents.written_at,
    };
    let owner = serde_json::to_vec(&owner)
        .map_err(|error| files::malformed(&directory.join(OWNER), error.to_string()))?;
    let mut parts = codec::target_secret::encode(contents);
    if contents.leaf.is_none() {
        let data = data(&directory)?.ok_or_else(|| conflict(secret))?;
        for name in [CERTIFICATE, KEY] {
            let value = files::read(&data.join(name))?.ok_or_else(|| conflict(secret))?;
            parts.push((name.to_owned(), value));
        }
    }
    let parts = parts.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let files: Vec<_> = parts.chain([(OWNER, owner.as_slice())]).collect();
    access::prepare(&directory)?;
    let readers = Readers::of(&directory, &directory.join(DATA))?;
    let published = SecretVolume::shared_with(&directory, readers).publish(&files);
    published.map(drop).map_err(|error| StoreError::Failed {
        what: format!("publishing {secret}"),
        cause: error.to_string(),
    })
}

fn conflict(secret: &ObjectName) -> StoreError {
    StoreError::Conflict(format!("the Secret {secret}"))
}

/// PEM of the roots in it; empty if there is no such Secret.
pub fn bundle(tree: &Tree, secret: &ObjectName) -> Result<String, StoreError> {
    let Some(data) = data(&tree.secret(secret)?)? else { return Ok(String::new()) };
    let bundle = files::read(&data.join(BUNDLE))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bundle).into_owned())
}

pub fn read(directory: &Path, certificate: &ObjectName) -> Published {
    match open(directory) {
        Ok(None) => Published::Absent,
        Ok(Some(volume)) if volume.owner.as_deref() == Some(&certificate.to_string()) => {
            Published::Ours(volume.publication)
        }
        Ok(Some(Volume { owner: Some(owner), .. })) => {
            Published::OwnedByOther(format!("belongs to the ServiceCertificate {owner}"))
        }
        Ok(Some(_)) => Published::OwnedByOther("holds files that hotcert did not write".into()),
        Err(StoreError::Failed { what, cause }) => Published::Inaccessible(format!("{what} failed: {cause}")),
        Err(error) => Published::Inaccessible(error.to_string()),
    }
}

/// The directories that no certificate is published to.
#[derive(Default)]
pub struct Unowned {
    pub secrets: BTreeMap<ObjectName, WatchedSecret>,
    /// By namespace, why one could not be read.
    pub unread: BTreeMap<String, String>,
}

pub fn list_unowned(
    tree: &Tree,
    ours: impl Fn(&ObjectName) -> bool,
    problems: &mut Vec<String>,
) -> Result<Unowned, StoreError> {
    let mut unowned = Unowned::default();
    for namespace in files::names(&tree.secrets())? {
        // Whatever else is there, such as `lost+found`.
        if !name::is_valid(&namespace) || !tree.secrets().join(&namespace).is_dir() {
            continue;
        }
        for name in files::names(&tree.secrets().join(&namespace))? {
            let secret = ObjectName::new(&namespace, name);
            if !name::is_valid(&secret.name) || ours(&secret) {
                continue;
            }
            match open(&tree.secret(&secret)?) {
                Ok(None) => {}
                Ok(Some(volume)) => {
                    let (leaf, Publication { roots, written_at, .. }) = (volume.leaf, volume.publication);
                    let orphan = volume.owner.is_some();
                    let written_at = orphan.then_some(written_at);
                    unowned.secrets.insert(secret, WatchedSecret { leaf, roots, orphan, written_at });
                }
                Err(error) => {
                    problems.push(error.to_string());
                    unowned.unread.insert(namespace.clone(), error.to_string());
                }
            }
        }
    }
    Ok(unowned)
}

struct Volume {
    /// `None` if it is not of hotcert's making.
    owner: Option<String>,
    publication: Publication,
    leaf: Option<Leaf>,
}

/// `None` if there is none, or nothing in it.
fn open(directory: &Path) -> Result<Option<Volume>, StoreError> {
    let Some(data) = data(directory)? else { return Ok(None) };
    let owner: Option<Owner> =
        files::read(&data.join(OWNER))?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let is_shared = owner.is_none() || Readers::of(directory, &data)?.fit(&data, FILES);
    // Files without `..data` belong to another program, which does not swap them.
    let part = |name| {
        let path = data.join(name);
        match owner {
            Some(_) if !is_linked(directory, name)? => Ok(Zeroizing::default()),
            // Published again for its readers. The leaf and the roots are what they are.
            Some(_) if name == KEY && !is_shared => Ok(Zeroizing::default()),
            _ => files::read(&path).map(Option::unwrap_or_default),
        }
    };
    let (certificate, key) = (part(CERTIFICATE)?, part(KEY)?);
    let (bundle, revision) = (part(BUNDLE)?, part(REVISION)?);
    let value = |name: &str| match name {
        CERTIFICATE => certificate.as_slice(),
        KEY => &key,
        BUNDLE => &bundle,
        _ => &revision,
    };
    let written_at = owner.as_ref().map_or(SystemTime::UNIX_EPOCH, |owner| owner.written_at);
    let (publication, leaf) = codec::target_secret::decode(value, resource_version(&data), written_at);
    Ok(Some(Volume { owner: owner.map(|owner| owner.certificate), publication, leaf }))
}

/// Where the files are.
fn data(directory: &Path) -> Result<Option<PathBuf>, StoreError> {
    let link = directory.join(DATA);
    match std::fs::read_link(&link) {
        Ok(target) => Ok(Some(directory.join(target))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let plain = !files::names(directory)?.is_empty();
            Ok(plain.then(|| directory.to_owned()))
        }
        Err(error) => Err(files::failed("reading", &link)(error)),
    }
}

/// Whether programs that open `name` see what was published. A link that is gone is made again by the
/// next publication; a file in its place is left alone.
fn is_linked(directory: &Path, name: &str) -> Result<bool, StoreError> {
    let link = directory.join(name);
    match std::fs::read_link(&link) {
        Ok(target) if target == Path::new(DATA).join(name) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        _ => {
            Err(files::malformed(&link, format!("it is not the link to {DATA} that hotcert made: remove it")))
        }
    }
}

fn resource_version(data: &Path) -> ResourceVersion {
    let ResourceVersion(files) = files::resource_version(data, &FILES);
    // Of the directory too: a publication is another one even where a file system uses inodes again.
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ResourceVersion(format!("{}-{files}", name.trim_start_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a controller of release 0.2.0 wrote it.
    #[test]
    fn a_stored_owner_is_read_and_written_as_it_was() {
        let stored = r#"{"certificate":"shop/mtls-prod-payments","version":7,"writtenAt":"2026-01-31T09:15:00.500000000Z"}"#;
        let owner: Owner = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&owner).unwrap(), stored);
    }
}
