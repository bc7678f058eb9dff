//! What a crash of the machine may not undo. The order of changes and flushes is followed, as the program asks
//! for them; whether the disk obeys is not.

use super::*;
use crate::store::directory::disk::trace::faults;

fn assert_flushed(what: &str, work: impl FnOnce()) {
    let (faults, changes) = faults(work);
    assert!(changes >= 4, "{what} made {changes} changes");
    assert!(faults.is_empty(), "{what}: {faults:#?}");
}

fn keyring_files(keyring: &Keyring) -> Vec<codec::Part> {
    codec::keyring::encode(keyring).unwrap()
}

#[tokio::test]
async fn new_directory_and_what_is_in_it_are_on_the_disk_when_it_is_opened() {
    let parent = tempfile::tempdir().unwrap();
    assert_flushed("opening", || drop(DirectoryStore::open(parent.path().join("a/b/dir")).unwrap()));
}

#[tokio::test]
async fn keyring_is_on_the_disk_before_the_one_before_is_removed() {
    let scene = Scene::create();
    let tree = &scene.store.tree;
    let first = keyring_files(&Keyring::new(root("first")));
    assert_flushed("the first keyring", || keyring::put(tree, "root-prod-main", &first, None).unwrap());
    let (_, resource_version) = keyring::load(tree, "root-prod-main").unwrap().unwrap();
    let second = keyring_files(&Keyring::new(root("second")));
    assert_flushed("the next keyring", || {
        keyring::put(tree, "root-prod-main", &second, Some(&resource_version)).unwrap();
    });
}

#[tokio::test]
async fn version_is_on_the_disk_before_anything_relies_on_it() {
    let scene = Scene::create();
    let kept = kept();
    assert_flushed("a version", || version::create(&scene.store.tree, &payments(), 1, &kept).unwrap());
    assert_flushed("the next version", || version::create(&scene.store.tree, &payments(), 2, &kept).unwrap());
}

#[tokio::test]
async fn publication_is_on_the_disk_before_the_swap_and_the_swap_before_the_old_one_goes() {
    let scene = Scene::create();
    let tree = &scene.store.tree;
    let secret = ObjectName::new("shop", "payments-tls");
    let contents = contents();
    let mut over = None;
    for round in ["the first publication", "the next publication"] {
        assert_flushed(round, || {
            target_secret::publish(tree, &payments(), &secret, &contents, over.as_ref()).unwrap();
        });
        let Published::Ours(publication) = target_secret::read(&tree.secret(&secret).unwrap(), &payments())
        else {
            panic!("{round} is not ours")
        };
        over = Some(publication.resource_version);
    }
}

#[tokio::test]
async fn objects_and_what_is_said_of_them_are_on_the_disk() {
    let scene = Scene::create();
    let tree = &scene.store.tree;
    let orders = ObjectRef::Certificate(ObjectName::new("web", "mtls-prod-orders"));
    let spec = ServiceCertificateSpec { authority: "root-prod-main".into(), ..Default::default() };
    assert_flushed("an object", || objects::create(tree, &orders, &spec).unwrap());
    assert_flushed("a request", || objects::ask(tree, &orders, "rotate", "r1").unwrap());
    let name = ObjectName::new("web", "mtls-prod-orders");
    let seen = scene.store.observe().await.unwrap().certificates[&name].resource_version.clone();
    assert_flushed("a report", || {
        objects::report::<ServiceCertificateSpec, _>(tree, &orders, &CertificateStatus::default(), &seen)
            .unwrap();
    });
}

#[tokio::test]
async fn flush_that_is_left_out_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (faults, _) = faults(|| {
        disk::make_directory(&from, 0o700).unwrap();
        disk::write_new(&from.join("file"), b"x", 0o600).unwrap();
        disk::replace(&from, &to).unwrap();
    });
    // The name of the file before the rename; and at the end still, with the one of the directory.
    assert_eq!(faults.len(), 3, "{faults:#?}");
}
