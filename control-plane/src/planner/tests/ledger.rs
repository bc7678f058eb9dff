//! Tables of what is written into the ledger, and of what it holds.

use std::collections::BTreeMap;

use super::scene::{NEW, OLD, Scene, name, proof_mut};
use super::*;
use crate::api::condition::{ConditionType, Reason};
use crate::pki::ledger::{LedgerChange, LedgerEntry};
use crate::planner::observed::Published;

/// A root of another authority, which nobody knows any more.
const FOREIGN: u64 = 9;

#[track_caller]
fn does(scene: &Scene, expected: &[&str]) {
    assert_eq!(scene.does(), expected);
}

fn secret() -> ObjectName {
    ObjectName::new("shop", "payments-tls")
}

fn record(scene: &mut Scene, entry: LedgerEntry) {
    let record = BTreeMap::from([(secret(), entry)]);
    scene.ring().state.change_ledger(&LedgerChange { record, remove: BTreeSet::new() });
}

fn cross_out(scene: &mut Scene) {
    let remove = BTreeSet::from([secret()]);
    scene.ring().state.change_ledger(&LedgerChange { record: BTreeMap::new(), remove });
}

/// What another authority signed is published, and this one has issued.
fn moving() -> Scene {
    let mut scene = Scene::settled();
    scene.version(1, FOREIGN);
    scene.publish(1);
    scene.publication().roots = BTreeSet::from([root_id(FOREIGN)]);
    scene.version(2, OLD);
    record(&mut scene, LedgerEntry { moved_from: BTreeSet::from([root_id(FOREIGN)]), switched: false });
    scene
}

#[test]
fn a_secret_is_recorded_before_it_is_published() {
    let mut scene = Scene::settled();
    scene.certificate().published = Published::Absent;
    scene.certificate().status.revision = None;
    cross_out(&mut scene);
    does(&scene, &["record payments-tls"]);
    record(&mut scene, LedgerEntry::default());
    does(&scene, &["publish 1 over nothing of old"]);
}

#[test]
fn a_keyring_without_a_ledger_gets_one_also_where_nothing_is_published() {
    let mut scene = Scene::settled();
    scene.ring().state.ledger = None;
    does(&scene, &["record payments-tls"]);
    scene.certificate().published = Published::Absent;
    scene.certificate().status.revision = None;
    does(&scene, &["record payments-tls"]);
    scene.certificate().versions.clear();
    // An empty one, so that the next round has something to write the first entry into.
    assert!(scene.does().iter().any(|done| done.starts_with("cross out")), "{:?}", scene.does());
}

#[test]
fn a_certificate_that_names_an_authority_that_does_not_exist_holds_a_rollover_by_its_name() {
    for phase in [Phase::Distributing, Phase::Reissuing] {
        let mut scene = Scene::rolling(phase);
        scene.publication().roots = BTreeSet::from([root_id(OLD)]);
        scene.certificate().spec.authority = "root-prod-mehs".into();
        let waiting = scene.waiting();
        let held = waiting.iter().any(|line| {
            line.starts_with("shop/mtls-prod-payments: its Secret payments-tls has the old root")
                && line.contains("root-prod-mehs")
        });
        assert!(held, "{waiting:?}");
        let conditions = scene.status().conditions;
        let ready = conditions.iter().find(|condition| condition.r#type == ConditionType::Ready).unwrap();
        assert_eq!((ready.status.to_string().as_str(), ready.reason), ("False", Reason::AuthorityNotFound));
        scene.ask_authority("override", "shop/mtls-prod-payments it is a test");
        does(&scene, &["exempt shop/mtls-prod-payments: it is a test"]);
    }
}

#[test]
fn a_certificate_that_moves_is_published_with_the_roots_of_both_and_its_new_leaf_after_proof() {
    let mut scene = moving();
    does(&scene, &["publish 1 over 101 of old"]);
    scene.publication().roots.insert(root_id(OLD));
    does(&scene, &[]);
    assert_eq!(scene.condition("Ready").unwrap().1, "MovingTrust");
    let pod = scene.proven("one", 1, &[OLD]);
    let shown = proof_mut(pod).result.as_mut().unwrap();
    shown.connections_under.extend([(root_id(OLD), 0), (root_id(FOREIGN), 0)]);
    does(&scene, &["record payments-tls"]);
    let moved_from = BTreeSet::from([root_id(FOREIGN)]);
    record(&mut scene, LedgerEntry { moved_from, switched: true });
    does(&scene, &["publish 2 over 101 of old"]);
}

#[test]
fn a_spec_that_is_refused_widens_nobodys_trust() {
    let mut scene = moving();
    cross_out(&mut scene);
    scene.certificate().spec.lifetime = Some("31d".into());
    does(&scene, &[]);
    assert_eq!(scene.condition("Ready").unwrap().1, "InvalidSpec");
    scene.certificate().spec.lifetime = None;
    does(&scene, &["record payments-tls"]);
}

#[test]
fn a_move_that_waits_for_a_pod_is_overridden_by_the_name_of_its_certificate() {
    let mut scene = moving();
    scene.publication().roots.insert(root_id(OLD));
    scene.pod("dead").agent = None;
    scene.ask_authority("override", "shop/mtls-prod-payments");
    assert!(scene.does()[0].contains("give a reason"), "{:?}", scene.does());
    scene.ask_authority("override", "shop/mtls-prod-other it is dead");
    assert!(
        scene.does()[0].contains("no move of a certificate waits for shop/mtls-prod-other"),
        "{:?}",
        scene.does()
    );
    scene.ask_authority("override", "shop/mtls-prod-payments it is dead");
    does(&scene, &["exempt shop/mtls-prod-payments: it is dead"]);
    scene.ring().state.override_moves([secret()].into_iter());
    scene.authority().requests.clear();
    does(&scene, &["publish 2 over 101 of old"]);
    scene.publish(2);
    // The root of version 1 is another authority's.
    does(&scene, &["record payments-tls", "remove the key of 1"]);
}

#[test]
fn a_ledger_that_cannot_be_written_holds_up_nothing_but_the_publication() {
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.proven("good", 2, &[OLD, NEW]);
    let left = ObjectName::new("shop", "left-tls");
    let record = BTreeMap::from([(left, LedgerEntry::default())]);
    scene.ring().state.change_ledger(&LedgerChange { record, remove: BTreeSet::new() });
    scene.list_pods().listed_at = scene.now;
    scene.now += SECOND;
    does(&scene, &["cross out left-tls"]);
    scene.observed.failed_actions.insert(AUTHORITY.into(), "record: it is too large".into());
    does(&scene, &["advance out of Reissuing"]);
    scene.observed.failed_actions.insert(AUTHORITY.into(), "advance_rollover: no room".into());
    does(&scene, &["cross out left-tls"]);
}

#[test]
fn a_version_of_a_root_that_the_keyring_does_not_know_stops_issuing() {
    let mut scene = Scene::settled();
    scene.version(2, FOREIGN);
    does(&scene, &["report unknown root at shop/mtls-prod-payments"]);
    let name = name();
    assert_eq!(scene.observed.certificates[&name].versions.len(), 2);
    let conditions = scene.authority_status().conditions;
    assert!(conditions.iter().any(|condition| condition.reason == Reason::KeyringOutdated));
    assert_eq!(scene.condition("Ready").unwrap().1, "KeyringOutdated");
}
