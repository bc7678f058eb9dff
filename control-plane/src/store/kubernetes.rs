//! The store that is a cluster. Observations come from a [`cache`] that [`informer`]s maintain; keys are read only
//! when they are needed. Every write names the resource version that it replaces, so the API server refuses what
//! was planned on an older state; what it accepts is in the cache at once.
//!
//! | module | what it is |
//! |---|---|
//! | [`secret`], [`custom`] | objects as they come over the wire |
//! | [`label`] | labels and annotations, by which our Secrets are recognized |
//! | [`keys`], [`version`], [`target`] | the three kinds of Secrets: keyrings, versions, targets |
//! | [`write`], [`status`] | replacing an object, or its status, at the resource version that was seen |
//! | [`pods`] | pods and the Secrets that they serve, listed when needed |
//! | [`event_recorder`], [`api_error`] | Events, and what an error of the API server means |

mod api_error;
mod cache;
pub mod client;
mod custom;
mod event_recorder;
mod informer;
pub mod keyring;
mod label;
mod pods;
mod secret_object;
mod status;
mod target_secret;
mod version;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::debug;
use zeroize::Zeroizing;

use super::codec::name;
use super::{Contents, EventRecord, ImportedPem, ObjectRef, Store, StoreError, StoredVersion};
use crate::api::object_name::ObjectName;
use crate::api::resource::{AuthorityStatus, CertificateStatus};
use crate::pki::keyring::Keyring;
use crate::planner::observed::{Observed, PodList, ResourceVersion};
use api_error::answer;
use cache::{Cache, OwnSecret, Source};
use informer::Informers;
use secret_object::SecretObject;

pub use target_secret::owner_if_foreign;

/// How many namespaces are asked for their pods at a time.
const AT_A_TIME: usize = 8;
/// How often a conflicting Secret is checked again.
pub const RECHECK: Duration = Duration::from_secs(30);

pub struct KubernetesStore {
    client: Client,
    /// The control plane's own.
    namespace: String,
    nudge: bool,
    cache: Arc<Cache>,
    informers: Informers,
    following: Mutex<JoinHandle<()>>,
}

impl KubernetesStore {
    /// Begins to follow; needs a runtime. `nudge`: whether it may write an annotation to pods.
    pub fn start(client: Client, namespace: String, nudge: bool, recheck: Duration) -> Self {
        let cache = Arc::new(Cache::default());
        let (following, known) = (client.clone(), Arc::clone(&cache));
        let informers = Informers { client: following, namespace: namespace.clone(), cache: known, recheck };
        let following = Mutex::new(tokio::spawn(informers.clone().run()));
        Self { client, namespace, nudge, cache, informers, following }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn secrets(&self, namespace: &str) -> Api<SecretObject> {
        self.api(namespace)
    }

    fn known_keyring(&self, name: &str) -> Option<ResourceVersion> {
        self.cache.state().own.resource_version(name).cloned()
    }
}

impl Drop for KubernetesStore {
    fn drop(&mut self) {
        self.following.get_mut().abort();
    }
}

impl Store for KubernetesStore {
    async fn changed(&self) {
        self.cache.changed().await;
    }

    /// A watch that hangs says nothing: all of them begin anew, with a list.
    async fn relist(&self) {
        let mut following = self.following.lock().await;
        following.abort();
        if !following.is_finished() {
            let _ = (&mut *following).await;
        }
        self.cache.change(cache::CacheState::distrust);
        *following = tokio::spawn(self.informers.clone().run());
    }

    async fn observe(&self) -> Result<Observed, StoreError> {
        self.cache.wait_until_listed().await?;
        Ok(self.cache.observed(self.nudge))
    }

    async fn pods(&self, namespaces: &BTreeSet<String>) -> BTreeMap<String, PodList> {
        let secrets: Vec<_> = {
            let state = self.cache.state();
            namespaces.iter().map(|name| (name.clone(), state.secrets(name))).collect()
        };
        let lists = secrets.into_iter().map(|(namespace, secrets)| async move {
            // What is seen is at least as young as this.
            let at = SystemTime::now();
            let (problem, pods) = match pods::list(&self.client, &namespace, &secrets).await {
                Ok(pods) => (None, pods),
                Err(error) => (Some(error.to_string()), Vec::new()),
            };
            (namespace, PodList { listed_at: at, error: problem, pods })
        });
        futures_util::stream::iter(lists).buffer_unordered(AT_A_TIME).collect().await
    }

