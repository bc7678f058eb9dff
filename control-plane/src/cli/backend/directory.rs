//! A directory on this machine as a backend. It needs no controller: while a command waits, it runs rounds of
//! the same reconcile loop itself. A controller may run on the directory at the same time, because a write based
//! on an outdated read is rejected and repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use kube::api::ObjectMeta;
use tokio::net::TcpStream;

use super::{Backend, BackendError, LivePod, POLL_INTERVAL, PodMetrics, VersionRow};
use crate::api::date;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::planner::observed::Observed;
use crate::proof::{PROBER, Prober};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::directory::DirectoryStore;
use crate::store::{Editor as _, ObjectRef, Store as _, StoreError};

/// Of an agent on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub struct DirectoryBackend {
    store: Arc<DirectoryStore>,
    reconciler: Reconciler<DirectoryStore>,
}

impl DirectoryBackend {
    /// Creates the directory if `create` is set.
    pub fn open(dir: &Path, create: bool) -> Result<Self, BackendError> {
        let unusable = |cause: String| BackendError::Directory { dir: dir.to_owned(), cause };
        if !create && !dir.join("state").is_dir() {
            let what = if dir.exists() { "it is not a directory of hotcert" } else { "it does not exist" };
            let command = "hotcert issue NAMESPACE/NAME --authority NAME --create-authority --dir DIR";
            return Err(unusable(format!("{what}: create one with {command}, or name another with --dir")));
        }
        let opened = DirectoryStore::open(dir);
        let store = Arc::new(opened.map_err(|error| unusable(format!("{error}; name another with --dir")))?);
        let prober = Prober::new(PROBER);
        let reconciler = Reconciler::new(Arc::clone(&store), prober, true, ReconcileMetrics::default());
        Ok(Self { store, reconciler })
    }

    /// Else a controller of that user could not read what is written, and would stop at it.
    fn refuse_root_on_directory_of_another_user(&self) -> Result<(), BackendError> {
        let Some(user) = self.store.user_in_place_of_root() else { return Ok(()) };
        let cause = format!(
            "it belongs to user {user}, which cannot read what root writes: run the command as that user, with \
             sudo -u '#{user}'"
        );
        Err(BackendError::Directory { dir: self.store.root().to_owned(), cause })
    }

    async fn observe(&self) -> Result<Observed, BackendError> {
        self.store.observe().await.map_err(failed("reading the state"))
    }
}

impl Backend for DirectoryBackend {
    async fn authorities(&self) -> Result<Vec<CertificateAuthority>, BackendError> {
        let observed = self.observe().await?;
        let object =
            |(name, authority): (&String, &Arc<crate::planner::observed::Authority>)| CertificateAuthority {
                metadata: metadata(name, None),
                spec: authority.spec.clone(),
                status: Some(authority.status.clone()),
            };
        Ok(observed.authorities.iter().map(object).collect())
    }

    async fn certificates(&self, namespace: Option<&str>) -> Result<Vec<ServiceCertificate>, BackendError> {
        let observed = self.observe().await?;
        let object = |(name, certificate): (&ObjectName, &Arc<crate::planner::observed::Certificate>)| {
            ServiceCertificate {
                metadata: metadata(&name.name, Some(&name.namespace)),
                spec: certificate.spec.clone(),
                status: Some(certificate.status.clone()),
            }
        };
        let in_namespace =
            |(name, _): &(&ObjectName, _)| namespace.is_none_or(|namespace| name.namespace == namespace);
        Ok(observed.certificates.iter().filter(in_namespace).map(object).collect())
    }

    async fn certificate(&self, name: &ObjectName) -> Result<ServiceCertificate, BackendError> {
        let all = self.certificates(Some(&name.namespace)).await?;
        let found = all.into_iter().find(|object| object.metadata.name.as_ref() == Some(&name.name));
        found.ok_or_else(|| BackendError::Missing(format!("certificate {name}: see hotcert status")))
    }

