//! A live certificate whose spec names another authority: one that is mistyped, one that exists, and the one before.

use kit::within;
use serde_json::json;

use super::shop::{SERVICES, Shop, waits_for};
use crate::control_plane::{AUTHORITY, TAKEOVER};

const NEXT: &str = "root-demo-next";
const MISTYPED: &str = "root-demo-shpo";

/// The authority of a certificate is a typo: the pods serve on, and the rollover waits until it is corrected.
#[test]
fn mistyped_authority_holds_a_rollover_until_it_is_corrected_and_no_call_fails() {
    let shop = Shop::open();
    let calls = shop.calls();
    let old = shop.roots();
    let certificate = "shop/mtls-demo-payments";

    // Before a rollover.
    shop.name_authority("payments", MISTYPED);
    shop.wait_unready("mtls-demo-payments", "AuthorityNotFound");
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--reason", "a typo before"]);
    let why = shop.wait_held("Distributing", certificate);
    assert!(why.contains(&format!("{MISTYPED:?}")) && why.contains("is that the right one?"), "{why}");
    assert_eq!(shop.roots()[0], old[0]);
    assert!(shop.answers());
    shop.name_authority("payments", AUTHORITY);
    shop.wait_steady();
    shop.wait_healthy();
    let second = shop.roots();
    assert!(second[0] == second[1] && second[0].len() == 1 && second != old, "{second:?}");

    // In the middle of one.
    shop.silent_pod("storefront");
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--reason", "a typo in the middle"]);
    shop.wait_held("Distributing", "shop/silent");
    shop.name_authority("payments", MISTYPED);
    shop.wait_unready("mtls-demo-payments", "AuthorityNotFound");
    shop.delete_pod("shop", "silent");
    let phase = within(TAKEOVER, "the rollover held by the certificate", || {
        let authority = shop.cluster.authority();
        let waits_for = waits_for(&authority);
        (waits_for.len() == 1 && waits_for[0].starts_with(certificate)).then_some(authority)
    });
    assert_ne!(phase["phase"], "Steady", "{phase:#}");
    assert_eq!(shop.roots()[0].len(), 2, "the pods of the mistyped certificate trust both");
    assert!(shop.answers());
    shop.name_authority("payments", AUTHORITY);
    shop.wait_steady();
    shop.wait_healthy();
    let third = shop.roots();
    assert!(third[0] == third[1] && third[0].len() == 1 && third != second, "{third:?}");
    calls.end();
}

/// To another authority and back, on proof: pods trust both before any of them shows a leaf of the other one.
#[test]
fn services_that_move_to_another_authority_and_back_trust_both_until_every_pod_has_moved() {
    let shop = Shop::open();
    let calls = shop.calls();
    let old = shop.roots();
    let authority = json!({
        "apiVersion": "hotcert.dev/v1alpha1", "kind": "CertificateAuthority", "metadata": {"name": NEXT},
        "spec": {"namespaces": ["shop"], "trustDomain": "shop", "drainDeadline": "2s"},
    });
    shop.apply(&authority);
    within(TAKEOVER, "another root", || {
        shop.cluster.authority_named(NEXT)["root"]["sha256"].as_str().map(drop)
    });
    let root = |authority: &str| {
        let status = shop.cluster.authority_named(authority);
        status["root"]["sha256"].as_str().unwrap().to_owned()
    };
    let serials =
        || shop.services.each_ref().map(|service| service.agent.health()["served"]["serial"].clone());

    let (mut from, mut to) = (AUTHORITY, NEXT);
    for _ in 0..2 {
        let before = serials();
        shop.silent_pod("payments");
        SERVICES.iter().for_each(|service| shop.name_authority(service, to));
        shop.wait_roots("both bundles", |roots| roots.len() == 2);
        shop.wait_condition("mtls-demo-storefront", ["Reconciling", "True", "MovingTrust"]);
        assert_eq!(serials(), before, "no pod shows the new leaf before every pod trusts it");
        let recorded = shop.cluster.ledger(from).unwrap();
        assert!(
            recorded.contains("shop/payments-tls") && recorded.contains("shop/storefront-tls"),
            "{recorded:?}"
        );

        shop.delete_pod("shop", "silent");
        let new = root(to);
        shop.wait_roots("the new root alone", |roots| roots == [new.clone()]);
        assert_ne!(serials(), before);
        shop.wait_crossed_out(from);
        shop.wait_healthy();
        // A rollover of the authority that they have left is no concern of theirs.
        shop.cluster.succeeds(&["rollover", from, "--watch"]);
        assert_ne!(vec![root(from)], old[0]);
        assert_eq!(shop.roots(), [vec![new.clone()], vec![new]]);
        (from, to) = (to, from);
    }
    shop.cluster.succeeds(&["rollover", AUTHORITY, "--watch"]);
    let new = root(AUTHORITY);
    shop.wait_roots("the last root alone", |roots| roots == [new.clone()]);
    calls.end();
}
