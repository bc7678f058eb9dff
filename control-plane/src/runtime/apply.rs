//! Carries out what was planned: each action writes one object. Private keys are created, read and used
//! here and nowhere else. Nothing is decided here, except that nothing is published that an agent would
//! refuse.

mod error;
mod event_budget;
mod keyring_access;
mod keyring_cache;
mod kubernetes_event;
mod status_events;
mod transition;
mod unpublished;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::info;

pub use error::ApplyError;
use event_budget::EventBudget;
use keyring_cache::KeyringCache;
use kubernetes_event::event;
use unpublished::UnpublishedVersions;

use crate::api::condition::EventReason;
use crate::api::date;
use crate::api::object_name::ObjectName;
use crate::api::resource::{AuthorityStatus, CertificateStatus};
use crate::api::settings::CertificateSettings;
use crate::external::sync::FetchCache;
use crate::pki::keyring::{Keyring, RootId};
use crate::pki::preflight;
use crate::pki::x509_facts::{self, Fingerprint, Leaf};
use crate::planner::observed::{Observed, ResourceVersion};
use crate::planner::{Action, IssueReason};
use crate::store::{Contents, LeafPem, ObjectRef, Store, StoreError, StoredVersion};

/// Applies actions to a store.
#[derive(Debug)]
pub struct Applier<S> {
    store: Arc<S>,
    fetch_cache: FetchCache,
    keyrings: KeyringCache,
    unpublished: UnpublishedVersions,
    issued_events: EventBudget,
}

impl<S: Store> Applier<S> {
    pub fn new(store: Arc<S>, fetch_cache: FetchCache) -> Self {
        Self {
            store,
            fetch_cache,
            keyrings: KeyringCache::default(),
            unpublished: UnpublishedVersions::default(),
            issued_events: EventBudget::default(),
        }
    }

    /// `observed` is the state that the action was planned on.
    pub async fn apply(
        &self,
        action: &Action,
        observed: &Observed,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        match action {
            Action::Authority { authority, transition, expected } => {
                self.transition(authority, transition, expected.as_ref(), now).await
            }
            Action::Issue { certificate, version, settings, request, reason } => {
                let version = Version { certificate, number: *version, request: request.as_deref() };
                self.issue(version, settings, *reason, observed, now).await
            }
            Action::StoreFetched { certificate, version, fingerprint, spec_digest, request } => {
                let version = Version { certificate, number: *version, request: request.as_deref() };
                self.store_fetched(version, *fingerprint, spec_digest, now).await
            }
            Action::RollBack { certificate, version, to, bundle_from, request } => {
                let version = Version { certificate, number: *version, request: Some(request) };
                // The leaf may be under a root that was removed.
                self.check_keyring_of(certificate, observed).await?;
                self.roll_back(version, *to, *bundle_from, now).await
            }
            Action::Publish {
                certificate,
                secret,
                version,
                bundle_from,
                roots,
                keep,
                revision,
                expected,
            } => {
                let publication = Publication {
                    certificate,
                    secret,
                    version: *version,
                    bundle_from: *bundle_from,
                    roots,
                    keep,
                    revision: *revision,
                    expected: expected.as_ref(),
                };
                self.publish(publication, observed).await
            }
            Action::Prune { certificate, version, expected } => {
                Ok(self.store.delete_version(certificate, *version, expected).await?)
            }
            Action::RemoveKey { certificate, version, expected } => {
                Ok(self.store.remove_key(certificate, *version, expected).await?)
            }
            Action::Nudge { pod, revision } => Ok(self.store.nudge(pod, *revision).await?),
            Action::UpdateAuthorityStatus { authority, status, expected } => {
                self.update_authority_status(authority, status, expected, observed).await
            }
            Action::UpdateCertificateStatus { certificate, status, expected } => {
                self.update_certificate_status(certificate, status, expected, observed).await
            }
        }
    }

    /// How many versions may be issued before some are published: what is issued beyond has to be read back.
    pub fn room_to_issue(&self) -> usize {
        self.unpublished.room()
    }

