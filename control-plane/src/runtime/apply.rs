//! Carries out what was planned: each action writes one object. Private keys are created, read and used
//! here and nowhere else. Nothing is decided here, except that nothing is published that an agent would
//! refuse.

mod error;
mod keyring_access;
mod keyring_cache;
mod kubernetes_event;
mod transition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::info;

pub use error::ApplyError;
use keyring_cache::KeyringCache;
use kubernetes_event::event;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, EventReason, Reason};
use crate::api::date;
use crate::api::object_name::ObjectName;
use crate::api::resource::{AuthorityStatus, CertificateStatus, NotifiedMarks, UNDELIVERED};
use crate::api::settings::CertificateSettings;
use crate::external::sync::FetchCache;
use crate::pki::keyring::{Keyring, RootId};
use crate::pki::preflight;
use crate::pki::x509_facts::{Fingerprint, Leaf};
use crate::planner::observed::{Observed, ResourceVersion};
use crate::planner::{Action, IssueReason};
use crate::store::{Contents, ObjectRef, Store, StoreError, StoredVersion};

/// Applies actions to a store.
#[derive(Debug)]
pub struct Applier<S> {
    store: Arc<S>,
    fetch_cache: FetchCache,
    keyrings: KeyringCache,
}

impl<S: Store> Applier<S> {
    pub fn new(store: Arc<S>, fetch_cache: FetchCache) -> Self {
        Self { store, fetch_cache, keyrings: KeyringCache::default() }
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
            Action::Publish { certificate, secret, version, roots, revision, expected } => {
                let publication = Publication {
                    certificate,
                    secret,
                    version: *version,
                    roots,
                    revision: *revision,
                    expected: expected.as_ref(),
                };
                self.publish(publication, observed, now).await
            }
            Action::Prune { certificate, version, expected } => {
                Ok(self.store.delete_version(certificate, *version, expected).await?)
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
        info!(%certificate, version = number, serial = leaf.serial, why = reason.as_str(), "issued");
        // A new root has one Event, of the authority, for all its certificates.
        if reason != IssueReason::NewRoot {
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
        Publication { certificate, secret, version, roots, revision, expected }: Publication<'_>,
        observed: &Observed,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        let stored = self.store.load_version(certificate, version).await?;
        let StoredVersion { certificate: chain, key, bundle: own_bundle, .. } = stored;
        // If an authority signs it now, the authority's roots count.
        let is_fetched = observed
            .certificates
            .get(certificate)
            .is_some_and(|certificate| certificate.spec.authority.is_empty());
        let bundle = match own_bundle.filter(|_| is_fetched) {
            Some(own_bundle) => own_bundle,
            None => bundle(self.keyring_of(certificate, observed).await?.as_ref(), roots)?,
        };
        preflight::validate(chain.as_bytes(), key.as_bytes(), bundle.as_bytes(), false, now).map_err(
            |rejection| {
                let (certificate, cause) = (certificate.clone(), rejection.to_string());
                ApplyError::Refused { certificate, version, cause }
            },
        )?;
        // Taken now and not at the start of the round: the time until it is served begins here.
        let written_at = SystemTime::now();
        let contents = Contents { certificate: chain, key, bundle, revision, version, written_at };
        self.store.publish(certificate, secret, &contents, expected).await?;
        info!(%certificate, secret, version, revision, roots = roots.len(), "published");
        Ok(())
    }

    async fn update_authority_status(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        expected: &ResourceVersion,
        observed: &Observed,
    ) -> Result<(), ApplyError> {
        self.store.report_authority(authority, status, expected).await?;
        let before = observed.authorities.get(authority).map(|authority| &authority.status.last_notified);
        let object = ObjectRef::Authority(authority.to_owned());
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
        self.report_new_problems(certificate, conditions, &status.conditions).await;
        let object = ObjectRef::Certificate(certificate.clone());
        let before = before.map(|before| &before.last_notified);
        self.report_overdue_notifications(object, before, &status.last_notified).await;
        Ok(())
    }

    /// An Event for each condition that shows a problem now and did not before.
    async fn report_new_problems(&self, certificate: &ObjectName, before: &[Condition], now: &[Condition]) {
        for condition in now {
            let is_problem = match condition.r#type {
                ConditionType::Ready | ConditionType::Served => condition.status == ConditionStatus::False,
                _ => condition.status == ConditionStatus::True,
            };
            let is_known = before.iter().any(|known| {
                known.r#type == condition.r#type
                    && known.status == condition.status
                    && known.reason == condition.reason
            });
            // A certificate whose first leaf is on its way has no problem.
            if is_problem && !is_known && condition.reason != Reason::Issuing {
                let reason = match condition.r#type {
                    ConditionType::Served => EventReason::NotServed,
                    _ => EventReason::Degraded,
                };
                let message = format!("{}: {}", condition.reason, condition.message);
                self.record_event(certificate, reason, message).await;
            }
        }
    }

    /// An Event for each subscription whose notifications have been overdue since this status.
    async fn report_overdue_notifications(
        &self,
        object: ObjectRef,
        before: Option<&BTreeMap<String, NotifiedMarks>>,
        now: &BTreeMap<String, NotifiedMarks>,
    ) {
        for (subscription, marks) in now {
            let known = before.and_then(|before| before.get(subscription)?.get(UNDELIVERED));
            if let (Some(overdue), None) = (marks.get(UNDELIVERED), known) {
                let message = format!("{subscription} has not received {overdue}");
                let event = event(object.clone(), EventReason::NotificationFailed, message);
                self.store.record_event(&event).await;
            }
        }
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
    roots: &'a [RootId],
    revision: u64,
    expected: Option<&'a ResourceVersion>,
}

fn bundle(keyring: &Keyring, roots: &[RootId]) -> Result<String, StoreError> {
    let pem = |id: &RootId| {
        let root = keyring.roots.get(id).ok_or_else(|| StoreError::Missing(format!("root {id}")));
        root.map(|root| root.certificate_pem())
    };
    roots.iter().map(pem).collect()
}
