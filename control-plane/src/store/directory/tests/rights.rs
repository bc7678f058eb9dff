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