    async fn issue(
        &self,
        Version { certificate, number, request }: Version<'_>,
        settings: &CertificateSettings,
        reason: IssueReason,
        observed: &Observed,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let keyring = self.keyring_of(certificate, observed).await?;
        let leaf_request = settings.leaf.clone();
        // An RSA key may take a second to generate.
        let signed = tokio::task::spawn_blocking(move || {
            let root = keyring.signing().map(|root| (RootId::of(root), root.issue(&leaf_request, now)));
            root.map(|(id, leaf)| leaf.map(|leaf| (id, leaf))).transpose()
        });
        let signed = signed.await.map_err(|error| ApplyError::Panicked(error.to_string()))??;
        let (root, leaf) = signed.ok_or_else(|| StoreError::Missing("root that signs".into()))?;
        let version = StoredVersion {
            certificate: leaf.certificate_pem,
            key: leaf.key_pem,
            root,
            bundle: None,
            made_for: settings.digest(),
            created_at: now,
            request: request.map(str::to_owned),
            copy_of: None,
        };
        self.store.create_version(certificate, number, &version).await?;
        self.unpublished.insert(certificate, number, version);
        info!(%certificate, version = number, serial = leaf.serial, why = reason.as_str(), "issued");
        // A new root has one Event, of the authority, for all its certificates.
        if reason != IssueReason::NewRoot && self.issued_events.take(Instant::now()) {
            let (serial, until) = (&leaf.serial, date::seconds(leaf.not_after));
            let message = format!("version {number}, serial {serial}, until {until} ({})", reason.as_str());
            self.record_event(certificate, EventReason::Issued, message).await;
        }
        Ok(())
    }

    async fn store_fetched(
        &self,
        Version { certificate, number, request }: Version<'_>,
        fingerprint: Fingerprint,
        spec_digest: &str,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let fetched = self.fetch_cache.get(certificate, fingerprint);
        let fetched = fetched.ok_or_else(|| StoreError::Conflict("what was fetched".into()))?;
        let version = StoredVersion {
            made_for: spec_digest.to_owned(),
            request: request.map(str::to_owned),
            created_at: now,
            ..fetched.as_ref().clone()
        };
        self.store.create_version(certificate, number, &version).await?;
        let leaf = Leaf::read(version.certificate.as_bytes());
        let serial = leaf.as_ref().map_or("", |leaf| &leaf.serial);
        info!(%certificate, version = number, serial, "fetched");
        let message = format!("version {number}, serial {serial}, as its manager has it");
        self.record_event(certificate, EventReason::Fetched, message).await;
        Ok(())
    }

    async fn roll_back(
        &self,
        Version { certificate, number, request }: Version<'_>,
        to: u64,
        bundle_from: Option<u64>,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let mut version = self.store.load_version(certificate, to).await?;
        if let Some(newest) = bundle_from {
            version.bundle = self.store.load_version(certificate, newest).await?.bundle;
        }
        version.copy_of = Some(version.copy_of.unwrap_or(to));
        version.request = request.map(str::to_owned);
        version.created_at = now;
        self.store.create_version(certificate, number, &version).await?;
        info!(%certificate, version = number, of = to, "rolled back");
        let message = format!("version {to} is served again, as version {number}");
        self.record_event(certificate, EventReason::RolledBack, message).await;
        Ok(())
    }

    async fn publish(
        &self,
        Publication { certificate, secret, version, bundle_from, roots, keep, revision, expected }: Publication<'_>,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        let known = observed.certificates.get(certificate);
        let served_under = known
            .filter(|_| bundle_from.is_none())
            .and_then(|known| known.published_root(version, expected?));
        let leaf = match (served_under, self.unpublished.take(certificate, version)) {
            (Some(root), _) => LeafToWrite::Stays(root),
            (None, Some(stored)) => LeafToWrite::Stored(stored),
            (None, None) => LeafToWrite::Stored(self.store.load_version(certificate, version).await?),
        };
        let mut bundle = match (bundle_from, &leaf) {
            (None, _) => bundle(self.keyring_of(certificate, observed).await?.as_ref(), roots)?,
            (Some(number), LeafToWrite::Stored(stored)) if number == version => {
                own_bundle(stored, certificate, number)?
            }
            (Some(number), _) => {
                own_bundle(&self.store.load_version(certificate, number).await?, certificate, number)?
            }
        };
        if !keep.is_empty() {
            bundle.push_str(&self.kept_roots(certificate, secret, keep, observed).await?);
        }
        // Taken now and not at the start of the round, which may be long ago where the process was suspended. The time
        // until it is served begins here.
        let written_at = SystemTime::now();
        let leaf = match leaf {
            LeafToWrite::Stays(root) => {
                let checked = preflight::validate_bundle(bundle.as_bytes(), root, written_at);
                checked.map(|()| None)
            }
            LeafToWrite::Stored(StoredVersion { certificate: chain, key, .. }) => {
                let [certificate, key_pem, bundle] = [&chain, &*key, &bundle].map(String::as_bytes);
                let checked = preflight::validate(certificate, key_pem, bundle, false, written_at);
                checked.map(|_| Some(LeafPem { certificate: chain, key })).map_err(|error| error.to_string())
            }
        };
        let refused = |cause| ApplyError::Refused { certificate: certificate.clone(), version, cause };
        let leaf = leaf.map_err(refused)?;
        let contents = Contents { leaf, bundle, revision, version, written_at };
        self.store.publish(certificate, secret, &contents, expected).await?;
        info!(%certificate, secret, version, revision, roots = roots.len(), "published");
        Ok(())
    }

