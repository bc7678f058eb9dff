#![allow(clippy::unwrap_used)]

mod broken;
mod deleted_certificates;
mod flushed;
mod leading;
mod rights;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::pki::authority::{Authority, AuthorityRequest};
use crate::pki::keyring::RootId;
use crate::planner::observed::{KeyringState, Published};
use crate::store::LeafPem;

const AUTHORITY: &str = "\
# ours
apiVersion: hotcert.dev/v1alpha1
kind: CertificateAuthority
metadata:
  name: root-prod-main
  annotations:
    hotcert.dev/rollover: r1 it is time
spec:
  namespaces: [shop]
";
const CERTIFICATE: &str = "\
apiVersion: hotcert.dev/v1alpha1
kind: ServiceCertificate
metadata:
  name: mtls-prod-payments
  namespace: shop
spec:
  authority: root-prod-main
";

struct Scene {
    _parent: tempfile::TempDir,
    store: DirectoryStore,
}

impl Scene {
    /// With one authority and one certificate.
    fn create() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(parent.path().join("dir")).unwrap();
        let scene = Self { _parent: parent, store };
        scene.write("authorities/root-prod-main.yaml", AUTHORITY);
        scene.write("certificates/shop/mtls-prod-payments.yaml", CERTIFICATE);
        scene
    }

    fn path(&self, path: &str) -> PathBuf {
        self.store.root().join(path)
    }

    fn write(&self, path: &str, contents: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    async fn problems(&self) -> Vec<String> {
        self.store.observe().await.unwrap().read_errors
    }

    /// Over what is there now.
    async fn report(&self, status: &CertificateStatus) {
        let seen = self.store.observe().await.unwrap();
        let over = &seen.certificates[&payments()].resource_version;
        self.store.report_certificate(&payments(), status, over).await.unwrap();
    }

    async fn report_authority(&self, status: &AuthorityStatus) {
        let seen = self.store.observe().await.unwrap();
        let over = &seen.authorities["root-prod-main"].resource_version;
        self.store.report_authority("root-prod-main", status, over).await.unwrap();
    }

    async fn keyring(&self) -> (Keyring, ResourceVersion) {
        self.store.keyring("root-prod-main").await.unwrap().unwrap()
    }
}

fn payments() -> ObjectName {
    ObjectName::new("shop", "mtls-prod-payments")
}

fn root(name: &str) -> Authority {
    let lifetime = Duration::from_secs(3600);
    let request = AuthorityRequest { common_name: name.into(), lifetime, ..AuthorityRequest::default() };
    Authority::create(&request, SystemTime::now()).unwrap()
}

/// What is in it matters to nobody here.
fn kept() -> StoredVersion {
    let root = root("root");
    StoredVersion {
        certificate: root.certificate_pem().to_owned(),
        key: root.key_pem(),
        root: RootId::of(&root),
        bundle: None,
        made_for: String::new(),
        created_at: SystemTime::now(),
        request: None,
        copy_of: None,
    }
}

fn contents() -> Contents {
    let StoredVersion { certificate, key, created_at, .. } = kept();
    Contents {
        bundle: certificate.clone(),
        leaf: Some(LeafPem { certificate, key }),
        revision: 1,
        version: 1,
        written_at: created_at,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everything below, itself included.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(below(&entry.unwrap().path()));
        }
    }
    found
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_are_seen_as_the_objects_that_they_are_in_a_cluster() {
    let scene = Scene::create();
    let seen = scene.store.observe().await.unwrap();
    assert_eq!(seen.read_errors, Vec::<String>::new());
    let authority = &seen.authorities["root-prod-main"];
    assert_eq!(authority.spec.namespaces, ["shop"]);
    assert_eq!(authority.requests["rollover"].arguments, "it is time");
    let certificate = &seen.certificates[&payments()];
    assert_eq!(certificate.spec.authority, "root-prod-main");
    assert!(matches!(certificate.published, Published::Absent));
    assert!(!seen.nudge);
}

#[tokio::test]
async fn generation_changes_with_the_spec_and_with_nothing_else() {
    let scene = Scene::create();
    let mut generations = Vec::new();
    for text in [
        AUTHORITY,
        &AUTHORITY.replace("r1", "r2"),
        &AUTHORITY.replace("# ours", ""),
        &AUTHORITY.replace("[shop]", "[x]"),
    ] {
        scene.write("authorities/root-prod-main.yaml", text);
        generations.push(scene.store.observe().await.unwrap().authorities["root-prod-main"].generation);
    }
    assert_eq!(generations[0], generations[1]);
    assert_eq!(generations[0], generations[2]);
    assert_ne!(generations[0], generations[3]);
}

#[tokio::test]
async fn request_of_a_command_leaves_the_file_alone_until_the_file_asks_anew() {
    let scene = Scene::create();
    let path = scene.path("authorities/root-prod-main.yaml");
    let about = ObjectRef::Authority("root-prod-main".into());
    let asked = async || {
        scene.store.observe().await.unwrap().authorities["root-prod-main"].requests["rollover"].id.clone()
    };
    scene.store.ask(&about, "rollover", "r2 now").await.unwrap();
    assert_eq!(asked().await, "r2");
    assert_eq!(fs::read_to_string(&path).unwrap(), AUTHORITY);
    fs::write(&path, AUTHORITY.replace("r1", "r3")).unwrap();
    assert_eq!(asked().await, "r3");
    scene.store.ask(&about, "rollover", "r4").await.unwrap();
    assert_eq!(asked().await, "r4");
    for (verb, text) in [("rollover", ""), ("../x", "r1"), ("", "r1"), ("rotate", &"x".repeat(65))] {
        let refused = scene.store.ask(&about, verb, text).await;
        assert!(matches!(refused, Err(StoreError::Malformed { .. })), "{verb:?} {text:?}: {refused:?}");
    }
}

