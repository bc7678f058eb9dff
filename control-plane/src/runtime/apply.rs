//! Carries out what was planned: one action, one object written. Keys are made, read and used here and
//! nowhere else; nothing is decided here, except that nothing is published that an agent would refuse.

mod transition;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::info;

use crate::api::condition::{ConditionStatus, ConditionType, EventReason, Reason};
use crate::api::resource::{CertificateStatus, NotifiedMarks, UNDELIVERED};
use crate::api::settings::CertificateSettings;
use crate::external::sync::FetchCache;
use crate::pki::authority::AuthorityError;
use crate::pki::keyring::{Keyring, RootId};
use crate::pki::preflight;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{KeyringState, ObjectName, Observed, ResourceVersion};
use crate::planner::{Action, IssueReason};
use crate::store::{Contents, EventRecord, ObjectRef, Store, StoreError, StoredVersion};

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("an agent would refuse version {version} of {certificate}, so it is not published: {cause}")]
    Refused { certificate: ObjectName, version: u64, cause: String },
    #[error("signing did not come to its end: {0}")]
    Broken(String),
}

impl ApplyError {
    /// Somebody else was first: look again, at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict(_)))
    }

    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Authority(_) => "authority",
            Self::Refused { .. } => "refused",
            Self::Broken(_) => "broken",
        }
    }
}

/// Applies actions to a store.
#[derive(Debug)]
pub struct Applier<S> {
    store: Arc<S>,
    fetch_cache: FetchCache,
    /// Signing ten thousand leaves does not take ten thousand readings of the key.
    keyrings: Mutex<BTreeMap<String, (ResourceVersion, Arc<Keyring>)>>,
}

impl<S: Store> Applier<S> {
    /// `fetch_cache`: where what was fetched is found.
    pub fn new(store: Arc<S>, fetch_cache: FetchCache) -> Self {
        Self { store, fetch_cache, keyrings: Mutex::default() }
    }

    /// `observed` is the look that the action was planned on.
    pub async fn apply(
        &self,
        action: &Action,
        observed: &Observed,
        now: SystemTime,
    ) -> Result<(), ApplyError> {
        match action {
            Action::Authority { authority, transition, expected: over } => {
                self.transition(authority, transition, over.as_ref(), now).await
            }
            Action::Issue { certificate, version, settings, request, reason: why } => {
                let issue =
                    Issue { certificate, version: *version, settings, request: request.clone(), why: *why };
                self.issue(issue, observed, now).await
            }
            Action::StoreFetched { certificate, version, fingerprint, spec_digest: made_for, request } => {
                let found = self.fetch_cache.get(certificate, *fingerprint);
                let found = found.ok_or_else(|| StoreError::Conflict("what was fetched".into()))?;
                let (made_for, request) = (made_for.clone(), request.clone());
                let kept = StoredVersion { made_for, request, created_at: now, ..found.as_ref().clone() };
                self.keep_fetched(certificate, *version, &kept).await
            }
            Action::RollBack { certificate, version, to, bundle_from, request } => {
                let mut kept = self.store.load_version(certificate, *to).await?;
                if let Some(newest) = bundle_from {
                    kept.bundle = self.store.load_version(certificate, *newest).await?.bundle;
                }
                let (request, copy_of) = (Some(request.clone()), Some(kept.copy_of.unwrap_or(*to)));
                let copy = StoredVersion { created_at: now, request, copy_of, ..kept };
                self.keep_copy(certificate, *version, *to, &copy).await
            }
            Action::Publish { certificate, secret, version, roots, revision, expected: over } => {
                let StoredVersion { certificate: chain, key, bundle: own, .. } =
                    self.store.load_version(certificate, *version).await?;
                // Of one that an authority signs now, its roots are what counts.
                let is_fetched = observed
                    .certificates
                    .get(certificate)
                    .is_some_and(|certificate| certificate.spec.authority.is_empty());
                let bundle = match own.filter(|_| is_fetched) {
                    Some(own) => own,
                    None => bundle(self.keyring_of(certificate, observed).await?.as_ref(), roots)?,
                };
                if let Err(rejection) =
                    preflight::validate(chain.as_bytes(), key.as_bytes(), bundle.as_bytes(), false, now)
                {
                    let cause = rejection.to_string();
                    return Err(ApplyError::Refused {
                        certificate: certificate.clone(),
                        version: *version,
                        cause,
                    });
                }
                let (revision, version) = (*revision, *version);
                // From here on it is a matter of being served, and not of waiting for other writes.
                let written_at = SystemTime::now();
                let contents = Contents { certificate: chain, key, bundle, revision, version, written_at };
                self.store.publish(certificate, secret, &contents, over.as_ref()).await?;
                info!(%certificate, secret, version, revision, roots = roots.len(), "published");
                Ok(())
            }
            Action::Prune { certificate, version } => {
                Ok(self.store.delete_version(certificate, *version).await?)
            }
            Action::Nudge { pod, revision } => Ok(self.store.nudge(pod, *revision).await?),
            Action::UpdateAuthorityStatus { authority, status } => {
                self.store.report_authority(authority, status).await?;
                let before =
                    observed.authorities.get(authority).map(|authority| &authority.status.last_notified);
                self.tell_of_silence(ObjectRef::Authority(authority.clone()), before, &status.last_notified)
                    .await;
                Ok(())
            }
            Action::UpdateCertificateStatus { certificate, status } => {
                self.store.report_certificate(certificate, status).await?;
                self.tell_of_trouble(certificate, status, observed).await;
                let before = observed
                    .certificates
                    .get(certificate)
                    .map(|certificate| &certificate.status.last_notified);
                self.tell_of_silence(
                    ObjectRef::Certificate(certificate.clone()),
                    before,
                    &status.last_notified,
                )
                .await;
                Ok(())
            }
        }
    }

