//! The Secrets of the control plane's own namespace: keyrings, and existing roots to import. Their keys are read,
//! validated and dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::is_older;
use super::listing::Listing;
use crate::pki::authority::Authority;
use crate::pki::keyring::RootId;
use crate::pki::ledger::Ledger;
use crate::planner::observed::{KeyringState, KeyringView, ResourceVersion};
use crate::store::kubernetes::keyring;
use crate::store::kubernetes::secret_object::SecretObject;

#[derive(Default)]
pub struct OwnNamespace {
    pub listing: Listing,
    secrets: BTreeMap<String, OwnSecret>,
    recently_written: BTreeMap<String, Instant>,
}

pub struct OwnSecret {
    resource_version: ResourceVersion,
    /// As a keyring.
    keyring: KeyringState,
    /// As a root to import.
    import: Result<RootId, String>,
}

impl OwnSecret {
    pub fn read(object: &SecretObject) -> Self {
        let unreadable = |why: String| {
            let name = object.name();
            KeyringState::Unreadable(format!(
                "the Secret {name} cannot be read: {why}; restore it from a backup, it is not written over"
            ))
        };
        let keyring = match keyring::authority(object).map(|_| keyring::keyring(object)) {
            Some(Ok(keyring)) => KeyringState::Present(KeyringView::of(&keyring, object.resource_version())),
            Some(Err(error)) => unreadable(error.to_string()),
            None => unreadable(format!("it is of the type {:?}, not {}", object.of, keyring::TYPE)),
        };
        let import = match object.value("tls.crt") {
            [] => Err(format!("the Secret {} has no tls.crt that can be read", object.name())),
            certificate => Authority::import(certificate, object.value("tls.key"))
                .map(|root| RootId::of(&root))
                .map_err(|error| format!("the Secret {}: {error}", object.name())),
        };
        Self { resource_version: object.resource_version(), keyring, import }
    }
}

impl OwnNamespace {
    pub fn keyring(&self, authority: &str) -> KeyringState {
        self.secrets
            .get(&keyring::name(authority))
            .map_or(KeyringState::Absent, |known| known.keyring.clone())
    }

    /// Of every keyring that there is, also of an authority that was deleted.
    pub fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        let keyrings = self.secrets.values().filter_map(|known| known.keyring.view());
        keyrings.filter_map(|keyring| keyring.state.ledger.as_deref())
    }

    pub fn import(&self, secret: &str) -> Result<RootId, String> {
        let none = || Err(format!("there is no Secret {secret} in the control plane's namespace"));
        self.secrets.get(secret).map_or_else(none, |known| known.import.clone())
    }

    pub fn put(&mut self, name: &str, known: OwnSecret, recently_written: bool) {
        if self
            .secrets
            .get(name)
            .is_some_and(|before| is_older(&known.resource_version, &before.resource_version))
        {
            return;
        }
        self.secrets.insert(name.to_owned(), known);
        if recently_written {
            self.recently_written.insert(name.to_owned(), Instant::now());
        } else {
            self.recently_written.remove(name);
        }
    }

    pub fn remove(&mut self, name: &str, resource_version: &ResourceVersion) {
        if self.secrets.get(name).is_some_and(|before| !is_older(resource_version, &before.resource_version))
        {
            self.secrets.remove(name);
        }
        self.recently_written.remove(name);
    }

    pub fn retain_listed(&mut self, listed: &BTreeSet<String>, since: Instant) {
        self.recently_written.retain(|_, at| *at >= since);
        self.secrets.retain(|name, _| listed.contains(name) || self.recently_written.contains_key(name));
        self.listing = Listing::Complete;
    }
}
