//! Versions: kept once, given back, forgotten.

use super::*;

pub async fn version_is_kept_once_and_comes_back(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "kept").await;
    let (root, leaf) = leaf();
    let first = StoredVersion { request: Some("r1".into()), ..kept(&root, &leaf) };
    let bundle = Some(root.certificate_pem().to_owned());
    let copy = StoredVersion { copy_of: Some(1), bundle, ..kept(&root, &leaf) };
    missing(store.load_version(&name, 1).await);
    store.create_version(&name, 1, &first).await.unwrap();
    store.create_version(&name, 2, &copy).await.unwrap();
    let (_, another) = self::leaf();
    conflicts(store.create_version(&name, 1, &kept(&root, &another)).await);

    for (number, kept) in [(1, &first), (2, &copy)] {
        let came = store.load_version(&name, number).await.unwrap();
        assert_eq!(came.certificate, kept.certificate);
        assert!(came.key == kept.key, "the key of version {number} is another one");
        assert_eq!((&came.root, &came.made_for), (&kept.root, &kept.made_for));
        assert_eq!((came.created_at, &came.request), (kept.created_at, &kept.request));
        assert_eq!((came.copy_of, &came.bundle), (kept.copy_of, &kept.bundle));
    }
    let seen = seen_certificate(store, &name, |certificate| certificate.versions.len() == 2).await;
    let version = &seen.versions[&1];
    assert_eq!(version.leaf, x509_facts::Leaf::read(first.certificate.as_bytes()).unwrap());
    assert_eq!(version.fingerprint, Fingerprint::of(first.certificate.as_bytes(), first.key.as_bytes()));
    assert_eq!((&version.root, &version.spec_digest), (&first.root, &first.made_for));
    assert_eq!((version.created_at, version.request.as_deref()), (first.created_at, Some("r1")));
    assert_eq!((version.copy_of, seen.versions[&2].copy_of), (None, Some(1)));
    let own = Some([RootId::of(&root)].into());
    assert_eq!((&version.own_bundle, &seen.versions[&2].own_bundle), (&None, &own));
}

pub async fn version_without_its_key_keeps_what_is_recorded_of_it(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "keyless").await;
    let (root, leaf) = leaf();
    let bundle = Some(root.certificate_pem().to_owned());
    let first = StoredVersion { bundle, request: Some("r1".into()), ..kept(&root, &leaf) };
    store.create_version(&name, 1, &first).await.unwrap();
    store.create_version(&name, 2, &kept(&root, &leaf)).await.unwrap();
    let before = seen_certificate(store, &name, |certificate| certificate.versions.len() == 2).await;
    let [with_key, second] = [1, 2].map(|number| before.versions[&number].clone());
    assert!(with_key.has_key);
    conflicts(store.remove_key(&name, 1, &second.resource_version).await);
    store.remove_key(&name, 1, &with_key.resource_version).await.unwrap();

    let is_gone =
        |certificate: &Certificate| certificate.versions.get(&1).is_some_and(|version| !version.has_key);
    let after = seen_certificate(store, &name, is_gone).await;
    let keyless = &after.versions[&1];
    assert_eq!((&keyless.leaf, &keyless.root), (&with_key.leaf, &with_key.root));
    assert_eq!((&keyless.spec_digest, &keyless.own_bundle), (&with_key.spec_digest, &with_key.own_bundle));
    assert_eq!((keyless.created_at, &keyless.request), (with_key.created_at, &with_key.request));
    assert_eq!(after.versions[&2], second);
    let loaded = store.load_version(&name, 1).await;
    assert!(loaded.is_err(), "a version without a key is loaded: {loaded:?}");
    store.load_version(&name, 2).await.unwrap();
    // It is that version yet: removed once, pruned once, and its number is taken.
    conflicts(store.create_version(&name, 1, &first).await);
    conflicts(store.delete_version(&name, 1, &with_key.resource_version).await);
    store.remove_key(&name, 1, &keyless.resource_version).await.unwrap();
    store.delete_version(&name, 1, &keyless.resource_version).await.unwrap();
    seen_certificate(store, &name, |certificate| certificate.versions.keys().eq([&2])).await;
}

pub async fn version_is_pruned_again_and_again(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "pruned").await;
    let (root, leaf) = leaf();
    for number in [9, 10] {
        store.create_version(&name, number, &kept(&root, &leaf)).await.unwrap();
    }
    let seen = seen_certificate(store, &name, |certificate| certificate.versions.len() == 2).await;
    let [ninth, tenth] = [9, 10].map(|number| seen.versions[&number].resource_version.clone());
    conflicts(store.delete_version(&name, 9, &tenth).await);
    for _ in 0..2 {
        store.delete_version(&name, 9, &ninth).await.unwrap();
    }
    missing(store.load_version(&name, 9).await);
    seen_certificate(store, &name, |certificate| certificate.versions.keys().eq([&10])).await;
}

/// Of a certificate that was deleted and made again, whose versions begin anew.
pub async fn version_of_the_same_number_is_not_pruned_in_place_of_another(
    store: &impl Store,
    hand: &impl Hand,
) {
    let name = certificate(store, hand, "renumbered").await;
    let (root, leaf) = leaf();
    store.create_version(&name, 1, &kept(&root, &leaf)).await.unwrap();
    let first = seen_certificate(store, &name, |certificate| certificate.versions.len() == 1).await;
    let over = &first.versions[&1].resource_version;
    store.delete_version(&name, 1, over).await.unwrap();
    store.create_version(&name, 1, &kept(&root, &leaf)).await.unwrap();
    conflicts(store.delete_version(&name, 1, over).await);
    store.load_version(&name, 1).await.unwrap();
    seen_certificate(store, &name, |certificate| certificate.versions.len() == 1).await;
}
