#![allow(clippy::unwrap_used)]

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::pki::keyring::Keyring;
use crate::planner::observed::{KeyringState, Observed, Published};
use crate::store::kubernetes::{keyring, target_secret, test_objects, version};

const AUTHORITY: &str = "root-prod-shop";
const SECRET: &str = "payments-tls";

struct Scene {
    cache: Arc<Cache>,
    authorities: AuthoritiesSink,
    certificates: CertificatesSink,
    own: OwnNamespaceSink,
    secrets: OwnedSecretsSink,
}

impl Scene {
    /// Listed, with a certificate of version 10.
    fn listed() -> Self {
        let cache = Arc::new(Cache::default());
        let scene = Self {
            authorities: AuthoritiesSink(Arc::clone(&cache)),
            certificates: CertificatesSink(Arc::clone(&cache)),
            own: OwnNamespaceSink(Arc::clone(&cache)),
            secrets: OwnedSecretsSink {
                cache: Arc::clone(&cache),
                system: "hotcert-system".into(),
                namespace: "shop".into(),
            },
            cache,
        };
        list(&scene.certificates, [certificate(10, "uid")]);
        list(&scene.secrets, []);
        list(&scene.own, []);
        scene
    }

    fn observed(&self) -> Observed {
        self.cache.observed(true)
    }

    /// The resource version of what is published.
    fn published(&self) -> Option<String> {
        match &self.observed().certificates.get(&test_objects::name())?.published {
            Published::Ours(publication) => Some(publication.resource_version.0.clone()),
            Published::Absent => None,
            other => panic!("{other:?}"),
        }
    }

    fn versions(&self) -> Vec<u64> {
        self.observed().certificates[&test_objects::name()].versions.keys().copied().collect()
    }

    fn keyring(&self) -> Option<String> {
        match self.cache.state().own.keyring(AUTHORITY) {
            KeyringState::Present(view) => Some(view.resource_version.0),
            KeyringState::Absent => None,
            KeyringState::Unreadable(why) => panic!("{why}"),
        }
    }

    fn certificate(&self) -> Option<(String, String)> {
        let observed = self.observed();
        let certificate = observed.certificates.get(&test_objects::name())?;
        Some((certificate.resource_version.0.clone(), certificate.uid.clone()))
    }

    /// As the answer to a write of the status has it.
    fn answer_status(&self, version: u64, uid: &str) {
        let read = certificate(version, uid).read().unwrap();
        let name = test_objects::name();
        self.cache.change(|state| {
            state.update_namespace("shop", |index| index.update_certificate(&name.name, read))
        });
    }

    fn answer_secret(&self, object: &SecretObject, source: Source) {
        let owned = cache::OwnedSecret::read(object).unwrap();
        self.cache.change(|state| state.update_namespace("shop", |index| index.put(owned, source)));
    }

    fn answer_keyring(&self, object: &SecretObject, source: Source) {
        let read = OwnSecret::read(object);
        self.cache.change(|state| state.own.put(object.name(), read, source));
    }
}

/// Everything that a list brings, from the first event to the last.
fn list<K: Resource>(sink: &impl EventSink<K>, objects: impl IntoIterator<Item = K>) {
    finish(sink, objects, Instant::now());
}

/// A list that was asked for at `since`.
fn finish<K: Resource>(sink: &impl EventSink<K>, objects: impl IntoIterator<Item = K>, since: Instant) {
    let (mut names, mut newest) = (BTreeSet::new(), 0);
    for object in objects {
        names.insert(ObjectName::new(namespace(&object), name(&object)));
        newest = newest.max(object.meta().resource_version.as_ref().unwrap().parse().unwrap());
        sink.apply(object);
    }
    sink.listed(&names, ListSpan { since, newest });
}

