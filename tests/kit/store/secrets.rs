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
        assert_eq!(
            seen.fingerprint,
            Fingerprint::of(contents.certificate.as_bytes(), contents.key.as_bytes())
        );
        assert_eq!(seen.roots, x509_facts::roots(contents.bundle.as_bytes()));
        assert_eq!(seen.leaf_sha256, leaf.sha256());
        assert_eq!(seen.written_at, contents.written_at);
        // There was no write in between.
        assert_eq!(seen_publication(store, &name, |_| true).await, seen);
        assert_ne!(last.as_ref().map(|last| &last.resource_version), Some(&seen.resource_version));
        for (file, expected) in
            [("tls.crt", &contents.certificate), ("tls.key", &*contents.key), ("ca.crt", &contents.bundle)]
        {
            assert!(hand.read_secret(&secret, file).await == *expected, "{file} is another one");
        }
        assert_eq!(hand.read_secret(&secret, "revision").await, revision.to_string());
        last = Some(seen);
    }
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
    let fingerprint = Fingerprint::of(expected.certificate.as_bytes(), expected.key.as_bytes());
    let mended = seen_publication(store, &name, |seen| seen.fingerprint == fingerprint).await;
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
