//! A directory on this machine as a backend. Nobody else works there, so the command does: looking again is
//! a round of the same loop that the controller runs. If a controller runs beside it, both may: whoever
//! is second to write looks again.

use std::path::Path;
use std::sync::Arc;

use kube::api::ObjectMeta;

use super::{Backend, BackendError, LOOK_AGAIN, PodMetrics, VersionRow};
use crate::api::date;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::planner::observed::{ObjectName, Observed};
use crate::probe::{PROBER, Prober};
use crate::runtime::reconcile::{Counts, Reconciler};
use crate::store::directory::DirectoryStore;
use crate::store::{Editor as _, ObjectRef, Store as _, StoreError};

pub struct Directory {
    store: Arc<DirectoryStore>,
    reconciler: Reconciler<DirectoryStore>,
}

impl Directory {
    /// `create` it if it is not there.
    pub fn open(dir: &Path, create: bool) -> Result<Self, BackendError> {
        let unusable = |cause: String| BackendError::Directory { dir: dir.to_owned(), cause };
        if !create && !dir.join("state").is_dir() {
            return Err(unusable("it is no directory of hotcert's, which hotcert issue makes".into()));
        }
        let store = Arc::new(DirectoryStore::open(dir).map_err(|error| unusable(error.to_string()))?);
        let prober = Prober::new(PROBER);
        let reconciler = Reconciler::new(Arc::clone(&store), prober, true, Counts::default());
        Ok(Self { store, reconciler })
    }

    async fn look(&self) -> Result<Observed, BackendError> {
        self.store.observe().await.map_err(failed("looking"))
    }
}

impl Backend for Directory {
    async fn authorities(&self) -> Result<Vec<CertificateAuthority>, BackendError> {
        let look = self.look().await?;
        let object =
            |(name, authority): (&String, &Arc<crate::planner::observed::Authority>)| CertificateAuthority {
                metadata: metadata(name, None),
                spec: authority.spec.clone(),
                status: Some(authority.status.clone()),
            };
        Ok(look.authorities.iter().map(object).collect())
    }

    async fn certificates(&self, namespace: Option<&str>) -> Result<Vec<ServiceCertificate>, BackendError> {
        let look = self.look().await?;
        let object = |(name, certificate): (&ObjectName, &Arc<crate::planner::observed::Certificate>)| {
            ServiceCertificate {
                metadata: metadata(&name.name, Some(&name.namespace)),
                spec: certificate.spec.clone(),
                status: Some(certificate.status.clone()),
            }
        };
        let here =
            |(name, _): &(&ObjectName, _)| namespace.is_none_or(|namespace| name.namespace == namespace);
        Ok(look.certificates.iter().filter(here).map(object).collect())
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

    async fn problems(&self) -> Result<Vec<String>, BackendError> {
        Ok(self.look().await?.problems)
    }

    async fn versions(&self, certificate: &ObjectName) -> Result<Vec<VersionRow>, BackendError> {
        let look = self.look().await?;
        let versions = look.certificates.get(certificate).map(|certificate| certificate.versions.clone());
        let rows = versions.unwrap_or_default().into_iter().map(|(number, version)| VersionRow {
            version: number,
            serial: version.leaf.serial.clone(),
            root: version.root.0.clone(),
            created_at: date::seconds(version.created_at),
            not_after: date::seconds(version.leaf.not_after),
            copy_of: version.copy_of,
            request: version.request.clone(),
        });
        Ok(rows.collect())
    }

    async fn ask(&self, about: &ObjectRef, verb: &str, id: &str, words: &str) -> Result<(), BackendError> {
        let text = format!("{id} {words}");
        self.store.ask(about, verb, text.trim_end()).await.map_err(failed("asking"))
    }

    async fn create_authority(&self, object: &CertificateAuthority) -> Result<(), BackendError> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let made = self.store.create_authority(&name, &object.spec).await;
        made.map_err(created(format!("the authority {name}")))
    }

    async fn create_certificate(&self, object: &ServiceCertificate) -> Result<(), BackendError> {
        let ObjectMeta { name, namespace, .. } = object.metadata.clone();
        let name = ObjectName::new(namespace.unwrap_or_default(), name.unwrap_or_default());
        let made = self.store.create_certificate(&name, &object.spec).await;
        made.map_err(created(format!("the certificate {name}")))
    }

    async fn metrics(&self, namespace: &str, secret: &str) -> Result<Vec<PodMetrics>, BackendError> {
        let agents = self.store.agents(namespace, secret).await;
        let mut found = Vec::new();
        for (pod, admin) in agents {
            let text = match admin {
                Some(address) => super::http::get(address, "/metrics").await,
                None => Err("its file in pods/ names no admin address".into()),
            };
            found.push(PodMetrics { pod, text });
        }
        Ok(found)
    }

    async fn go_on(&mut self) -> Result<(), BackendError> {
        let round = self.reconciler.round().await.map_err(failed("working"))?;
        // The round may have seen what is waited for, written by a controller after whoever waits looked: then
        // nothing is going to change any more.
        let _ = tokio::time::timeout(LOOK_AGAIN, self.reconciler.until_next(&round)).await;
        Ok(())
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

fn failed(what: &'static str) -> impl FnOnce(StoreError) -> BackendError {
    move |error| BackendError::Failed { what: what.into(), cause: error.to_string() }
}

fn created(what: String) -> impl FnOnce(StoreError) -> BackendError {
    move |error| match error {
        StoreError::Conflict(_) => BackendError::Exists(what),
        error => BackendError::Failed { what: format!("creating {what}"), cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_is_looked_again_though_nothing_changes() {
        let place = tempfile::tempdir().unwrap();
        let mut backend = Directory::open(place.path(), true).unwrap();
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(10), backend.go_on()).await.unwrap().unwrap();
        }
    }
}