    async fn authority(&self, name: &str) -> Result<CertificateAuthority, BackendError> {
        let all = self.authorities().await?;
        let found = all.into_iter().find(|object| object.metadata.name.as_deref() == Some(name));
        found.ok_or_else(|| BackendError::Missing(format!("authority {name}: see hotcert status")))
    }

    async fn read_errors(&self) -> Result<Vec<String>, BackendError> {
        Ok(self.observe().await?.read_errors)
    }

    async fn versions(&self, certificate: &ObjectName) -> Result<Vec<VersionRow>, BackendError> {
        let observed = self.observe().await?;
        let versions = observed.certificates.get(certificate).map(|certificate| certificate.versions.clone());
        let rows = versions.unwrap_or_default().into_iter().map(|(number, version)| VersionRow {
            version: number,
            serial: version.leaf.serial.clone(),
            root: version.root.0.clone(),
            created_at: date::seconds(version.created_at),
            not_after: date::seconds(version.leaf.not_after),
            copy_of: version.copy_of,
            request: version.request.clone(),
            has_key: version.has_key,
            made_for: version.spec_digest.clone(),
        });
        Ok(rows.collect())
    }

    async fn request(
        &self,
        object: &ObjectRef,
        verb: &str,
        id: &str,
        arguments: &str,
    ) -> Result<(), BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        let text = format!("{id} {arguments}");
        self.store.ask(object, verb, text.trim_end()).await.map_err(failed("writing the request"))
    }

    async fn try_certificate(&self, object: &ServiceCertificate) -> Result<(), BackendError> {
        let name = object_name(&object.metadata);
        match self.certificate(&name).await {
            Ok(_) => Err(BackendError::Exists(format!("the certificate {name}"))),
            Err(BackendError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_authority(
        &self,
        object: &CertificateAuthority,
    ) -> Result<CertificateAuthority, BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let created = self.store.create_authority(&name, &object.spec).await;
        created.map(|()| object.clone()).map_err(creation_failed(format!("the authority {name}")))
    }

    async fn create_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> Result<ServiceCertificate, BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        let name = object_name(&object.metadata);
        let created = self.store.create_certificate(&name, &object.spec).await;
        created.map(|()| object.clone()).map_err(creation_failed(format!("the certificate {name}")))
    }

    async fn delete_authority(&self, object: &CertificateAuthority) -> Result<(), BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let deleted = self.store.delete_authority(&name).await;
        deleted.map_err(deletion_failed(format!("the authority {name}")))
    }

    async fn delete_certificate(&self, object: &ServiceCertificate) -> Result<(), BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        let name = object_name(&object.metadata);
        let deleted = self.store.delete_certificate(&name).await;
        deleted.map_err(deletion_failed(format!("the certificate {name}")))
    }

    async fn metrics(&self, namespace: &str, secret: &str) -> Result<Vec<PodMetrics>, BackendError> {
        let agents = self.store.agents(namespace, secret).await;
        let mut found = Vec::new();
        for (pod, admin) in agents {
            let text = match admin {
                Some(address) => super::http::get(address, "/metrics").await,
                None => {
                    let file = self.store.root().join("pods").join(namespace).join(format!("{pod}.yaml"));
                    Err(format!("add admin: ADDRESS:PORT to {}", file.display()))
                }
            };
            found.push(PodMetrics { pod, text });
        }
        Ok(found)
    }

    async fn live_pods(&self, namespace: &str) -> Option<BTreeMap<String, LivePod>> {
        let mut lists = self.store.pods(&BTreeSet::from([namespace.to_owned()])).await;
        let list = lists.remove(namespace).filter(|list| list.error.is_none())?;
        let pods = list.pods.into_iter().map(|pod| async move {
            let agent = pod.agent.as_ref();
            let problem = match agent.and_then(|agent| agent.address) {
                Some(address) => unreachable(address).await,
                None => None,
            };
            let secret = agent.map(|agent| agent.secret.clone());
            (pod.name, LivePod { secret, created_at: None, problem })
        });
        Some(join_all(pods).await.into_iter().collect())
    }

    fn pods(&self) -> &'static str {
        "agents"
    }

    fn delivery(&self) -> &'static str {
        "An agent loads it within seconds; a pod whose program does not follow the directory never does"
    }

    fn target(&self, namespace: &str, secret: &str) -> String {
        self.store.root().join("secrets").join(namespace).join(secret).display().to_string()
    }

    fn keyring(&self, authority: &str) -> String {
        self.store.root().join("state/authorities").join(authority).join("keyring").display().to_string()
    }

    fn how_to_change_authority(&self, authority: &str) -> String {
        let file = self.store.root().join("authorities").join(format!("{authority}.yaml"));
        format!("edit {}", file.display())
    }

    async fn foreign_owner(
        &self,
        certificate: &ObjectName,
        secret: &str,
    ) -> Result<Option<String>, BackendError> {
        self.store.foreign_owner(certificate, secret).await.map_err(failed("reading the Secret"))
    }

    fn continuation(&self) -> String {
        let dir = self.store.root().display();
        format!("run hotcert controller --dir {dir}, or hotcert status --watch --dir {dir}, to carry it out")
    }

    async fn advance(&mut self) -> Result<(), BackendError> {
        self.refuse_root_on_directory_of_another_user()?;
        // If that fails, the next command or controller does it.
        let _ = self.store.remove_versions_of_deleted(SystemTime::now()).await;
        let round = self.reconciler.round().await.map_err(failed("reconciling"))?;
        // The round may have observed the awaited state already, written by a controller since the command's last
        // read. Nothing would change any more then, so the wait is bounded.
        let _ = tokio::time::timeout(POLL_INTERVAL, self.reconciler.wait_for_next_round(&round)).await;
        Ok(())
    }
}

