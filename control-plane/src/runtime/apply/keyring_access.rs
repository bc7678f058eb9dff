//! Which keyring an action uses. What was observed may be outdated, by a watch that hangs or by another leader: so
//! before anything is signed or published under a keyring the store is asked, once a round, whether it is still the
//! one that counts.

use std::sync::Arc;
use std::time::Instant;

use super::Applier;
use crate::api::object_name::ObjectName;
use crate::pki::keyring::Keyring;
use crate::planner::observed::{KeyringState, KeyringView, Observed};
use crate::store::{Store, StoreError};

impl<S: Store> Applier<S> {
    /// Before another term as the leader, and after one: keyrings are read anew, and their keys do not stay in memory.
    pub fn forget_all_keyrings(&self) {
        self.keyrings.clear();
        self.unpublished.clear();
    }

    /// Forgets the keyrings of authorities that are no longer there, with their private keys. What the store said
    /// of the others in an earlier round does not count any more.
    pub fn begin_round(&self, observed: &Observed) {
        self.keyrings.retain(|authority| observed.authorities.contains_key(authority));
        self.keyrings.begin_round();
        self.unpublished.forget_old();
    }

    /// To sign or to publish with.
    pub(super) async fn keyring_of(
        &self,
        certificate: &ObjectName,
        observed: &Observed,
    ) -> Result<Arc<Keyring>, StoreError> {
        self.check_keyring_of(certificate, observed).await?;
        let authority = observed.certificates.get(certificate).map(|certificate| &certificate.spec.authority);
        let authority = authority.ok_or_else(|| StoreError::Missing(format!("certificate {certificate}")))?;
        self.keyring(authority, observed).await
    }

    /// A conflict if the store does not have the keyring that was observed.
    pub(super) async fn check_keyring_of(
        &self,
        certificate: &ObjectName,
        observed: &Observed,
    ) -> Result<(), StoreError> {
        let authority = observed.certificates.get(certificate).map(|certificate| &certificate.spec.authority);
        let Some((authority, view)) =
            authority.and_then(|authority| Some((authority, observed_keyring(authority, observed)?)))
        else {
            return Ok(());
        };
        let answer = self.keyrings.answer(authority, Instant::now());
        match answer.get_or_init(|| self.store.keyring_version(authority)).await {
            Ok(Some(version)) if *version == view.resource_version => Ok(()),
            Ok(_) => Err(StoreError::Conflict(format!("the keyring of {authority}"))),
            Err(error) => Err(error.clone()),
        }
    }

    /// The keyring as it was observed; a conflict if it has been written since. It may come from memory: enough to
    /// probe with.
    pub async fn keyring(&self, authority: &str, observed: &Observed) -> Result<Arc<Keyring>, StoreError> {
        let missing = || StoreError::Missing(format!("keyring of {authority}"));
        let view = observed_keyring(authority, observed).ok_or_else(missing)?;
        if let Some(keyring) = self.keyrings.get(authority, &view.resource_version) {
            return Ok(keyring);
        }
        let (keyring, version) = self.store.keyring(authority).await?.ok_or_else(missing)?;
        if version != view.resource_version {
            return Err(StoreError::Conflict(format!("the keyring of {authority}")));
        }
        Ok(self.keyrings.insert(authority, version, keyring))
    }
}

fn observed_keyring<'o>(authority: &str, observed: &'o Observed) -> Option<&'o KeyringView> {
    match &observed.authorities.get(authority)?.keyring {
        KeyringState::Present(view) => Some(view),
        KeyringState::Absent | KeyringState::Unreadable(_) => None,
    }
}
