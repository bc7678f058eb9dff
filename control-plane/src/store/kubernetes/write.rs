//! Writes an object at the resource version that was seen, so that the API server refuses it if there is another by
//! now; and caches the result at once, without waiting for a watch.

use kube::Api;
use kube::api::{Patch, PostParams};
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::cache::OwnedSecret;
use super::{KubernetesStore, target_secret};
use crate::api::object_name::ObjectName;
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

    pub(super) fn cache_written(&self, namespace: &str, written: &SecretObject) {
        if let Some(owned) = OwnedSecret::read(written) {
            self.cache.change(|state| state.update_namespace(namespace, |index| index.put(owned, true)));
        }
    }

    /// Something of that name was there already: whether it is owned, and if not, whose.
    pub(super) async fn find_owner(&self, certificate: &ObjectName, secret: &str) {
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
            Some(None) => {
                if let Ok(Some(owned)) =
                    answer("checking a conflicting Secret", secrets.get_opt(secret)).await
                {
                    self.cache_written(&certificate.namespace, &owned);
                }
            }
            None => {}
        }
    }
}

/// The whole status, in place of what was there: a merge would leave what it does not mention.
pub fn status_patch(what: &str, status: &impl Serialize) -> Result<Patch<()>, StoreError> {
    let malformed =
        |error: serde_json::Error| StoreError::Malformed { what: what.into(), cause: error.to_string() };
    let status = without_empty(serde_json::to_value(status).map_err(malformed)?);
    let patch = json!([{"op": "add", "path": "/status", "value": status}]);
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
