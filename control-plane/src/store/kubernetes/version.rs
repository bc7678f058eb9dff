//! A version of a certificate: an immutable Secret CERTIFICATE.vNUMBER beside the certificate, which goes
//! when the certificate goes. One that was edited still counts as that number, so that no number is given
//! twice; one that cannot be read is superseded by the next.

use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use kube::core::ObjectMeta;
use zeroize::Zeroizing;

use super::label::{
    self, COPY_OF, CREATED_AT, HOTCERT, KEY_REMOVED, MADE_FOR, MANAGED_BY, NOT_AFTER, REQUEST, ROOT, SERIAL,
    VERSION, VERSION_OF,
};
use crate::api::object_name::ObjectName;
use crate::api::resource::ServiceCertificate;
use crate::pki::keyring::RootId;
use crate::pki::x509_facts::Leaf;
use crate::planner::observed::Version;
use crate::store::StoredVersion;
use crate::store::codec::version::Record;
use crate::store::codec::{self, Malformed};
use crate::store::kubernetes::secret_object::{SecretObject, TLS};

pub fn name(certificate: &str, version: u64) -> String {
    format!("{certificate}.v{version}")
}

/// Whose it is and of what number; `None` if it is none.
pub fn read(object: &SecretObject) -> Option<(String, u64, Version)> {
    let certificate = object.label(VERSION_OF).filter(|_| label::is_ours(object))?;
    let number = object.name().strip_prefix(certificate)?.strip_prefix(".v")?.parse().ok()?;
    let unreadable = || Leaf {
        sha256: String::new(),
        serial: String::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH,
    };
    let leaf = Leaf::read(object.value(codec::CERTIFICATE)).unwrap_or_else(unreadable);
    let version =
        codec::version::facts(record(object), leaf, object.resource_version(), |name| object.value(name));
    Some((certificate.to_owned(), number, version))
}

/// With its key.
pub fn decode(object: &SecretObject) -> Result<StoredVersion, Malformed> {
    codec::version::decode(record(object), |name| object.value(name))
}

/// `uid` is the certificate's.
pub fn object(certificate: &ObjectName, uid: &str, version: u64, stored: &StoredVersion) -> SecretObject {
    let mut annotations = vec![
        (VERSION, version.to_string()),
        (ROOT, stored.root.0.clone()),
        (MADE_FOR, stored.made_for.clone()),
        (CREATED_AT, label::date(stored.created_at)),
    ];
    if let Some(leaf) = Leaf::read(stored.certificate.as_bytes()) {
        annotations.extend([(SERIAL, leaf.serial), (NOT_AFTER, label::date(leaf.not_after))]);
    }
    annotations.extend(stored.request.clone().map(|request| (REQUEST, request)));
    annotations.extend(stored.copy_of.map(|of| (COPY_OF, of.to_string())));
    let labels = [(MANAGED_BY, HOTCERT), (VERSION_OF, &certificate.name)];
    let owner = OwnerReference {
        api_version: ServiceCertificate::api_version(&()).into_owned(),
        kind: ServiceCertificate::kind(&()).into_owned(),
        name: certificate.name.clone(),
        uid: uid.to_owned(),
        ..Default::default()
    };
    let metadata = ObjectMeta {
        name: Some(name(&certificate.name, version)),
        namespace: Some(certificate.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        owner_references: Some(vec![owner]),
        ..Default::default()
    };
    let mut object = SecretObject::new(metadata, TLS, codec::version::encode(stored));
    object.immutable = Some(true);
    object
}

/// The version without its key; `None` if it has none.
pub fn without_key(object: &SecretObject) -> Option<SecretObject> {
    if object.value(codec::KEY).is_empty() {
        return None;
    }
    let ObjectMeta { name, namespace, labels, annotations, owner_references, .. } = object.metadata.clone();
    let mut annotations = annotations.unwrap_or_default();
    annotations.insert(KEY_REMOVED.to_owned(), "true".to_owned());
    let metadata = ObjectMeta {
        name,
        namespace,
        labels,
        annotations: Some(annotations),
        owner_references,
        ..Default::default()
    };
    // A Secret of this type has both, even if one is empty.
    let part = |name: &str| (name.to_owned(), Zeroizing::new(object.value(name).to_vec()));
    let mut parts = vec![part(codec::CERTIFICATE), (codec::KEY.to_owned(), Zeroizing::default())];
    parts.extend(Some(part(codec::BUNDLE)).filter(|(_, bundle)| !bundle.is_empty()));
    let mut keyless = SecretObject::new(metadata, TLS, parts);
    keyless.immutable = Some(true);
    Some(keyless)
}

fn record(object: &SecretObject) -> Record {
    let text = |annotation: &str| object.annotation(annotation).unwrap_or_default().to_owned();
    Record {
        root: RootId::parse(&text(ROOT)).unwrap_or_else(|| RootId(String::new())),
        made_for: text(MADE_FOR),
        created_at: label::date_of(object, CREATED_AT),
        request: object.annotation(REQUEST).map(str::to_owned),
        copy_of: object.annotation(COPY_OF).and_then(|of| of.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::x509_facts::Fingerprint;
    use crate::store::kubernetes::test_objects;

    #[test]
    fn a_version_comes_back_as_it_was_kept() {
        let (certificate, root, kept) = test_objects::kept();
        let object = object(&certificate, "uid", 7, &kept);
        assert_eq!((object.name(), object.immutable), ("mtls-prod-payments.v7", Some(true)));
        let (of, number, version) = read(&object).unwrap();
        assert_eq!((of, number), (certificate.name, 7));
        assert_eq!((&version.root, version.copy_of), (&root, Some(3)));
        assert_eq!((version.created_at, version.request.as_deref()), (kept.created_at, Some("r1")));
        assert_eq!(version.fingerprint, Fingerprint::of(kept.certificate.as_bytes(), kept.key.as_bytes()));
        assert_eq!(version.own_bundle, Some([root].into()));
        let again = super::decode(&object).unwrap();
        assert_eq!(again.bundle, kept.bundle);
        assert_eq!(
            (again.certificate, again.key, again.made_for),
            (kept.certificate, kept.key, kept.made_for)
        );
    }

    #[test]
    fn a_version_without_its_key_is_the_same_otherwise() {
        let (certificate, _, kept) = test_objects::kept();
        let object = object(&certificate, "uid", 7, &kept);
        let keyless = without_key(&object).unwrap();
        assert_eq!((keyless.name(), keyless.immutable), (object.name(), Some(true)));
        assert_eq!(keyless.metadata.owner_references, object.metadata.owner_references);
        assert_eq!(keyless.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
        let (before, after) = (read(&object).unwrap().2, read(&keyless).unwrap().2);
        assert!(before.has_key && !after.has_key);
        let fingerprint = after.fingerprint;
        assert_eq!(Version { has_key: false, fingerprint, ..before }, after);
        assert!(super::decode(&keyless).is_err() && without_key(&keyless).is_none());
    }

    #[test]
    fn what_somebody_spoilt_still_counts_as_its_number() {
        let (certificate, _, mut kept) = test_objects::kept();
        kept.certificate = "no PEM".into();
        let mut spoilt = object(&certificate, "uid", 2, &kept);
        spoilt.metadata.annotations = None;
        let (_, number, version) = read(&spoilt).unwrap();
        assert_eq!((number, version.root.0.as_str()), (2, ""));
        assert_eq!(version.leaf.not_after, SystemTime::UNIX_EPOCH);
        spoilt.metadata.name = Some("another.v2".into());
        assert!(read(&spoilt).is_none());
    }
}
