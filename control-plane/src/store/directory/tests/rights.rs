//! Who may read, where names may lead, and who writes first.

use super::*;

#[tokio::test]
async fn nothing_under_state_can_be_read_by_others() {
    let scene = Scene::create();
    let keyring = Keyring::new(root("root"));
    scene.store.put_keyring("root-prod-main", &keyring, None).await.unwrap();
    scene.store.create_version(&payments(), 1, &kept()).await.unwrap();
    scene.report(&CertificateStatus::default()).await;
    scene.report_authority(&AuthorityStatus::default()).await;
    scene.store.ask(&ObjectRef::Certificate(payments()), "rotate", "r1").await.unwrap();
    let state = below(&scene.path("state"));
    assert!(state.iter().filter(|path| path.is_file()).count() >= 9, "{state:?}");
    for path in state {
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert_eq!(mode(&scene.path("imports")), 0o700);

    // What somebody copied there with another mode is closed when the store is opened.
    fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    DirectoryStore::open(scene.store.root()).unwrap();
    assert_eq!(mode(&scene.path("state")), 0o700);
}

#[tokio::test]
async fn namespace_of_secrets_is_closed_until_somebody_opens_it() {
    let scene = Scene::create();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    let namespace = scene.path("secrets/shop");
    assert_eq!(mode(&namespace), 0o700);
    fs::set_permissions(&namespace, fs::Permissions::from_mode(0o710)).unwrap();
    scene.store.publish(&payments(), "other-tls", &contents(), None).await.unwrap();
    assert_eq!(mode(&namespace), 0o710);
}

const SHARED: u32 = 0o2750;

/// What is published there is of its group.
fn share(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(SHARED)).unwrap();
}

/// Of the Secret's directory, of the one with the files, and of each file.
fn modes(secret: &Path) -> (u32, u32, BTreeSet<u32>) {
    let data = secret.join("..data/");
    let files = fs::read_dir(&data).unwrap().map(|entry| mode(&entry.unwrap().path())).collect();
    (mode(secret), mode(&data), files)
}

async fn publication(scene: &Scene) -> crate::planner::observed::Publication {
    match &scene.store.observe().await.unwrap().certificates[&payments()].published {
        Published::Ours(publication) => publication.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn secret_is_for_its_owner_alone_unless_a_directory_is_shared() {
    let scene = Scene::create();
    let secret = scene.path("secrets/shop/payments-tls");
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    assert_eq!(modes(&secret), (0o700, 0o700, BTreeSet::from([0o600])));
    // Made by hand with the mode of any directory.
    fs::create_dir(scene.path("secrets/shop/other-tls")).unwrap();
    scene.store.publish(&payments(), "other-tls", &contents(), None).await.unwrap();
    let (_, data, files) = modes(&scene.path("secrets/shop/other-tls"));
    assert_eq!((data, files), (0o700, BTreeSet::from([0o600])));
}

#[tokio::test]
async fn secret_below_a_shared_directory_is_for_its_group_at_every_publication() {
    for shared in ["secrets", "secrets/shop", "secrets/shop/payments-tls"] {
        let scene = Scene::create();
        share(&scene.path(shared));
        let secret = scene.path("secrets/shop/payments-tls");
        let mut over = None;
        for _ in 0..3 {
            scene.store.publish(&payments(), "payments-tls", &contents(), over.as_ref()).await.unwrap();
            assert_eq!(modes(&secret), (0o750, 0o750, BTreeSet::from([0o640])), "{shared}");
            let meta = fs::metadata(&secret).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, SHARED);
            over = Some(publication(&scene).await.resource_version);
        }
        let (state, imports) = (scene.path("state"), scene.path("imports"));
        assert_eq!((mode(&state), mode(&imports)), (0o700, 0o700));
    }
}

/// Who may enter it is everybody, so that the bit does not say who may read.
#[tokio::test]
async fn setgid_directory_that_others_may_enter_shares_nothing() {
    let scene = Scene::create();
    let namespace = scene.path("secrets/shop");
    fs::create_dir_all(&namespace).unwrap();
    fs::set_permissions(&namespace, fs::Permissions::from_mode(0o2755)).unwrap();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    assert_eq!(modes(&namespace.join("payments-tls")), (0o700, 0o700, BTreeSet::from([0o600])));
}

/// A project's tree, in which a person keeps it.
#[tokio::test]
async fn setgid_directory_above_shares_nothing() {
    let parent = tempfile::tempdir().unwrap();
    share(parent.path());
    let store = DirectoryStore::open(parent.path().join("dir")).unwrap();
    let scene = Scene { _parent: parent, store };
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    let secret = scene.path("secrets/shop/payments-tls");
    assert_eq!(modes(&secret), (0o700, 0o700, BTreeSet::from([0o600])));
}

/// The planner publishes what is not as it published it.
#[tokio::test]
async fn publication_for_other_readers_than_its_directory_names_is_another_one() {
    let scene = Scene::create();
    let (secret, contents) = (scene.path("secrets/shop/payments-tls"), contents());
    scene.store.publish(&payments(), "payments-tls", &contents, None).await.unwrap();
    let closed = publication(&scene).await;
    share(&secret);
    let unread = publication(&scene).await;
    assert_ne!(unread.fingerprint, closed.fingerprint);
    // Nobody may take a root for gone that is in the files.
    assert_eq!((&unread.roots, &unread.leaf_sha256), (&closed.roots, &closed.leaf_sha256));
    scene
        .store
        .publish(&payments(), "payments-tls", &contents, Some(&unread.resource_version))
        .await
        .unwrap();
    assert_eq!(publication(&scene).await.fingerprint, closed.fingerprint);

    fs::set_permissions(
        scene.path("secrets/shop/payments-tls/..data/tls.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_ne!(publication(&scene).await.fingerprint, closed.fingerprint);
}

/// As earlier releases laid it out, with agents of other users on it.
#[tokio::test]
async fn publication_that_everybody_could_read_stays_so() {
    let scene = Scene::create();
    let secret = scene.path("secrets/shop/payments-tls");
    fs::create_dir_all(scene.path("secrets/shop")).unwrap();
    let earlier = atomic_volume::SecretVolume::open(&secret).unwrap();
    let owner = format!(
        "{{\"certificate\":\"{}\",\"version\":1,\"writtenAt\":\"2026-01-31T09:15:00Z\"}}",
        payments()
    );
    let StoredVersion { certificate, key, .. } = kept();
    earlier
        .publish(&[
            ("tls.crt", certificate.as_bytes()),
            ("tls.key", key.as_bytes()),
            ("ca.crt", certificate.as_bytes()),
            ("revision", b"1"),
            ("owner.json", owner.as_bytes()),
        ])
        .unwrap();
    let publication = publication(&scene).await;
    let over = Some(&publication.resource_version);
    scene.store.publish(&payments(), "payments-tls", &contents(), over).await.unwrap();
    assert_eq!(modes(&secret), (0o755, 0o755, BTreeSet::from([0o644])));
}

#[tokio::test]
async fn names_cannot_lead_out_of_the_directory() {
    let scene = Scene::create();
    let refused = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Malformed { .. })), "{result:?}");
    };
    let keyring = Keyring::new(root("root"));
    for bad in ["..", ".", "", "../x", "a/b", "/etc", "a\0", ".hidden", "UP", "x-", &"x".repeat(254)] {
        let (name, space) = (ObjectName::new("shop", bad), ObjectName::new(bad, "mtls-prod-x"));
        refused(scene.store.put_keyring(bad, &keyring, None).await);
        refused(scene.store.import(bad).await.map(drop));
        refused(scene.store.create_authority(bad, &CertificateAuthoritySpec::default()).await);
        refused(scene.store.publish(&payments(), bad, &contents(), None).await);
        for name in [&name, &space] {
            refused(scene.store.create_certificate(name, &ServiceCertificateSpec::default()).await);
            refused(scene.store.create_version(name, 1, &kept()).await);
            refused(scene.store.load_version(name, 1).await.map(drop));
            refused(scene.store.delete_version(name, 1, &ResourceVersion::default()).await);
            refused(scene.store.ask(&ObjectRef::Certificate(name.clone()), "rotate", "r1").await);
        }
        let looks = scene.store.pods(&BTreeSet::from([bad.to_owned()])).await;
        assert!(looks[bad].error.is_some());
    }
    // Nor can those in files.
    scene.write(
        "certificates/shop/mtls-prod-payments.yaml",
        &format!("{CERTIFICATE}  secretName: ../../../outside\n"),
    );
    let seen = scene.store.observe().await.unwrap();
    assert!(matches!(seen.certificates[&payments()].published, Published::Inaccessible(_)), "{seen:?}");
    scene.write(
        "authorities/root-prod-main.yaml",
        &AUTHORITY.replace("[shop]", "[shop]\n  import: {secretName: ../state}"),
    );
    let seen = scene.store.observe().await.unwrap();
    let import = seen.authorities["root-prod-main"].import.as_ref().unwrap();
    assert!(import.as_ref().is_err_and(|why| why.contains("the name")), "{import:?}");
    let parent = scene.store.root().parent().unwrap();
    assert_eq!(names(parent), ["dir"]);
}

