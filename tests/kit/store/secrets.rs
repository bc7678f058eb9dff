//! Publications: what is written is what is seen, and what belongs to something else stays untouched.

use super::*;

pub async fn publication_is_seen_as_it_was_written(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "published").await;
    let secret = secret(&name);
    assert!(matches!(seen_certificate(store, &name, |_| true).await.published, Published::Absent));
    let (root, leaf) = leaf();
    let mut last: Option<Publication> = None;
    for revision in [7, 8] {
        let contents = contents(&root, &leaf, revision);
        let over = last.as_ref().map(|last| last.resource_version.clone());
        store.publish(&name, &secret.name, &contents, over.as_ref()).await.unwrap();
        let seen = seen_publication(store, &name, |seen| seen.revision == revision).await;
        assert_eq!(seen.fingerprint, fingerprint(&leaf));
        assert_eq!(seen.roots, x509_facts::roots(contents.bundle.as_bytes()));
        assert_eq!(seen.leaf_sha256, leaf.sha256());
        assert_eq!(seen.written_at, contents.written_at);
        // There was no write in between.
        assert_eq!(seen_publication(store, &name, |_| true).await, seen);
        assert_ne!(last.as_ref().map(|last| &last.resource_version), Some(&seen.resource_version));
        let files =
            [("tls.crt", &leaf.certificate_pem), ("tls.key", &*leaf.key_pem), ("ca.crt", &contents.bundle)];
        for (file, expected) in files {
            assert!(hand.read_secret(&secret, file).await == *expected, "{file} is another one");
        }
        assert_eq!(hand.read_secret(&secret, "revision").await, revision.to_string());
        last = Some(seen);
    }
}

fn fingerprint(leaf: &Leaf) -> Fingerprint {
    Fingerprint::of(leaf.certificate_pem.as_bytes(), leaf.key_pem.as_bytes())
}

/// Nobody needs the key to change what stands beside it.
pub async fn bundle_is_published_beside_the_leaf_that_is_there(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "beside").await;
    let secret = secret(&name);
    let (root, leaf) = leaf();
    store.publish(&name, &secret.name, &contents(&root, &leaf, 1), None).await.unwrap();
    let first = seen_publication(store, &name, |_| true).await.resource_version;
    let bundle = Contents {
        leaf: None,
        bundle: root.certificate_pem().to_owned(),
        version: 2,
        ..contents(&root, &leaf, 2)
    };
    store.publish(&name, &secret.name, &bundle, Some(&first)).await.unwrap();
    let seen = seen_publication(store, &name, |seen| seen.revision == 2).await;
    assert_eq!((seen.fingerprint, seen.written_at), (fingerprint(&leaf), bundle.written_at));
    assert_eq!(seen.roots, BTreeSet::from([RootId::of(&root)]));
    for (file, expected) in
        [("tls.crt", &leaf.certificate_pem), ("tls.key", &*leaf.key_pem), ("ca.crt", &bundle.bundle)]
    {
        assert!(hand.read_secret(&secret, file).await == *expected, "{file} is another one");
    }
    // The leaf may be another one by now.
    conflicts(store.publish(&name, &secret.name, &bundle, Some(&first)).await);
    hand.delete_secret(&secret).await;
    conflicts(store.publish(&name, &secret.name, &bundle, Some(&seen.resource_version)).await);
    conflicts(store.publish(&name, &secret.name, &bundle, None).await);
}

/// What is published is found among the versions.
pub async fn published_version_is_recognised(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "recognised").await;
    let (root, leaf) = leaf();
    store.create_version(&name, 3, &kept(&root, &leaf)).await.unwrap();
    store.publish(&name, &secret(&name).name, &contents(&root, &leaf, 1), None).await.unwrap();
    let number = |seen: &Certificate| seen.published_version().map(|(number, _)| number);
    seen_certificate(store, &name, |seen| number(seen) == Some(3)).await;
}

pub async fn publication_over_an_old_version_conflicts(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "overtaken").await;
    let secret = secret(&name).name;
    let (root, leaf) = leaf();
    store.publish(&name, &secret, &contents(&root, &leaf, 1), None).await.unwrap();
    conflicts(store.publish(&name, &secret, &contents(&root, &leaf, 2), None).await);
    let first = seen_publication(store, &name, |_| true).await.resource_version;
    store.publish(&name, &secret, &contents(&root, &leaf, 2), Some(&first)).await.unwrap();
    conflicts(store.publish(&name, &secret, &contents(&root, &leaf, 3), Some(&first)).await);
    seen_publication(store, &name, |seen| seen.revision == 2).await;
}