    async fn keyring(&self, authority: &str) -> Result<Option<(Keyring, ResourceVersion)>, StoreError> {
        let name = keyring::name(authority);
        let what = format!("the keyring Secret {name}");
        let (known, source) = (self.known_keyring(&name), Source::answer_from_now());
        let found = answer(&what, self.secrets(&self.namespace).get_opt(&name)).await?;
        let Some(object) = found else {
            if let Some(known) = known {
                self.cache.change(|state| state.own.remove(&name, &known));
            }
            return Ok(None);
        };
        if known.as_ref() != Some(&object.resource_version()) {
            let read = OwnSecret::read(&object);
            self.cache.change(|state| state.own.put(&name, read, source));
        }
        if keyring::authority(&object).is_none() {
            let cause = format!("it is of the type {:?}, not {}", object.of, keyring::TYPE);
            return Err(StoreError::Malformed { what, cause });
        }
        match keyring::keyring(&object) {
            Ok(keyring) => Ok(Some((keyring, object.resource_version()))),
            Err(error) => Err(StoreError::Malformed { what, cause: error.to_string() }),
        }
    }

    async fn keyring_version(&self, authority: &str) -> Result<Option<ResourceVersion>, StoreError> {
        let name = keyring::name(authority);
        let what = format!("the keyring Secret {name}");
        let found = answer(&what, self.secrets(&self.namespace).get_metadata_opt(&name)).await?;
        let found = found.map(|found| ResourceVersion(found.metadata.resource_version.unwrap_or_default()));
        if found == self.known_keyring(&name) {
            return Ok(found);
        }
        // The watch is late: what it has yet to say is cached, so that the next observation shows it.
        Ok(self.keyring(authority).await?.map(|(_, version)| version))
    }

    async fn put_keyring(
        &self,
        authority: &str,
        keyring: &Keyring,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        let name = keyring::name(authority);
        let what = format!("the keyring Secret {name}");
        let over = self.metadata_to_replace(&what, &self.secrets(&self.namespace), &name, over).await?;
        let object = keyring::object(&self.namespace, authority, keyring, over)
            .map_err(|error| StoreError::Malformed { what: what.clone(), cause: error.to_string() })?;
        let source = Source::answer_from_now();
        let written = match self.write(&what, &object).await {
            Err(error @ StoreError::Conflict(_)) => {
                // What is there is cached by being read.
                let _ = self.keyring(authority).await;
                return Err(error);
            }
            written => written?,
        };
        let known = OwnSecret::read(&written);
        self.cache.change(|state| state.own.put(&name, known, source));
        // The ledger may name another namespace now.
        self.cache.namespaces_changed.notify_one();
        Ok(())
    }

    async fn import(&self, secret: &str) -> Result<ImportedPem, StoreError> {
        let secret = name::validate(secret)?;
        let what = format!("the Secret {secret} in {}", self.namespace);
        let object = answer(&what, self.secrets(&self.namespace).get(secret)).await?;
        let value = |key: &str| match object.value(key) {
            [] => {
                let cause = format!("it has no {key} that can be read");
                Err(StoreError::Malformed { what: what.clone(), cause })
            }
            value => Ok(value.to_vec()),
        };
        Ok(ImportedPem { certificate: value("tls.crt")?, key: Zeroizing::new(value("tls.key")?) })
    }

    async fn create_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        stored: &StoredVersion,
    ) -> Result<(), StoreError> {
        let uid = {
            let state = self.cache.state();
            let index = state.namespaces.get(&certificate.namespace);
            let known = index.and_then(|index| index.certificate(&certificate.name));
            known.map(|known| known.uid.clone())
        };
        let Some(uid) = uid else {
            return Err(StoreError::Missing(format!("ServiceCertificate {certificate}")));
        };
        let what = format!("version {version} of {certificate}");
        let object = version::object(certificate, &uid, version, stored);
        let source = Source::answer_from_now();
        let written = match self.write(&what, &object).await {
            Err(StoreError::Conflict(what)) => {
                // It may be that the watch has not said so yet.
                if let Some(found) = self.reread(&certificate.namespace, object.name()).await
                    && version::read(&found).is_none()
                {
                    let name = object.name();
                    let cause = format!("the Secret {name} is there and is not hotcert's: delete it");
                    return Err(StoreError::Failed { what, cause });
                }
                return Err(StoreError::Conflict(what));
            }
            written => written?,
        };
        self.cache_read(&certificate.namespace, &written, source);
        Ok(())
    }

    async fn load_version(
        &self,
        certificate: &ObjectName,
        version: u64,
    ) -> Result<StoredVersion, StoreError> {
        let what = format!("version {version} of {certificate}");
        let name = version::name(&certificate.name, version);
        let object = answer(&what, self.secrets(&certificate.namespace).get(&name)).await?;
        match version::read(&object) {
            Some(_) => version::decode(&object).map_err(|error| StoreError::Malformed {
                what,
                cause: format!("{error}; delete the Secret {name}, another version is made"),
            }),
            None => {
                let cause = format!("the Secret {name} is not one that hotcert kept");
                Err(StoreError::Malformed { what, cause })
            }
        }
    }

