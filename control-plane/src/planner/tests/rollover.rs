//! Tables of one authority: what begins, blocks, reverses and ends a rollover.

use super::scene::{NEW, OLD, Scene, proof_mut};
use super::*;
use crate::api::condition::{ConditionStatus, ConditionType, Reason};
use crate::api::resource::{HandledRequestStatus, ServedStatus};
use crate::pki::ledger::LedgerChange;
use crate::planner::observed::{KeyringState, Proof, Published, WatchedSecret};

const PHASES: [Phase; 3] = [Phase::Distributing, Phase::Reissuing, Phase::Retiring];

#[track_caller]
fn does(scene: &Scene, expected: &[&str]) {
    assert_eq!(scene.does(), expected);
}

/// The step is held, and the status says by whom and why.
#[track_caller]
fn held(scene: &Scene, by: &str) {
    let does = scene.does();
    assert!(!does.iter().any(|done| done.starts_with("advance")), "{does:?}, and not held by {by:?}");
    let waiting = scene.waiting();
    assert!(waiting.iter().any(|line| line.starts_with(by)), "{by:?} is not in {waiting:?}");
}

/// A pod that has all that this phase asks for.
fn good(scene: &mut Scene, phase: Phase) {
    match phase {
        Phase::Distributing => scene.proven("good", 1, &[OLD, NEW]),
        Phase::Reissuing => scene.proven("good", 2, &[OLD, NEW]),
        Phase::Retiring => scene.proven("good", 2, &[NEW]),
    };
}

#[test]
fn the_first_root_is_made_or_imported() {
    let mut scene = Scene::settled();
    scene.certificate().published = Published::Absent;
    scene.certificate().versions.clear();
    scene.authority().keyring = KeyringState::Absent;
    does(&scene, &["create"]);
    scene.authority().spec.import = Some(crate::api::resource::ImportSource { secret_name: "own".into() });
    scene.authority().import = Some(Ok(root_id(5)));
    does(&scene, &["create"]);
    scene.authority().import = Some(Err("no key".into()));
    does(&scene, &[]);
    let status = scene.authority_status();
    assert!(status.conditions[0].message.contains("no key"), "{status:?}");
    scene.authority().import = None;
    scene.authority().spec.namespaces.clear();
    does(&scene, &[]);
    assert_eq!(scene.authority_status().conditions[0].reason, Reason::InvalidSpec);
}

#[test]
fn a_root_is_replaced_so_early_that_no_leaf_has_to_be_cut_short() {
    let mut scene = Scene::settled();
    let due = start() + ROOT_LIFE - LEAF_LIFE - 10 * DAY;
    scene.now = due - SECOND;
    scene.version(2, OLD);
    scene.publish(2);
    // It has expired.
    scene.version_mut(1).has_key = false;
    does(&scene, &[]);
    assert_eq!(scene.plan().wake_at.map(|at| at <= due), Some(true));
    scene.now = due;
    assert!(scene.does()[0].starts_with("begin: the root expires at"));
    scene.authority().spec.automatic_rollover = Some(false);
    does(&scene, &[]);
    assert!(scene.authority_status().conditions[0].message.contains("run hotcert rollover"));
}

#[test]
fn an_imported_root_is_replaced_by_a_new_import_but_not_by_one_that_was_replaced_before() {
    let mut scene = Scene::settled();
    scene.authority().spec.import = Some(crate::api::resource::ImportSource { secret_name: "own".into() });
    scene.authority().import = Some(Ok(root_id(OLD)));
    does(&scene, &[]);
    scene.ask_authority("rollover", "");
    assert!(scene.does()[0].contains("put its successor"), "{:?}", scene.does());
    scene.authority().requests.clear();
    scene.authority().import = Some(Ok(root_id(NEW)));
    does(&scene, &["begin: another root is there to be imported"]);
    // It was tried and turned around.
    let now = scene.now;
    let ring = scene.ring();
    ring.state.begin(root_id(NEW), "why".into(), now);
    ring.state.reverse("bad".into(), now);
    ring.state.advance(Phase::Retiring, now);
    does(&scene, &[]);
    scene.ask_authority("rollover", "");
    does(&scene, &["begin: requested"]);
}

