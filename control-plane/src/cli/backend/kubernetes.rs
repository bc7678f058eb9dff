//! A cluster as a backend, with the permissions of the user. Only the history needs to list Secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::{Backend, BackendError, LivePod, POLL_INTERVAL, PodMetrics, VersionRow};
use crate::api::agent_ports::ADMIN;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::store::ObjectRef;
use crate::store::kubernetes::{client, keyring, owner_if_foreign};

/// Objects in one response.
const PAGE: u32 = 500;
/// Pods that have ended serve nothing.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

pub struct KubernetesBackend {
    client: Client,
}

impl KubernetesBackend {
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, BackendError> {
        Ok(Self { client: client::client_of_a_person(kubeconfig, context).await? })
    }

    fn certificates(&self, namespace: &str) -> Api<ServiceCertificate> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn authorities(&self) -> Api<CertificateAuthority> {
        Api::all(self.client.clone())
    }

    async fn post_certificate(
        &self,
        object: &ServiceCertificate,
        params: &PostParams,
    ) -> Result<ServiceCertificate, BackendError> {
        let what = shown("the certificate", &object.metadata);
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        self.certificates(&namespace).create(params, object).await.map_err(creation_failed(&what))
    }
}

impl Backend for KubernetesBackend {
    async fn authorities(&self) -> Result<Vec<CertificateAuthority>, BackendError> {
        let list = self.authorities().list(&ListParams::default()).await;
        Ok(list.map_err(failed("listing the authorities"))?.items)
    }

    async fn certificates(&self, namespace: Option<&str>) -> Result<Vec<ServiceCertificate>, BackendError> {
        let all = match namespace {
            Some(namespace) => self.certificates(namespace),
            None => Api::all(self.client.clone()),
        };
        let (mut found, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let list = all.list(&page).await.map_err(failed("listing the certificates"))?;
            found.extend(list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    async fn certificate(&self, name: &ObjectName) -> Result<ServiceCertificate, BackendError> {
        let found = self.certificates(&name.namespace).get_opt(&name.name).await;
        let missing = || BackendError::Missing(format!("certificate {name}: see hotcert status"));
        found.map_err(failed("reading the certificate"))?.ok_or_else(missing)
    }

    async fn authority(&self, name: &str) -> Result<CertificateAuthority, BackendError> {
        let found = self.authorities().get_opt(name).await;
        let missing = || BackendError::Missing(format!("authority {name}: see hotcert status"));
        found.map_err(failed("reading the authority"))?.ok_or_else(missing)
    }

    async fn versions(&self, certificate: &ObjectName) -> Result<Vec<VersionRow>, BackendError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &certificate.namespace);
        let label = format!("hotcert.dev/version-of={}", certificate.name);
        // The annotations suffice, so no key leaves the API server.
        let list = secrets.list_metadata(&ListParams::default().labels(&label)).await;
        let list = list.map_err(failed("listing the kept versions"))?;
        let mut rows: Vec<_> = list
            .items
            .into_iter()
            .filter_map(|object| {
                let annotations = object.metadata.annotations.unwrap_or_default();
                let annotation = |name: &str| annotations.get(&format!("hotcert.dev/{name}")).cloned();
                Some(VersionRow {
                    version: annotation("version")?.parse().ok()?,
                    serial: annotation("serial").unwrap_or_default(),
                    root: annotation("root").unwrap_or_default(),
                    created_at: annotation("created-at").unwrap_or_default(),
                    not_after: annotation("not-after").unwrap_or_default(),
                    copy_of: annotation("copy-of").and_then(|number| number.parse().ok()),
                    request: annotation("request"),
                    has_key: annotation("key-removed").is_none(),
                    made_for: annotation("made-for").unwrap_or_default(),
                })
            })
            .collect();
        rows.sort_by_key(|row| row.version);
        Ok(rows)
    }

    async fn request(
        &self,
        object: &ObjectRef,
        verb: &str,
        id: &str,
        arguments: &str,
    ) -> Result<(), BackendError> {
        let key = format!("hotcert.dev/{verb}");
        let patch =
            Patch::Merge(json!({"metadata": {"annotations": {key: format!("{id} {arguments}").trim_end()}}}));
        let params = PatchParams::default();
        let what = format!("writing the request {verb}");
        match object {
            ObjectRef::Authority(name) => self.authorities().patch(name, &params, &patch).await.map(drop),
            ObjectRef::Certificate(ObjectName { namespace, name }) => {
                self.certificates(namespace).patch(name, &params, &patch).await.map(drop)
            }
        }
        .map_err(failed(&what))
    }

    async fn try_certificate(&self, object: &ServiceCertificate) -> Result<(), BackendError> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        self.post_certificate(object, &params).await.map(drop)
    }

    async fn create_authority(
        &self,
        object: &CertificateAuthority,
    ) -> Result<CertificateAuthority, BackendError> {
        let what = shown("the authority", &object.metadata);
        let created = self.authorities().create(&PostParams::default(), object).await;
        created.map_err(creation_failed(&what))
    }

    async fn create_certificate(
        &self,
        object: &ServiceCertificate,
    ) -> Result<ServiceCertificate, BackendError> {
        self.post_certificate(object, &PostParams::default()).await
    }

    async fn delete_authority(&self, object: &CertificateAuthority) -> Result<(), BackendError> {
        let what = shown("the authority", &object.metadata);
        let name = object.metadata.name.clone().unwrap_or_default();
        let deleted = self.authorities().delete(&name, &only(&object.metadata)).await;
        deleted.map(drop).map_err(deletion_failed(&what))
    }

