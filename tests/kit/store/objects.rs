//! Objects: their statuses, what is asked of them, and what of all this may be shown.

use super::*;

pub async fn statuses_come_back(store: &impl Store, hand: &impl Hand) {
    let conditions = vec![Condition {
        r#type: ConditionType::Ready,
        status: ConditionStatus::False,
        reason: Reason::WaitingForTrust,
        message: "it waits".into(),
        last_transition_time: "2026-01-31T09:15:00Z".into(),
        observed_generation: Some(3),
    }];
    let (ca, name) = (authority(store, hand, "statuses").await, certificate(store, hand, "statuses").await);
    for revision in [1, 2] {
        let status = AuthorityStatus {
            observed_generation: Some(revision),
            phase: Some("Steady".into()),
            certificates: Some(3),
            conditions: conditions.clone(),
            ..AuthorityStatus::default()
        };
        let over = seen_authority(store, &ca, |_| true).await.resource_version.clone();
        store.report_authority(&ca, &status, &over).await.unwrap();
        seen_authority(store, &ca, |seen| seen.status == status).await;
        let status = CertificateStatus {
            revision: Some(revision),
            secret_name: Some("payments-tls".into()),
            conditions: conditions.clone(),
            ..CertificateStatus::default()
        };
        let over = seen_certificate(store, &name, |_| true).await.resource_version.clone();
        store.report_certificate(&name, &status, &over).await.unwrap();
        seen_certificate(store, &name, |seen| seen.status == status).await;
    }
    let over = ResourceVersion::default();
    missing(store.report_authority("root-prod-nobody", &AuthorityStatus::default(), &over).await);
    let nobody = ObjectName::new(NAMESPACE, "mtls-prod-nobody");
    missing(store.report_certificate(&nobody, &CertificateStatus::default(), &over).await);
}

/// Of the status, and of what it answers.
pub async fn status_over_an_old_version_conflicts(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "late").await, certificate(store, hand, "late").await);
    let said = |phase: &str| AuthorityStatus { phase: Some(phase.into()), ..AuthorityStatus::default() };
    let first = seen_authority(store, &ca, |_| true).await.resource_version.clone();
    store.report_authority(&ca, &said("first"), &first).await.unwrap();
    conflicts(store.report_authority(&ca, &said("late"), &first).await);
    let second = seen_authority(store, &ca, |seen| seen.status == said("first")).await;
    hand.ask(&ObjectRef::Authority(ca.clone()), "rollover", "r1").await.unwrap();
    conflicts(store.report_authority(&ca, &said("late"), &second.resource_version).await);
    let third = seen_authority(store, &ca, |seen| seen.requests.contains_key("rollover")).await;
    store.report_authority(&ca, &said("third"), &third.resource_version).await.unwrap();

    let said = |revision| CertificateStatus { revision: Some(revision), ..CertificateStatus::default() };
    let first = seen_certificate(store, &name, |_| true).await.resource_version.clone();
    store.report_certificate(&name, &said(1), &first).await.unwrap();
    conflicts(store.report_certificate(&name, &said(2), &first).await);
    let second = seen_certificate(store, &name, |seen| seen.status == said(1)).await;
    hand.ask(&ObjectRef::Certificate(name.clone()), "rotate", "r1").await.unwrap();
    conflicts(store.report_certificate(&name, &said(2), &second.resource_version).await);
    // What was in the way is seen without waiting for a watch.
    let third = store.observe().await.unwrap().certificates[&name].clone();
    assert!(third.requests.contains_key("rotate"));
    store.report_certificate(&name, &said(3), &third.resource_version).await.unwrap();
}

/// Of two receivers each adds to what it has read.
pub async fn hint_over_an_old_version_conflicts(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "hinted").await, certificate(store, hand, "hinted").await);
    let hint = |id: &str| Some(Request { id: id.into(), arguments: "from=a".into() });

    let about = ObjectRef::Authority(ca.clone());
    let first = seen_authority(store, &ca, |_| true).await.resource_version.clone();
    store.set_renewal_hint(&about, "h1 from=a", &first).await.unwrap();
    conflicts(store.set_renewal_hint(&about, "h2 from=a", &first).await);
    // What was in the way is seen without waiting for a watch.
    let second = store.observe().await.unwrap().authorities[&ca].clone();
    assert_eq!(second.requests.get("renewal-hint").cloned(), hint("h1"));
    store.set_renewal_hint(&about, "h3 from=a", &second.resource_version).await.unwrap();
    seen_authority(store, &ca, |seen| seen.requests.get("renewal-hint").cloned() == hint("h3")).await;

    let about = ObjectRef::Certificate(name.clone());
    let first = seen_certificate(store, &name, |_| true).await.resource_version.clone();
    hand.ask(&about, "renewal-hint", "h1 from=a").await.unwrap();
    conflicts(store.set_renewal_hint(&about, "h2 from=a", &first).await);
    let second = store.observe().await.unwrap().certificates[&name].clone();
    assert_eq!(second.requests.get("renewal-hint").cloned(), hint("h1"));
    store.set_renewal_hint(&about, "h3 from=a", &second.resource_version).await.unwrap();
    seen_certificate(store, &name, |seen| seen.requests.get("renewal-hint").cloned() == hint("h3")).await;
    let nobody = ObjectRef::Certificate(ObjectName::new(NAMESPACE, "mtls-prod-nobody"));
    missing(store.set_renewal_hint(&nobody, "h1", &ResourceVersion::default()).await);
}

