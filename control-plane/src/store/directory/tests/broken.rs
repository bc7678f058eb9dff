//! What a crash, a disk or a person's mistake leaves.

use super::*;

#[tokio::test]
async fn half_written_keyring_is_not_seen_and_goes_with_the_next_writing() {
    let scene = Scene::create();
    let first = Keyring::new(root("first"));
    scene.store.put_keyring("root-prod-main", &first, None).await.unwrap();
    let keyring = scene.path("state/authorities/root-prod-main/keyring");
    // Killed while it made the next one, and while it removed the one before.
    for half in [".new", ".old"] {
        scene.write(&format!("state/authorities/root-prod-main/keyring/{half}/state.json"), "{\"sta");
    }
    let (came, resource_version) = scene.keyring().await;
    assert_eq!(came.state, first.state);
    assert_eq!(scene.problems().await, Vec::<String>::new());

    let second = Keyring::new(root("second"));
    scene.store.put_keyring("root-prod-main", &second, Some(&resource_version)).await.unwrap();
    assert_eq!(scene.keyring().await.0.state, second.state);
    assert_eq!(names(&keyring), ["2"]);
}

/// Killed between the new keyring and the end of the old one.
#[tokio::test]
async fn of_two_keyrings_the_newer_counts_and_the_older_goes() {
    let scene = Scene::create();
    let mut keyring = Keyring::new(root("first"));
    scene.store.put_keyring("root-prod-main", &keyring, None).await.unwrap();
    let parent = scene.path("state/authorities/root-prod-main/keyring");
    fs::create_dir(parent.join("2")).unwrap();
    for name in names(&parent.join("1")) {
        fs::copy(parent.join("1").join(&name), parent.join("2").join(&name)).unwrap();
    }
    fs::write(parent.join("1/state.json"), "{").unwrap();
    let (came, resource_version) = scene.keyring().await;
    assert_eq!(came.state, keyring.state);
    keyring.state.record_handled("rollover", "r1", "no", SystemTime::UNIX_EPOCH);
    scene.store.put_keyring("root-prod-main", &keyring, Some(&resource_version)).await.unwrap();
    assert_eq!(names(&parent), ["3"]);
}

#[tokio::test]
async fn half_written_version_and_objects_are_not_seen_and_go_with_the_next_writing() {
    let scene = Scene::create();
    scene.write("state/versions/shop/mtls-prod-payments/.new/tls.key", "half");
    scene.write("state/certificates/shop/mtls-prod-payments/.report.json.new", "{\"half");
    scene.write("certificates/shop/.mtls-prod-orders.yaml.new", "half");
    scene.write("secrets/shop/payments-tls/..2026_01_31_09_15_00.1/tls.crt", "half");
    let seen = scene.store.observe().await.unwrap();
    assert_eq!(seen.read_errors, Vec::<String>::new());
    assert_eq!(seen.certificates.len(), 1);
    assert!(seen.certificates[&payments()].versions.is_empty());
    assert!(matches!(seen.certificates[&payments()].published, Published::Absent));

    scene.store.create_version(&payments(), 1, &kept()).await.unwrap();
    scene.report(&CertificateStatus::default()).await;
    let orders = ObjectName::new("shop", "mtls-prod-orders");
    let spec = ServiceCertificateSpec { authority: "root-prod-main".into(), ..Default::default() };
    scene.store.create_certificate(&orders, &spec).await.unwrap();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    assert_eq!(names(&scene.path("state/versions/shop/mtls-prod-payments")), ["1"]);
    assert_eq!(names(&scene.path("state/certificates/shop/mtls-prod-payments")), ["report.json"]);
    assert_eq!(names(&scene.path("certificates/shop")), ["mtls-prod-orders.yaml", "mtls-prod-payments.yaml"]);
    let left = names(&scene.path("secrets/shop/payments-tls"));
    assert!(left.iter().all(|name| !name.ends_with(".1")), "{left:?}");
}

/// A crash of the publication between the swap and the links, or somebody who removed one.
#[tokio::test]
async fn secret_without_a_link_is_another_one_until_it_is_published_again() {
    let scene = Scene::create();
    let contents = contents();
    scene.store.publish(&payments(), "payments-tls", &contents, None).await.unwrap();
    let publication = async || match &scene.store.observe().await.unwrap().certificates[&payments()].published
    {
        Published::Ours(publication) => publication.clone(),
        other => panic!("{other:?}"),
    };
    let whole = publication().await;
    fs::remove_file(scene.path("secrets/shop/payments-tls/tls.crt")).unwrap();
    let torn = publication().await;
    assert_ne!(torn.fingerprint, whole.fingerprint);
    scene.store.publish(&payments(), "payments-tls", &contents, Some(&torn.resource_version)).await.unwrap();
    assert_eq!(publication().await.fingerprint, whole.fingerprint);
}