#[test]
fn a_request_begins_one_rollover_and_a_second_is_refused_with_the_way_to_follow_the_first() {
    let mut scene = Scene::settled();
    scene.ask_authority("rollover", "audit");
    does(&scene, &["begin: requested: audit"]);
    let now = scene.now;
    scene.ring().state.record_handled("rollover", "r1", "begun", now);
    does(&scene, &[]);
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        scene.pod("late");
        scene.ask_authority("rollover", "again");
        let refused = "answer rollover: refused: a rollover of root-prod-mesh is under way: follow it with hotcert rollover root-prod-mesh --follow";
        assert!(scene.does()[0].contains(refused), "{:?}", scene.does());
        // Whatever the spec is by now.
        scene.authority().spec.namespaces.clear();
        assert!(scene.does()[0].contains("refused"), "{:?}", scene.does());
        let conditions = scene.authority_status().conditions;
        assert!(!conditions.iter().any(|condition| condition.r#type == ConditionType::Queued));
    }
}

#[test]
fn a_phase_ends_when_every_pod_has_proved_what_it_needs() {
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        good(&mut scene, phase);
        does(&scene, &[&format!("advance out of {}", phase.as_str())]);
    }
}

#[test]
fn every_phase_is_blocked_by_a_pod_that_has_proved_nothing() {
    type Change = fn(&mut Scene);
    let rows: [(&str, Change); 9] = [
        ("shop/bad: the agent has not been probed", |scene| scene.pod("bad").nudged_revision = None),
        ("shop/bad: the pod mounts", |scene| scene.pod("bad").agent = None),
        ("shop/bad: the pod has no address", |scene| scene.pod("bad").agent.as_mut().unwrap().address = None),
        ("shop/bad: refused", |scene| {
            let at = scene.now;
            scene.pod("bad").proofs.insert(
                AUTHORITY.into(),
                Proof { taken_at: at, leaf_since: at, result: Err("refused".into()) }.into(),
            );
        }),
        ("shop/good: the agent has not been probed", |scene| {
            let long_ago = start();
            proof_mut(&mut scene.list_pods().pods[0]).taken_at = long_ago;
        }),
        ("shop/good: the agent has not been probed", |scene| {
            let never = scene.now + HOUR;
            proof_mut(&mut scene.list_pods().pods[0]).taken_at = never;
        }),
        ("namespace shop: the pods have not", |scene| scene.observed.pods.clear()),
        ("namespace shop: forbidden", |scene| scene.list_pods().error = Some("forbidden".into())),
        ("namespace shop: the pods have not", |scene| scene.list_pods().listed_at = start()),
    ];
    for phase in PHASES {
        for (by, change) in &rows {
            let mut scene = Scene::rolling(phase);
            good(&mut scene, phase);
            change(&mut scene);
            held(&scene, by);
        }
    }
}

#[test]
fn every_phase_is_blocked_by_a_secret_that_is_outdated() {
    let old = |scene: &mut Scene| scene.publication().roots = BTreeSet::from([root_id(OLD)]);
    let mut scene = Scene::rolling(Phase::Distributing);
    good(&mut scene, Phase::Distributing);
    old(&mut scene);
    held(&scene, "shop/mtls-prod-payments: its Secret has not been written with the new root");
    let mut scene = Scene::rolling(Phase::Retiring);
    good(&mut scene, Phase::Retiring);
    scene.publication().roots = BTreeSet::from([root_id(OLD), root_id(NEW)]);
    held(&scene, "shop/mtls-prod-payments: its Secret has not been written without the old root");
    let mut scene = Scene::rolling(Phase::Reissuing);
    good(&mut scene, Phase::Reissuing);
    scene.publish(1);
    held(&scene, "shop/mtls-prod-payments: its Secret has no leaf under the new root");
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        scene.pod("bad");
        scene.certificate().published = Published::Absent;
        held(&scene, "shop/mtls-prod-payments: its Secret has not been written");
        held(&scene, "shop/bad");
        scene.certificate().published = Published::Inaccessible("no right to read it".into());
        held(&scene, "shop/mtls-prod-payments: no right");
        // It was ours, and what it was may be served still.
        scene.certificate().published = Published::OwnedByOther("is Helm's".into());
        held(&scene, "shop/bad");
        scene.certificate().status.revision = None;
        held(&scene, "shop/bad");
        let remove = BTreeSet::from([ObjectName::new("shop", "payments-tls")]);
        scene.ring().state.change_ledger(&LedgerChange { remove, ..LedgerChange::default() });
        assert_eq!(scene.waiting(), [""; 0], "what never was ours holds nobody");
    }
}

