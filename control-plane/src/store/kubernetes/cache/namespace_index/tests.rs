use std::time::Instant;

use super::*;
use crate::api::object_name::ObjectName;
use crate::planner::observed::Publication;
use crate::store::kubernetes::{target_secret, test_objects};

const NAME: &str = "mtls-prod-payments";
const SECRET: &str = "payments-tls";

fn written(
    resource_version: &str,
    secret: Option<&str>,
) -> ParsedObject<ServiceCertificateSpec, CertificateStatus> {
    ParsedObject {
        resource_version: ResourceVersion(resource_version.into()),
        uid: "uid".into(),
        generation: 1,
        spec: ServiceCertificateSpec { secret_name: secret.map(str::to_owned), ..Default::default() },
        status: CertificateStatus::default(),
        deleting: false,
        requests: BTreeMap::new(),
    }
}

/// An index that was listed, with one certificate.
fn index() -> NamespaceIndex {
    let mut index = NamespaceIndex::default();
    index.put_certificate(NAME, written("10", None));
    index.retain_listed(&BTreeSet::new(), list());
    index
}

fn secret(certificate: &str, resource_version: &str) -> SecretObject {
    let (_, _, kept) = test_objects::kept();
    let contents = test_objects::contents(&kept, &[]);
    let mut object = target_secret::object(&ObjectName::new("shop", certificate), SECRET, &contents, None);
    object.metadata.resource_version = Some(resource_version.into());
    object
}

fn put(index: &mut NamespaceIndex, object: &SecretObject, source: Source) {
    index.put(OwnedSecret::read(object).unwrap(), source);
}

fn answer() -> Source {
    Source::answer_from_now()
}

/// One that begins now.
fn list() -> ListSpan {
    ListSpan { since: Instant::now(), newest: 0 }
}

fn publication(index: &NamespaceIndex) -> Publication {
    match &index.certificate(NAME).unwrap().published {
        Published::Ours(publication) => publication.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_is_closed_until_its_namespace_is_listed() {
    let mut index = NamespaceIndex::default();
    index.put_certificate(NAME, written("10", None));
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::Inaccessible(_)));
    put(&mut index, &secret(NAME, "11"), Source::Watch);
    index.retain_listed(&[SECRET.to_owned()].into(), list());
    assert_eq!(publication(&index).revision, 5);
    index.deny_access("no right".into());
    let Published::Inaccessible(why) = &index.certificate(NAME).unwrap().published else { panic!("open") };
    assert_eq!(why, "no right");
}

#[test]
fn news_that_are_older_than_what_is_known_are_ignored() {
    let mut index = index();
    put(&mut index, &secret(NAME, "100"), answer());
    put(&mut index, &secret(NAME, "99"), Source::Watch);
    assert_eq!(publication(&index).resource_version.0, "100");
    index.remove(&secret(NAME, "98"));
    assert_eq!(publication(&index).resource_version.0, "100");
    index.put_certificate(NAME, written("9", Some("another")));
    assert_eq!(publication(&index).resource_version.0, "100", "an older spec");
    index.remove(&secret(NAME, "101"));
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::Absent));
}

#[test]
fn what_was_written_while_a_list_was_under_way_is_not_taken_for_gone() {
    let mut index = index();
    let during = list();
    put(&mut index, &secret(NAME, "100"), answer());
    index.retain_listed(&BTreeSet::new(), during);
    assert_eq!(publication(&index).resource_version.0, "100");
    index.retain_listed(&BTreeSet::new(), list());
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::Absent));
}

#[test]
fn a_secret_of_somebody_else_is_foreign_until_it_is_not_in_the_way() {
    let mut index = index();
    put(&mut index, &secret("mtls-prod-other", "11"), Source::Watch);
    let Published::OwnedByOther(whose) = &index.certificate(NAME).unwrap().published else { panic!("ours") };
    assert!(whose.contains("mtls-prod-other"));
    index.remove(&secret("mtls-prod-other", "12"));
    index.set_conflicting(SECRET, Some("is not hotcert's".into()));
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::OwnedByOther(_)));
    index.set_conflicting(SECRET, None);
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::Absent));
    index.set_conflicting(SECRET, Some("is not hotcert's".into()));
    index.put_certificate(NAME, written("20", Some("another-tls")));
    assert!(matches!(index.certificate(NAME).unwrap().published, Published::Absent), "not wanted any more");
}

#[test]
fn a_secret_whose_certificate_is_gone_or_publishes_elsewhere_is_an_orphan() {
    let mut index = index();
    put(&mut index, &secret(NAME, "11"), Source::Watch);
    assert_eq!(index.orphans().count(), 0);
    index.put_certificate(NAME, written("20", Some("another-tls")));
    assert_eq!(index.orphans().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [SECRET]);
    index.remove_certificate(NAME, None);
    let (_, orphan) = index.orphans().next().unwrap();
    assert!(orphan.orphan && orphan.leaf.is_some());
    assert!(!index.is_empty(), "still watched for its end");
}

#[test]
fn versions_that_come_before_their_certificate_are_its_own() {
    let mut index = NamespaceIndex::default();
    let (certificate, _, kept) = test_objects::kept();
    for number in [1, 2] {
        let mut object = version::object(&certificate, "uid", number, &kept);
        object.metadata.resource_version = Some("11".into());
        put(&mut index, &object, Source::Watch);
    }
    assert!(index.certificate(NAME).is_none());
    index.put_certificate(NAME, written("10", None));
    index.retain_listed(&[version::name(NAME, 2)].into(), list());
    assert_eq!(index.certificate(NAME).unwrap().versions.keys().collect::<Vec<_>>(), [&2]);
    index.remove_version(NAME, 2, &ResourceVersion("100".into()));
    assert!(index.certificate(NAME).unwrap().versions.is_empty());
}