    async fn delete_certificate(&self, object: &ServiceCertificate) -> Result<(), BackendError> {
        let what = shown("the certificate", &object.metadata);
        let ObjectMeta { name, namespace, .. } = object.metadata.clone();
        let certificates = self.certificates(&namespace.unwrap_or_default());
        let deleted = certificates.delete(&name.unwrap_or_default(), &only(&object.metadata)).await;
        deleted.map(drop).map_err(deletion_failed(&what))
    }

    async fn metrics(&self, namespace: &str, secret: &str) -> Result<Vec<PodMetrics>, BackendError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let running = ListParams::default().fields("status.phase=Running");
        let list = pods.list(&running).await.map_err(failed("listing the pods"))?;
        let mut found = Vec::new();
        for pod in list.items {
            let annotations = pod.metadata.annotations.as_ref();
            let serves =
                annotations.and_then(|all| all.get("hotcert.dev/secret")).is_some_and(|own| own == secret);
            if let (true, Some(pod)) = (serves, pod.metadata.name) {
                // Through the API server, because the user may not reach the pod network.
                let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN}/proxy/metrics");
                let text = match hyper::Request::get(path).body(Vec::new()) {
                    Ok(request) => self.client.request_text(request).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                found.push(PodMetrics { pod, text });
            }
        }
        Ok(found)
    }

    async fn live_pods(&self, namespace: &str) -> Option<BTreeMap<String, LivePod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let (mut found, mut page) = (BTreeMap::new(), ListParams::default().fields(NOT_ENDED).limit(PAGE));
        loop {
            let list = pods.list(&page).await.ok()?;
            found.extend(list.items.iter().filter_map(live_pod));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Some(found),
            }
        }
    }

    fn delivery(&self) -> &'static str {
        "An agent loads it at once through the API, and within about a minute through the volume; a pod without an agent never does"
    }

    fn target(&self, _namespace: &str, secret: &str) -> String {
        format!("the Secret {secret}")
    }

    fn keyring(&self, authority: &str) -> String {
        format!("the Secret {} of the controller's namespace", keyring::name(authority))
    }

    fn how_to_change_authority(&self, authority: &str) -> String {
        format!("kubectl edit certificateauthority {authority}")
    }

    async fn foreign_owner(
        &self,
        certificate: &ObjectName,
        secret: &str,
    ) -> Result<Option<String>, BackendError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &certificate.namespace);
        match secrets.get_metadata_opt(secret).await {
            Ok(found) => Ok(found.and_then(|found| owner_if_foreign(&found.metadata, &certificate.name))),
            // Without permission to read Secrets it is left to the controller.
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
            Err(error) => Err(failed("reading the Secret")(error)),
        }
    }

    fn continuation(&self) -> String {
        "the controller continues the rollover; follow it with hotcert rollover NAME --follow".into()
    }

    async fn advance(&mut self) -> Result<(), BackendError> {
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }
}

fn live_pod(pod: &Pod) -> Option<(String, LivePod)> {
    let name = pod.metadata.name.clone()?;
    let secret = pod.metadata.annotations.as_ref().and_then(|all| all.get("hotcert.dev/secret")).cloned();
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_pending = status.is_some_and(|status| status.phase.as_deref() == Some("Pending"));
    let is_unready = is_pending || conditions.any(|of| of.type_ == "Ready" && of.status != "True");
    let problem = is_unready.then(|| "the pod is not ready".to_owned());
    let created_at = pod.metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0));
    Some((name, LivePod { secret, created_at, problem }))
}

fn failed(what: &str) -> impl FnOnce(kube::Error) -> BackendError {
    let what = what.to_owned();
    move |error| {
        let cause = match &error {
            kube::Error::Api(status)
                if status.is_not_found() && status.message.contains("could not find") =>
            {
                "the cluster does not know hotcert's objects: apply manifests/base".into()
            }
            kube::Error::Api(status) => status.message.clone(),
            error => error.to_string(),
        };
        BackendError::Failed { what, cause }
    }
}

/// With its name, as commands write it.
fn shown(kind: &str, metadata: &ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    match &metadata.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// This object, and not another that was created with its name since.
fn only(metadata: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    DeleteParams::default().preconditions(preconditions)
}

fn deletion_failed(what: &str) -> impl FnOnce(kube::Error) -> BackendError {
    let what = what.to_owned();
    move |error| match &error {
        kube::Error::Api(status) if status.is_not_found() => BackendError::Missing(what),
        _ => failed(&format!("deleting {what}"))(error),
    }
}

fn creation_failed(what: &str) -> impl FnOnce(kube::Error) -> BackendError {
    let what = what.to_owned();
    move |error| match &error {
        kube::Error::Api(status) if status.is_already_exists() => BackendError::Exists(what),
        _ => failed(&format!("creating {what}"))(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pod_that_kubelet_calls_unready_serves_nobody() {
        let problem = |status: serde_json::Value| {
            let annotations = json!({"hotcert.dev/secret": "payments-tls"});
            let metadata = json!({
                "name": "payments-1", "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z",
            });
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap();
            let (name, live) = live_pod(&pod).unwrap();
            assert_eq!((name.as_str(), live.secret.as_deref()), ("payments-1", Some("payments-tls")));
            assert!(live.created_at.is_some());
            live.problem
        };
        let ready =
            |ready: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        assert_eq!((problem(ready("True")), problem(json!({"phase": "Running"}))), (None, None));
        for unready in [ready("False"), ready("Unknown"), json!({"phase": "Pending"})] {
            assert_eq!(problem(unready).unwrap(), "the pod is not ready");
        }
    }
}