#[test]
fn each_phase_asks_for_its_own_proof() {
    let rows = [
        (Phase::Distributing, 1, &[OLD][..], "the agent does not accept clients under the new root"),
        (Phase::Distributing, 9, &[OLD, NEW], "the agent does not serve the published leaf yet"),
        (Phase::Reissuing, 2, &[OLD], "the agent does not accept clients under the new root"),
        (Phase::Reissuing, 1, &[OLD, NEW], "the agent does not serve its leaf under the new root"),
        (Phase::Retiring, 2, &[OLD, NEW], "the agent still accepts clients under the old root"),
        (Phase::Retiring, 1, &[NEW], "the agent does not serve its leaf under the new root"),
    ];
    for (phase, leaf, lets_in, why) in rows {
        let mut scene = Scene::rolling(phase);
        scene.proven("bad", leaf, lets_in);
        held(&scene, &format!("shop/bad: {why}"));
        let asked = scene.plan().probes;
        assert_eq!(asked.len(), 1, "a pod is asked once for all that is wanted of it");
        assert!(asked[0].roots.contains(&root_id(NEW)));
        let asks_old = asked[0].roots.contains(&root_id(OLD));
        assert_eq!(asks_old, phase == Phase::Retiring, "each root is a handshake of its own");
    }
}

#[test]
fn pods_are_listed_again_where_one_blocks_a_rollover_and_kept_where_all_is_proven() {
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        // Nobody else asks for the pods.
        let revision = i64::try_from(scene.publication().revision).unwrap();
        let served = ServedStatus { revision, pods: 1, serving: 1, ..ServedStatus::default() };
        scene.certificate().status.served = Some(served);
        scene.pod("unasked");
        assert!(scene.plan().list_pods.contains("shop"), "{phase:?}");
        scene.list_pods().pods.clear();
        good(&mut scene, phase);
        let planned = scene.plan();
        let namespaces = (planned.list_pods.contains("shop"), planned.retain_pods.contains("shop"));
        assert_eq!(namespaces, (false, true), "{phase:?}");
        // Nothing writes it any more: a pod that comes later finds the old root in it.
        let orphan = WatchedSecret {
            leaf: None,
            roots: BTreeSet::from([root_id(OLD)]),
            orphan: true,
            written_at: None,
        };
        scene.observed.watched_secrets.insert(ObjectName::new("shop", "left-tls"), orphan);
        assert!(scene.plan().list_pods.contains("shop"), "{phase:?}");
    }
}

/// Nothing is published under the new root before it is known whether they trust it.
#[test]
fn pods_are_listed_again_while_one_holds_up_the_leaves_under_the_new_root() {
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.publish(1);
    scene.now += SECOND;
    scene.list_pods();
    good(&mut scene, Phase::Distributing);
    scene.pod("young").agent.as_mut().unwrap().address = None;
    assert!(scene.plan().list_pods.contains("shop"));
}

