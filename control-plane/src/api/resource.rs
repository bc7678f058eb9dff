//! The two objects that a person writes: [`CertificateAuthority`], a root, and [`ServiceCertificate`],
//! a leaf for one service. As they stand in a cluster (custom resources of `hotcert.dev/v1alpha1`) and,
//! letter for letter the same, in files of the directory store.
//!
//! What is here is what was written, not what it means: [`crate::api::settings`] judges a spec.

mod definition;
mod names;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use definition::{DefinitionError, definitions};
pub use names::{Kind, Naming, NamingError};

use crate::api::condition::Condition;
use crate::pki::authority::Algorithm;

/// What people ask of an object in passing stands in its annotations: a verb and an id, so that it is
/// done once.
pub mod annotation {
    pub const ROTATE: &str = "hotcert.dev/rotate";
    pub const ROLLBACK: &str = "hotcert.dev/rollback";
    pub const ROLLOVER: &str = "hotcert.dev/rollover";
    pub const REVERSE: &str = "hotcert.dev/reverse";
    pub const OVERRIDE: &str = "hotcert.dev/override";
    pub const REMOVE_ROOT: &str = "hotcert.dev/remove-root";
    /// Left by the receiver of notifications.
    pub const NOTICE: &str = "hotcert.dev/notice";
}

/// A root that signs the leaves of services.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hotcert.dev",
    version = "v1alpha1",
    kind = "CertificateAuthority",
    plural = "certificateauthorities",
    shortname = "hca",
    category = "hotcert",
    status = "AuthorityStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Certificates","type":"integer","jsonPath":".status.certificates"}"#,
    printcolumn = r#"{"name":"Root","type":"string","jsonPath":".status.root.serial","priority":1}"#,
    printcolumn = r#"{"name":"Expires","type":"date","jsonPath":".status.root.notAfter"}"#,
    printcolumn = r#"{"name":"Waiting for","type":"string","jsonPath":".status.rollover.waiting[0]"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateAuthoritySpec {
    /// Namespaces that may have certificates of it; "*" is all.
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"))
    )]
    pub namespaces: Vec<String>,
    /// Common name of the root's subject. Default: the object's name.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Kind of the root's key. Default: p256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Life of a root. Default: 3650d.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
    /// Longest life of a leaf. Default: 90d.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_lifetime_max: Option<String>,
    /// How long before a leaf would have to be cut short the root is replaced. Default: a tenth of its
    /// life, 30d at most.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollover_allowance: Option<String>,
    /// Whether the root is replaced when its time comes, or when somebody asks only. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic_rollover: Option<bool>,
    /// In a rollover, how long connections under the old root may go on. Default: 1h.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<String>,
    /// First part of SPIFFE IDs, spiffe://DOMAIN/ns/NAMESPACE/sa/NAME. Default: cluster.local.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-z0-9._-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Lets certificates carry names outside their own namespace. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_name: Option<bool>,
    /// A root that exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportSource>,
}

/// Where a root's certificate and key are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportSource {
    /// A Secret in the control plane's namespace (a directory of the store's imports) with tls.crt
    /// and tls.key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret_name: String,
}

/// A leaf for one service, signed by an authority or fetched from a manager; named TYPE-CLUSTER-MICROSERVICE; TYPE is mtls, server or client.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hotcert.dev",
    version = "v1alpha1",
    kind = "ServiceCertificate",
    plural = "servicecertificates",
    shortname = "hcert",
    category = "hotcert",
    namespaced,
    status = "CertificateStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Served","type":"string","jsonPath":".status.conditions[?(@.type=='Served')].status"}"#,
    printcolumn = r#"{"name":"Secret","type":"string","jsonPath":".status.secretName"}"#,
    printcolumn = r#"{"name":"Version","type":"integer","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"Serial","type":"string","jsonPath":".status.serial","priority":1}"#,
    printcolumn = r#"{"name":"Expires","type":"date","jsonPath":".status.notAfter"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCertificateSpec {
    /// The CertificateAuthority that signs. Without one, the manager is where it comes from.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// A manager outside that keeps it as well: each new version is brought there; without an authority,
    /// each version is fetched from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<ManagerRef>,
    /// The Secret it is published as, in the certificate's own namespace. Default: MICROSERVICE-tls.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Default: MICROSERVICE.NAMESPACE.svc, and the same with .cluster.local.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Default: spiffe://DOMAIN/ns/NAMESPACE/sa/MICROSERVICE.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^spiffe://"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Kind of the leaf's key. Default: p256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Life of a leaf. Default: 30d, or the authority's longest if that is shorter.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
    /// How long before its end a leaf is renewed. Default: a third of its life.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// How many versions are kept, the served one among them. Default: 5.
    #[schemars(range(min = 1, max = 50))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// A certificate as a manager outside knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerRef {
    /// Of the manager, as the controller's settings have it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Of the certificate there.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub id: String,
}

