use std::time::{Duration, SystemTime};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::*;
use crate::pki::keyring::RootId;
use crate::pki::x509_facts::Fingerprint;
use crate::store::kubernetes::test_objects;

#[test]
fn a_publication_is_read_as_it_was_written() {
    let (certificate, _, kept) = test_objects::kept();
    let roots = [test_objects::root(), test_objects::root()];
    let contents = test_objects::contents(&kept, &[&roots[0], &roots[1]]);
    let target = Target::read(&object(&certificate, "payments-tls", &contents, None)).unwrap();
    assert_eq!(target.certificate, certificate.name);
    let publication = target.publication.unwrap();
    assert_eq!(publication.revision, 5);
    assert_eq!(publication.written_at, SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
    assert_eq!(publication.roots, roots.iter().map(RootId::of).collect());
    assert_eq!(publication.leaf_sha256, target.leaf.unwrap().sha256);
    assert_eq!(publication.fingerprint, Fingerprint::of(kept.certificate.as_bytes(), kept.key.as_bytes()));
}

#[test]
fn labels_annotations_and_lists_of_others_stay_and_a_copy_of_the_key_does_not() {
    let (certificate, _, kept) = test_objects::kept();
    let contents = test_objects::contents(&kept, &[]);
    let map = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    };
    let over = ObjectMeta {
        resource_version: Some("7".into()),
        labels: map(&[("team", "a"), (CERTIFICATE, "x")]),
        annotations: map(&[("note", "b"), (LAST_APPLIED, "a key")]),
        owner_references: Some(vec![OwnerReference::default()]),
        ..Default::default()
    };
    let part = |name: &str, value: &str| (name.to_owned(), Zeroizing::new(value.as_bytes().to_vec()));
    let over = SecretObject::new(over, TLS, [part("ca.crl", "lists"), part("tls.crt", "old")]);
    let object = object(&certificate, "payments-tls", &contents, Some(over));
    assert_eq!(object.value("ca.crl"), b"lists");
    assert_eq!(object.value("tls.crt"), kept.certificate.as_bytes());
    assert_eq!((object.label("team"), object.label(CERTIFICATE)), (Some("a"), Some("mtls-prod-payments")));
    assert_eq!((object.annotation("note"), object.annotation(LAST_APPLIED)), (Some("b"), None));
    assert_eq!((object.resource_version().0.as_str(), object.metadata.owner_references), ("7", None));
}

#[test]
fn what_cannot_be_written_over_says_why() {
    let (certificate, _, kept) = test_objects::kept();
    let mut object = object(&certificate, "payments-tls", &test_objects::contents(&kept, &[]), None);
    object.immutable = Some(true);
    assert!(Target::read(&object).unwrap().publication.unwrap_err().contains("immutable"));
    object.of = "Opaque".into();
    assert!(Target::read(&object).unwrap().publication.unwrap_err().contains("Opaque"));
    object.metadata.labels = None;
    assert!(Target::read(&object).is_none());
}

#[test]
fn whose_a_secret_is_is_said() {
    let with = |labels: &[(&str, &str)], owner: Option<&str>| {
        let metadata = ObjectMeta {
            labels: Some(labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()),
            owner_references: owner.map(|kind| {
                let (kind, name) = (kind.to_owned(), "x".to_owned());
                vec![OwnerReference { kind, name, controller: Some(true), ..Default::default() }]
            }),
            ..Default::default()
        };
        owner_if_foreign(&metadata, "mtls-prod-payments")
    };
    let ours = (MANAGED_BY, HOTCERT);
    assert_eq!(with(&[ours, (CERTIFICATE, "mtls-prod-payments")], None), None);
    assert_eq!(with(&[], None).unwrap(), "is not hotcert's");
    assert!(with(&[ours, (CERTIFICATE, "mtls-prod-a")], None).unwrap().contains("mtls-prod-a"));
    assert!(with(&[], Some("Certificate")).unwrap().contains("owned by the Certificate x"));
    assert!(with(&[(MANAGED_BY, "Helm")], None).unwrap().contains("Helm"));
}
