//! The status of an object and the hints that wait with it, written over the version of the object that they were made
//! from. If there is another by now, that is read: a person asked for something meanwhile, or another replica wrote, and
//! the watch may not have said so.

use std::fmt::Debug;

use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use super::KubernetesStore;
use super::cache::NamespaceIndex;
use super::custom::Custom;
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::resource::{AuthorityStatus, CertificateAuthority, CertificateStatus, ServiceCertificate};
use crate::planner::observed::ResourceVersion;
use crate::store::kubernetes::api_error::answer;
use crate::store::{ObjectRef, StoreError};

/// What became of a write.
enum Written<K> {
    /// The object as it is now.
    Done(Custom<K>),
    /// What there is in place of the version that was to be written over, if that could be read.
    Conflict(String, Option<Option<Custom<K>>>),
}

impl KubernetesStore {
    pub(super) async fn write_authority_status(
        &self,
        name: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let what = format!("the status of the CertificateAuthority {name}");
        let patch = status_patch(&what, status, over)?;
        self.write_authority(name, &what, over, async |api| {
            api.patch_status(name, &PatchParams::default(), &patch).await
        })
        .await
    }

    pub(super) async fn write_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let annotations = json!({ (request::annotation(request::RENEWAL_HINT)): text });
        let patch =
            Patch::Merge(json!({"metadata": {"resourceVersion": over.0, "annotations": annotations}}));
        let params = PatchParams::default();
        match about {
            ObjectRef::Authority(name) => {
                let what = format!("the CertificateAuthority {name}");
                self.write_authority(name, &what, over, async |api| api.patch(name, &params, &patch).await)
                    .await
            }
            ObjectRef::Certificate(name) => {
                let what = format!("the ServiceCertificate {name}");
                let patched = async |api: &Api<_>| api.patch(&name.name, &params, &patch).await;
                self.write_certificate(name, &what, over, patched).await
            }
        }
    }

    async fn write_authority(
        &self,
        name: &str,
        what: &str,
        over: &ResourceVersion,
        patch: impl AsyncFnOnce(&Api<Custom<CertificateAuthority>>) -> kube::Result<Custom<CertificateAuthority>>,
    ) -> Result<(), StoreError> {
        let api = Api::<Custom<CertificateAuthority>>::all(self.client.clone());
        let (result, found) = split(write(what, &api, name, patch(&api)).await?);
        self.cache.change(|state| match found.map(|found| found.map(Custom::read)) {
            Some(Some(Some(read))) => state.update_authority(name, read),
            Some(None) => state.remove_authority(name, over),
            None | Some(Some(None)) => {}
        });
        result
    }

    pub(super) async fn write_certificate_status(
        &self,
        name: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let what = format!("the status of the ServiceCertificate {name}");
        let patch = status_patch(&what, status, over)?;
        let patched =
            async |api: &Api<_>| api.patch_status(&name.name, &PatchParams::default(), &patch).await;
        self.write_certificate(name, &what, over, patched).await
    }

    async fn write_certificate(
        &self,
        name: &ObjectName,
        what: &str,
        over: &ResourceVersion,
        patch: impl AsyncFnOnce(&Api<Custom<ServiceCertificate>>) -> kube::Result<Custom<ServiceCertificate>>,
    ) -> Result<(), StoreError> {
        let api = self.api::<Custom<ServiceCertificate>>(&name.namespace);
        let (result, found) = split(write(what, &api, &name.name, patch(&api)).await?);
        let change = |index: &mut NamespaceIndex| match found.map(|found| found.map(Custom::read)) {
            Some(Some(Some(read))) => index.update_certificate(&name.name, read),
            Some(None) => index.remove_certificate(&name.name, Some(over)),
            None | Some(Some(None)) => {}
        };
        self.cache.change(|state| state.update_namespace(&name.namespace, change));
        result
    }
}

/// The result for the caller, and what the cache is to learn.
fn split<K>(written: Written<K>) -> (Result<(), StoreError>, Option<Option<Custom<K>>>) {
    match written {
        Written::Done(object) => (Ok(()), Some(Some(object))),
        Written::Conflict(what, found) => (Err(StoreError::Conflict(what)), found),
    }
}

async fn write<K>(
    what: &str,
    api: &Api<Custom<K>>,
    name: &str,
    patched: impl Future<Output = kube::Result<Custom<K>>>,
) -> Result<Written<K>, StoreError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    match answer(what, patched).await {
        Ok(object) => Ok(Written::Done(object)),
        Err(StoreError::Conflict(what)) => {
            // There is a right to list them, and none to get one.
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = answer(&what, api.list(&only)).await.ok().map(|mut found| found.items.pop());
            Ok(Written::Conflict(what, found))
        }
        Err(error) => Err(error),
    }
}

/// The whole status, in place of what was there: a merge would leave what it does not mention. With the version that
/// it is written over, so that the API server refuses it if there is another by now.
fn status_patch(
    what: &str,
    status: &impl Serialize,
    over: &ResourceVersion,
) -> Result<Patch<()>, StoreError> {
    let malformed =
        |error: serde_json::Error| StoreError::Malformed { what: what.into(), cause: error.to_string() };
    let status = without_empty(serde_json::to_value(status).map_err(malformed)?);
    let patch = json!([
        {"op": "add", "path": "/metadata/resourceVersion", "value": over.0},
        {"op": "add", "path": "/status", "value": status},
    ]);
    Ok(Patch::Json(serde_json::from_value(patch).map_err(malformed)?))
}

/// What is missing is read as nothing, and an older API server takes an empty text for a null, which
/// the schema refuses.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let is_nothing = |value: &Value| value.is_null() || value.as_str() == Some("");
            let there = map.into_iter().filter(|(_, value)| !is_nothing(value));
            there.map(|(key, value)| (key, without_empty(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        value => value,
    }
}