#[tokio::test]
async fn file_in_the_place_of_a_link_closes_the_secret_and_says_what_to_do() {
    let scene = Scene::create();
    scene.store.publish(&payments(), "payments-tls", &contents(), None).await.unwrap();
    let link = scene.path("secrets/shop/payments-tls/tls.crt");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "mine").unwrap();
    let seen = scene.store.observe().await.unwrap();
    let Published::Inaccessible(why) = &seen.certificates[&payments()].published else { panic!("{seen:?}") };
    assert!(why.contains("tls.crt") && why.contains("remove it"), "{why}");
    assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
}

#[tokio::test]
async fn malformed_files_are_named_and_take_nobody_down() {
    let scene = Scene::create();
    let cases = [
        ("authorities/root-prod-a.yaml", "spec: [", "root-prod-a.yaml"),
        ("authorities/root-prod-b.yaml", CERTIFICATE, "kind CertificateAuthority"),
        ("authorities/root-prod-c.yaml", AUTHORITY, "metadata.name must be that of the file, root-prod-c"),
        ("authorities/root-prod-d.yml", AUTHORITY, "it is not a NAME.yaml"),
        ("authorities/Root.yaml", AUTHORITY, "it is not a NAME.yaml"),
        ("certificates/shop/mtls-prod-a.yaml", "\u{0}", "mtls-prod-a.yaml"),
        ("certificates/Shop/mtls-prod-a.yaml", CERTIFICATE, "not a directory named as a namespace"),
        ("certificates/web/mtls-prod-payments.yaml", CERTIFICATE, "metadata.namespace"),
    ];
    for (path, text, _) in &cases {
        scene.write(path, text);
    }
    let misspelt = CERTIFICATE.replace("payments", "typo").replace("authority:", "history: 3\n  autority:");
    scene.write("certificates/shop/mtls-prod-typo.yaml", &misspelt);
    scene.write("certificates/shop/mtls-prod-large.yaml", &"#".repeat((1 << 20) + 1));
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        scene.path("certificates/shop/mtls-prod-pipe.yaml"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();

    let seen = scene.store.observe().await.unwrap();
    assert!(seen.authorities.keys().eq(["root-prod-main"]));
    assert!(seen.certificates.keys().eq([&payments()]));
    let mut expected: Vec<_> = cases.iter().map(|(_, _, expected)| *expected).collect();
    expected.extend(["spec.autority is not a field; there are", "larger than 1048576", "not a regular file"]);
    for expected in expected {
        assert!(seen.read_errors.iter().any(|problem| problem.contains(expected)), "{expected}: {seen:#?}");
    }
    assert_eq!(seen.read_errors.len(), cases.len() + 3, "{:#?}", seen.read_errors);
}

/// Else a rollover would go on as if its pods were nobody's.
#[tokio::test]
async fn object_whose_file_breaks_stays_with_its_last_spec() {
    let scene = Scene::create();
    let before = scene.store.observe().await.unwrap();
    let status = CertificateStatus { revision: Some(3), ..CertificateStatus::default() };
    scene.report(&status).await;
    scene.store.ask(&ObjectRef::Certificate(payments()), "rotate", "r1").await.unwrap();
    scene.write("certificates/shop/mtls-prod-payments.yaml", "spec: [");
    for _ in 0..2 {
        let seen = scene.store.observe().await.unwrap();
        let (now, then) = (&seen.certificates[&payments()], &before.certificates[&payments()]);
        assert_eq!((&now.spec, now.generation), (&then.spec, then.generation));
        assert_eq!(now.status, status);
        assert_eq!(now.requests["rotate"].id, "r1");
        assert_eq!(seen.read_errors.len(), 1, "{:#?}", seen.read_errors);
        // A report on it keeps what there is.
        scene.report(&status).await;
    }
    fs::remove_file(scene.path("certificates/shop/mtls-prod-payments.yaml")).unwrap();
    assert!(scene.store.observe().await.unwrap().certificates.is_empty());
}

#[tokio::test]
async fn broken_keyring_is_unreadable_and_not_overwritten() {
    let scene = Scene::create();
    let keyring = Keyring::new(root("root"));
    scene.store.put_keyring("root-prod-main", &keyring, None).await.unwrap();
    let own = scene.path("state/authorities/root-prod-main/keyring/1");
    let key = names(&own).into_iter().find(|name| name.ends_with(".key")).unwrap();
    fs::rename(own.join(&key), own.join("away")).unwrap();
    let seen = scene.store.observe().await.unwrap();
    let KeyringState::Unreadable(why) = &seen.authorities["root-prod-main"].keyring else {
        panic!("{seen:?}")
    };
    assert!(why.contains(&key) && why.contains("backup"), "{why}");
    let over = scene.store.put_keyring("root-prod-main", &keyring, None).await;
    assert!(matches!(over, Err(StoreError::Conflict(_))), "{over:?}");
    fs::rename(own.join("away"), own.join(&key)).unwrap();
    assert_eq!(scene.keyring().await.0.state, keyring.state);
}

#[tokio::test]
async fn removal_of_a_key_that_was_interrupted_is_seen_and_repeated() {
    let scene = Scene::create();
    scene.store.create_version(&payments(), 1, &kept()).await.unwrap();
    scene.store.create_version(&payments(), 2, &kept()).await.unwrap();
    let versions = scene.path("state/versions/shop/mtls-prod-payments");
    // As a crash leaves it between the copy without the key and the end of the one with it.
    fs::create_dir(versions.join("1.keyless")).unwrap();
    for file in ["facts.json", "tls.crt"] {
        fs::copy(versions.join("1").join(file), versions.join("1.keyless").join(file)).unwrap();
    }
    let version = |observed: Observed| Arc::clone(&observed.certificates[&payments()].versions[&1]);
    let seen = version(scene.store.observe().await.unwrap());
    assert!(seen.has_key);
    scene.store.remove_key(&payments(), 1, &seen.resource_version).await.unwrap();
    assert_eq!(names(&versions), ["1.keyless", "2"]);
    let seen = version(scene.store.observe().await.unwrap());
    assert!(!seen.has_key && !seen.leaf.serial.is_empty());
    assert_eq!(scene.problems().await, Vec::<String>::new());
    scene.store.delete_version(&payments(), 1, &seen.resource_version).await.unwrap();
    assert_eq!(names(&versions), ["2"]);
}

/// Else the next one would be refused as one that is there, for ever.
#[tokio::test]
async fn version_that_cannot_be_read_is_named_and_counts_as_its_number() {
    for (file, contents) in [("facts.json", "{"), ("tls.crt", "no certificate"), ("tls.key", "\u{0}")] {
        let scene = Scene::create();
        scene.store.create_version(&payments(), 1, &kept()).await.unwrap();
        scene.store.create_version(&payments(), 2, &kept()).await.unwrap();
        let broken = scene.path("state/versions/shop/mtls-prod-payments/2").join(file);
        if file == "tls.key" {
            fs::remove_file(&broken).unwrap();
            fs::create_dir(&broken).unwrap();
        } else {
            fs::write(&broken, contents).unwrap();
        }
        let seen = scene.store.observe().await.unwrap();
        let named = format!("mtls-prod-payments/2/{file}");
        assert!(seen.read_errors.iter().any(|error| error.contains(&named)), "{:?}", seen.read_errors);
        let versions = &seen.certificates[&payments()].versions;
        assert_eq!(versions.keys().copied().collect::<Vec<_>>(), [1, 2], "{file}");
        assert_eq!(versions[&2].leaf.not_after, SystemTime::UNIX_EPOCH);

        let taken = scene.store.create_version(&payments(), 2, &kept()).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))), "{file}: {taken:?}");
        scene.store.create_version(&payments(), 3, &kept()).await.unwrap();
        scene.store.delete_version(&payments(), 2, &versions[&2].resource_version).await.unwrap();
        assert_eq!(scene.problems().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn directory_that_cannot_be_listed_fails_the_observation() {
    let scene = Scene::create();
    fs::remove_dir_all(scene.path("authorities")).unwrap();
    fs::write(scene.path("authorities"), "").unwrap();
    let failed = scene.store.observe().await;
    assert!(
        matches!(&failed, Err(StoreError::Failed { what, .. }) if what.contains("authorities")),
        "{failed:?}"
    );
}