pub async fn deleted_secret_is_seen_and_written_again(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "deleted").await;
    let secret = secret(&name);
    let (root, leaf) = leaf();
    store.publish(&name, &secret.name, &contents(&root, &leaf, 1), None).await.unwrap();
    let resource_version = seen_publication(store, &name, |_| true).await.resource_version;
    hand.delete_secret(&secret).await;
    seen_certificate(store, &name, |seen| matches!(seen.published, Published::Absent)).await;
    conflicts(store.publish(&name, &secret.name, &contents(&root, &leaf, 2), Some(&resource_version)).await);
    store.publish(&name, &secret.name, &contents(&root, &leaf, 2), None).await.unwrap();
    seen_publication(store, &name, |seen| seen.revision == 2).await;
}

pub async fn edited_secret_is_seen_and_written_again(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "edited").await;
    let secret = secret(&name);
    let ((root, leaf), (other, another)) = (leaf(), leaf());
    let expected = contents(&root, &leaf, 1);
    store.publish(&name, &secret.name, &expected, None).await.unwrap();
    let mut before = seen_publication(store, &name, |_| true).await;

    for (file, contents) in [
        ("tls.key", another.key_pem.as_str()),
        ("tls.crt", &another.certificate_pem),
        ("tls.crt", "no certificate"),
    ] {
        hand.edit_secret(&secret, file, contents).await;
        let after = seen_publication(store, &name, |seen| seen.fingerprint != before.fingerprint).await;
        assert_ne!(after.resource_version, before.resource_version, "{file}");
        before = after;
    }
    assert_eq!(before.leaf_sha256, "");
    hand.edit_secret(&secret, "ca.crt", other.certificate_pem()).await;
    let other = BTreeSet::from([RootId::of(&other)]);
    let edited = seen_publication(store, &name, |seen| seen.roots == other).await;

    store.publish(&name, &secret.name, &expected, Some(&edited.resource_version)).await.unwrap();
    let mended = seen_publication(store, &name, |seen| seen.fingerprint == fingerprint(&leaf)).await;
    assert_eq!(mended.roots, x509_facts::roots(expected.bundle.as_bytes()));
}

/// A store need not know of it before it is in the way.
pub async fn secret_of_somebody_else_is_not_touched(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "foreign").await;
    let secret = secret(&name);
    let ((root, leaf), (_, theirs)) = (leaf(), leaf());
    hand.create_secret(&secret, &[("tls.crt", &theirs.certificate_pem), ("tls.key", &theirs.key_pem)]).await;
    conflicts(store.publish(&name, &secret.name, &contents(&root, &leaf, 1), None).await);
    seen_certificate(store, &name, |seen| matches!(seen.published, Published::OwnedByOther(_))).await;
    let resource_version = ResourceVersion("1".into());
    conflicts(store.publish(&name, &secret.name, &contents(&root, &leaf, 1), Some(&resource_version)).await);
    assert_eq!(hand.read_secret(&secret, "tls.crt").await, theirs.certificate_pem);
}

/// Two certificates that name one Secret: the first owner keeps it.
pub async fn secret_of_another_certificate_is_not_touched(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "neighbour").await;
    let secret = secret(&name);
    let rival = ObjectName::new(NAMESPACE, "mtls-prod-rival");
    let spec = ServiceCertificateSpec { secret_name: Some(secret.name.clone()), ..spec() };
    hand.create_certificate(&rival, &spec).await.unwrap();
    let ((root, leaf), (other, another)) = (leaf(), leaf());
    store.publish(&name, &secret.name, &contents(&root, &leaf, 1), None).await.unwrap();
    let of_neighbour = |seen: &Certificate| matches!(&seen.published, Published::OwnedByOther(whose) if whose.contains("neighbour"));
    seen_certificate(store, &rival, of_neighbour).await;
    conflicts(store.publish(&rival, &secret.name, &contents(&other, &another, 1), None).await);
    let resource_version = seen_publication(store, &name, |_| true).await.resource_version;
    conflicts(
        store.publish(&rival, &secret.name, &contents(&other, &another, 1), Some(&resource_version)).await,
    );
    assert_eq!(hand.read_secret(&secret, "tls.crt").await, leaf.certificate_pem);
}

pub async fn secret_name_that_leads_elsewhere_is_refused(store: &impl Store, hand: &impl Hand) {
    let name = certificate(store, hand, "elsewhere").await;
    let (root, leaf) = leaf();
    let contents = contents(&root, &leaf, 1);
    for secret in ["../payments-tls", "a/b", "Payments", "", "a."] {
        malformed(store.publish(&name, secret, &contents, None).await);
        malformed(store.import(secret).await.map(drop));
    }
}
