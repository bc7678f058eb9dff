//! The Secrets of the control plane's own namespace: keyrings, and existing roots to import. Their keys are read,
//! validated and dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::arrivals::{Arrivals, ListSpan, Source};
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
    arrivals: Arrivals,
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

    /// By the name of the authority, also of one that was deleted.
    pub fn keyrings(&self) -> impl Iterator<Item = (&str, &KeyringView)> {
        let views = self.secrets.iter().filter_map(|(name, known)| Some((name, known.keyring.view()?)));
        views.filter_map(|(name, keyring)| Some((keyring::authority_of(name)?, keyring)))
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

    /// Of the Secret as it is cached.
    pub fn resource_version(&self, name: &str) -> Option<&ResourceVersion> {
        self.secrets.get(name).map(|known| &known.resource_version)
    }

    pub fn put(&mut self, name: &str, read: OwnSecret, source: Source) {
        let known = self.secrets.get(name).map(|known| &known.resource_version);
        if self.arrivals.accept(name, &read.resource_version, known, source) {
            self.secrets.insert(name.to_owned(), read);
        }
    }

    /// Removes it at this resource version or an older one.
    pub fn remove(&mut self, name: &str, resource_version: &ResourceVersion) {
        if self.secrets.get(name).is_some_and(|known| is_older(resource_version, &known.resource_version)) {
            return;
        }
        self.secrets.remove(name);
        self.arrivals.bury(name, resource_version.clone());
    }

    /// After a list: what is not in it is gone, unless it was written meanwhile.
    pub fn retain_listed(&mut self, listed: &BTreeSet<String>, list: ListSpan) {
        let is_gone = |name: &str| !listed.contains(name) && !self.arrivals.may_be_newer(name, list);
        let gone: Vec<_> = self.secrets.keys().filter(|name| is_gone(name)).cloned().collect();
        for name in gone {
            if let Some(known) = self.secrets.remove(&name) {
                self.arrivals.bury(&name, known.resource_version);
            }
        }
        self.arrivals.list_ended(list);
        self.listing = Listing::Complete;
    }
}
