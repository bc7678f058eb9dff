//! The observed state that a plan is made from: the objects, the stored versions, what is published, the
//! pods and what they were seen to serve. It contains no private keys, so that it may be kept, compared and
//! printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::by_namespace::ByNamespace;
use crate::api::notification::NotificationRules;
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    AuthorityStatus, CertificateAuthoritySpec, CertificateStatus, HandledRequestStatus, ManagerRef,
    ServiceCertificateSpec,
};
use crate::api::settings::ClusterDomain;
use crate::outbox::DeliveryKey;
use crate::pki::keyring::{Keyring, RootId, State};
use crate::pki::ledger::LedgerEntry;
use crate::pki::x509_facts::{Fingerprint, Leaf, Root};

#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub authorities: BTreeMap<String, Arc<Authority>>,
    /// Keyrings of authorities that were deleted, by the name of the authority.
    pub orphaned_keyrings: BTreeMap<String, KeyringView>,
    pub certificates: ByNamespace<Arc<Certificate>>,
    /// By namespace. A namespace whose pods were not listed is missing.
    pub pods: BTreeMap<String, PodList>,
    pub watched_secrets: BTreeMap<ObjectName, WatchedSecret>,
    /// Whether pods may be nudged.
    pub nudge: bool,
    /// Of authorities whose spec names none.
    pub cluster_domain: ClusterDomain,
    /// Why the last action on an object failed, by the name of the object.
    pub failed_actions: BTreeMap<String, String>,
    pub notification_rules: Arc<NotificationRules>,
    /// Pending notifications that were delivered, by subscription and event id.
    pub delivered_notifications: BTreeSet<DeliveryKey>,
    /// Pending notifications whose delivery has failed for a while, and why.
    pub overdue_notifications: BTreeMap<DeliveryKey, String>,
    /// Whether the notification settings are valid, or why they are rejected. `None`: this process has no settings,
    /// and leaves them to the controller.
    pub notification_settings: Option<Result<(), String>>,
    pub external: ExternalState,
    /// What could not be read, each with its place and what to do. Everything else is still planned.
    pub read_errors: Vec<String>,
    /// By namespace: what is known of the Secrets there. A namespace that is missing was not listed.
    pub namespaces: BTreeMap<String, SecretListing>,
    /// Since when this process has led: what was published before may be newer than a keyring that was restored.
    pub leading_since: Option<SystemTime>,
}

/// Whether the Secrets of a namespace are known.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretListing {
    /// All of them. None has vanished since this time.
    Complete(SystemTime),
    /// Why they are not.
    Failed(String),
}

/// What is known of external managers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExternalState {
    /// By name. `None`: this process has no managers, and leaves them to the controller.
    pub managers: Option<Arc<BTreeSet<String>>>,
    /// What was fetched last.
    pub fetched: Arc<BTreeMap<ObjectName, Fetched>>,
    /// Tasks that are done and that no status records yet.
    pub done: BTreeSet<DeliveryKey>,
    /// Tasks that failed, and why.
    pub failed: BTreeMap<DeliveryKey, String>,
}

/// A certificate as its manager has it. It was checked that an agent would serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub from: ManagerRef,
    pub trigger: FetchTrigger,
    pub fingerprint: Fingerprint,
    /// Its bundle.
    pub roots: BTreeSet<RootId>,
}

/// Why a certificate is fetched from its manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchTrigger {
    /// The id of a request.
    Request(String),
    /// Hours since 1970.
    Hour(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    pub uid: String,
    /// Of the object with its status, not of the keyring.
    pub resource_version: ResourceVersion,
    pub generation: i64,
    pub spec: CertificateAuthoritySpec,
    pub status: AuthorityStatus,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// By annotation, without the prefix.
    pub requests: BTreeMap<String, Request>,
    pub keyring: KeyringState,
    /// The root to import, where the spec names one.
    pub import: Option<Result<RootId, String>>,
}

