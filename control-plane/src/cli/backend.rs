//! Where the commands read objects and write requests: a cluster, or a directory on this machine.

pub mod directory;
mod http;
pub mod kubernetes;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::store::ObjectRef;
use crate::store::kubernetes::client::ClusterError;

/// How often the state is read while a command waits for a change.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

pub trait Backend: Send {
    fn authorities(&self) -> impl Future<Output = Result<Vec<CertificateAuthority>, BackendError>> + Send;

    /// Of one namespace, or all.
    fn certificates(
        &self,
        namespace: Option<&str>,
    ) -> impl Future<Output = Result<Vec<ServiceCertificate>, BackendError>> + Send;

    fn certificate(
        &self,
        name: &ObjectName,
    ) -> impl Future<Output = Result<ServiceCertificate, BackendError>> + Send;

    fn authority(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<CertificateAuthority, BackendError>> + Send;

    /// Objects that exist but cannot be read, each with what to do about it.
    fn read_errors(&self) -> impl Future<Output = Result<Vec<String>, BackendError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// The stored versions of a certificate, the oldest first. Without keys.
    fn versions(
        &self,
        certificate: &ObjectName,
    ) -> impl Future<Output = Result<Vec<VersionRow>, BackendError>> + Send;

    /// Writes a request for the controller: a verb, the id of the request, and the verb's arguments.
    fn request(
        &self,
        object: &ObjectRef,
        verb: &str,
        id: &str,
        arguments: &str,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Fails as creating it would, as far as that can be known before, and creates nothing.
    fn try_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// The object as it was created.
    fn create_authority(
        &self,
        object: &CertificateAuthority,
    ) -> impl Future<Output = Result<CertificateAuthority, BackendError>> + Send;

    /// The object as it was created.
    fn create_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> impl Future<Output = Result<ServiceCertificate, BackendError>> + Send;

    /// Deletes this very object, not another that has its name by now.
    fn delete_authority(
        &self,
        object: &CertificateAuthority,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Deletes this very object, not another that has its name by now.
    fn delete_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// The metrics of the agents that serve this Secret.
    fn metrics(
        &self,
        namespace: &str,
        secret: &str,
    ) -> impl Future<Output = Result<Vec<PodMetrics>, BackendError>> + Send;

    /// The pods of a namespace as they are now, by name. `None` if they cannot be listed.
    fn live_pods(&self, namespace: &str) -> impl Future<Output = Option<BTreeMap<String, LivePod>>> + Send;

    /// What its pods are called, for the result of a command.
    fn pods(&self) -> &'static str {
        "pods"
    }

    /// How soon a pod loads a new Secret, as a sentence.
    fn delivery(&self) -> &'static str;

    /// Where a certificate is published, for the result of a command.
    fn target(&self, namespace: &str, secret: &str) -> String;

    /// Where the keys of an authority are.
    fn keyring(&self, authority: &str) -> String;

    /// How to change an authority.
    fn how_to_change_authority(&self, authority: &str) -> String;

    /// To what the Secret belongs if it exists and is not this certificate's, as far as that can be seen.
    fn foreign_owner(
        &self,
        certificate: &ObjectName,
        secret: &str,
    ) -> impl Future<Output = Result<Option<String>, BackendError>> + Send;

    /// What continues a rollover after the command has ended.
    fn continuation(&self) -> String;

    /// Returns when the state may have changed. On a directory, this is where requests are processed.
    fn advance(&mut self) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// A stored version.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRow {
    pub version: u64,
    pub serial: String,
    pub root: String,
    pub created_at: String,
    pub not_after: String,
    pub copy_of: Option<u64>,
    pub request: Option<String>,
    pub has_key: bool,
    /// Tells apart what versions were made for.
    pub made_for: String,
}

/// A pod that exists.
#[derive(Clone, Debug)]
pub struct LivePod {
    /// The Secret that its agent serves.
    pub secret: Option<String>,
    /// When it was made, where that is known: what was proved before was proved by another pod of its name.
    pub created_at: Option<SystemTime>,
    /// Why it serves nobody at the moment.
    pub problem: Option<String>,
}

/// An agent's /metrics, or why it could not be read.
#[derive(Clone, Debug)]
pub struct PodMetrics {
    pub pod: String,
    pub text: Result<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("{what} failed: {cause}")]
    Failed { what: String, cause: String },
    #[error("there is no {0}")]
    Missing(String),
    #[error("{0} already exists")]
    Exists(String),
    #[error("{}: {cause}", dir.display())]
    Directory { dir: PathBuf, cause: String },
    #[error(transparent)]
    NoCluster(#[from] ClusterError),
}