    async fn issue(&self, issue: Issue<'_>, observed: &Observed, now: SystemTime) -> Result<(), ApplyError> {
        let Issue { certificate, version, settings, request, why } = issue;
        let keyring = self.keyring_of(certificate, observed).await?;
        let wanted = settings.leaf.clone();
        // An RSA key may take a second to be found.
        let signed = tokio::task::spawn_blocking(move || {
            let root = keyring.signing().map(|root| (RootId::of(root), root.issue(&wanted, now)));
            root.map(|(id, leaf)| leaf.map(|leaf| (id, leaf))).transpose()
        });
        let signed = signed.await.map_err(|error| ApplyError::Broken(error.to_string()))??;
        let (root, leaf) = signed.ok_or_else(|| StoreError::Missing("root that signs".into()))?;
        let kept = StoredVersion {
            certificate: leaf.certificate_pem,
            key: leaf.key_pem,
            root,
            bundle: None,
            made_for: settings.digest(),
            created_at: now,
            request,
            copy_of: None,
        };
        self.store.create_version(certificate, version, &kept).await?;
        info!(%certificate, version, serial = leaf.serial, why = why.as_str(), "issued");
        // Of a new root the authority tells, once for all its certificates.
        if why != IssueReason::NewRoot {
            let until = crate::api::date::seconds(leaf.not_after);
            let message =
                format!("version {version}, serial {}, until {until} ({})", leaf.serial, why.as_str());
            self.tell(ObjectRef::Certificate(certificate.clone()), false, EventReason::Issued, message).await;
        }
        Ok(())
    }

    async fn keep_fetched(
        &self,
        certificate: &ObjectName,
        version: u64,
        kept: &StoredVersion,
    ) -> Result<(), ApplyError> {
        self.store.create_version(certificate, version, kept).await?;
        let leaf = Leaf::read(kept.certificate.as_bytes());
        let serial = leaf.as_ref().map_or("", |leaf| &leaf.serial);
        info!(%certificate, version, serial, "fetched");
        let message = format!("version {version}, serial {serial}, as its manager has it");
        self.tell(ObjectRef::Certificate(certificate.clone()), false, EventReason::Fetched, message).await;
        Ok(())
    }

    async fn keep_copy(
        &self,
        certificate: &ObjectName,
        version: u64,
        of: u64,
        copy: &StoredVersion,
    ) -> Result<(), ApplyError> {
        self.store.create_version(certificate, version, copy).await?;
        info!(%certificate, version, of, "rolled back");
        let message = format!("version {of} is served again, as version {version}");
        self.tell(ObjectRef::Certificate(certificate.clone()), false, EventReason::RolledBack, message).await;
        Ok(())
    }