    /// An immutable Secret cannot be changed, so that it is made anew. If that fails in between, the record of the version
    /// is lost, which nothing can be rolled back to any more.
    async fn remove_key(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let what = format!("removing the key of version {version} of {certificate}");
        let name = version::name(&certificate.name, version);
        let object = answer(&what, self.secrets(&certificate.namespace).get(&name)).await?;
        if object.resource_version() != *over {
            self.reread(&certificate.namespace, &name).await;
            return Err(StoreError::Conflict(what));
        }
        let Some(keyless) = version::without_key(&object) else { return Ok(()) };
        self.delete_version(certificate, version, over).await?;
        let source = Source::answer_from_now();
        let written = self.write(&what, &keyless).await?;
        self.cache_read(&certificate.namespace, &written, source);
        Ok(())
    }

    async fn delete_version(
        &self,
        certificate: &ObjectName,
        version: u64,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        let what = format!("forgetting version {version} of {certificate}");
        let secrets = self.secrets(&certificate.namespace);
        let name = version::name(&certificate.name, version);
        let over_version = Preconditions { resource_version: Some(over.0.clone()), uid: None };
        let params = DeleteParams::default().preconditions(over_version);
        match answer(&what, secrets.delete(&name, &params)).await {
            Ok(_) | Err(StoreError::Missing(_)) => {}
            Err(error) => {
                if matches!(error, StoreError::Conflict(_)) {
                    self.reread(&certificate.namespace, &name).await;
                }
                return Err(error);
            }
        }
        self.cache.change(|state| {
            state.update_namespace(&certificate.namespace, |index| {
                index.remove_version(&certificate.name, version, over)
            });
        });
        Ok(())
    }

    async fn published_bundle(&self, certificate: &ObjectName, secret: &str) -> Result<String, StoreError> {
        let what = format!("the Secret {secret} of {certificate}");
        let found = answer(&what, self.secrets(&certificate.namespace).get_opt(secret)).await?;
        let bundle = found.as_ref().map_or(&[][..], |object| object.value("ca.crt"));
        Ok(String::from_utf8_lossy(bundle).into_owned())
    }

    async fn publish(
        &self,
        certificate: &ObjectName,
        secret: &str,
        contents: &Contents,
        over: Option<&ResourceVersion>,
    ) -> Result<(), StoreError> {
        let secret = name::validate(secret)?;
        let what = format!("the Secret {secret} of {certificate}");
        let known = over.and_then(|over| {
            let state = self.cache.state();
            let target = state.namespaces.get(&certificate.namespace)?.target(secret)?;
            Some((target.is(&certificate.name, over), target.to_replace(&certificate.name, over)))
        });
        let (is_known, known) = known.unwrap_or_default();
        let source = Source::answer_from_now();
        // If there is another by now, the API server refuses what is written over this one.
        let patched = match over.filter(|_| is_known && contents.leaf.is_none()) {
            Some(over) => self.patch_bundle(&what, certificate, secret, contents, over).await,
            None => None,
        };
        let written = match patched {
            Some(written) => written,
            None => {
                let to_replace = match known.filter(|_| contents.leaf.is_some()) {
                    Some(known) => Some(known),
                    None => self.target_to_replace(&what, certificate, secret, over).await?,
                };
                if contents.leaf.is_none() && to_replace.is_none() {
                    return Err(StoreError::Conflict(what));
                }
                self.write(&what, &target_secret::object(certificate, secret, contents, to_replace)).await
            }
        };
        if matches!(written, Err(StoreError::Conflict(_))) {
            self.find_owner(certificate, secret, over).await;
        }
        self.cache_read(&certificate.namespace, &written?, source);
        Ok(())
    }

    async fn nudge(&self, pod: &ObjectName, revision: u64) -> Result<(), StoreError> {
        let annotations = json!({ (label::NUDGED): revision.to_string() });
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let pods = self.api::<Pod>(&pod.namespace);
        let what = format!("nudging the pod {pod}");
        answer(&what, pods.patch_metadata(&pod.name, &PatchParams::default(), &patch)).await.map(drop)
    }

    async fn report_authority(
        &self,
        authority: &str,
        status: &AuthorityStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write_authority_status(authority, status, over).await
    }

    async fn report_certificate(
        &self,
        certificate: &ObjectName,
        status: &CertificateStatus,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write_certificate_status(certificate, status, over).await
    }

    async fn set_renewal_hint(
        &self,
        about: &ObjectRef,
        text: &str,
        over: &ResourceVersion,
    ) -> Result<(), StoreError> {
        self.write_hint(about, text, over).await
    }

    async fn record_event(&self, event: &EventRecord) {
        let uid = {
            let state = self.cache.state();
            match &event.object {
                ObjectRef::Authority(name) => state.authorities.get(name).map(|known| known.uid.clone()),
                ObjectRef::Certificate(name) => {
                    let index = state.namespaces.get(&name.namespace);
                    index.and_then(|index| index.certificate(&name.name)).map(|known| known.uid.clone())
                }
            }
        };
        let (namespace, written) = event_recorder::event(event, uid, SystemTime::now());
        let api = self.api::<Event>(&namespace);
        if let Err(error) = answer("writing an event", api.create(&PostParams::default(), &written)).await {
            debug!(reason = event.reason.as_str(), "{error}");
        }
    }
}

#[cfg(test)]
mod test_objects;