/// An authority's keyring, as far as it exists.
// There is one an authority, and authorities are few.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum KeyringState {
    Absent,
    Present(KeyringView),
    /// It exists and cannot be read, so nothing is done that might overwrite it.
    Unreadable(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeyringView {
    pub resource_version: ResourceVersion,
    pub state: State,
    pub roots: BTreeMap<RootId, Root>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    pub uid: String,
    pub resource_version: ResourceVersion,
    pub generation: i64,
    pub spec: ServiceCertificateSpec,
    pub status: CertificateStatus,
    pub deleting: bool,
    pub requests: BTreeMap<String, Request>,
    /// By number.
    pub versions: BTreeMap<u64, Arc<Version>>,
    pub published: Published,
}

/// A leaf that was issued or fetched, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub leaf: Leaf,
    /// The root that signed it.
    pub root: RootId,
    /// The roots of the bundle that was fetched with it. `None`: its authority's bundle counts.
    pub own_bundle: Option<BTreeSet<RootId>>,
    /// `CertificateSettings::digest` of the spec that it was made for.
    pub spec_digest: String,
    pub created_at: SystemTime,
    /// The request that it was made for.
    pub request: Option<String>,
    /// The version that a rollback copied.
    pub copy_of: Option<u64>,
    /// Over certificate and key.
    pub fingerprint: Fingerprint,
    /// Whether it can be served again.
    pub has_key: bool,
    pub resource_version: ResourceVersion,
}

/// What is in the target Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    Absent,
    /// The Secret belongs to something else: to what.
    OwnedByOther(String),
    Ours(Publication),
    /// It cannot be read or written: why, and what to do.
    Inaccessible(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    pub resource_version: ResourceVersion,
    pub fingerprint: Fingerprint,
    /// Of the leaf; empty if it cannot be read.
    pub leaf_sha256: String,
    /// The bundle.
    pub roots: BTreeSet<RootId>,
    pub revision: u64,
    pub written_at: SystemTime,
}

/// Identifies one write of an object. A change that was planned on another one is a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceVersion(pub String);

/// The pods of a namespace that mount a Secret of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct PodList {
    pub listed_at: SystemTime,
    /// Why the pods could not be listed.
    pub error: Option<String>,
    pub pods: Vec<Pod>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// Names of Secrets.
    pub mounted_secrets: BTreeSet<String>,
    pub agent: Option<PodAgent>,
    /// The revision that it was nudged for last.
    pub nudged_revision: Option<u64>,
    /// By the authority under which a client certificate was presented; under an empty name without one.
    pub proofs: BTreeMap<String, Arc<Proof>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodAgent {
    /// The Secret that it serves.
    pub secret: String,
    /// It watches the Secret in the API, and not the volume alone.
    pub watches_api: bool,
    /// Of the proof listener; `None` while the pod has no address.
    pub address: Option<SocketAddr>,
}

/// What was seen in handshakes with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// When the handshakes began.
    pub taken_at: SystemTime,
    /// When the pod was first seen to show this leaf.
    pub leaf_since: SystemTime,
    pub result: Result<HandshakeResult, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeResult {
    /// Hex, of the DER of the leaf that was shown in the handshake.
    pub leaf_sha256: String,
    /// When that leaf begins to be valid.
    pub leaf_not_before: Option<SystemTime>,
    /// Why that leaf is not one of the authority's, if it is not.
    pub foreign: Option<String>,
    /// For each root under which a client certificate was presented: whether it was accepted.
    pub accepts: BTreeMap<RootId, bool>,
    /// For each root that the agent reports to trust, also one that the authority does not know: the connections
    /// that end when that root is removed.
    pub connections_under: BTreeMap<RootId, u64>,
}

/// A request to the controller, in an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    pub arguments: String,
}

/// A Secret that hotcert does not publish and whose expiry it reports.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedSecret {
    pub leaf: Option<Leaf>,
    /// Of its bundle.
    pub roots: BTreeSet<RootId>,
    /// It was published by a ServiceCertificate that is gone.
    pub orphan: bool,
    /// When hotcert wrote it.
    pub written_at: Option<SystemTime>,
}

impl Fetched {
    /// Whether it equals the latest version. After a rollback only the leaf is compared: the version that was
    /// rolled back from must not come back because its bundle was edited.
    pub fn is_known(&self, certificate: &Certificate) -> bool {
        let is_rolled_back = certificate.newest().is_some_and(|(_, newest)| newest.copy_of.is_some());
        certificate.latest_made().is_some_and(|(_, latest)| {
            latest.fingerprint == self.fingerprint
                && (is_rolled_back || latest.own_bundle.as_ref() == Some(&self.roots))
        })
    }
}

impl Authority {
    /// What became of the request that is made now, by the status.
    pub fn answer_in_status(&self, verb: &str) -> Option<&HandledRequestStatus> {
        let request = self.requests.get(verb)?;
        self.status.handled_requests.get(verb).filter(|handled| handled.id == request.id)
    }
}