/// What is not published yet cannot be shown.
#[test]
fn a_pod_is_probed_for_a_phase_when_its_secret_is_published_and_for_its_trust_at_any_time() {
    let probes = |scene: &Scene| scene.plan().probes.len();
    let mut scene = Scene::rolling(Phase::Distributing);
    scene.pod("one");
    assert_eq!(probes(&scene), 1);
    scene.publication().roots.remove(&root_id(NEW));
    assert_eq!(probes(&scene), 0);
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.publish(1);
    scene.now += SECOND;
    scene.pod("one");
    assert_eq!(
        probes(&scene),
        1,
        "no leaf is published under the new root before the pod is known to trust it"
    );
    scene.list_pods().pods.clear();
    scene.proven("one", 1, &[OLD, NEW]);
    assert_eq!(probes(&scene), 0);
}

#[test]
fn connections_under_the_old_root_are_waited_for_until_the_drain_deadline() {
    let mut scene = Scene::rolling(Phase::Reissuing);
    good(&mut scene, Phase::Reissuing);
    let proof = proof_mut(&mut scene.list_pods().pods[0]);
    proof.result.as_mut().unwrap().connections_under.insert(root_id(OLD), 3);
    held(&scene, "shop/good: 3 open connections");
    let deadline = scene.ring().state.rollover().unwrap().phase_started_at + HOUR;
    assert_eq!(scene.plan().wake_at, Some(deadline));
    scene.now = deadline;
    does(&scene, &["advance out of Reissuing"]);
    scene.now -= 2 * HOUR;
    held(&scene, "shop/good");
}

#[test]
fn a_rollover_is_reversed_in_every_phase_but_a_removal_is_not() {
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        good(&mut scene, phase);
        scene.ask_authority("reverse", "bad root");
        does(&scene, &["reversed: bad root"]);
        let now = scene.now;
        scene.ring().state.remove(&root_id(OLD), None, "stolen".into(), now);
        assert!(scene.does().contains(
            &"answer reverse: refused: a root that was removed at once does not come back".to_owned()
        ));
    }
    let mut scene = Scene::settled();
    scene.ask_authority("reverse", "");
    does(&scene, &["answer reverse: refused: no rollover of root-prod-mesh is under way"]);
}

#[test]
fn after_a_reversal_a_pod_must_show_a_leaf_that_was_issued_since() {
    let mut scene = Scene::rolling(Phase::Retiring);
    let now = scene.now;
    scene.ring().state.reverse("bad".into(), now);
    scene.publish(2);
    scene.now += MINUTE;
    scene.proven("good", 2, &[OLD, NEW]);
    held(&scene, "shop/mtls-prod-payments: its Secret has no leaf that was issued since");
    does(&scene, &["issue 3: new root"]);
    scene.now -= HOUR;
    does(&scene, &[]);
    scene.now += HOUR;
    scene.version(3, NEW);
    scene.publish(3);
    scene.now += SECOND;
    scene.list_pods();
    held(&scene, "shop/good: the agent does not serve the published leaf");
    scene.list_pods().pods.clear();
    scene.proven("good", 3, &[OLD, NEW]);
    does(&scene, &["advance out of Distributing"]);
}

#[test]
fn a_pod_is_overridden_by_name_and_with_a_reason_only() {
    let rows = [
        ("shop/late node is dead", "exempt shop/late: node is dead"),
        ("shop/late", "answer override: refused: give a reason, which is recorded"),
        ("shop/else node is dead", "answer override: refused: the rollover does not wait for shop/else"),
        ("shop/late,shop/else why", "answer override: refused: the rollover does not wait for shop/else"),
        ("shop/mtls-prod-payments why", "exempt shop/mtls-prod-payments: why"),
        ("shop/* why", "answer override: refused: the rollover does not wait for shop/*"),
    ];
    for (words, outcome) in rows {
        let mut scene = Scene::rolling(Phase::Distributing);
        scene.pod("late");
        scene.publication().roots = BTreeSet::from([root_id(OLD)]);
        scene.ask_authority("override", words);
        assert_eq!(scene.does()[0], outcome);
    }
    let mut scene = Scene::rolling(Phase::Distributing);
    scene.pod("late");
    let (pod, uid, reason, at) = ("shop/late".into(), "uid-late".into(), "dead".into(), scene.now);
    scene.ring().state.add_overrides([crate::pki::keyring::Override { pod, uid, reason, at }]);
    does(&scene, &["advance out of Distributing"]);
    assert_eq!(scene.authority_status().rollover.unwrap().overrides, ["shop/late: dead"]);
}