/// Numbers and units as humantime reads them: 90d, 2160h, 1h 30m.
const DURATION: &str =
    r"^([0-9]+ ?(s|sec|secs|seconds?|m|min|mins|minutes?|h|hr|hrs|hours?|d|days?|w|weeks?|ms|y|years?) ?)+$";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityStatus {
    pub observed_generation: Option<i64>,
    /// Steady, Distributing, Reissuing or Retiring.
    pub phase: Option<String>,
    /// The one that signs.
    pub root: Option<RootStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollover: Option<RolloverStatus>,
    /// How many certificates name this authority.
    pub certificates: Option<i64>,
    /// When the root is due to be replaced.
    pub rollover_at: Option<String>,
    /// What was asked for last, by verb, and what came of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub answered: BTreeMap<String, AnswerStatus>,
    /// Rollovers that have ended, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<RolloverRecordStatus>,
    /// How far each subscription was notified.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Told>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RootStatus {
    /// Hex SHA-256 of the certificate.
    pub sha256: String,
    pub serial: String,
    pub not_before: String,
    pub not_after: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloverStatus {
    pub from: String,
    pub to: String,
    pub why: String,
    pub began: String,
    pub since: String,
    /// Pods and certificates that hold the step, and why; the first of them if there are many.
    pub waiting: Vec<String>,
    pub waiting_total: i64,
    /// Pods that a person let the rollover go on without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnswerStatus {
    pub id: String,
    pub outcome: String,
    pub at: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloverRecordStatus {
    pub from: String,
    pub to: String,
    pub why: String,
    pub began: String,
    pub ended: String,
    /// The old root was taken out at once.
    pub forced: bool,
    /// Pods that a person let it go on without, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    pub observed_generation: Option<i64>,
    pub secret_name: Option<String>,
    /// Of the history, the one that is published.
    pub version: Option<i64>,
    /// As it stands in the Secret: grows with every writing.
    pub revision: Option<i64>,
    pub serial: Option<String>,
    /// Hex SHA-256 of the leaf.
    pub sha256: Option<String>,
    pub not_before: Option<String>,
    pub not_after: Option<String>,
    pub renew_at: Option<String>,
    /// Hex SHA-256 of the root that signed it.
    pub root: Option<String>,
    pub published_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedStatus>,
    /// What was brought to its manager last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedStatus>,
    /// Requests that were answered, by verb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answered>,
    /// How far each subscription was notified.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Told>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Which pods were seen to serve what was published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServedStatus {
    /// That the looks were about.
    pub revision: i64,
    /// Pods that mount the Secret.
    pub pods: i64,
    pub serving: i64,
    /// From writing the Secret to the handshake, the slowest of them.
    pub seconds: Option<f64>,
    /// The first of them if there are many.
    pub by_pod: Vec<PodServed>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImportedStatus {
    pub manager: String,
    pub id: String,
    pub version: i64,
    /// Hex SHA-256 of the leaf.
    pub sha256: String,
    pub at: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodServed {
    pub pod: String,
    pub seconds: Option<f64>,
    /// Why it is not seen to serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Answered {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Of one subscription: the last that was delivered of each kind of news, and what could not be.
pub type Told = BTreeMap<String, String>;

/// In [`Told`], what does not arrive for a while now, and why.
pub const UNDELIVERED: &str = "undelivered";
