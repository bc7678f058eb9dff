//! The state that the watches have reported, as facts: no keys, and no Secret as a whole. An observation is made of
//! it without a request. What the store itself writes is cached at once, and events that are older than the cached
//! state are ignored: so nothing is planned twice because a watch is late, and nothing that was deleted comes back
//! because an answer is.

mod arrivals;
mod listing;
mod namespace_index;
mod own_namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use arrivals::{ListSpan, Source};
pub use listing::Listing;
pub use namespace_index::{NamespaceIndex, NamespaceView, OwnedSecret};
pub use own_namespace::{OwnNamespace, OwnSecret};

use super::custom::ParsedObject;
use crate::api::resource::{AuthorityStatus, CertificateAuthoritySpec};
use crate::planner::observed::{Authority, Observed, ResourceVersion};
use crate::store::StoreError;

/// How long an observation waits for lists.
const PATIENCE: Duration = Duration::from_secs(30);
const EVERYWHERE: &str = "*";

#[derive(Default)]
pub struct Cache {
    state: Mutex<CacheState>,
    /// Something is known that was not.
    changed: Notify,
    /// A list has come to its end, or will not.
    listed: Notify,
    /// There may be other namespaces to follow.
    pub namespaces_changed: Notify,
}

#[derive(Default)]
pub struct CacheState {
    pub authorities_listing: Listing,
    pub certificates_listing: Listing,
    pub authorities: BTreeMap<String, ParsedObject<CertificateAuthoritySpec, AuthorityStatus>>,
    pub own: OwnNamespace,
    /// By namespace.
    pub namespaces: BTreeMap<String, NamespaceIndex>,
}

/// What an observation would wait for.
enum ListingWait {
    Done,
    Until(Instant),
    Failed(StoreError),
}

impl Cache {
    /// Waits for the next change since the last time this was waited for.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// For reading, and for changes that wake no waiter.
    pub fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut CacheState)) {
        change(&mut self.state());
        self.changed.notify_one();
    }

    /// A change that may complete a list: wakes those that wait for lists and for namespaces.
    pub fn change_and_wake(&self, change: impl FnOnce(&mut CacheState)) {
        self.change(change);
        self.listed.notify_waiters();
        self.namespaces_changed.notify_one();
    }

    /// Waits until everything was listed once.
    pub async fn wait_until_listed(&self) -> Result<(), StoreError> {
        loop {
            let listed = self.listed.notified();
            let wait = self.state().listing_wait();
            match wait {
                ListingWait::Done => return Ok(()),
                ListingWait::Failed(error) => return Err(error),
                ListingWait::Until(end) => {
                    let _ = tokio::time::timeout_at(end.into(), listed).await;
                }
            }
        }
    }

    pub fn observed(&self, nudge: bool) -> Observed {
        let state = &mut *self.state();
        let mut observed = Observed { nudge, ..Observed::default() };
        for (name, written) in &state.authorities {
            let authority = Authority {
                uid: written.uid.clone(),
                resource_version: written.resource_version.clone(),
                generation: written.generation,
                spec: written.spec.clone(),
                status: written.status.clone(),
                deleting: written.deleting,
                requests: written.requests.clone(),
                keyring: state.own.keyring(name),
                import: written.spec.import.as_ref().map(|import| state.own.import(&import.secret_name)),
            };
            observed.authorities.insert(name.clone(), Arc::new(authority));
        }
        let orphaned = state.own.keyrings().filter(|(name, _)| !state.authorities.contains_key(*name));
        observed.orphaned_keyrings =
            orphaned.map(|(name, keyring)| (name.to_owned(), keyring.clone())).collect();
        for (namespace, index) in &mut state.namespaces {
            let NamespaceView { certificates, watched_secrets } = index.view(namespace);
            observed.certificates.share(namespace, certificates);
            let watched = watched_secrets.iter().map(|(name, secret)| (name.clone(), secret.clone()));
            observed.watched_secrets.extend(watched);
            observed.namespaces.extend(index.secret_listing().map(|listing| (namespace.clone(), listing)));
        }
        observed
    }
}

impl CacheState {
    pub fn namespace_mut(&mut self, namespace: &str) -> &mut NamespaceIndex {
        let index = self.namespaces.entry(namespace.to_owned()).or_default();
        index.forget_view();
        index
    }

    /// Changes what is known of a namespace, unless it has nothing to do with us any more.
    pub fn update_namespace(&mut self, namespace: &str, change: impl FnOnce(&mut NamespaceIndex)) {
        if let Some(index) = self.namespaces.get_mut(namespace) {
            index.forget_view();
            change(index);
        }
    }

