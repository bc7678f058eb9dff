//! Writes an object at the resource version that was seen, so that the API server refuses it if there is another by
//! now; and caches the result at once, without waiting for a watch.

use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;

use super::cache::{NamespaceIndex, OwnedSecret, Source};
use super::{KubernetesStore, api_error, target_secret};
use crate::api::object_name::ObjectName;
use crate::planner::observed::ResourceVersion;
use crate::store::kubernetes::api_error::answer;
use crate::store::kubernetes::secret_object::SecretObject;
use crate::store::{Contents, StoreError};

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

    /// Writes what changes in a target Secret whose leaf stays, so that its key need not be read. `None` where Secrets may
    /// not be patched: roles of releases up to 0.2 do not allow it.
    pub(super) async fn patch_bundle(
        &self,
        what: &str,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: &ResourceVersion,
    ) -> Option<Result<SecretObject, StoreError>> {
        let secrets = self.secrets(&certificate.namespace);
        let patch = Patch::Merge(target_secret::bundle_patch(contents, over));
        let params = PatchParams::default();
        let mut is_forbidden = false;
        let patched = async {
            let patched = secrets.patch(secret, &params, &patch).await;
            patched.inspect_err(|error| is_forbidden = api_error::is_forbidden(error))
        };
        match answer(what, patched).await {
            Err(_) if is_forbidden => None,
            Err(StoreError::Missing(what)) => Some(Err(StoreError::Conflict(what))),
            written => Some(written),
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

    /// The object to replace, as a whole, if it is still at this resource version.
    pub(super) async fn object_to_replace(
        &self,
        what: &str,
        secrets: &Api<SecretObject>,
        name: &str,
        over: Option<&ResourceVersion>,
    ) -> Result<Option<SecretObject>, StoreError> {
        let Some(over) = over else { return Ok(None) };
        let found = answer(what, secrets.get_opt(name)).await?;
        match found.filter(|found| found.resource_version() == *over) {
            Some(found) => Ok(Some(found)),
            None => Err(StoreError::Conflict(what.into())),
        }
    }

    /// The same of a target Secret, which may be another's.
    pub(super) async fn target_to_replace(
        &self,
        what: &str,
        certificate: &ObjectName,
        secret: &str,
        over: Option<&ResourceVersion>,
    ) -> Result<Option<SecretObject>, StoreError> {
        let secrets = self.secrets(&certificate.namespace);
        let found = self.object_to_replace(what, &secrets, secret, over).await;
        if matches!(found, Err(StoreError::Conflict(_))) {
            self.find_owner(certificate, secret, over).await;
        }
        let found = found?;
        let owner = |over: &SecretObject| target_secret::owner_if_foreign(&over.metadata, &certificate.name);
        if let Some(whose) = found.as_ref().and_then(owner) {
            let change = |index: &mut NamespaceIndex| index.set_conflicting(secret, Some(whose));
            self.cache.change(|state| state.update_namespace(&certificate.namespace, change));
            return Err(StoreError::Conflict(what.to_owned()));
        }
        Ok(found)
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
