//! A version of a certificate: `tls.crt`, `tls.key`, `ca.crt` where it has a bundle of its own, and a
//! [`Record`], which stands in annotations or in a file beside them.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{BUNDLE, CERTIFICATE, KEY, Malformed, Part, malformed, part};
use crate::pki::keyring::RootId;
use crate::pki::x509_facts::{self, Fingerprint, Leaf};
use crate::planner::observed::{ResourceVersion, Version};
use crate::store::StoredVersion;

/// What is recorded of a version beside its PEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub root: RootId,
    pub made_for: String,
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
    #[serde(default)]
    pub request: Option<String>,
    #[serde(default)]
    pub copy_of: Option<u64>,
}

impl Record {
    pub fn of(version: &StoredVersion) -> Self {
        Self {
            root: version.root.clone(),
            made_for: version.made_for.clone(),
            created_at: version.created_at,
            request: version.request.clone(),
            copy_of: version.copy_of,
        }
    }
}

pub fn encode(version: &StoredVersion) -> Vec<Part> {
    let mut parts =
        vec![part(CERTIFICATE, version.certificate.as_bytes()), part(KEY, version.key.as_bytes())];
    parts.extend(version.bundle.as_ref().map(|bundle| part(BUNDLE, bundle.as_bytes())));
    parts
}

/// `value`: of the part of this name; empty if there is none.
pub fn decode<'v>(record: Record, value: impl Fn(&str) -> &'v [u8]) -> Result<StoredVersion, Malformed> {
    let text = |name: &str| match value(name) {
        [] => Err(malformed(name, "it is missing or empty")),
        bytes => str::from_utf8(bytes).map_err(|_| malformed(name, "it is not PEM")),
    };
    let Record { root, made_for, created_at, request, copy_of } = record;
    let bundle = if value(BUNDLE).is_empty() { None } else { Some(text(BUNDLE)?.to_owned()) };
    Ok(StoredVersion {
        certificate: text(CERTIFICATE)?.to_owned(),
        key: Zeroizing::new(text(KEY)?.to_owned()),
        root,
        bundle,
        made_for,
        created_at,
        request,
        copy_of,
    })
}

/// What is kept in memory of a version; `leaf` is what was read of its certificate.
pub fn facts<'v>(
    record: Record,
    leaf: Leaf,
    resource_version: ResourceVersion,
    value: impl Fn(&str) -> &'v [u8],
) -> Version {
    let Record { root, made_for, created_at, request, copy_of } = record;
    let bundle = Some(value(BUNDLE)).filter(|bundle| !bundle.is_empty());
    let fingerprint = Fingerprint::of(value(CERTIFICATE), value(KEY));
    let roots = bundle.map(x509_facts::roots);
    Version {
        leaf,
        root,
        own_bundle: roots,
        spec_digest: made_for,
        created_at,
        request,
        copy_of,
        fingerprint,
        has_key: !value(KEY).is_empty(),
        resource_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a controller of release 0.2.0 wrote it: both have to read what the other writes.
    const STORED: &str = r#"{
  "root": "a166112f7f2de7a3c416ba9661925458621ba20000c947ff9a2bcc57a12f7db1",
  "madeFor": "094fb1fcfc50b7bb",
  "createdAt": "2026-11-30T13:44:30.734500000Z",
  "request": null,
  "copyOf": 3
}"#;

    #[test]
    fn a_stored_record_is_read_and_written_as_it_was() {
        let record: Record = serde_json::from_str(STORED).unwrap();
        assert_eq!((record.copy_of, record.request.as_deref()), (Some(3), None));
        assert_eq!(serde_json::to_string_pretty(&record).unwrap(), STORED);
    }
}