fn certificate(version: u64, uid: &str) -> Custom<ServiceCertificate> {
    let ObjectName { namespace, name } = test_objects::name();
    let metadata =
        json!({"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version.to_string()});
    serde_json::from_value(json!({"metadata": metadata, "spec": {"authority": AUTHORITY}})).unwrap()
}

fn authority(version: u64) -> Custom<CertificateAuthority> {
    let metadata = json!({"name": AUTHORITY, "uid": "uid", "resourceVersion": version.to_string()});
    serde_json::from_value(json!({"metadata": metadata, "spec": {"namespaces": ["shop"]}})).unwrap()
}

fn at(mut object: SecretObject, version: u64) -> SecretObject {
    object.metadata.resource_version = Some(version.to_string());
    object
}

fn target(version: u64) -> SecretObject {
    let (_, _, kept) = test_objects::kept();
    let contents = test_objects::contents(&kept, &[]);
    at(target_secret::object(&test_objects::name(), SECRET, &contents, None), version)
}

fn other_target(version: u64) -> SecretObject {
    let mut other = target(version);
    other.metadata.name = Some("other-tls".into());
    other
}

fn stored(number: u64, version: u64) -> SecretObject {
    let (certificate, _, kept) = test_objects::kept();
    at(version::object(&certificate, "uid", number, &kept), version)
}

fn keyring_secret(version: u64) -> SecretObject {
    let keyring = Keyring::new(test_objects::root());
    at(keyring::object("hotcert-system", AUTHORITY, &keyring, None).unwrap(), version)
}

#[test]
fn late_answer_about_a_status_does_not_bring_its_object_back() {
    let scene = Scene::listed();
    scene.certificates.delete(certificate(12, "uid"));
    scene.answer_status(11, "uid");
    assert_eq!(scene.certificate(), None);
    scene.certificates.apply(certificate(13, "another"));
    scene.answer_status(11, "uid");
    assert_eq!(scene.certificate(), Some(("13".into(), "another".into())), "made again");
    scene.answer_status(14, "another");
    assert_eq!(scene.certificate(), Some(("14".into(), "another".into())));
    scene.certificates.delete(certificate(12, "uid"));
    assert!(scene.certificate().is_some(), "an older one was deleted");
    list(&scene.certificates, []);
    scene.answer_status(15, "another");
    assert_eq!(scene.certificate(), None, "a list did not show it");

    list(&scene.authorities, [authority(10)]);
    let answer = |version| {
        let read = authority(version).read().unwrap();
        scene.cache.change(|state| state.update_authority(AUTHORITY, read));
    };
    answer(11);
    assert_eq!(scene.observed().authorities[AUTHORITY].resource_version.0, "11");
    scene.authorities.delete(authority(13));
    answer(12);
    assert!(scene.observed().authorities.is_empty());
    scene.authorities.apply(authority(14));
    assert_eq!(scene.observed().authorities.len(), 1);
}

#[test]
fn certificate_that_is_not_in_a_list_is_observed_no_more() {
    let scene = Scene::listed();
    assert!(scene.certificate().is_some());
    list(&scene.certificates, []);
    assert_eq!(scene.certificate(), None);
}

#[test]
fn late_answer_about_a_secret_does_not_bring_it_back() {
    let scene = Scene::listed();
    let source = Source::answer_from_now();
    scene.secrets.apply(target(20));
    scene.secrets.apply(stored(1, 21));
    scene.own.apply(keyring_secret(22));
    scene.secrets.delete(target(32));
    scene.secrets.delete(stored(1, 33));
    scene.own.delete(keyring_secret(34));
    for newer in [0, 11] {
        scene.answer_secret(&target(21 + newer), source);
        scene.answer_secret(&stored(1, 22 + newer), source);
        scene.answer_keyring(&keyring_secret(23 + newer), source);
        assert_eq!((scene.published(), scene.versions(), scene.keyring()), (None, vec![], None));
    }
    scene.answer_secret(&target(42), source);
    scene.secrets.apply(stored(1, 43));
    scene.own.apply(keyring_secret(44));
    assert_eq!(
        (scene.published(), scene.versions(), scene.keyring()),
        (Some("42".into()), vec![1], Some("44".into())),
        "made again"
    );
}

#[test]
fn version_that_was_pruned_here_does_not_come_back_from_an_older_list() {
    let scene = Scene::listed();
    scene.secrets.apply(stored(1, 21));
    let change = |index: &mut NamespaceIndex| {
        index.remove_version(&test_objects::name().name, 1, &ResourceVersion("21".into()))
    };
    scene.cache.change(|state| state.update_namespace("shop", change));
    list(&scene.secrets, [stored(1, 21)]);
    assert_eq!(scene.versions(), Vec::<u64>::new());
    list(&scene.secrets, [stored(1, 30)]);
    assert_eq!(scene.versions(), [1], "of a certificate that was made again");
}

/// As after 410 Gone, with writes of this process under way.
#[test]
fn another_list_neither_loses_what_was_written_meanwhile_nor_brings_back_what_was_deleted() {
    let scene = Scene::listed();
    let before = Source::answer_from_now();
    scene.secrets.apply(target(20));
    scene.own.apply(keyring_secret(22));

    let since = Instant::now();
    scene.answer_secret(&stored(1, 40), Source::answer_from_now());
    finish(&scene.secrets, [other_target(30)], since);
    assert_eq!((scene.published(), scene.versions()), (None, vec![1]), "written after the list was made");
    list(&scene.own, []);
    // What was asked before the list, of what it did not show.
    scene.answer_secret(&target(25), before);
    scene.answer_keyring(&keyring_secret(25), before);
    assert_eq!((scene.published(), scene.keyring()), (None, None));
    // Unless it is true: then the watch says so.
    scene.secrets.apply(target(45));
    assert_eq!(scene.published(), Some("45".into()));

    let since = Instant::now();
    scene.answer_secret(&stored(2, 46), Source::answer_from_now());
    finish(&scene.secrets, [target(45), other_target(50)], since);
    assert_eq!(
        scene.versions(),
        Vec::<u64>::new(),
        "the list is newer than what was written, and does not show it"
    );
}

#[test]
fn nothing_is_open_after_distrust_until_it_is_listed_again() {
    let scene = Scene::listed();
    scene.secrets.apply(target(20));
    scene.cache.change(cache::CacheState::distrust);
    let observed = scene.observed();
    let published = &observed.certificates[&test_objects::name()].published;
    assert!(matches!(published, Published::Inaccessible(_)), "{published:?}");
    list(&scene.secrets, [target(20)]);
    assert_eq!(scene.published(), Some("20".into()));
}
