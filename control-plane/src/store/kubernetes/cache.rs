//! What the watches have put together, as facts: no keys, and no Secret as a whole. A look is made of it
//! without asking anybody. What the store itself writes is put in at once, and news that are older than
//! what is known are ignored: so nothing is planned twice because a watch is late.

mod listing;
mod namespace_index;
mod own_namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use listing::Listing;
pub use namespace_index::{NamespaceIndex, Ours};
pub use own_namespace::{Known, Own};

use super::custom::Written;
use crate::api::resource::{AuthorityStatus, CertificateAuthoritySpec};
use crate::planner::observed::{Authority, ObjectName, Observed, ResourceVersion};
use crate::store::StoreError;

/// How long a look waits for what is being listed.
const PATIENCE: Duration = Duration::from_secs(30);
const EVERYWHERE: &str = "*";

#[derive(Default)]
pub struct Cache {
    facts: Mutex<Facts>,
    /// Something is known that was not.
    changed: Notify,
    /// A list has come to its end, or will not.
    listed: Notify,
    /// There may be other namespaces to follow.
    pub moved: Notify,
}

#[derive(Default)]
pub struct Facts {
    pub authorities_listing: Listing,
    pub certificates_listing: Listing,
    pub authorities: BTreeMap<String, Written<CertificateAuthoritySpec, AuthorityStatus>>,
    pub own: Own,
    /// By namespace.
    pub places: BTreeMap<String, NamespaceIndex>,
}

/// What a look would wait for.
enum Pending {
    Nothing,
    Until(Instant),
    TooLong(StoreError),
}

impl Cache {
    /// Waits for the next change since the last time this was waited for.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// For reading and for changes that nobody waits for.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts());
        self.changed.notify_one();
    }

    /// A change after which a look may not have to wait any more.
    pub fn settle(&self, change: impl FnOnce(&mut Facts)) {
        self.change(change);
        self.listed.notify_waiters();
        self.moved.notify_one();
    }

    /// Waits until everything was listed once.
    pub async fn complete(&self) -> Result<(), StoreError> {
        loop {
            let listed = self.listed.notified();
            let pending = self.facts().pending();
            match pending {
                Pending::Nothing => return Ok(()),
                Pending::TooLong(error) => return Err(error),
                Pending::Until(end) => {
                    let _ = tokio::time::timeout_at(end.into(), listed).await;
                }
            }
        }
    }

    pub fn observed(&self, nudge: bool) -> Observed {
        let facts = self.facts();
        let mut observed = Observed { nudge, ..Observed::default() };
        for (name, written) in &facts.authorities {
            let authority = Authority {
                uid: written.uid.clone(),
                generation: written.generation,
                spec: written.spec.clone(),
                status: written.status.clone(),
                deleting: written.deleting,
                requests: written.requests.clone(),
                keyring: facts.own.held(name),
                import: written.spec.import.as_ref().map(|import| facts.own.import(&import.secret_name)),
            };
            observed.authorities.insert(name.clone(), Arc::new(authority));
        }
        for (namespace, place) in &facts.places {
            let of = |name: &String| ObjectName::new(namespace.clone(), name.clone());
            let certificates = place.certificates();
            observed.certificates.extend(certificates.map(|(name, it)| (of(name), Arc::clone(it))));
            observed.watched_secrets.extend(place.foreign.iter().map(|(name, it)| (of(name), it.clone())));
            observed.watched_secrets.extend(place.orphans().map(|(name, it)| (of(name), it)));
        }
        observed
    }
}

impl Facts {
    pub fn place(&mut self, namespace: &str) -> &mut NamespaceIndex {
        self.places.entry(namespace.to_owned()).or_default()
    }

    /// Changes what is known of a namespace, unless it has nothing to do with us any more.
    pub fn known(&mut self, namespace: &str, change: impl FnOnce(&mut NamespaceIndex)) {
        if let Some(place) = self.places.get_mut(namespace) {
            change(place);
        }
    }

    pub fn put_authority(&mut self, name: &str, written: Written<CertificateAuthoritySpec, AuthorityStatus>) {
        if self.authorities.get(name).is_none_or(|known| !is_older(&written.stamp, &known.stamp)) {
            self.authorities.insert(name.to_owned(), written);
        }
    }

    /// Namespaces that have a certificate or that an authority names, or where a Secret of ours lies.
    pub fn namespaces(&self) -> BTreeSet<String> {
        let named = self.authorities.values().flat_map(|authority| &authority.spec.namespaces);
        let named = named.filter(|name| *name != EVERYWHERE).cloned();
        let used = self.places.iter().filter(|(_, place)| !place.is_empty());
        named.chain(used.map(|(name, _)| name.clone())).collect()
    }

    fn pending(&self) -> Pending {
        let mut until = None;
        for (listing, what) in [
            (&self.authorities_listing, "listing the CertificateAuthorities"),
            (&self.certificates_listing, "listing the ServiceCertificates"),
            (&self.own.listing, "listing the Secrets of the control plane's own namespace"),
        ] {
            match listing {
                Listing::Complete => {}
                Listing::Closed(why) => return too_long(what, why),
                Listing::Pending { since, problem } if since.elapsed() >= PATIENCE => {
                    return too_long(what, problem.as_deref().unwrap_or("no answer yet"));
                }
                Listing::Pending { since, .. } => until = until.max(Some(*since + PATIENCE)),
            }
        }
        // One namespace that cannot be listed does not hold up the others.
        for place in self.places.values() {
            for listing in [&place.ours, &place.watched] {
                match listing {
                    Listing::Pending { since, .. } if since.elapsed() < PATIENCE => {
                        until = until.max(Some(*since + PATIENCE));
                    }
                    _ => {}
                }
            }
        }
        until.map_or(Pending::Nothing, Pending::Until)
    }
}

fn too_long(what: &str, why: &str) -> Pending {
    Pending::TooLong(StoreError::Failed { what: what.into(), cause: why.into() })
}

/// Stamps are numbers that grow, on every API server there is; where they are not, the newest to arrive
/// counts.
pub fn is_older(stamp: &ResourceVersion, than: &ResourceVersion) -> bool {
    match (stamp.0.parse::<u64>(), than.0.parse::<u64>()) {
        (Ok(stamp), Ok(than)) => stamp < than,
        _ => false,
    }
}
