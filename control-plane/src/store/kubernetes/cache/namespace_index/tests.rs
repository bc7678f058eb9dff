use super::*;
use crate::planner::observed::{ObjectName, Publication};
use crate::store::kubernetes::{examples, target};

const NAME: &str = "mtls-prod-payments";
const SECRET: &str = "payments-tls";

fn written(stamp: &str, secret: Option<&str>) -> Written<ServiceCertificateSpec, CertificateStatus> {
    Written {
        stamp: ResourceVersion(stamp.into()),
        uid: "uid".into(),
        generation: 1,
        spec: ServiceCertificateSpec { secret_name: secret.map(str::to_owned), ..Default::default() },
        status: CertificateStatus::default(),
        deleting: false,
        requests: BTreeMap::new(),
    }
}

/// A place that was listed, with one certificate.
fn place() -> NamespaceIndex {
    let mut place = NamespaceIndex::default();
    place.put_certificate(NAME, written("10", None));
    place.keep(&BTreeSet::new(), Instant::now());
    place
}

fn secret(certificate: &str, stamp: &str) -> SecretObject {
    let (_, _, kept) = examples::kept();
    let contents = examples::contents(&kept, &[]);
    let mut object = target::object(&ObjectName::new("shop", certificate), SECRET, &contents, None);
    object.metadata.resource_version = Some(stamp.into());
    object
}

fn put(place: &mut NamespaceIndex, object: &SecretObject, wrote: bool) {
    place.put(Ours::read(object).unwrap(), wrote);
}

fn publication(place: &NamespaceIndex) -> Publication {
    match &place.certificate(NAME).unwrap().published {
        Published::Ours(publication) => publication.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_is_closed_until_its_namespace_is_listed() {
    let mut place = NamespaceIndex::default();
    place.put_certificate(NAME, written("10", None));
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::Inaccessible(_)));
    put(&mut place, &secret(NAME, "11"), false);
    place.keep(&[SECRET.to_owned()].into(), Instant::now());
    assert_eq!(publication(&place).revision, 5);
    place.close("no right".into());
    let Published::Inaccessible(why) = &place.certificate(NAME).unwrap().published else { panic!("open") };
    assert_eq!(why, "no right");
}

#[test]
fn news_that_are_older_than_what_is_known_are_ignored() {
    let mut place = place();
    put(&mut place, &secret(NAME, "100"), true);
    put(&mut place, &secret(NAME, "99"), false);
    assert_eq!(publication(&place).resource_version.0, "100");
    place.remove(&secret(NAME, "98"));
    assert_eq!(publication(&place).resource_version.0, "100");
    place.put_certificate(NAME, written("9", Some("another")));
    assert_eq!(publication(&place).resource_version.0, "100", "an older spec");
    place.remove(&secret(NAME, "101"));
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::Absent));
}

#[test]
fn what_was_written_while_a_list_was_under_way_is_not_taken_for_gone() {
    let mut place = place();
    let began = Instant::now();
    put(&mut place, &secret(NAME, "100"), true);
    place.keep(&BTreeSet::new(), began);
    assert_eq!(publication(&place).resource_version.0, "100");
    place.keep(&BTreeSet::new(), Instant::now() + std::time::Duration::from_secs(1));
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::Absent));
}

#[test]
fn a_secret_of_somebody_else_is_foreign_until_it_is_not_in_the_way() {
    let mut place = place();
    put(&mut place, &secret("mtls-prod-other", "11"), false);
    let Published::OwnedByOther(whose) = &place.certificate(NAME).unwrap().published else { panic!("ours") };
    assert!(whose.contains("mtls-prod-other"));
    place.remove(&secret("mtls-prod-other", "12"));
    place.find_strange(SECRET, Some("is not hotcert's".into()));
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::OwnedByOther(_)));
    place.find_strange(SECRET, None);
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::Absent));
    place.find_strange(SECRET, Some("is not hotcert's".into()));
    place.put_certificate(NAME, written("20", Some("another-tls")));
    assert!(matches!(place.certificate(NAME).unwrap().published, Published::Absent), "not wanted any more");
}

#[test]
fn a_secret_whose_certificate_is_gone_or_publishes_elsewhere_is_an_orphan() {
    let mut place = place();
    put(&mut place, &secret(NAME, "11"), false);
    assert_eq!(place.orphans().count(), 0);
    place.put_certificate(NAME, written("20", Some("another-tls")));
    assert_eq!(place.orphans().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [SECRET]);
    place.remove_certificate(NAME, None);
    let (_, orphan) = place.orphans().next().unwrap();
    assert!(orphan.orphan && orphan.leaf.is_some());
    assert!(!place.is_empty(), "still watched for its end");
}

#[test]
fn versions_that_come_before_their_certificate_are_its_own() {
    let mut place = NamespaceIndex::default();
    let (certificate, _, kept) = examples::kept();
    for number in [1, 2] {
        put(&mut place, &version::object(&certificate, "uid", number, &kept), false);
    }
    assert!(place.certificate(NAME).is_none());
    place.put_certificate(NAME, written("10", None));
    place.keep(&[version::name(NAME, 2)].into(), Instant::now());
    assert_eq!(place.certificate(NAME).unwrap().versions.keys().collect::<Vec<_>>(), [&2]);
    place.remove_version(NAME, 2);
    assert!(place.certificate(NAME).unwrap().versions.is_empty());
}