/// The keyring was restored from before the answer, which the status still has.
#[test]
fn a_request_that_was_answered_is_not_carried_out_again_by_a_restored_keyring() {
    let remove_old = format!("{} it leaked", &root_id(OLD).0[..16]);
    for (verb, words) in [("rollover", "audit"), ("remove-root", remove_old.as_str())] {
        let mut scene = Scene::settled();
        scene.ask_authority(verb, words);
        let answer = HandledRequestStatus {
            id: "r1".into(),
            outcome: "begun".into(),
            handled_at: "2026-01-01T00:00:00Z".into(),
        };
        scene.authority().status.handled_requests.insert(verb.into(), answer.clone());
        does(&scene, &[]);
        assert_eq!(scene.authority_status().handled_requests[verb], answer);
        // Asked again it is another request.
        scene.authority().requests.get_mut(verb).unwrap().id = "r2".into();
        assert_eq!(scene.does().len(), 1, "{verb}");
    }
}

#[test]
fn a_root_is_removed_at_once_in_every_stage_or_the_request_is_refused_with_a_reason() {
    let ask = |scene: &mut Scene, number: u64| {
        scene.ask_authority("remove-root", &format!("{} stolen", &sha256(number)[..12]));
    };
    for phase in PHASES {
        for (number, which) in [(OLD, "old"), (NEW, "new")] {
            let mut scene = Scene::rolling(phase);
            ask(&mut scene, number);
            assert_eq!(scene.does()[0], format!("remove {which}"));
        }
    }
    let mut scene = Scene::settled();
    ask(&mut scene, OLD);
    does(&scene, &["remove old"]);
    ask(&mut scene, 9);
    assert!(scene.does()[0].starts_with("answer remove-root: refused: there is no root"));
    scene.ask_authority("remove-root", &format!("{} stolen", &sha256(OLD)[..7]));
    does(&scene, &["answer remove-root: refused: give at least 8 digits of the root's SHA-256"]);
    // What was imported is not made anew from the same place.
    scene.authority().import = Some(Ok(root_id(OLD)));
    ask(&mut scene, OLD);
    assert!(scene.does()[0].contains("put its successor"));
    let mut scene = Scene::rolling(Phase::Reissuing);
    let now = scene.now;
    scene.ring().state.remove(&root_id(OLD), None, "stolen".into(), now);
    ask(&mut scene, OLD);
    assert!(scene.does()[0].ends_with("is being removed already"), "{:?}", scene.does());
}

#[test]
fn after_a_removal_leaves_do_not_wait_for_trust() {
    let mut scene = Scene::settled();
    let now = scene.now;
    scene.ring().roots.insert(root_id(NEW), root(now));
    scene.ring().state.remove(&root_id(OLD), Some(root_id(NEW)), "stolen".into(), now);
    does(&scene, &["issue 2: new root"]);
    scene.version(2, NEW);
    scene.pod("late");
    does(&scene, &["publish 2 over 101 of new"]);
}

#[test]
fn an_expired_root_blocks_no_phase() {
    let mut scene = Scene::rolling(Phase::Distributing);
    scene.pod("cannot-prove-anything");
    scene.now = start() + ROOT_LIFE;
    assert_eq!(scene.does()[0], "advance out of Distributing");
}

#[test]
fn a_clock_that_is_set_ends_no_phase() {
    for phase in PHASES {
        for by in [HOUR, 10 * DAY] {
            let mut scene = Scene::rolling(phase);
            scene.pod("late");
            scene.now += by;
            held(&scene, "shop/late");
            scene.now -= 2 * by;
            held(&scene, "shop/late");
        }
    }
}

