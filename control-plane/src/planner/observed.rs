//! All that is known in one look: what people wrote, what is kept, what is published, which pods there
//! are and what they were seen to serve. No keys: a look may be kept, compared and printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::api::events::NotificationRules;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, ManagerRef, ServiceCertificateSpec,
};
use crate::pki::keyring::{Keyring, RootId, State};
use crate::pki::x509_facts::{Fingerprint, Leaf, Root};
use crate::planner::Trigger;
use crate::planner::outbox::Key;

/// NAMESPACE/NAME.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub authorities: BTreeMap<String, Arc<Authority>>,
    pub certificates: BTreeMap<ObjectName, Arc<Certificate>>,
    /// By namespace. A namespace that nobody looked into is missing.
    pub pods: BTreeMap<String, PodList>,
    /// Secrets that others issue and that are watched for their expiry.
    pub foreign: BTreeMap<ObjectName, Foreign>,
    /// Whether pods may be nudged.
    pub nudge: bool,
    /// What was tried and failed the last time: why, by object as [`Action::about`] names it.
    ///
    /// [`Action::about`]: crate::planner::Action::about
    pub failing: BTreeMap<String, String>,
    /// Whom to tell what.
    pub notification_rules: Arc<NotificationRules>,
    /// Of what is owed, by subscription and the event's id: what arrived already.
    pub delivered: BTreeSet<(String, String)>,
    /// And what does not arrive for a while now, and why.
    pub undelivered: BTreeMap<(String, String), String>,
    pub outside: ExternalState,
    /// What could not be read, each with its place and what to do. The rest is not held up by it.
    pub problems: Vec<String>,
}

/// What is known of the managers outside.
#[derive(Clone, Debug, Default)]
pub struct ExternalState {
    /// By name. `None`: whoever looks here has none, and leaves that to the controller.
    pub managers: Option<Arc<BTreeSet<String>>>,
    /// What was fetched last.
    pub fetched: Arc<BTreeMap<ObjectName, Fetched>>,
    /// Errands that are done and were not written down yet.
    pub done: BTreeSet<Key>,
    /// Those that were tried in vain, and why.
    pub failing: BTreeMap<Key, String>,
}

/// A certificate as a manager has it. An agent would serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub from: ManagerRef,
    pub occasion: Trigger,
    pub fingerprint: Fingerprint,
    /// Its bundle.
    pub roots: BTreeSet<RootId>,
}

#[derive(Clone, Debug)]
pub struct Authority {
    pub uid: String,
    pub generation: i64,
    pub spec: CertificateAuthoritySpec,
    pub status: AuthorityStatus,
    /// It was told to go.
    pub deleting: bool,
    /// By annotation, without the prefix: what people ask for.
    pub requests: BTreeMap<String, Request>,
    pub keyring: KeyringState,
    /// The root to import, where the spec names one.
    pub import: Option<Result<RootId, String>>,
}

/// What of an authority's keyring there is.
// There is one an authority, and authorities are few.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum KeyringState {
    /// Not yet.
    None,
    KeyringView(KeyringView),
    /// There is one that cannot be read, so nothing is done that might overwrite it.
    Unreadable(String),
}

#[derive(Clone, Debug)]
pub struct KeyringView {
    /// Changes with every writing.
    pub stamp: ResourceVersion,
    pub state: State,
    pub roots: BTreeMap<RootId, Root>,
}

#[derive(Clone, Debug)]
pub struct Certificate {
    pub uid: String,
    pub generation: i64,
    pub spec: ServiceCertificateSpec,
    pub status: CertificateStatus,
    pub deleting: bool,
    pub requests: BTreeMap<String, Request>,
    /// By number.
    pub versions: BTreeMap<u64, Arc<Version>>,
    pub published: Published,
}

/// A leaf that was made, kept for good.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub leaf: Leaf,
    /// What signed it.
    pub root: RootId,
    /// The bundle that came with it. `None`: its authority's.
    pub roots: Option<BTreeSet<RootId>>,
    /// `CertificateSettings::digest` of what it was made for.
    pub made_for: String,
    pub created_at: SystemTime,
    /// The request that it answers.
    pub request: Option<String>,
    /// In a rollback, the version that was gone back to.
    pub copy_of: Option<u64>,
    /// Over certificate and key.
    pub fingerprint: Fingerprint,
}

/// What is in the target Secret.
#[derive(Clone, Debug)]
pub enum Published {
    Absent,
    /// It belongs to something else: whose it seems to be.
    Foreign(String),
    Ours(Publication),
    /// It cannot be read or written: why, and what to do.
    Closed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    pub stamp: ResourceVersion,
    pub fingerprint: Fingerprint,
    /// Of the leaf, empty if there is none that can be read.
    pub leaf_sha256: String,
    /// The bundle.
    pub roots: BTreeSet<RootId>,
    pub revision: u64,
    pub written_at: SystemTime,
}