/// Why the proof listener of an agent on this machine does not answer.
async fn unreachable(address: SocketAddr) -> Option<String> {
    let problem = |cause: String| Some(format!("the agent does not answer at {address}: {cause}"));
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => problem(error.to_string()),
        Err(_) => problem("timeout".into()),
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

fn object_name(metadata: &ObjectMeta) -> ObjectName {
    let ObjectMeta { name, namespace, .. } = metadata.clone();
    ObjectName::new(namespace.unwrap_or_default(), name.unwrap_or_default())
}

fn failed(what: &'static str) -> impl FnOnce(StoreError) -> BackendError {
    move |error| BackendError::Failed { what: what.into(), cause: error.to_string() }
}

fn creation_failed(what: String) -> impl FnOnce(StoreError) -> BackendError {
    move |error| match error {
        StoreError::Conflict(_) => BackendError::Exists(what),
        error => BackendError::Failed { what: format!("creating {what}"), cause: error.to_string() },
    }
}

fn deletion_failed(what: String) -> impl FnOnce(StoreError) -> BackendError {
    move |error| match error {
        StoreError::Missing(_) => BackendError::Missing(what),
        error => BackendError::Failed { what: format!("deleting {what}"), cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_that_is_not_of_hotcert_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = |dir: &Path| DirectoryBackend::open(dir, false).err().unwrap().to_string();
        let (other, missing) = (refusal(dir.path()), refusal(&dir.path().join("missing")));
        assert!(
            other.contains("is not a directory of hotcert") && other.contains("hotcert issue"),
            "{other}"
        );
        assert!(missing.contains("does not exist") && missing.contains("hotcert issue"), "{missing}");
    }

    #[tokio::test]
    async fn advance_returns_even_if_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let mut backend = DirectoryBackend::open(dir.path(), true).unwrap();
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(10), backend.advance()).await.unwrap().unwrap();
        }
    }
}