    pub fn put_authority(
        &mut self,
        name: &str,
        written: ParsedObject<CertificateAuthoritySpec, AuthorityStatus>,
    ) {
        if self
            .authorities
            .get(name)
            .is_none_or(|known| !is_older(&written.resource_version, &known.resource_version))
        {
            self.authorities.insert(name.to_owned(), written);
        }
    }

    /// From an answer, which may be late: only the watch brings an authority that is not there.
    pub fn update_authority(
        &mut self,
        name: &str,
        answer: ParsedObject<CertificateAuthoritySpec, AuthorityStatus>,
    ) {
        if self.authorities.contains_key(name) {
            self.put_authority(name, answer);
        }
    }

    /// Removes it at this resource version or an older one.
    pub fn remove_authority(&mut self, name: &str, resource_version: &ResourceVersion) {
        let known = self.authorities.get(name);
        if known.is_some_and(|known| !is_older(resource_version, &known.resource_version)) {
            self.authorities.remove(name);
        }
    }

    /// Nothing counts until it has been listed again.
    pub fn distrust(&mut self) {
        self.authorities_listing = Listing::default();
        self.certificates_listing = Listing::default();
        self.own.listing = Listing::default();
        self.namespaces.values_mut().for_each(NamespaceIndex::distrust);
    }

    /// Namespaces that have a certificate or that an authority names, or where a root was published.
    pub fn relevant_namespaces(&self) -> BTreeSet<String> {
        let named = self.authorities.values().flat_map(|authority| &authority.spec.namespaces);
        let named = named.filter(|name| *name != EVERYWHERE).cloned();
        let used = self.namespaces.iter().filter(|(_, index)| !index.is_empty());
        let recorded = self.own.ledgers().flat_map(|ledger| ledger.namespaces().cloned());
        named.chain(used.map(|(name, _)| name.clone())).chain(recorded).collect()
    }

    /// Every Secret of a namespace that a pod may serve something of ours from.
    pub fn secrets(&self, namespace: &str) -> BTreeSet<String> {
        let index = self.namespaces.get(namespace);
        let mut secrets = index.map(NamespaceIndex::secrets).unwrap_or_default();
        for ledger in self.own.ledgers() {
            let here = ledger.iter().filter(|(other, ..)| *other == namespace);
            secrets.extend(here.map(|(_, secret, _)| secret.to_owned()));
        }
        secrets
    }

    /// The objects and the keyrings are known: so is every namespace that has to do with us.
    pub fn are_objects_listed(&self) -> bool {
        let listings = [&self.authorities_listing, &self.certificates_listing, &self.own.listing];
        listings.into_iter().all(|listing| matches!(listing, Listing::Complete))
    }

    fn listing_wait(&self) -> ListingWait {
        let mut until = None;
        for (listing, what) in [
            (&self.authorities_listing, "listing the CertificateAuthorities"),
            (&self.certificates_listing, "listing the ServiceCertificates"),
            (&self.own.listing, "listing the Secrets of the control plane's own namespace"),
        ] {
            match listing {
                Listing::Complete => {}
                Listing::Forbidden(why) => return timed_out(what, why),
                Listing::NamespaceGone => return timed_out(what, "the namespace is gone"),
                Listing::Pending { since, problem } if since.elapsed() >= PATIENCE => {
                    return timed_out(what, problem.as_deref().unwrap_or("no answer yet"));
                }
                Listing::Pending { since, .. } => until = until.max(Some(*since + PATIENCE)),
            }
        }
        // One namespace that cannot be listed does not hold up the others.
        for index in self.namespaces.values() {
            for listing in [&index.owned, &index.watched] {
                match listing {
                    Listing::Pending { since, .. } if since.elapsed() < PATIENCE => {
                        until = until.max(Some(*since + PATIENCE));
                    }
                    _ => {}
                }
            }
        }
        until.map_or(ListingWait::Done, ListingWait::Until)
    }
}

fn timed_out(what: &str, why: &str) -> ListingWait {
    ListingWait::Failed(StoreError::Failed { what: what.into(), cause: why.into() })
}

pub fn is_newer(resource_version: &ResourceVersion, than: &ResourceVersion) -> bool {
    match (resource_version.0.parse::<u64>(), than.0.parse::<u64>()) {
        (Ok(resource_version), Ok(than)) => resource_version > than,
        _ => resource_version != than,
    }
}

/// Resource versions are numbers that grow, on every API server there is; where they are not, the newest to arrive
/// counts.
pub fn is_older(resource_version: &ResourceVersion, than: &ResourceVersion) -> bool {
    match (resource_version.0.parse::<u64>(), than.0.parse::<u64>()) {
        (Ok(resource_version), Ok(than)) => resource_version < than,
        _ => false,
    }
}
