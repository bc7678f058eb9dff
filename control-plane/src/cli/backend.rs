//! Where objects are read and requests are left.

mod directory;
mod http;
mod kubernetes;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use directory::Directory;
pub use kubernetes::Cluster;

use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::planner::observed::ObjectName;
use crate::store::ObjectRef;

/// What somebody waits for is looked at again after so long, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

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

    /// What is there and cannot be read, each with what to do.
    fn problems(&self) -> impl Future<Output = Result<Vec<String>, BackendError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// What is kept of a certificate, the oldest first. No keys.
    fn versions(
        &self,
        certificate: &ObjectName,
    ) -> impl Future<Output = Result<Vec<VersionRow>, BackendError>> + Send;

    /// Leaves a request: a verb, its id, and words.
    fn ask(
        &self,
        about: &ObjectRef,
        verb: &str,
        id: &str,
        words: &str,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    fn create_authority(
        &self,
        object: &CertificateAuthority,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    fn create_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Pods that mount this Secret, and how to read their metrics.
    fn metrics(
        &self,
        namespace: &str,
        secret: &str,
    ) -> impl Future<Output = Result<Vec<PodMetrics>, BackendError>> + Send;

    /// Returns when it is worth to look again. On one machine this is where the work is done.
    fn go_on(&mut self) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// A kept version.
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
}

/// What an agent says on /metrics, or why it could not be read.
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
    #[error("{0} exists already")]
    Exists(String),
    #[error("{}: {cause}; name another with --dir", dir.display())]
    Directory { dir: PathBuf, cause: String },
    #[error("no cluster: {0}; give --kubeconfig FILE, or --dir DIR for a directory on this machine")]
    NoCluster(String),
}