    /// PEM of roots of others, from what is published now or from the keyring of the authority that has them.
    async fn kept_roots(
        &self,
        certificate: &ObjectName,
        secret: &str,
        keep: &BTreeSet<RootId>,
        observed: &Observed,
    ) -> Result<String, StoreError> {
        let published = self.store.published_bundle(certificate, secret).await?;
        let mut found: BTreeMap<RootId, String> = x509_facts::root_pems(published.as_bytes()).collect();
        for (name, view) in observed.keyrings() {
            let has_missing = view.roots.keys().any(|root| keep.contains(root) && !found.contains_key(root));
            if has_missing && let Some((keyring, _)) = self.store.keyring(name).await? {
                let roots = keyring.roots.iter();
                found.extend(roots.map(|(id, root)| (id.clone(), root.certificate_pem().to_owned())));
            }
        }
        let pem = |root: &RootId| {
            let missing = || StoreError::Failed {
                what: format!("keeping the root {root} in the Secret {secret} of {certificate}"),
                cause: "it is in no keyring any more, and not in the Secret".into(),
            };
            found.remove(root).ok_or_else(missing)
        };
        keep.iter().map(pem).collect()
    }

    async fn update_authority_status(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        expected: &ResourceVersion,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        self.store.report_authority(authority, status, expected).await?;
        let before = observed.authorities.get(authority).map(|authority| &authority.status);
        let conditions = before.map_or(&[][..], |before| &before.conditions);
        let object = ObjectRef::Authority(authority.to_owned());
        self.report_new_problems(&object, conditions, &status.conditions).await;
        let before = before.map(|before| &before.last_notified);
        self.report_overdue_notifications(object, before, &status.last_notified).await;
        Ok(())
    }

    async fn update_certificate_status(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        expected: &ResourceVersion,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        self.store.report_certificate(certificate, status, expected).await?;
        let before = observed.certificates.get(certificate).map(|certificate| &certificate.status);
        let conditions = before.map_or(&[][..], |before| &before.conditions);
        let object = ObjectRef::Certificate(certificate.clone());
        self.report_new_problems(&object, conditions, &status.conditions).await;
        let before = before.map(|before| &before.last_notified);
        self.report_overdue_notifications(object, before, &status.last_notified).await;
        Ok(())
    }

    async fn record_event(&self, certificate: &ObjectName, reason: EventReason, message: String) {
        let object = ObjectRef::Certificate(certificate.clone());
        self.store.record_event(&event(object, reason, message)).await;
    }
}

/// A version that is about to be stored, and the request that it is made for.
struct Version<'a> {
    certificate: &'a ObjectName,
    number: u64,
    request: Option<&'a str>,
}

/// [`Action::Publish`].
struct Publication<'a> {
    certificate: &'a ObjectName,
    secret: &'a str,
    version: u64,
    bundle_from: Option<u64>,
    roots: &'a [RootId],
    keep: &'a BTreeSet<RootId>,
    revision: u64,
    expected: Option<&'a ResourceVersion>,
}

/// The leaf of a publication.
enum LeafToWrite<'a> {
    /// It is in the Secret, signed by this root: its key need not be read.
    Stays(&'a RootId),
    Stored(StoredVersion),
}

/// The bundle that came with a version.
fn own_bundle(stored: &StoredVersion, certificate: &ObjectName, number: u64) -> Result<String, StoreError> {
    let missing = || StoreError::Missing(format!("bundle in version {number} of {certificate}"));
    stored.bundle.clone().ok_or_else(missing)
}

fn bundle(keyring: &Keyring, roots: &[RootId]) -> Result<String, StoreError> {
    let pem = |id: &RootId| {
        let root = keyring.roots.get(id).ok_or_else(|| StoreError::Missing(format!("root {id}")));
        root.map(|root| root.certificate_pem())
    };
    roots.iter().map(pem).collect()
}
