//! Our own objects as they come over the wire. Each is read by itself: one that another release wrote
//! and this one cannot read is left alone, and the others go on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::warn;

use crate::api::request;
use crate::planner::observed::{Request, ResourceVersion};

const PREFIX: &str = "hotcert.dev/";
/// A `CertificateAuthority` or `ServiceCertificate` as it stands.
#[derive(Clone, Debug, Deserialize)]
pub struct Custom<K> {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
    #[serde(skip)]
    of: PhantomData<K>,
}

/// What an observation needs of it.
pub struct ParsedObject<Spec, Status> {
    pub resource_version: ResourceVersion,
    pub uid: String,
    pub generation: i64,
    pub spec: Spec,
    pub status: Status,
    pub deleting: bool,
    pub requests: BTreeMap<String, Request>,
}

impl<K: Resource<DynamicType = ()>> Custom<K> {
    /// `None` if its spec cannot be read. A status that cannot is written anew.
    pub fn read<Spec, Status>(self) -> Option<ParsedObject<Spec, Status>>
    where
        Spec: DeserializeOwned,
        Status: DeserializeOwned + Default,
    {
        let Self { metadata, spec, status, .. } = self;
        let spec = match serde_json::from_value(spec) {
            Ok(spec) => spec,
            Err(error) => {
                warn!(
                    kind = %K::kind(&()),
                    namespace = metadata.namespace,
                    name = metadata.name,
                    "its spec cannot be read, so it is left alone: {error}"
                );
                return None;
            }
        };
        Some(ParsedObject {
            resource_version: ResourceVersion(metadata.resource_version.unwrap_or_default()),
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            spec,
            status: serde_json::from_value(status).unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            requests: requests(metadata.annotations.unwrap_or_default()),
        })
    }
}

fn requests(annotations: BTreeMap<String, String>) -> BTreeMap<String, Request> {
    annotations
        .into_iter()
        .filter_map(|(key, text)| {
            let verb = key.strip_prefix(PREFIX).filter(|verb| request::VERBS.contains(verb))?;
            Some((verb.to_owned(), Request::parse(&text)?))
        })
        .collect()
}

impl<K: Resource<DynamicType = ()>> Resource for Custom<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::resource::{CertificateStatus, ServiceCertificate, ServiceCertificateSpec};

    fn read(object: Value) -> Option<ParsedObject<ServiceCertificateSpec, CertificateStatus>> {
        serde_json::from_value::<Custom<ServiceCertificate>>(object).unwrap().read()
    }

    #[test]
    fn annotations_of_our_verbs_are_requests_and_no_others() {
        let annotations = json!({
            "hotcert.dev/rollback": "r2 to=1", "hotcert.dev/rotate": "", "hotcert.dev/secret": "x", "rotate": "y",
        });
        let object = json!({
            "metadata": {"generation": 3, "uid": "u", "resourceVersion": "9", "annotations": annotations},
            "spec": {"authority": "root-prod-shop"},
        });
        let written = read(object).unwrap();
        assert_eq!((written.generation, written.resource_version.0.as_str()), (3, "9"));
        let request = Request { id: "r2".into(), arguments: "to=1".into() };
        assert_eq!(written.requests, BTreeMap::from([("rollback".into(), request)]));
        assert_eq!(written.status, CertificateStatus::default());
    }

    #[test]
    fn a_spec_of_another_release_is_left_alone_and_a_status_is_written_anew() {
        assert!(read(json!({"metadata": {}, "spec": {"algorithm": "mldsa65"}})).is_none());
        let spoilt = json!({"metadata": {}, "spec": {"authority": "a"}, "status": {"version": "one"}});
        assert_eq!(read(spoilt).unwrap().status, CertificateStatus::default());
    }
}