    /// The keyring that the look saw, and no other.
    async fn keyring_of(
        &self,
        certificate: &ObjectName,
        observed: &Observed,
    ) -> Result<Arc<Keyring>, StoreError> {
        let authority = observed.certificates.get(certificate).map(|certificate| &certificate.spec.authority);
        let authority = authority.ok_or_else(|| StoreError::Missing(format!("certificate {certificate}")))?;
        self.keyring(authority, observed).await
    }

    pub async fn keyring(&self, authority: &str, observed: &Observed) -> Result<Arc<Keyring>, StoreError> {
        let missing = || StoreError::Missing(format!("keyring of {authority}"));
        let Some(KeyringState::Present(ring)) =
            observed.authorities.get(authority).map(|authority| &authority.keyring)
        else {
            return Err(missing());
        };
        if let Some((resource_version, keyring)) = self.remembered().get(authority)
            && *resource_version == ring.resource_version
        {
            return Ok(Arc::clone(keyring));
        }
        let (keyring, resource_version) = self.store.keyring(authority).await?.ok_or_else(missing)?;
        if resource_version != ring.resource_version {
            return Err(StoreError::Conflict(format!("the keyring of {authority}")));
        }
        let keyring = Arc::new(keyring);
        self.remembered().insert(authority.to_owned(), (resource_version, Arc::clone(&keyring)));
        Ok(keyring)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (ResourceVersion, Arc<Keyring>)>> {
        self.keyrings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a certificate stops being ready, or its pods do not serve it, a person should know.
    async fn tell_of_trouble(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        observed: &Observed,
    ) {
        let before = observed.certificates.get(certificate).map(|certificate| &certificate.status.conditions);
        for condition in &status.conditions {
            let bad = match condition.r#type {
                ConditionType::Ready | ConditionType::Served => condition.status == ConditionStatus::False,
                _ => condition.status == ConditionStatus::True,
            };
            let known = before.is_some_and(|before| {
                before.iter().any(|known| {
                    known.r#type == condition.r#type
                        && known.status == condition.status
                        && known.reason == condition.reason
                })
            });
            // What waits for its first leaf is no trouble.
            if bad && !known && condition.reason != Reason::Issuing {
                let reason = if condition.r#type == ConditionType::Served {
                    EventReason::NotServed
                } else {
                    EventReason::Degraded
                };
                let message = format!("{}: {}", condition.reason, condition.message);
                self.tell(ObjectRef::Certificate(certificate.clone()), true, reason, message).await;
            }
        }
    }

    /// That a notification does not arrive, people hear in another way.
    async fn tell_of_silence(
        &self,
        about: ObjectRef,
        before: Option<&BTreeMap<String, NotifiedMarks>>,
        told: &BTreeMap<String, NotifiedMarks>,
    ) {
        for (subscription, told) in told {
            let known = before.and_then(|before| before.get(subscription)).and_then(undelivered);
            if let (Some(what), None) = (undelivered(told), known) {
                let message = format!("{subscription} could not be told of {what}");
                self.tell(about.clone(), true, EventReason::NotificationFailed, message).await;
            }
        }
    }

    async fn tell(&self, about: ObjectRef, warning: bool, reason: EventReason, message: String) {
        self.store.record_event(&EventRecord { object: about, warning, reason, message }).await;
    }
}

fn undelivered(told: &NotifiedMarks) -> Option<&String> {
    told.get(UNDELIVERED)
}

struct Issue<'a> {
    certificate: &'a ObjectName,
    version: u64,
    settings: &'a CertificateSettings,
    request: Option<String>,
    why: IssueReason,
}

fn bundle(keyring: &Keyring, roots: &[RootId]) -> Result<String, StoreError> {
    let pem = |id: &RootId| {
        let root = keyring.roots.get(id).ok_or_else(|| StoreError::Missing(format!("root {id}")));
        root.map(|root| root.certificate_pem())
    };
    roots.iter().map(pem).collect()
}