#[test]
fn a_lost_keyring_is_not_replaced_by_another_root() {
    let mut scene = Scene::settled();
    scene.authority().status = scene.authority_status();
    scene.authority().keyring = KeyringState::Absent;
    does(&scene, &[]);
    let status = scene.authority_status();
    assert_eq!((status.conditions[0].status, status.root.is_some()), (ConditionStatus::False, true));
    assert!(status.conditions[0].message.contains("backup"), "{status:?}");
    // And not at the next look either.
    scene.authority().status = status;
    does(&scene, &[]);
}

#[test]
fn a_pod_that_mounts_an_orphaned_secret_blocks_every_phase() {
    for phase in PHASES {
        let mut scene = Scene::rolling(phase);
        good(&mut scene, phase);
        let secret = ObjectName::new("shop", "left-tls");
        let left = |root: u64| WatchedSecret {
            leaf: None,
            roots: BTreeSet::from([root_id(root)]),
            orphan: true,
            written_at: None,
        };
        scene.observed.watched_secrets.insert(secret.clone(), left(OLD));
        scene.now += SECOND;
        let advances = scene.does();
        scene.pod("left").mounted_secrets = BTreeSet::from(["left-tls".to_owned()]);
        held(&scene, "shop/left: the pod mounts left-tls");
        // Under another root it is no concern of this authority.
        scene.observed.watched_secrets.insert(secret, left(9));
        assert_eq!(scene.does(), advances);
    }
}

#[test]
fn connections_are_counted_again_after_the_last_pod_has_shown_its_new_leaf() {
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.proven("early", 2, &[OLD, NEW]);
    scene.now += MINUTE;
    scene.proven("late", 2, &[OLD, NEW]);
    held(&scene, "shop/early: the agent's connections are counted again");
    assert_eq!(scene.waiting().len(), 1, "who showed it last was asked then");
    assert!(
        scene.plan().probes.iter().any(|prove| prove.uid == "uid-early" && prove.roots == [root_id(NEW)])
    );
    // Asked again it has the same leaf, which it showed first a minute ago.
    let now = scene.now;
    let early = scene.list_pods().pods.iter_mut().find(|pod| pod.name == "early").unwrap();
    proof_mut(early).taken_at = now;
    does(&scene, &["advance out of Reissuing"]);
}

#[test]
fn a_failed_action_is_reported_in_the_status_of_its_object() {
    let mut scene = Scene::settled();
    scene.observed.failed_actions.insert(super::scene::name().to_string(), "publish: no room".into());
    scene.observed.failed_actions.insert(AUTHORITY.into(), "begin_rollover: no room".into());
    let (ready, reason, message) = scene.condition("Ready").unwrap();
    assert_eq!(
        (ready.as_str(), reason.as_str(), message.as_str()),
        ("True", "ActionFailed", "publish: no room")
    );
    assert!(scene.authority_status().conditions[0].message.contains("no room"));
    scene.observed.failed_actions.clear();
    scene.authority().spec.namespaces.clear();
    let (_, reason, _) = scene.condition("Ready").unwrap();
    assert_eq!(reason, "InvalidAuthority");
}

#[test]
fn a_renewal_hint_about_the_root_begins_one_rollover() {
    let end = crate::api::date::seconds(start() + ROOT_LIFE);
    let mut scene = Scene::settled();
    scene.ask_authority("renewal-hint", "until=2026-01-02T00:00:00Z");
    assert!(
        scene.does()[0].starts_with("answer renewal-hint: nothing to do: it is valid until"),
        "{:?}",
        scene.does()
    );
    scene.ask_authority("renewal-hint", &format!("until={end}"));
    does(&scene, &[&format!("begin: noticed: until={end}")]);
    let mut rolling = Scene::rolling(Phase::Distributing);
    rolling.proven("late", 1, &[OLD]);
    rolling.ask_authority("renewal-hint", &format!("until={end}"));
    does(&rolling, &["answer renewal-hint: nothing to do: the root is being replaced"]);
}
