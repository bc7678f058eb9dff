//! Writes an object at the resource version that was seen, so that the API server refuses it if there is another by
//! now; and caches the result at once, without waiting for a watch.

use std::fmt::Debug;

use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use super::cache::{NamespaceIndex, OwnedSecret, Source};
use super::custom::Custom;
use super::{KubernetesStore, target_secret};
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::planner::observed::ResourceVersion;
use crate::store::StoreError;
use crate::store::kubernetes::api_error::answer;
use crate::store::kubernetes::secret_object::SecretObject;

impl KubernetesStore {
    /// Creates it, or writes it over the version that its metadata name.
    pub(super) async fn write(&self, what: &str, object: &SecretObject) -> Result<SecretObject, StoreError> {
        let secrets = self.secrets(object.metadata.namespace.as_deref().unwrap_or(&self.namespace));
        let post = PostParams::default();
        match &object.metadata.resource_version {
            None => answer(what, secrets.create(&post, object)).await,
            Some(_) => match answer(what, secrets.replace(object.name(), &post, object)).await {
                Err(StoreError::Missing(what)) => Err(StoreError::Conflict(what)),
                written => written,
            },
        }
    }

    /// The metadata of the object to replace, if it is still at this resource version.
    pub(super) async fn metadata_to_replace(
        &self,
        what: &str,
        secrets: &Api<SecretObject>,
        name: &str,
        over: Option<&ResourceVersion>,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        let Some(over) = over else { return Ok(None) };
        let found = answer(what, secrets.get_metadata_opt(name)).await?.map(|found| found.metadata);
        match found.filter(|found| found.resource_version.as_ref() == Some(&over.0)) {
            Some(found) => Ok(Some(found)),
            None => Err(StoreError::Conflict(what.into())),
        }
    }

    pub(super) fn cache_read(&self, namespace: &str, read: &SecretObject, source: Source) {
        if let Some(owned) = OwnedSecret::read(read) {
            self.cache.change(|state| state.update_namespace(namespace, |index| index.put(owned, source)));
        }
    }

    /// After a conflict: the watch may not have said yet what was found.
    pub(super) async fn reread(&self, namespace: &str, secret: &str) -> Option<SecretObject> {
        let source = Source::answer_from_now();
        let found =
            answer("reading a Secret after a conflict", self.secrets(namespace).get_opt(secret)).await;
        let found = found.ok().flatten()?;
        self.cache_read(namespace, &found, source);
        Some(found)
    }

    /// An object as an answer has it. If there is none, the version that was written over is gone.
    pub(super) fn cache_authority(
        &self,
        name: &str,
        found: Option<Custom<CertificateAuthority>>,
        over: &ResourceVersion,
    ) {
        let read = found.map(Custom::read);
        self.cache.change(|state| match read {
            Some(Some(read)) => state.update_authority(name, read),
            Some(None) => {}
            None => state.remove_authority(name, over),
        });
    }

    /// As [`Self::cache_authority`].
    pub(super) fn cache_certificate(
        &self,
        name: &ObjectName,
        found: Option<Custom<ServiceCertificate>>,
        over: &ResourceVersion,
    ) {
        let read = found.map(Custom::read);
        let change = |index: &mut NamespaceIndex| match read {
            Some(Some(read)) => index.update_certificate(&name.name, read),
            Some(None) => {}
            None => index.remove_certificate(&name.name, Some(over)),
        };
        self.cache.change(|state| state.update_namespace(&name.namespace, change));
    }

    /// Something of that name was there already, or not what was to be written `over`: whether it is owned, and if
    /// not, whose.
    pub(super) async fn find_owner(
        &self,
        certificate: &ObjectName,
        secret: &str,
        over: Option<&ResourceVersion>,
    ) {
        let secrets = self.secrets(&certificate.namespace);
        let Ok(found) = answer("checking a conflicting Secret", secrets.get_metadata_opt(secret)).await
        else {
            return;
        };
        match found.map(|found| target_secret::owner_if_foreign(&found.metadata, &certificate.name)) {
            Some(Some(whose)) => self.cache.change(|state| {
                state.update_namespace(&certificate.namespace, |index| {
                    index.set_conflicting(secret, Some(whose))
                });
            }),
            Some(None) => drop(self.reread(&certificate.namespace, secret).await),
            None => {
                if let Some(over) = over {
                    let remove = |index: &mut NamespaceIndex| index.remove_target(secret, over);
                    self.cache.change(|state| state.update_namespace(&certificate.namespace, remove));
                }
            }
        }
    }
}

/// Writes the status over this version of the object, and returns the object with it.
pub async fn write_status<K>(
    what: &str,
    api: &Api<Custom<K>>,
    name: &str,
    status: &impl Serialize,
    over: &ResourceVersion,
) -> Result<Custom<K>, StoreError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let patch = status_patch(what, status, over)?;
    answer(what, api.patch_status(name, &PatchParams::default(), &patch)).await
}

/// One object, by the right to list them.
pub async fn read_listed<K>(
    what: &str,
    api: &Api<Custom<K>>,
    name: &str,
) -> Result<Option<Custom<K>>, StoreError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    Ok(answer(what, api.list(&only)).await?.items.pop())
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