pub async fn everything_is_seen_at_once_after_a_relist(store: &impl Store, hand: &impl Hand) {
    let ca = authority(store, hand, "relisted").await;
    store.put_keyring(&ca, &Keyring::new(leaf().0), None).await.unwrap();
    let name = ObjectName::new(NAMESPACE, "mtls-prod-relisted");
    hand.create_certificate(&name, &spec()).await.unwrap();
    hand.ask(&ObjectRef::Authority(ca.clone()), "rollover", "r1").await.unwrap();
    store.relist().await;
    let seen = store.observe().await.unwrap();
    assert!(seen.authorities[&ca].requests.contains_key("rollover"));
    assert!(matches!(seen.authorities[&ca].keyring, KeyringState::Present(_)));
    assert_eq!(seen.certificates[&name].spec, spec());
}

pub async fn requests_appear_until_they_are_replaced(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "asked").await, certificate(store, hand, "asked").await);
    let request = |id: &str, words: &str| Request { id: id.into(), arguments: words.into() };
    hand.ask(&ObjectRef::Authority(ca.clone()), "rollover", "r1 it is time").await.unwrap();
    hand.ask(&ObjectRef::Authority(ca.clone()), "override", "o1").await.unwrap();
    let both = BTreeMap::from([
        ("rollover".to_owned(), request("r1", "it is time")),
        ("override".to_owned(), request("o1", "")),
    ]);
    seen_authority(store, &ca, |seen| seen.requests == both).await;

    let about = ObjectRef::Certificate(name.clone());
    for id in ["a", "b"] {
        hand.ask(&about, "rotate", id).await.unwrap();
        seen_certificate(store, &name, |seen| seen.requests.get("rotate") == Some(&request(id, ""))).await;
    }
    let nobody = ObjectRef::Certificate(ObjectName::new(NAMESPACE, "mtls-prod-nobody"));
    missing(hand.ask(&nobody, "rotate", "a").await);
}

pub async fn objects_are_created_once(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "once").await, certificate(store, hand, "once").await);
    let other = CertificateAuthoritySpec { namespaces: vec!["other".into()], ..Default::default() };
    conflicts(hand.create_authority(&ca, &other).await);
    let other = ServiceCertificateSpec { authority: "root-prod-other".into(), ..Default::default() };
    conflicts(hand.create_certificate(&name, &other).await);
    assert_eq!(seen_authority(store, &ca, |_| true).await.spec, authority_spec());
    assert_eq!(seen_certificate(store, &name, |_| true).await.spec, spec());
}

pub async fn deleted_objects_are_gone_with_their_requests(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "removed").await, certificate(store, hand, "removed").await);
    let (of_authority, of_certificate) =
        (ObjectRef::Authority(ca.clone()), ObjectRef::Certificate(name.clone()));
    hand.ask(&of_authority, "rollover", "r1").await.unwrap();
    hand.ask(&of_certificate, "rotate", "r2").await.unwrap();
    seen_authority(store, &ca, |seen| !seen.requests.is_empty()).await;
    seen_certificate(store, &name, |seen| !seen.requests.is_empty()).await;
    hand.delete_authority(&ca).await.unwrap();
    hand.delete_certificate(&name).await.unwrap();
    let is_gone = |seen: &Observed| {
        (!seen.authorities.contains_key(&ca) && !seen.certificates.contains_key(&name)).then_some(())
    };
    seen(store, "nothing", is_gone).await;
    missing(hand.delete_authority(&ca).await);
    missing(hand.delete_certificate(&name).await);
    // Of the same names, but others.
    authority(store, hand, "removed").await;
    certificate(store, hand, "removed").await;
    assert!(seen_authority(store, &ca, |_| true).await.requests.is_empty());
    assert!(seen_certificate(store, &name, |_| true).await.requests.is_empty());
}

pub async fn nothing_that_is_shown_has_a_key(store: &impl Store, hand: &impl Hand) {
    let (ca, name) = (authority(store, hand, "shown").await, certificate(store, hand, "shown").await);
    let secret = secret(&name).name;
    let (root, leaf) = leaf();
    let keys = [root.key_pem(), leaf.key_pem.clone()];
    let (kept, contents) = (kept(&root, &leaf), contents(&root, &leaf, 1));
    hand.put_import("shown", root.certificate_pem(), &root.key_pem()).await;
    let keyring = Keyring::new(root);

    let mut shown = String::new();
    let mut show = |what: &dyn Debug| shown.push_str(&format!("{what:?}\n{what:#?}\n"));
    store.put_keyring(&ca, &keyring, None).await.unwrap();
    show(&store.put_keyring(&ca, &keyring, None).await.unwrap_err());
    store.create_version(&name, 1, &kept).await.unwrap();
    show(&store.create_version(&name, 1, &kept).await.unwrap_err());
    store.publish(&name, &secret, &contents, None).await.unwrap();
    show(&store.publish(&name, &secret, &contents, None).await.unwrap_err());
    show(&store.keyring(&ca).await.unwrap());
    show(&store.load_version(&name, 1).await.unwrap());
    show(&(kept, contents));
    seen_publication(store, &name, |_| true).await;
    show(&store.observe().await.unwrap());
    show(&store.pods(&BTreeSet::from([NAMESPACE.to_owned()])).await);

    assert!(!shown.contains("PRIVATE KEY"));
    for line in keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(line), "a line of a key is shown");
    }
}
