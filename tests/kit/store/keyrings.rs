//! Keyrings, with their keys, and the roots that they may begin with.

use super::*;

pub async fn keyring_comes_back_and_signs_the_same(store: &impl Store, hand: &impl Hand) {
    let name = authority(store, hand, "comes-back").await;
    assert!(store.keyring(&name).await.unwrap().is_none());
    assert!(matches!(seen_authority(store, &name, |_| true).await.keyring, KeyringState::Absent));

    let mut keyring = Keyring::new(pki::authority("first"));
    let second = keyring.add(pki::authority("second"));
    assert!(keyring.state.begin(second.clone(), "a test".into(), moment()));
    keyring.state.record_handled("rollover", "r1", "begun", moment());
    store.put_keyring(&name, &keyring, None).await.unwrap();

    let (came, resource_version) = store.keyring(&name).await.unwrap().unwrap();
    assert_eq!(came.state, keyring.state);
    assert_eq!(came.bundle(), keyring.bundle());
    assert!(came.roots.keys().eq(keyring.roots.keys()));
    for (id, root) in &keyring.roots {
        assert!(came.roots[id].key_pem() == root.key_pem(), "the key of {id} is another one");
        assert_eq!(came.roots[id].not_after(), root.not_after());
        came.roots[id].issue(&pki::request("payments"), SystemTime::now()).unwrap();
    }
    let ring = seen_ring(store, &name, |ring| ring.resource_version == resource_version).await;
    assert_eq!(ring.state, keyring.state);
    assert_eq!(ring.roots, KeyringView::of(&keyring, resource_version).roots);
}

pub async fn keyring_over_an_old_version_conflicts(store: &impl Store, hand: &impl Hand) {
    let name = authority(store, hand, "old-version").await;
    let mut keyring = Keyring::new(pki::authority("root"));
    store.put_keyring(&name, &keyring, None).await.unwrap();
    let (_, first) = store.keyring(&name).await.unwrap().unwrap();
    keyring.state.record_handled("rollover", "r1", "no", moment());
    store.put_keyring(&name, &keyring, Some(&first)).await.unwrap();

    let mut late = Keyring::new(pki::authority("late"));
    late.state.record_handled("rollover", "r2", "no", moment());
    conflicts(store.put_keyring(&name, &late, Some(&first)).await);
    let (came, second) = store.keyring(&name).await.unwrap().unwrap();
    assert_eq!(came.state, keyring.state);
    assert_ne!(second, first);
    // Neither is one over what there never was.
    let other = authority(store, hand, "no-version").await;
    conflicts(store.put_keyring(&other, &late, Some(&first)).await);
    assert!(store.keyring(&other).await.unwrap().is_none());
}

pub async fn keyring_is_created_once(store: &impl Store, hand: &impl Hand) {
    let name = authority(store, hand, "created-once").await;
    let (first, second) = (Keyring::new(pki::authority("first")), Keyring::new(pki::authority("second")));
    store.put_keyring(&name, &first, None).await.unwrap();
    conflicts(store.put_keyring(&name, &second, None).await);
    let (came, _) = store.keyring(&name).await.unwrap().unwrap();
    assert_eq!(came.state, first.state);
}

/// A root's key is gone with it.
pub async fn keyring_forgets_roots_that_are_not_needed(store: &impl Store, hand: &impl Hand) {
    let name = authority(store, hand, "forgets").await;
    let mut keyring = Keyring::new(pki::authority("first"));
    let second = keyring.add(pki::authority("second"));
    store.put_keyring(&name, &keyring, None).await.unwrap();
    let (_, resource_version) = store.keyring(&name).await.unwrap().unwrap();
    keyring.state = State::steady(second.clone());
    keyring.tidy();
    store.put_keyring(&name, &keyring, Some(&resource_version)).await.unwrap();
    let (came, _) = store.keyring(&name).await.unwrap().unwrap();
    assert!(came.roots.keys().eq([&second]));
}

/// It could not be read back.
pub async fn keyring_with_too_many_roots_is_refused(store: &impl Store, hand: &impl Hand) {
    let name = authority(store, hand, "too-many").await;
    let mut keyring = Keyring::new(pki::authority("first"));
    for number in 1..8 {
        keyring.add(pki::authority(&number.to_string()));
    }
    store.put_keyring(&name, &keyring, None).await.unwrap();
    let (came, resource_version) = store.keyring(&name).await.unwrap().unwrap();
    assert_eq!(came.roots.len(), 8);
    keyring.add(pki::authority("ninth"));
    malformed(store.put_keyring(&name, &keyring, Some(&resource_version)).await);
    assert_eq!(store.keyring(&name).await.unwrap().unwrap().1, resource_version);
}

pub async fn root_to_import_is_seen(store: &impl Store, hand: &impl Hand) {
    let (name, root) = ("root-prod-imported", pki::authority("imported"));
    let spec = CertificateAuthoritySpec {
        import: Some(ImportSource { secret_name: "legacy".into() }),
        ..authority_spec()
    };
    hand.create_authority(name, &spec).await.unwrap();
    seen_authority(store, name, |seen| matches!(seen.import, Some(Err(_)))).await;
    missing(store.import("legacy").await.map(drop));
    hand.put_import("legacy", root.certificate_pem(), &root.key_pem()).await;
    let id = RootId::of(&root);
    seen_authority(store, name, |seen| seen.import == Some(Ok(id.clone()))).await;
    let pem = store.import("legacy").await.unwrap();
    assert_eq!(RootId::of(&Authority::import(&pem.certificate, &pem.key).unwrap()), id);
}

pub async fn keyring_version_is_that_of_the_last_writing(store: &impl Store, hand: &impl Hand) {
    let ca = authority(store, hand, "versions").await;
    assert_eq!(store.keyring_version(&ca).await.unwrap(), None);
    let mut keyring = Keyring::new(leaf().0);
    let mut over = None;
    for request in ["r1", "r2"] {
        keyring.state.record_handled("rollover", request, "begun", moment());
        store.put_keyring(&ca, &keyring, over.as_ref()).await.unwrap();
        let version = store.keyring_version(&ca).await.unwrap();
        assert_ne!(version, over);
        assert_eq!(store.keyring(&ca).await.unwrap().map(|(_, version)| version), version);
        seen_ring(store, &ca, |seen| Some(&seen.resource_version) == version.as_ref()).await;
        over = version;
    }
}
