//! The Secret as the API server sends it. Decoded values are wiped when dropped and never shown, and a
//! value that is not base64 does not fail the whole response.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

use crate::credential::{Credential, Layout, MAX_FILE_BYTES, PartError};
use crate::source::SecretVersion;

#[derive(Clone, Deserialize)]
pub struct SecretObject {
    metadata: ObjectMeta,
    #[serde(default)]
    data: Data,
}

/// Values by key. Shared, since kube clones the object.
#[derive(Clone, Default)]
struct Data(Arc<BTreeMap<String, Option<Zeroizing<Vec<u8>>>>>);

impl SecretObject {
    pub(super) fn into_version(self, layout: &Layout) -> SecretVersion {
        let received_at = SystemTime::now();
        let credential =
            Credential::read_parts(layout, Some(received_at), true, |key| match self.data.0.get(key) {
                None => Err(PartError::Missing { file: key.into() }),
                Some(None) => Err(PartError::Unreadable { file: key.into(), cause: "not base64".into() }),
                Some(Some(value)) if value.len() > MAX_FILE_BYTES => {
                    Err(PartError::TooLarge { file: key.into() })
                }
                Some(Some(value)) => Ok(value.clone()),
            });
        SecretVersion {
            number: 0,
            is_rollback: false,
            fingerprint: credential.fingerprint(),
            credential,
            resource_version: self.metadata.resource_version.clone().unwrap_or_default(),
            written_at: written_at(&self.metadata),
            received_at,
        }
    }
}

/// The latest write that is recorded.
fn written_at(metadata: &ObjectMeta) -> Option<SystemTime> {
    let writes = metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    writes.chain(&metadata.creation_timestamp).map(|time| SystemTime::from(time.0)).max()
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

/// Without the annotations: kubectl leaves a copy of the whole Secret there.
impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.0.keys().collect();
        f.debug_struct("SecretObject")
            .field("name", &self.metadata.name)
            .field("keys", &keys)
            .finish_non_exhaustive()
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
                    let value = map.next_value::<Value>()?;
                    values.insert(key, value.0);
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

/// `None` if it is not base64.
struct Value(Option<Zeroizing<Vec<u8>>>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl<'de> Visitor<'de> for Base64 {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                // Allocated at its full size, so that growing leaves no unwiped copy behind.
                let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
                Ok(Value(STANDARD.decode_slice(text, &mut bytes).ok().map(|length| {
                    bytes.truncate(length);
                    bytes
                })))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value(Some(Zeroizing::default())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value(None))
            }
        }

        deserializer.deserialize_any(Base64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(data: serde_json::Value) -> SecretObject {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "x",
                "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
                "managedFields": [{"time": "2026-01-02T00:00:00Z"}],
            },
            "data": data,
        }))
        .unwrap()
    }

    #[test]
    fn a_secret_becomes_a_credential() {
        let object = read(json!({"tls.crt": "Y3J0", "tls.key": "{", "ca.crt": "", "revision": "MTI="}));
        let version = object.into_version(&Layout::default());
        assert_eq!(version.credential.revision, Some(12));
        assert_eq!(version.resource_version, "7");
        let written = humantime::parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        assert_eq!(version.written_at, Some(written));
        let crate::credential::LeafParts::Pair { certificate, key } = &version.credential.leaf else {
            panic!("{:?}", version.credential);
        };
        assert_eq!(certificate.as_ref().unwrap().as_slice(), b"crt");
        assert_eq!(key, &Err(PartError::Unreadable { file: "tls.key".into(), cause: "not base64".into() }));
        assert_eq!(version.credential.trust.as_ref().unwrap().as_slice(), b"");
    }

    #[test]
    fn a_secret_without_data_has_no_files() {
        for data in [json!(null), json!({})] {
            let version = read(data).into_version(&Layout::default());
            assert_eq!(version.credential.trust, Err(PartError::Missing { file: "ca.crt".into() }));
        }
    }

    #[test]
    fn debug_output_shows_keys_without_values() {
        let object = read(json!({"tls.key": "aHVudGVyMg=="}));
        let shown = format!("{object:?}");
        assert!(
            shown.contains("tls.key") && !shown.contains("104, 117") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
