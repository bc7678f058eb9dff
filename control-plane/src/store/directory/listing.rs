//! One observation of DIR, under its lock. A thing that cannot be read is named among the problems and holds
//! up nothing but itself; a directory that cannot be listed fails the observation, since what is in it would be
//! taken for gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::tree::Tree;
use super::{files, imports, keyring, objects, target_secret, version};
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ServiceCertificateSpec,
};
use crate::api::settings::CertificateSettings;
use crate::pki::ledger::Ledger;
use crate::planner::by_namespace::ByNamespace;
use crate::planner::observed::{
    Authority, Certificate, KeyringState, KeyringView, Observed, Published, SecretListing,
};
use crate::store::codec::name;
use crate::store::{ObjectRef, StoreError};

pub fn observe(tree: &Tree) -> Result<Observed, StoreError> {
    let mut problems = Vec::new();
    let mut authorities = BTreeMap::new();
    for name in files(&tree.authorities(), &mut problems)? {
        if let Some(authority) = authority(tree, &name, &mut problems)? {
            authorities.insert(name, Arc::new(authority));
        }
    }
    let mut certificates = ByNamespace::default();
    let mut targets = BTreeSet::new();
    for namespace in directories(&tree.certificates(), &mut problems)? {
        for name in files(&tree.certificates().join(&namespace), &mut problems)? {
            let name = ObjectName::new(&namespace, name);
            if let Some(certificate) = certificate(tree, &name, &mut targets, &mut problems)? {
                certificates.insert(name, Arc::new(certificate));
            }
        }
    }
    let unowned = target_secret::list_unowned(tree, |secret| targets.contains(secret), &mut problems)?;
    let namespaces = secret_listings(tree, &authorities, unowned.unread);
    Ok(Observed {
        orphaned_keyrings: orphaned_keyrings(tree, &authorities)?,
        namespaces,
        authorities,
        certificates,
        watched_secrets: unowned.secrets,
        read_errors: problems,
        ..Observed::default()
    })
}

/// When a Secret last came or went in a namespace, or the namespace itself.
fn last_change(tree: &Tree, namespace: &str) -> SystemTime {
    let directories = [tree.secrets().join(namespace), tree.secrets(), tree.root().to_owned()];
    let mut changed = directories.iter().filter_map(|directory| directory.metadata().ok()?.modified().ok());
    changed.next().unwrap_or_else(SystemTime::now)
}

/// Of authorities that were deleted.
fn orphaned_keyrings(
    tree: &Tree,
    authorities: &BTreeMap<String, Arc<Authority>>,
) -> Result<BTreeMap<String, KeyringView>, StoreError> {
    let names = files::names(&tree.state().join("authorities"))?;
    let deleted = names.into_iter().filter(|name| name::is_valid(name) && !authorities.contains_key(name));
    let mut keyrings = BTreeMap::new();
    for name in deleted {
        // One that cannot be read is nobody's any more.
        if let Ok(Some((keyring, resource_version))) = keyring::load(tree, &name) {
            keyrings.insert(name, KeyringView::of(&keyring, resource_version));
        }
    }
    Ok(keyrings)
}

/// Of the namespaces that a ledger names: what is not in `unread` was seen as it is.
fn secret_listings(
    tree: &Tree,
    authorities: &BTreeMap<String, Arc<Authority>>,
    unread: BTreeMap<String, String>,
) -> BTreeMap<String, SecretListing> {
    let keyrings = authorities.values().filter_map(|authority| authority.keyring.view());
    let ledgers = keyrings.filter_map(|keyring| keyring.state.ledger.as_deref());
    let mut listings: BTreeMap<_, _> = ledgers
        .flat_map(Ledger::namespaces)
        .map(|namespace| (namespace.clone(), SecretListing::Complete(last_change(tree, namespace))))
        .collect();
    listings.extend(unread.into_iter().map(|(namespace, why)| (namespace, SecretListing::Failed(why))));
    listings
}

fn authority(tree: &Tree, name: &str, problems: &mut Vec<String>) -> Result<Option<Authority>, StoreError> {
    let about = ObjectRef::Authority(name.to_owned());
    let object = objects::read_object::<CertificateAuthoritySpec, AuthorityStatus>(tree, &about, problems)?;
    let Some(objects::Object { resource_version, generation, spec, status, requests }) = object else {
        return Ok(None);
    };
    let keyring = match keyring::load(tree, name) {
        Ok(None) => KeyringState::Absent,
        Ok(Some((keyring, resource_version))) => {
            KeyringState::Present(KeyringView::of(&keyring, resource_version))
        }
        Err(error) => KeyringState::Unreadable(error.to_string()),
    };
    let import = spec.import.as_ref().map(|source| imports::root(tree, &source.secret_name));
    let uid = name.to_owned();
    let deleting = false;
    Ok(Some(Authority {
        uid,
        resource_version,
        generation,
        spec,
        status,
        deleting,
        requests,
        keyring,
        import,
    }))
}

fn certificate(
    tree: &Tree,
    name: &ObjectName,
    targets: &mut BTreeSet<ObjectName>,
    problems: &mut Vec<String>,
) -> Result<Option<Certificate>, StoreError> {
    let about = ObjectRef::Certificate(name.clone());
    let object = objects::read_object::<ServiceCertificateSpec, CertificateStatus>(tree, &about, problems)?;
    let Some(objects::Object { resource_version, generation, spec, status, requests }) = object else {
        return Ok(None);
    };
    let secret = ObjectName::new(&name.namespace, CertificateSettings::secret_name(&name.name, &spec));
    let published = tree.secret(&secret).map(|directory| target_secret::read(&directory, name));
    let published = published.unwrap_or_else(|error| Published::Inaccessible(error.to_string()));
    targets.insert(secret);
    let versions = version::list(tree, name, problems)?;
    let uid = name.to_string();
    let deleting = false;
    Ok(Some(Certificate {
        uid,
        resource_version,
        generation,
        spec,
        status,
        deleting,
        requests,
        versions,
        published,
    }))
}

/// The names of the objects in a directory.
fn files(directory: &Path, problems: &mut Vec<String>) -> Result<Vec<String>, StoreError> {
    let accepts = |file: String| match file.strip_suffix(".yaml").filter(|name| name::is_valid(name)) {
        Some(name) => Some(name.to_owned()),
        None => {
            let error =
                files::malformed(&directory.join(file), "it is not a NAME.yaml: rename it or move it away");
            problems.push(error.to_string());
            None
        }
    };
    Ok(files::names(directory)?.into_iter().filter_map(accepts).collect())
}

fn directories(directory: &Path, problems: &mut Vec<String>) -> Result<Vec<String>, StoreError> {
    let accepts = |name: &String| {
        let fits = name::is_valid(name) && directory.join(name).is_dir();
        if !fits {
            let cause = "it is not a directory named as a namespace: rename it or move it away";
            problems.push(files::malformed(&directory.join(name), cause).to_string());
        }
        fits
    };
    Ok(files::names(directory)?.into_iter().filter(accepts).collect())
}