#[tokio::test]
async fn replacing_an_object_keeps_what_was_asked_of_it() {
    let scene = Scene::create();
    let spec = CertificateAuthoritySpec { namespaces: vec!["*".into()], ..Default::default() };
    scene.store.replace_authority("root-prod-main", &spec).await.unwrap();
    let seen = scene.store.observe().await.unwrap();
    assert_eq!(seen.read_errors, Vec::<String>::new());
    assert_eq!(seen.authorities["root-prod-main"].spec, spec);
    assert_eq!(seen.authorities["root-prod-main"].requests["rollover"].id, "r1");
    let spec = ServiceCertificateSpec { authority: "root-prod-other".into(), ..Default::default() };
    scene.store.replace_certificate(&payments(), &spec).await.unwrap();
    assert_eq!(scene.store.observe().await.unwrap().certificates[&payments()].spec, spec);
}

#[tokio::test]
async fn change_is_told_whoever_made_it_and_once_only() {
    let scene = Scene::create();
    let soon = Duration::from_secs(10);
    let changed = async || tokio::time::timeout(soon, scene.store.changed()).await.unwrap();
    // Nobody has looked yet.
    changed().await;
    scene.store.observe().await.unwrap();
    assert!(!scene.store.changes.since_observation(&scene.store.tree));

    scene.write("pods/shop/payments-1.yaml", "{secret: payments-tls, agent: false}");
    changed().await;
    scene.store.observe().await.unwrap();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    changed().await;
    scene.store.observe().await.unwrap();
    fs::write(scene.path("secrets/shop/payments-tls/tls.key"), "mine").unwrap();
    changed().await;
    scene.store.observe().await.unwrap();
    // Looking is no change.
    scene.store.observe().await.unwrap();
    assert!(!scene.store.changes.since_observation(&scene.store.tree));
    tokio::time::timeout(Duration::from_millis(1500), scene.store.changed()).await.unwrap_err();
}

#[tokio::test]
async fn registered_agents_are_the_pods() {
    let scene = Scene::create();
    scene.write("pods/shop/a.yaml", "uid: u1\nsecret: payments-tls\nproof: 127.0.0.1:9643\n");
    scene.write("pods/shop/b.yaml", "secret: payments-tls\nagent: false\n");
    let namespaces = BTreeSet::from(["shop".to_owned(), "empty".to_owned()]);
    let looks = scene.store.pods(&namespaces).await;
    assert!(looks["empty"].pods.is_empty() && looks["empty"].error.is_none());
    let [a, b] = &looks["shop"].pods[..] else { panic!("{looks:?}") };
    assert_eq!((a.name.as_str(), a.uid.as_str()), ("a", "u1"));
    assert!(a.serves("payments-tls") && a.mounted_secrets.contains("payments-tls"));
    assert_eq!(a.agent.as_ref().unwrap().address, Some("127.0.0.1:9643".parse().unwrap()));
    assert!(b.agent.is_none() && b.mounted_secrets.contains("payments-tls"));
    // Or the loop would nudge them at every round, without a rest, until they answer.
    assert!([a, b].iter().all(|pod| pod.nudged_revision == Some(u64::MAX)));
    assert_eq!(looks["shop"].error, None);
    scene.store.nudge(&ObjectName::new("shop", "a"), 1).await.unwrap();

    // One that cannot be read may be anybody's.
    for wrong in ["secret: x", "{secret: x, proof: nowhere}", "{secret: x, agent: false, prof: 1}", "["] {
        scene.write("pods/shop/c.yaml", wrong);
        let looks = scene.store.pods(&namespaces).await;
        assert_eq!(looks["shop"].pods.len(), 2);
        assert!(looks["shop"].error.as_ref().unwrap().contains("c.yaml"), "{looks:?}");
    }
}

#[tokio::test]
async fn secrets_that_no_certificate_has_are_watched() {
    let scene = Scene::create();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    scene.store.publish(&payments(), "old-tls", &contents(), None).await.unwrap();
    let theirs = kept();
    scene.write("secrets/shop/theirs/tls.crt", &theirs.certificate);
    scene.write("secrets/shop/theirs/tls.key", &theirs.key);
    fs::create_dir_all(scene.path("secrets/shop/empty")).unwrap();
    let seen = scene.store.observe().await.unwrap();
    let found: Vec<_> =
        seen.watched_secrets.iter().map(|(name, foreign)| (name.name.as_str(), foreign.orphan)).collect();
    assert_eq!(found, [("old-tls", true), ("theirs", false)]);
    assert!(seen.watched_secrets.values().all(|foreign| foreign.leaf.is_some()));
}

/// Somebody makes it first, so that the agent's user can enter it.
#[tokio::test]
async fn empty_directory_is_nobodys_and_is_written_to() {
    let scene = Scene::create();
    fs::create_dir_all(scene.path("secrets/shop/payments-tls")).unwrap();
    let seen = scene.store.observe().await.unwrap();
    assert!(matches!(seen.certificates[&payments()].published, Published::Absent));
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    // The mounted Secret of something else looks like ours but for its owner.
    scene.write("secrets/shop/orders-tls/..1/tls.crt", "theirs");
    symlink("..1", scene.path("secrets/shop/orders-tls/..data")).unwrap();
    let over = scene.store.publish(&payments(), "orders-tls", &contents(), None).await;
    assert!(matches!(over, Err(StoreError::Conflict(_))), "{over:?}");
}
