//! External managers that keep certificates: a new version is fetched from one or pushed to it. [`ibm`] is IBM
//! Secrets Manager (API v2); [`https`] is any other that answers JSON, described by URLs and JSON pointers.
//!
//! Private keys pass through here: they are zeroized in our buffers, and no error repeats what was sent or received,
//! but for what the manager reports as its errors, without anything that looks like a key.

mod error;
pub mod https;
pub mod ibm;
pub(in crate::external) mod json;
pub(in crate::external) mod reported;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::notification::Pattern;
use https::Https;
use ibm::Ibm;

pub use error::ManagerError;
pub use version::{Metadata, Version, split_leaf};

/// The key of [`AllowedIds`] that stands for every namespace.
const ALL_NAMESPACES: &str = "*";

/// By namespace: the ids that its certificates may use.
pub type AllowedIds = BTreeMap<String, Vec<Pattern>>;

/// All managers of the settings file, by name.
pub type Managers = BTreeMap<String, Arc<Manager>>;

/// A manager as the settings file describes it.
#[derive(Debug)]
pub struct Manager {
    pub kind: Kind,
    pub allow: Allow,
    /// Roots to trust, PEM, whatever the manager sends.
    pub trust: Option<String>,
    /// Of everything in the settings that describes it, files included.
    pub digest: String,
}

/// What may be done with which ids.
#[derive(Debug, Default)]
pub struct Allow {
    /// To fetch and to push.
    pub both: AllowedIds,
    pub fetch: AllowedIds,
    pub push: AllowedIds,
}

/// What a certificate is kept in a manager for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Fetch,
    Push,
}

#[derive(Debug)]
pub enum Kind {
    Ibm(Ibm),
    Https(Https),
}

impl Manager {
    /// Whether both were made from the same settings.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The current version, and the roots to trust with it.
    pub async fn fetch(&self, namespace: &str, id: &str) -> Result<(Version, String), ManagerError> {
        self.check_allowed(Access::Fetch, namespace, id)?;
        let version = match &self.kind {
            Kind::Ibm(ibm) => ibm.fetch(id).await?,
            Kind::Https(https) => https.fetch(id).await?,
        };
        let roots = self.trust.as_ref().or(version.roots.as_ref()).cloned();
        Ok((version, roots.ok_or(ManagerError::NoRoots)?))
    }

    /// Whether the current version is another one than when this was said of it; yes where the manager does not say.
    pub async fn has_changed(
        &self,
        namespace: &str,
        id: &str,
        seen: &Metadata,
    ) -> Result<bool, ManagerError> {
        self.check_allowed(Access::Fetch, namespace, id)?;
        match &self.kind {
            // What is wrong with the secret itself is said by the fetch that follows.
            Kind::Ibm(ibm) => match ibm.has_changed(seen).await {
                Err(error) if !error.is_manager_failing() => Ok(true),
                changed => changed,
            },
            Kind::Https(_) => Ok(true),
        }
    }

    /// Makes this the current version, unless it already is: a crash between the push and the status update must
    /// not create a second version.
    pub async fn push(&self, namespace: &str, id: &str, version: &Version) -> Result<(), ManagerError> {
        self.check_allowed(Access::Push, namespace, id)?;
        match &self.kind {
            Kind::Ibm(ibm) => ibm.push(id, version).await,
            Kind::Https(https) => https.push(id, version).await,
        }
    }

    /// Fails unless a certificate of this namespace may use this id so.
    pub fn check_allowed(&self, access: Access, namespace: &str, id: &str) -> Result<(), ManagerError> {
        if self.allow.allows(access, namespace, id) {
            return Ok(());
        }
        Err(ManagerError::NotAllowed { access, namespace: namespace.to_owned(), id: id.to_owned() })
    }
}

impl Allow {
    fn allows(&self, access: Access, namespace: &str, id: &str) -> bool {
        let lists = [&self.both, self.of(access)];
        let ids = lists.into_iter().flat_map(|list| [list.get(namespace), list.get(ALL_NAMESPACES)]);
        ids.flatten().flatten().any(|pattern| pattern.matches(id))
    }

    fn of(&self, access: Access) -> &AllowedIds {
        match access {
            Access::Fetch => &self.fetch,
            Access::Push => &self.push,
        }
    }
}

impl Access {
    fn verb(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Push => "push",
        }
    }

    /// The list of the settings that allows nothing else.
    fn key(self) -> &'static str {
        match self {
            Self::Fetch => "allowFetch",
            Self::Push => "allowPush",
        }
    }
}

#[cfg(test)]
mod tests;