#[tokio::test]
async fn of_many_writers_at_once_one_writes_and_the_others_are_overtaken() {
    let scene = Scene::create();
    let keyring = Keyring::new(root("root"));
    scene.store.put_keyring("root-prod-main", &keyring, None).await.unwrap();
    let (_, resource_version) = scene.keyring().await;
    // Each opens DIR for itself, as programs do.
    let writers: Vec<_> = (0..8)
        .map(|id| {
            let (store, resource_version) =
                (DirectoryStore::open(scene.store.root()).unwrap(), resource_version.clone());
            tokio::spawn(async move {
                let (mut keyring, _) = store.keyring("root-prod-main").await.unwrap().unwrap();
                keyring.state.record_handled("rollover", &id.to_string(), "no", SystemTime::UNIX_EPOCH);
                (id, store.put_keyring("root-prod-main", &keyring, Some(&resource_version)).await)
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (id, Ok(())) => won.push(id.to_string()),
            (_, Err(StoreError::Conflict(_))) => {}
            (_, Err(other)) => panic!("{other:?}"),
        }
    }
    let (came, _) = scene.keyring().await;
    assert_eq!(won, [came.state.handled_requests["rollover"].id.clone()]);
}

#[tokio::test]
async fn nothing_is_written_or_looked_at_while_another_program_writes() {
    let scene = Scene::create();
    let lock = Lock::take(&scene.store.tree, LockMode::Exclusive).unwrap();
    let look = {
        let store = scene.store.clone();
        tokio::spawn(async move { store.observe().await })
    };
    let write = {
        let store = scene.store.clone();
        tokio::spawn(async move { store.create_version(&payments(), 1, &kept()).await })
    };
    tokio::time::timeout(Duration::from_millis(200), async {
        while !look.is_finished() && !write.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap_err();
    drop(lock);
    look.await.unwrap().unwrap();
    write.await.unwrap().unwrap();

    // Those who only look do not keep each other waiting.
    let _lock = Lock::take(&scene.store.tree, LockMode::Shared).unwrap();
    scene.store.observe().await.unwrap();
}