impl KeyringState {
    pub fn view(&self) -> Option<&KeyringView> {
        match self {
            Self::Present(view) => Some(view),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

impl KeyringView {
    /// What its ledger says of a Secret.
    pub fn ledger_entry(&self, namespace: &str, secret: &str) -> Option<&LedgerEntry> {
        self.state.ledger.as_ref()?.get(namespace, secret)
    }

    pub fn of(keyring: &Keyring, resource_version: ResourceVersion) -> Self {
        let roots = keyring.roots.iter().map(|(id, root)| (id.clone(), Root::of(root))).collect();
        Self { resource_version, state: keyring.state.clone(), roots }
    }
}

impl Proof {
    /// The pod may have shown the same leaf in the proof before this one.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let leaf = |proof: &Self| proof.result.as_ref().ok().map(|handshake| handshake.leaf_sha256.clone());
        if let Some(before) = before.filter(|before| leaf(before).is_some() && leaf(before) == leaf(&self)) {
            self.leaf_since = before.leaf_since.min(self.taken_at);
        }
        self
    }
}

impl Request {
    /// Of an annotation, in bytes.
    pub const MAX_LENGTH: usize = 8 * 1024;

    /// The first word is the id.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (id, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let fits = !id.is_empty() && id.len() <= 64 && text.len() <= Self::MAX_LENGTH;
        fits.then(|| Self { id: id.to_owned(), arguments: arguments.trim().to_owned() })
    }
}

impl Version {
    /// Whether the leaf was issued after `began`, so that a pod that shows it has what was published since.
    pub fn is_issued_since(&self, began: SystemTime) -> bool {
        self.created_at >= began && self.copy_of.is_none()
    }
}

impl Certificate {
    /// The version that is published, if it is still in the history.
    pub fn published_version(&self) -> Option<(u64, &Version)> {
        let Published::Ours(publication) = &self.published else { return None };
        let is_published = |version: &Version| version.fingerprint == publication.fingerprint;
        // A rollback has the leaf of an older version: the newest of them counts.
        self.versions
            .iter()
            .rev()
            .find(|(_, version)| is_published(version))
            .map(|(number, version)| (*number, version.as_ref()))
    }

    /// The root of this version's leaf, if that is what is published in the Secret at this resource version.
    pub fn published_root(&self, version: u64, at: &ResourceVersion) -> Option<&RootId> {
        let Published::Ours(publication) = &self.published else { return None };
        let version = self.versions.get(&version)?;
        let is_published =
            publication.resource_version == *at && version.fingerprint == publication.fingerprint;
        is_published.then_some(&version.root)
    }

    /// The newest that is not a copy of another.
    pub fn latest_made(&self) -> Option<(u64, &Version)> {
        let made = self.versions.iter().rev().find(|(_, version)| version.copy_of.is_none());
        made.map(|(number, version)| (*number, version.as_ref()))
    }

    pub fn newest(&self) -> Option<(u64, &Version)> {
        self.versions.last_key_value().map(|(number, version)| (*number, version.as_ref()))
    }
}

impl Observed {
    /// Every keyring that there is, by the name of its authority.
    pub fn keyrings(&self) -> impl Iterator<Item = (&str, &KeyringView)> {
        let authorities = self.authorities.iter();
        let present = authorities.filter_map(|(name, it)| Some((name.as_str(), it.keyring.view()?)));
        present.chain(self.orphaned_keyrings.iter().map(|(name, keyring)| (name.as_str(), keyring)))
    }

    pub fn pods_of(&self, namespace: &str) -> &[Pod] {
        self.pods.get(namespace).map_or(&[], |list| &list.pods)
    }
}

impl Pod {
    /// What it showed to a client of this authority.
    pub fn proof(&self, authority: &str) -> Option<&Proof> {
        self.proofs.get(authority).map(Arc::as_ref)
    }

    /// The proof for an authority, if it was taken at `since` or later.
    pub fn proof_since(&self, authority: &str, since: SystemTime, now: SystemTime) -> Option<&Proof> {
        self.proof(authority).filter(|proof| since <= proof.taken_at && proof.taken_at <= now)
    }

    /// Whether it serves this Secret through its agent.
    pub fn serves(&self, secret: &str) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.secret == secret)
    }
}