/// Which writing of a thing was seen; a change that was planned on another one is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceVersion(pub String);

/// The pods of a namespace that mount a Secret of ours.
#[derive(Clone, Debug)]
pub struct PodList {
    pub at: SystemTime,
    /// Why the pods could not be listed.
    pub problem: Option<String>,
    pub pods: Vec<Pod>,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// Names of the Secrets that it mounts.
    pub mounts: BTreeSet<String>,
    pub agent: Option<PodAgent>,
    /// The revision that it was nudged for.
    pub nudged: Option<u64>,
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodAgent {
    /// The Secret that it serves.
    pub secret: String,
    /// It follows the API, and not the volume alone.
    pub follows_api: bool,
    /// Of the proof listener; `None` while the pod has no address.
    pub address: Option<SocketAddr>,
}

/// What came of a handshake with a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    pub at: SystemTime,
    /// When it was first seen to show this leaf.
    pub since: SystemTime,
    pub shown: Result<Shown, String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// Hex, of the DER of the leaf that was shown in the handshake.
    pub leaf_sha256: String,
    /// Roots under which a client was tried: whether it was let in.
    pub lets_in: BTreeMap<RootId, bool>,
    /// For each root that it says it trusts: connections that would be cut if that root were gone.
    pub connections_under: BTreeMap<RootId, u64>,
}

/// What a person asked for: an id, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    pub words: String,
}

/// A Secret that others issue.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    pub leaf: Option<Leaf>,
    /// Of its bundle.
    pub roots: BTreeSet<RootId>,
    /// It was published by a ServiceCertificate that is gone.
    pub orphan: bool,
}

impl KeyringView {
    pub fn of(keyring: &Keyring, stamp: ResourceVersion) -> Self {
        let roots = keyring.roots.iter().map(|(id, root)| (id.clone(), Root::of(root))).collect();
        Self { stamp, state: keyring.state.clone(), roots }
    }
}

impl Fetched {
    /// It is what was made last, so it is nothing new. While an earlier version is served again, only another
    /// leaf is: what was gone back from must not come back with a bundle that was edited.
    pub fn is_known(&self, certificate: &Certificate) -> bool {
        let is_back = certificate.newest().is_some_and(|(_, newest)| newest.copy_of.is_some());
        certificate.latest_made().is_some_and(|(_, latest)| {
            latest.fingerprint == self.fingerprint && (is_back || latest.roots.as_ref() == Some(&self.roots))
        })
    }
}

impl Proof {
    /// It follows this one, which may have shown the same leaf already.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let leaf = |proof: &Self| proof.shown.as_ref().ok().map(|shown| shown.leaf_sha256.clone());
        if let Some(before) = before.filter(|before| leaf(before).is_some() && leaf(before) == leaf(&self)) {
            self.since = before.since.min(self.at);
        }
        self
    }
}

impl Request {
    /// Of an annotation, in bytes.
    pub const LONGEST: usize = 8 * 1024;

    /// The first word is the id.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (id, words) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let fits = !id.is_empty() && id.len() <= 64 && text.len() <= Self::LONGEST;
        fits.then(|| Self { id: id.to_owned(), words: words.trim().to_owned() })
    }
}

impl Certificate {
    /// The version that is published, if it is one of the history.
    pub fn published_version(&self) -> Option<(u64, &Version)> {
        let Published::Ours(publication) = &self.published else { return None };
        let is_it = |version: &Version| version.fingerprint == publication.fingerprint;
        // A rollback has the leaf of an older one: the newest counts.
        self.versions
            .iter()
            .rev()
            .find(|(_, version)| is_it(version))
            .map(|(number, version)| (*number, version.as_ref()))
    }

    /// The newest that is no copy of another.
    pub fn latest_made(&self) -> Option<(u64, &Version)> {
        let made = self.versions.iter().rev().find(|(_, version)| version.copy_of.is_none());
        made.map(|(number, version)| (*number, version.as_ref()))
    }

    pub fn newest(&self) -> Option<(u64, &Version)> {
        self.versions.last_key_value().map(|(number, version)| (*number, version.as_ref()))
    }
}

impl Observed {
    pub fn pods_of(&self, namespace: &str) -> &[Pod] {
        self.pods.get(namespace).map_or(&[], |look| &look.pods)
    }
}

impl Pod {
    /// Whether it serves this Secret through its agent.
    pub fn serves(&self, secret: &str) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.secret == secret)
    }
}

impl ObjectName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no NAMESPACE/NAME, such as shop/mtls-prod-payments")]
pub struct ObjectNameError(String);

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(ObjectNameError(text.to_owned())),
        }
    }
}
