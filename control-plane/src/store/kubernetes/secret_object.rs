//! A Secret as it comes over the wire and goes back: values are wiped when dropped and never shown, and
//! one that cannot be read does not make a list of others fail.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::planner::observed::ResourceVersion;

pub const TLS: &str = "kubernetes.io/tls";
/// The largest value that is read: the API server stores no larger Secret. A chain and a key are far below.
const LARGEST: usize = 1024 * 1024;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretObject {
    #[serde(skip_deserializing, default = "v1")]
    api_version: &'static str,
    #[serde(skip_deserializing, default = "secret")]
    kind: &'static str,
    pub metadata: ObjectMeta,
    #[serde(default, rename = "type")]
    pub of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    #[serde(default)]
    data: Data,
}

fn v1() -> &'static str {
    "v1"
}

fn secret() -> &'static str {
    "Secret"
}

/// By key; `None` is none that can be read. Shared where the library clones the object.
#[derive(Clone, Default)]
struct Data(Arc<BTreeMap<String, Option<Zeroizing<Vec<u8>>>>>);

impl SecretObject {
    pub fn new(
        metadata: ObjectMeta,
        of: &str,
        data: impl IntoIterator<Item = (String, Zeroizing<Vec<u8>>)>,
    ) -> Self {
        let data = data.into_iter().map(|(key, value)| (key, Some(value))).collect();
        Self {
            api_version: v1(),
            kind: secret(),
            metadata,
            of: of.to_owned(),
            immutable: None,
            data: Data(Arc::new(data)),
        }
    }

    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub fn resource_version(&self) -> ResourceVersion {
        ResourceVersion(self.metadata.resource_version.clone().unwrap_or_default())
    }

    /// Nothing where there is no such key, or none that can be read.
    pub fn value(&self, key: &str) -> &[u8] {
        self.data.0.get(key).and_then(Option::as_ref).map_or(&[], |value| value)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.0.keys().map(String::as_str)
    }
}

impl Resource for SecretObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Not the annotations: kubectl leaves a copy of the whole Secret there.
impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys().collect();
        f.debug_struct("SecretObject")
            .field("name", &self.metadata.name)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            let bytes = value.as_ref().map_or(&[][..], |value| value);
            map.serialize_entry(key, Zeroizing::new(STANDARD.encode(bytes)).as_str())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the data of a Secret")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let mut values = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    values.insert(key, map.next_value::<Value>()?.0);
                }
                Ok(Data(Arc::new(values)))
            }

            fn visit_unit<E>(self) -> Result<Data, E> {
                Ok(Data::default())
            }
        }

        deserializer.deserialize_any(Values)
    }
}

struct Value(Option<Zeroizing<Vec<u8>>>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded;

        impl<'de> Visitor<'de> for Encoded {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                let fits = text.len() <= LARGEST * 4 / 3 + 4;
                let read = || STANDARD.decode(text).ok().map(Zeroizing::new);
                Ok(Value(if fits { read() } else { None }))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Err(A::Error::custom("a value of a Secret is not a string"))
            }
        }

        deserializer.deserialize_any(Encoded)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_as_they_went_and_are_not_shown() {
        let metadata = ObjectMeta { name: Some("a".into()), ..Default::default() };
        let value = Zeroizing::new(b"private".to_vec());
        let object = SecretObject::new(metadata, TLS, [("tls.key".into(), value)]);
        let wire = serde_json::to_value(&object).unwrap();
        assert_eq!(wire["kind"], "Secret");
        assert_eq!(wire["data"]["tls.key"], "cHJpdmF0ZQ==");
        let back: SecretObject = serde_json::from_value(wire).unwrap();
        assert_eq!((back.value("tls.key"), back.of.as_str()), (&b"private"[..], TLS));
        assert!(!format!("{back:?}").contains("private"), "{back:?}");
    }

    #[test]
    fn a_value_that_cannot_be_read_is_none_and_the_rest_is_read() {
        let large = "A".repeat(LARGEST * 2);
        let object = json!({"metadata": {}, "data": {"a": "no base64!", "b": null, "c": large, "d": "YQ=="}});
        let object: SecretObject = serde_json::from_value(object).unwrap();
        for key in ["a", "b", "c", "missing"] {
            assert_eq!(object.value(key), b"", "{key}");
        }
        assert_eq!(object.value("d"), b"a");
        let empty: SecretObject = serde_json::from_value(json!({"metadata": {}, "data": null})).unwrap();
        assert_eq!(empty.keys().count(), 0);
    }
}
