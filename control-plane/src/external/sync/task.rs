//! Runs one [`SyncTask`]: fetches the current version of a certificate and validates it as an agent would, or pushes
//! a published version.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use hotcert_tls::SingleRootVerifier;
use rustls_pki_types::UnixTime;

use crate::api::leaf_request::Usage;
use crate::external::manager::{Manager, ManagerError, Metadata, Version};
use crate::pki::keyring::RootId;
use crate::pki::pem::certificate_pem;
use crate::pki::preflight::{self, Validated};
use crate::pki::x509_facts;
use crate::pki::x509_facts::{Fingerprint, Leaf};
use crate::planner::observed::FetchTrigger;
use crate::planner::{SyncAction, SyncTask};
use crate::store::{Store, StoreError, StoredVersion};

pub(super) struct FetchedVersion {
    pub fingerprint: Fingerprint,
    pub roots: BTreeSet<RootId>,
    pub version: StoredVersion,
}

pub(super) enum Completed {
    /// The current version, and what the manager says of it.
    Fetched(Box<FetchedVersion>, Option<Metadata>),
    /// The current version is the one that was fetched last.
    Unchanged,
    Pushed,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error(transparent)]
    Manager(#[from] ManagerError),
    #[error("the fetched certificate is not stored, as agents would reject it: {0}")]
    Rejected(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("version {0} was replaced since it was published")]
    Replaced(u64),
}

/// `seen`: what the manager said of the version that was fetched last.
pub(super) async fn run(
    task: &SyncTask,
    manager: &Manager,
    seen: Option<&Metadata>,
    store: &impl Store,
) -> Result<Completed, SyncError> {
    let SyncTask { certificate, with, action } = task;
    let (namespace, id) = (certificate.namespace.as_str(), with.id.as_str());
    match action {
        SyncAction::Fetch { usage, trigger } => {
            // Whoever asks for a fetch gets one.
            let seen = seen.filter(|_| matches!(trigger, FetchTrigger::Hour(_)));
            if let Some(seen) = seen
                && !manager.has_changed(namespace, id, seen).await?
            {
                return Ok(Completed::Unchanged);
            }
            let (version, bundle) = manager.fetch(namespace, id).await?;
            let serves = *usage != Usage::ClientOnly;
            let metadata = version.metadata.clone();
            let fetched = validate(version, bundle, serves, SystemTime::now())?;
            Ok(Completed::Fetched(Box::new(fetched), metadata))
        }
        SyncAction::Push { version, sha256 } => {
            let StoredVersion { certificate, key, .. } = store.load_version(certificate, *version).await?;
            if Leaf::read(certificate.as_bytes()).is_none_or(|leaf| leaf.sha256 != *sha256) {
                return Err(SyncError::Replaced(*version));
            }
            manager.push(namespace, id, &Version { certificate, key, roots: None, metadata: None }).await?;
            Ok(Completed::Pushed)
        }
    }
}

fn validate(
    version: Version,
    bundle: String,
    serves: bool,
    now: SystemTime,
) -> Result<FetchedVersion, SyncError> {
    let Version { certificate, key, .. } = version;
    let validated =
        preflight::validate(certificate.as_bytes(), key.as_bytes(), bundle.as_bytes(), serves, now);
    let validated = validated.map_err(|rejection| SyncError::Rejected(rejection.to_string()))?;
    let root = root_of(&validated, now)
        .ok_or_else(|| SyncError::Rejected("none of the roots that came with it verifies it".to_owned()))?;
    // A manager may keep the leaf behind its issuers; everything that reads a version here takes the first for the leaf.
    let certificate = match Leaf::read(certificate.as_bytes()) {
        Some(first) if first.sha256 == validated.leaf.sha256 => certificate,
        _ => validated.leaf.certified.cert.iter().map(|der| certificate_pem(der)).collect(),
    };
    let fingerprint = Fingerprint::of(certificate.as_bytes(), key.as_bytes());
    let roots = x509_facts::roots(bundle.as_bytes());
    let version = StoredVersion {
        certificate,
        key,
        root,
        bundle: Some(bundle),
        made_for: String::new(),
        created_at: now,
        request: None,
        copy_of: None,
    };
    Ok(FetchedVersion { fingerprint, roots, version })
}

/// The root of the bundle that verifies the leaf.
fn root_of(validated: &Validated, now: SystemTime) -> Option<RootId> {
    let at = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let leaf = &validated.leaf;
    let chain = &leaf.certified.cert;
    let verifies = |verifier: &SingleRootVerifier| {
        verifier.trusts_server(chain, at) || verifier.trusts_client(chain, at)
    };
    let mut roots = validated.trust.iter().flat_map(|trust| &trust.roots);
    let root = roots.find(|root| SingleRootVerifier::new(root).is_ok_and(|verifier| verifies(&verifier)))?;
    Some(RootId(root.sha256.clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::leaf_request::LeafRequest;
    use crate::pki::authority::{Authority, AuthorityRequest};

    #[test]
    fn a_leaf_that_a_manager_keeps_behind_its_issuer_is_stored_in_front() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        let request = AuthorityRequest { common_name: "root".into(), lifetime: day, ..Default::default() };
        let root = Authority::create(&request, now).unwrap();
        let request = LeafRequest {
            common_name: "payments".into(),
            dns_names: vec!["payments.shop.svc".into()],
            lifetime: day / 2,
            ..LeafRequest::default()
        };
        let leaf = root.issue(&request, now).unwrap();
        let stored = |certificate: String| {
            let version = Version { certificate, key: leaf.key_pem.clone(), roots: None, metadata: None };
            let fetched =
                validate(version, format!("\u{feff}{}", root.certificate_pem()), true, now).unwrap();
            assert_eq!(fetched.roots.len(), 1, "a byte order mark hides no root");
            fetched.version.certificate
        };
        let in_order = format!("{}{}", leaf.certificate_pem, root.certificate_pem());
        assert_eq!(stored(in_order.clone()), in_order);
        assert_eq!(stored(format!("{}{}", root.certificate_pem(), leaf.certificate_pem)), in_order);
    }
}
