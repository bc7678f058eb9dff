//! The target Secret: what a certificate is published as, and what is read back from it. It has no owner:
//! deleting the certificate does not take the key away from the pods that serve it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::core::ObjectMeta;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::label::{self, CERTIFICATE, HOTCERT, MANAGED_BY, PUBLISHED_AT, VERSION};
use crate::api::object_name::ObjectName;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::{Publication, ResourceVersion};
use crate::store::kubernetes::secret_object::{SecretObject, TLS};
use crate::store::{Contents, codec};

/// kubectl's copy of a Secret that was once applied with it: includes the key.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the cache keeps of one.
#[derive(Clone, Debug)]
pub struct Target {
    /// By its label.
    pub certificate: String,
    pub resource_version: ResourceVersion,
    /// Or why nothing can be written over it.
    pub publication: Result<Publication, String>,
    pub leaf: Option<Leaf>,
    /// What others have put into its metadata, which stays when it is written. `None`: nothing.
    of_others: Option<Box<ObjectMeta>>,
    /// Revocation lists stay as well, and are read again for it.
    has_lists: bool,
}

impl Target {
    /// `None` if it is none.
    pub fn read(object: &SecretObject) -> Option<Self> {
        let certificate = object.label(CERTIFICATE).filter(|_| label::is_ours(object))?.to_owned();
        let written_at = label::date_of(object, PUBLISHED_AT);
        let (publication, leaf) =
            codec::target_secret::decode(|name| object.value(name), object.resource_version(), written_at);
        let publication = if object.of != TLS {
            Err(format!("is of the type {:?}, not {TLS}, which cannot be changed", object.of))
        } else if object.immutable == Some(true) {
            Err("is immutable, so that nothing can be written over it".into())
        } else {
            Ok(publication)
        };
        let of_others = of_others(&object.metadata);
        let has_lists = !object.value(codec::LISTS).is_empty();
        let resource_version = object.resource_version();
        Some(Self { certificate, resource_version, publication, leaf, of_others, has_lists })
    }

    /// Whether it is this certificate's and still at this resource version.
    pub fn is(&self, certificate: &str, over: &ResourceVersion) -> bool {
        self.certificate == certificate && self.resource_version == *over
    }

    /// What to write over, if it is this certificate's, still at this resource version, and known as far as it stays.
    pub fn to_replace(&self, certificate: &str, over: &ResourceVersion) -> Option<SecretObject> {
        let is_known = self.is(certificate, over) && !self.has_lists;
        let of_others = self.of_others.as_deref().cloned().unwrap_or_default();
        let metadata = ObjectMeta { resource_version: Some(over.0.clone()), ..of_others };
        is_known.then(|| SecretObject::new(metadata, TLS, []))
    }
}

/// What [`object`] takes over.
fn of_others(metadata: &ObjectMeta) -> Option<Box<ObjectMeta>> {
    let without = |map: &Option<BTreeMap<String, String>>, ours: &[&str]| {
        let of_others = map.iter().flatten().filter(|(key, _)| !ours.contains(&key.as_str()));
        let of_others: BTreeMap<_, _> = of_others.map(|(key, value)| (key.clone(), value.clone())).collect();
        (!of_others.is_empty()).then_some(of_others)
    };
    let of_others = ObjectMeta {
        labels: without(&metadata.labels, &[MANAGED_BY, CERTIFICATE]),
        annotations: without(&metadata.annotations, &[VERSION, PUBLISHED_AT, LAST_APPLIED]),
        finalizers: metadata.finalizers.clone(),
        ..ObjectMeta::default()
    };
    (of_others != ObjectMeta::default()).then(|| Box::new(of_others))
}

/// What changes where the leaf stays: a JSON merge patch over this resource version.
pub fn bundle_patch(contents: &Contents, over: &ResourceVersion) -> Value {
    let mut annotations: serde_json::Map<_, _> =
        annotations(contents).map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect();
    annotations.insert(LAST_APPLIED.into(), Value::Null);
    let data: serde_json::Map<_, _> = codec::target_secret::encode(contents)
        .into_iter()
        .map(|(name, value)| (name, STANDARD.encode(value).into()))
        .collect();
    json!({ "metadata": { "resourceVersion": over.0, "annotations": annotations }, "data": data })
}

fn annotations(contents: &Contents) -> [(&'static str, String); 2] {
    [(VERSION, contents.version.to_string()), (PUBLISHED_AT, label::date(contents.written_at))]
}

/// `over` is what it is written over: labels, annotations and revocation lists of others stay, and the leaf if the
/// contents have none.
pub fn object(
    certificate: &ObjectName,
    secret: &str,
    contents: &Contents,
    over: Option<SecretObject>,
) -> SecretObject {
    let kept: &[&str] = match contents.leaf {
        Some(_) => &[codec::LISTS],
        None => &[codec::LISTS, codec::CERTIFICATE, codec::KEY],
    };
    let value_of = |name: &&str| over.as_ref().map_or(&[][..], |over| over.value(name));
    let kept = kept.iter().map(|name| ((*name).to_owned(), Zeroizing::new(value_of(name).to_vec())));
    let kept: Vec<_> = kept.filter(|(_, value)| !value.is_empty()).collect();
    let over = over.map(|over| over.metadata).unwrap_or_default();
    let mut labels = over.labels.unwrap_or_default();
    let ours = [(MANAGED_BY, HOTCERT), (CERTIFICATE, &certificate.name)];
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut annotations = over.annotations.unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations.extend(self::annotations(contents).map(|(key, value)| (key.to_owned(), value)));
    let metadata = ObjectMeta {
        name: Some(secret.to_owned()),
        namespace: Some(certificate.namespace.clone()),
        resource_version: over.resource_version,
        finalizers: over.finalizers,
        labels: Some(labels),
        annotations: Some(annotations),
        ..Default::default()
    };
    SecretObject::new(metadata, TLS, codec::target_secret::encode(contents).into_iter().chain(kept))
}

/// The owner of a Secret, unless it is this certificate.
pub fn owner_if_foreign(metadata: &ObjectMeta, certificate: &str) -> Option<String> {
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let label = |key: &str| labels.get(key).map(String::as_str);
    if label(MANAGED_BY) == Some(HOTCERT) {
        match label(CERTIFICATE) {
            Some(name) if name == certificate => return None,
            Some(name) => return Some(format!("is the ServiceCertificate {name}'s")),
            None => return Some("is kept by hotcert for something else".into()),
        }
    }
    let owners = metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        return Some(format!("is owned by the {} {}", owner.kind, owner.name));
    }
    match label(MANAGED_BY) {
        Some(manager) => Some(format!("is managed by {manager}, not by hotcert")),
        None => Some("is not hotcert's".into()),
    }
}

#[cfg(test)]
mod tests;
