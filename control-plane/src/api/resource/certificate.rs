//! ServiceCertificate: a leaf for one service.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{CLUSTER, DURATION, NotifiedMarks};
use crate::api::algorithm::Algorithm;
use crate::api::condition::Condition;
use crate::api::leaf_request::Usage;

/// A leaf for one service, signed by an authority or fetched from a manager; named TYPE-CLUSTER-MICROSERVICE unless spec.service names the service; TYPE is mtls, server or client.
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
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".status.notAfter"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCertificateSpec {
    /// Name of the CertificateAuthority that signs. Without it the certificate is fetched from the manager.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// Name of its cluster, which has to be that of its authority. Default: CLUSTER in the certificate's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = CLUSTER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Name of its service. With it the certificate may have any name. Default: MICROSERVICE in the certificate's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What it is for: mtls (server and client), server or client. Default: TYPE in the certificate's name; with service,
    /// mtls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The certificate at an external manager. With an authority, each new version is pushed there; without
    /// one, each version is fetched from there. Default: no manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<ManagerRef>,
    /// Name of the Secret that it is published as, in the certificate's namespace. Default: SERVICE-tls.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// DNS names of the leaf. Default: SERVICE.NAMESPACE.svc and SERVICE.NAMESPACE.svc.CLUSTERDOMAIN.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// IP addresses of the leaf, which the authority's allowedNames have to allow. Default: none.
    #[schemars(length(max = 100), inner(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F:.]+$")))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_addresses: Option<Vec<String>>,
    /// SPIFFE ID of the leaf. Default: spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICE.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^spiffe://"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// Algorithm of the leaf's key. Default: p256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Lifetime of a leaf. Default: 30d, or the authority's leafLifetimeMax if that is shorter.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
    /// How long before its end a leaf is renewed. Default: a third of its lifetime.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// Number of versions before the published one that keep their private key, so that a rollback can publish them again;
    /// the others keep their certificate. One that has expired, or whose root is gone, does not count. Default: 2.
    #[schemars(range(max = 49))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_versions: Option<u32>,
    /// Number of versions that are kept, the published one included. Default: 5.
    #[schemars(range(min = 1, max = 50))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
}

/// A certificate at an external manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerRef {
    /// Name of the manager in the controller's notification settings.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Id of the certificate at the manager.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub id: String,
}

impl ServiceCertificateSpec {
    /// A manager issues it, and it is fetched from there.
    pub fn is_fetched(&self) -> bool {
        self.authority.is_empty()
    }
}

/// Status of a ServiceCertificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// Generation of the spec that this status was computed from.
    pub observed_generation: Option<i64>,
    /// Name of the Secret that the certificate is published as.
    pub secret_name: Option<String>,
    /// Number of the published version in the certificate's history.
    pub version: Option<i64>,
    /// Revision of the Secret; grows each time it is written.
    pub revision: Option<i64>,
    /// Serial number of the published leaf, in hex.
    pub serial: Option<String>,
    /// SHA-256 of the published leaf, in hex.
    pub sha256: Option<String>,
    /// Start of the published leaf's validity, RFC 3339.
    pub not_before: Option<String>,
    /// End of the published leaf's validity, RFC 3339.
    pub not_after: Option<String>,
    /// When the leaf is due to be renewed, RFC 3339.
    pub renew_at: Option<String>,
    /// SHA-256 of the root that signed the published leaf, in hex.
    pub root: Option<String>,
    /// When the Secret was written last, RFC 3339.
    pub published_at: Option<String>,
    /// Which pods serve what is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedStatus>,
    /// The version that was pushed to the external manager last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_sync: Option<ExternalSyncStatus>,
    /// Id of the last request of each kind that was handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_requests: Option<HandledRequests>,
    /// By subscription, the last mark that was delivered in each channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub last_notified: BTreeMap<String, NotifiedMarks>,
    /// Ready, Published and Served; Degraded, Reconciling, Stalled and RollbackRefused while they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Which pods serve what is published, as seen in handshakes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServedStatus {
    /// Revision of the Secret that the pods were probed for.
    pub revision: i64,
    /// Number of pods that mount the Secret.
    pub pods: i64,
    /// Number of pods that serve the published leaf.
    pub serving: i64,
    /// Seconds from writing the Secret until the slowest pod served it.
    pub seconds: Option<f64>,
    /// The first of the pods, those with a problem before the others.
    pub by_pod: Vec<PodServed>,
}

/// The version that was pushed to an external manager last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalSyncStatus {
    /// Name of the manager.
    pub manager: String,
    /// Id of the certificate at the manager.
    pub id: String,
    /// Number of the version in the certificate's history.
    pub version: i64,
    /// SHA-256 of the leaf, in hex.
    pub sha256: String,
    /// When it was pushed, RFC 3339.
    pub synced_at: String,
}

/// Whether one pod serves what is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodServed {
    /// Name of the pod.
    pub pod: String,
    /// Seconds from writing the Secret until the pod served it.
    pub seconds: Option<f64>,
    /// Why the pod is not known to serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Id of the last request of each kind that was handled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HandledRequests {
    /// Of the annotation hotcert.dev/rotate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    /// Of the annotation hotcert.dev/rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<String>,
    /// Of the annotation hotcert.dev/renewal-hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_hint: Option<String>,
}
