//! CertificateAuthority: a root that signs the leaves of services.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{CLUSTER, DURATION, NotifiedMarks};
use crate::api::algorithm::Algorithm;
use crate::api::condition::Condition;

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
    printcolumn = r#"{"name":"Root","type":"string","jsonPath":".status.root.sha256","priority":1}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".status.root.notAfter"}"#,
    printcolumn = r#"{"name":"Waiting for","type":"string","jsonPath":".status.rollover.waitingFor[0]"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateAuthoritySpec {
    /// Namespaces whose certificates this authority signs; "*" is all.
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"))
    )]
    pub namespaces: Vec<String>,
    /// Name of its cluster. With it the authority may have any name. Default: CLUSTER in its name root-CLUSTER-NAME.
    #[schemars(length(min = 1, max = 253), regex(pattern = CLUSTER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// DNS domain of its cluster. Default: the controller's --cluster-domain.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_domain: Option<String>,
    /// Common name of the root's subject. Default: the object's name.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Algorithm of the root's key. Default: p256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Lifetime of a root. Default: 3650d.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
    /// Longest lifetime that a leaf may have. Default: 90d.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_lifetime_max: Option<String>,
    /// Time kept for a rollover: a root is replaced so long before leaves would outlive it. Default: a tenth of
    /// the root's lifetime, 30d at most.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollover_allowance: Option<String>,
    /// Whether the root is replaced when it is due; if false, only on request. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic_rollover: Option<bool>,
    /// How long connections under the old root may stay open in a rollover. Default: 1h.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<String>,
    /// Trust domain of SPIFFE IDs, spiffe://DOMAIN/ns/NAMESPACE/sa/NAME. Default: cluster.local.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-z0-9._-]+$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Whether certificates may have any name, also outside their own namespace. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_name: Option<bool>,
    /// Names that its certificates may have besides those of their own namespace. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_names: Option<AllowedNames>,
    /// Name constraints of the roots that are made for it: peers refuse a certificate with another name. A change takes
    /// effect with the next root. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_constraints: Option<NameConstraints>,
    /// An existing root to use instead of a new one. Default: a new root is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportSource>,
}

/// Patterns of names; {namespace} in one stands for the namespace of the certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedNames {
    /// Patterns of DNS names, such as *.{namespace}.example.org: * at the beginning is one label, ** one or more.
    #[schemars(
        length(max = 100),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\*?\.)?([-a-z0-9]|\{namespace\})+(\.([-a-z0-9]|\{namespace\})+)*$")
        )
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Networks of IP addresses, such as 10.0.0.0/8.
    #[schemars(
        length(max = 100),
        inner(length(min = 2, max = 64), regex(pattern = r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"))
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Patterns of SPIFFE IDs, such as spiffe://example.org/{namespace}/*: * is one segment, ** at the end one or more.
    #[schemars(
        length(max = 100),
        inner(
            length(min = 1, max = 2048),
            regex(pattern = r"^spiffe://[a-z0-9._-]+(/(\*|([-._A-Za-z0-9]|\{namespace\})+))*(/\*\*)?$")
        )
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spiffe_ids: Vec<String>,
}

/// X.509 name constraints of a root.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraints {
    /// Domains that DNS names have to be in, such as shop.svc: the domain itself, and all below.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))
    )]
    pub permitted_dns_domains: Vec<String>,
}

/// Where an existing root's certificate and key are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportSource {
    /// Name of a Secret with tls.crt and tls.key in the control plane's namespace; in the directory store, of a
    /// directory under imports.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret_name: String,
}

/// Status of a CertificateAuthority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityStatus {
    /// Generation of the spec that this status was computed from.
    pub observed_generation: Option<i64>,
    /// Steady, Distributing, Reissuing or Retiring.
    pub phase: Option<String>,
    /// The root that signs.
    pub root: Option<RootStatus>,
    /// The rollover in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollover: Option<RolloverStatus>,
    /// Number of certificates that name this authority.
    pub certificates: Option<i64>,
    /// When the root is due to be replaced, RFC 3339.
    pub rollover_at: Option<String>,
    /// The last request of each kind, by the name of its annotation, and its outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub handled_requests: BTreeMap<String, HandledRequestStatus>,
    /// Rollovers that have ended, the newest last; 10 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollover_history: Vec<RolloverRecordStatus>,
    /// By subscription, the last mark that was delivered in each channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub last_notified: BTreeMap<String, NotifiedMarks>,
    /// Ready; Degraded, Reconciling, Stalled, Queued and SettingsRejected while they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A root certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RootStatus {
    /// SHA-256 of the certificate, in hex.
    pub sha256: String,
    /// Serial number, in hex.
    pub serial: String,
    /// Start of validity, RFC 3339.
    pub not_before: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
}

/// A rollover in progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloverStatus {
    /// SHA-256 of the root that is replaced, in hex.
    pub from: String,
    /// SHA-256 of the root that replaces it, in hex.
    pub to: String,
    /// Why the root is replaced.
    pub reason: String,
    /// When the rollover started, RFC 3339.
    pub started_at: String,
    /// When the current phase started, RFC 3339.
    pub phase_started_at: String,
    /// The first 20 pods and certificates that block the next phase, each with its reason.
    pub waiting_for: Vec<String>,
    /// Number of pods and certificates that block the next phase.
    pub waiting_for_total: i64,
    /// Pods that do not block the rollover because a person overrode them, each with the reason given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}

/// A request that was made with an annotation, and its outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HandledRequestStatus {
    /// Id of the request: the first word of the annotation.
    pub id: String,
    /// What was done, or why it was refused.
    pub outcome: String,
    /// When it was handled, RFC 3339.
    pub handled_at: String,
}

/// A rollover that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloverRecordStatus {
    /// SHA-256 of the root that was replaced, in hex.
    pub from: String,
    /// SHA-256 of the root that replaced it, in hex.
    pub to: String,
    /// Why the root was replaced.
    pub reason: String,
    /// When the rollover started, RFC 3339.
    pub started_at: String,
    /// When the rollover ended, RFC 3339.
    pub ended_at: String,
    /// Whether the old root was removed at once, without waiting for pods.
    pub forced: bool,
    /// Pods that did not block the rollover because a person overrode them, each with the reason given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}
