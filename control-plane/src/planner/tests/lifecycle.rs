//! Tables of one certificate: a state, and the actions that follow.

use super::scene::{NEW, OLD, Scene, name};
use super::*;
use crate::planner::observed::{KeyringState, Published};

/// What follows from the settled scene after this was changed in it.
#[track_caller]
fn follows(change: impl FnOnce(&mut Scene), does: &[&str]) -> Scene {
    let mut scene = Scene::settled();
    change(&mut scene);
    assert_eq!(scene.does(), does);
    scene
}

#[track_caller]
fn ready(scene: &Scene, status: &str, reason: &str) {
    let (is, why, message) = scene.condition("Ready").unwrap();
    assert_eq!((is.as_str(), why.as_str()), (status, reason), "{message}");
}

#[test]
fn a_settled_certificate_is_left_alone() {
    ready(&follows(|_| {}, &[]), "True", "Published");
}

#[test]
fn a_first_leaf_is_issued_and_then_published() {
    let none = |scene: &mut Scene| {
        scene.certificate().versions.clear();
        scene.certificate().published = Published::Absent;
    };
    let mut scene = follows(none, &["issue 1: first version"]);
    assert_eq!(scene.condition("Ready"), None, "there is more to say in a moment");
    scene.observed.failed_actions.insert(super::scene::name().to_string(), "issue: no room".into());
    ready(&scene, "False", "ActionFailed");
    follows(|scene| scene.certificate().published = Published::Absent, &["publish 1 over nothing of old"]);
}

#[test]
fn a_leaf_is_renewed_when_two_thirds_of_its_life_are_over_or_a_tenth_of_it_earlier() {
    for (digits, earlier) in [("00000000", 0.0), ("80000000", 0.05), ("ffffffff", 0.1)] {
        let mut scene = Scene::settled();
        let made = start();
        let version = scene.version_mut(1);
        version.leaf.sha256 = format!("{digits}{}", "0".repeat(56));
        let due = made + LEAF_LIFE.mul_f64(2.0 / 3.0 - earlier);
        scene.now = due - MINUTE;
        assert!(scene.does().is_empty(), "{digits}");
        assert!(scene.plan().wake_at.is_some_and(|at| at <= due + SECOND), "it wakes for it");
        scene.now = due + MINUTE;
        assert_eq!(scene.does(), ["issue 2: renewal due"], "{digits}");
        assert_eq!(scene.does(), scene.does(), "the same leaf, the same moment");
    }
}

#[test]
fn a_leaf_that_ends_with_its_root_is_not_renewed_over_and_over() {
    let change = |scene: &mut Scene| {
        let end = start() + LEAF_LIFE;
        scene.ring().roots.insert(root_id(OLD), Root { not_after: end, ..root(start()) });
        scene.authority().spec.automatic_rollover = Some(false);
        scene.now = end - MINUTE;
    };
    follows(change, &[]);
}

#[test]
fn a_leaf_with_a_short_lifetime_is_not_renewed_at_once() {
    let mut scene = Scene::settled();
    scene.version(2, OLD);
    let now = scene.now;
    scene.certificate().spec.lifetime = Some("30s".into());
    let made_for = digest(&name(), &scene.certificate().spec.clone());
    let version = scene.version_mut(2);
    version.leaf = Leaf { sha256: "f".repeat(64), ..leaf(2, now, 30 * SECOND) };
    version.spec_digest = made_for;
    assert_eq!(scene.does(), ["publish 2 over 101 of old"]);
}

#[test]
fn a_changed_spec_and_a_request_each_make_one_leaf() {
    follows(|scene| scene.certificate().spec.lifetime = Some("10d".into()), &["issue 2: spec changed"]);
    follows(|scene| scene.ask("rotate", ""), &["issue 2: on request"]);
    let answered = |scene: &mut Scene| {
        scene.ask("rotate", "");
        scene.version_mut(1).request = Some("r1".into());
    };
    let scene = follows(answered, &[]);
    assert_eq!(scene.status().handled_requests.unwrap().rotate.as_deref(), Some("r1"));
    // A rollback of the same id is another request.
    let both = |scene: &mut Scene| {
        scene.version(2, OLD);
        scene.publish(2);
        scene.ask("rollback", "");
        scene.version_mut(2).request = Some("r1".into());
    };
    follows(both, &["copy 1 as 3"]);
}

fn with_history(scene: &mut Scene) {
    for number in 2..=3 {
        scene.version(number, OLD);
    }
    scene.publish(3);
}

#[test]
fn a_rollback_goes_to_the_version_before_or_to_the_one_that_is_named() {
    for (words, does) in [("", "copy 2 as 4"), ("to=1", "copy 1 as 4"), ("because to=1", "copy 1 as 4")] {
        follows(
            |scene| {
                with_history(scene);
                scene.ask("rollback", words);
            },
            &[does],
        );
    }
}

#[test]
fn a_second_rollback_goes_further_back() {
    let copy = |scene: &mut Scene, number: u64, of: u64| {
        scene.version(number, OLD);
        let original = scene.version_mut(of).clone();
        *scene.version_mut(number) = Version { copy_of: Some(of), ..original };
        scene.publish(number);
    };
    let again = |scene: &mut Scene| {
        with_history(scene);
        copy(scene, 4, 2);
        scene.ask("rollback", "");
    };
    follows(again, &["copy 1 as 5"]);
    // Also out of a copy of a copy.
    let deep = |scene: &mut Scene| {
        with_history(scene);
        copy(scene, 4, 2);
        copy(scene, 5, 4);
        scene.ask("rollback", "");
    };
    follows(deep, &["copy 1 as 6"]);
}

#[test]
fn a_rollback_to_a_version_that_peers_would_reject_is_refused_with_a_reason() {
    type Change = fn(&mut Scene);
    let rows: [(&str, Change, &str); 8] = [
        ("to=9", |_| {}, "version 9 is not kept; kept versions: 1, 2, 3"),
        ("to=x", |_| {}, "is not a version number"),
        ("to=2", |scene| scene.version_mut(2).leaf.not_after = start(), "expired at"),
        ("to=2", |scene| scene.version_mut(2).leaf.not_after = start() + 2 * HOUR, "too soon"),
        ("to=2", |scene| scene.version_mut(2).root = root_id(NEW), "today's trust rejects"),
        ("to=2", |scene| scene.version_mut(2).spec_digest = "else".into(), "was made for another spec"),
        ("to=2", |scene| scene.version_mut(2).has_key = false, "has no key any more: spec.rollbackVersions"),
        ("", |scene| scene.certificate().versions.retain(|number, _| *number == 3), "no version before"),
    ];
    for (words, change, why) in rows {
        let mut scene = Scene::settled();
        with_history(&mut scene);
        if why == "too soon" {
            scene.version_mut(2).leaf.not_before = start() - 10 * DAY;
        }
        change(&mut scene);
        scene.ask("rollback", words);
        let mut does = scene.does();
        // No rollback may need that of one that has expired or whose root is gone.
        does.retain(|action| action != "remove the key of 2");
        assert_eq!(does, [""; 0], "{why}");
        let (_, _, message) = scene.condition("RollbackRefused").unwrap();
        assert!(message.contains(why), "{message}");
        let status = scene.status();
        assert_eq!(status.handled_requests.clone().unwrap().rollback.as_deref(), Some("r1"));
        // Handled once, and still reported.
        scene.certificate().status = status;
        assert!(scene.condition("RollbackRefused").is_some(), "{why}");
    }
}

#[test]
fn a_lost_or_changed_secret_is_written_again_with_a_higher_revision() {
    let lost = follows(
        |scene| {
            scene.certificate().status.revision = Some(99_999_999_999_999);
            scene.certificate().published = Published::Absent;
        },
        &["publish 1 over nothing of old"],
    );
    let revision = |scene: &Scene| {
        let plan = scene.plan();
        plan.actions.iter().find_map(|action| match action {
            Action::Publish { revision, .. } => Some(*revision),
            _ => None,
        })
    };
    assert_eq!(revision(&lost), Some(100_000_000_000_000));
    let edited =
        follows(|scene| scene.publication().fingerprint = fingerprint(77), &["publish 1 over 101 of old"]);
    let clock = edited.now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(revision(&edited).map(u128::from), Some(clock), "the clock alone has grown as well");
    let nonsense = |scene: &mut Scene| {
        scene.publication().fingerprint = fingerprint(77);
        scene.publication().revision = u64::MAX;
    };
    follows(nonsense, &["publish 1 over 101 of old"]);
    let unknown = BTreeSet::from([root_id(OLD), root_id(9)]);
    follows(|scene| scene.publication().roots = unknown, &["publish 1 over 101 of old"]);
}

#[test]
fn nothing_is_written_where_it_must_not_be_and_the_reason_is_reported() {
    type Change = fn(&mut Scene);
    let rows: [(Change, &str, &str); 6] = [
        (
            |scene| scene.certificate().published = Published::OwnedByOther("is Helm's".into()),
            "False",
            "ForeignSecret",
        ),
        (
            |scene| scene.certificate().published = Published::Inaccessible("no right".into()),
            "False",
            "NoAccess",
        ),
        (|scene| scene.certificate().deleting = true, "False", "Deleting"),
        (|scene| scene.observed.authorities.clear(), "False", "AuthorityNotFound"),
        (|scene| scene.authority().spec.namespaces = vec!["bank".into()], "False", "InvalidSpec"),
        (
            |scene| scene.authority().keyring = KeyringState::Unreadable("torn".into()),
            "False",
            "RootNotReady",
        ),
    ];
    for (change, status, reason) in rows {
        ready(&follows(change, &[]), status, reason);
    }
}

#[test]
fn what_keeps_its_authority_without_a_root_is_reported_with_the_certificate() {
    let torn = |scene: &mut Scene| scene.authority().keyring = KeyringState::Unreadable("torn".into());
    let (_, _, message) = follows(torn, &[]).condition("Ready").unwrap();
    assert!(message.ends_with("has no root to sign with: torn"), "{message}");
}

#[test]
fn under_an_expired_root_nothing_is_issued_and_nothing_expired_is_published() {
    let expired = |scene: &mut Scene| {
        scene.now = start() + ROOT_LIFE;
        scene.authority().spec.automatic_rollover = Some(false);
        scene.certificate().published = Published::Absent;
    };
    ready(&follows(expired, &[]), "False", "RootExpired");
}

#[test]
fn history_is_cut_from_its_old_end_and_only_when_all_is_settled() {
    let long = |scene: &mut Scene| {
        scene.certificate().spec.history = Some(2);
        (2..=4).for_each(|number| scene.version(number, OLD));
        scene.publish(4);
    };
    follows(long, &["prune 1", "prune 2"]);
    let unsettled = |scene: &mut Scene| {
        long(scene);
        scene.publish(3);
    };
    follows(unsettled, &["publish 4 over 103 of old"]);
}

#[test]
fn a_new_leaf_waits_for_trust_while_the_bundle_is_brought_up_to_date() {
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.pod("late");
    scene.publish(1);
    scene.list_pods();
    assert_eq!(scene.does(), [""; 0]);
    ready(&scene, "True", "WaitingForTrust");
    scene.publication().roots = BTreeSet::from([root_id(OLD)]);
    assert_eq!(scene.does(), ["publish 1 over 101 of old+new"]);
    scene.certificate().published = Published::Absent;
    assert_eq!(scene.does(), ["publish 1 over nothing of old+new"], "a lost Secret does not wait");
    scene.version_mut(1).leaf.not_after = scene.now;
    assert_eq!(scene.does(), ["publish 2 over nothing of old+new"], "nothing else is valid");
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.publish(1);
    scene.proven("good", 1, &[OLD, NEW]);
    assert_eq!(scene.does(), ["publish 2 over 101 of old+new"]);
}

#[test]
fn a_renewal_that_cannot_be_done_does_not_wake_the_loop() {
    let mut scene = Scene::settled();
    scene.authority().spec.namespaces = vec!["bank".into()];
    scene.now = start() + LEAF_LIFE * 9 / 10;
    assert!(scene.plan().wake_at.is_none_or(|at| at > scene.now), "{:?}", scene.plan().wake_at);
}

#[test]
fn a_renewal_hint_about_the_served_leaf_replaces_it_once() {
    let end = crate::api::date::seconds(start() + LEAF_LIFE);
    let mut scene = follows(
        |scene| scene.ask("renewal-hint", &format!("until={end} from=ibm")),
        &["issue 2: notification received"],
    );
    // It is the newest now, and is answered with its publication.
    scene.version(2, OLD);
    scene.version_mut(2).request = Some("r1".into());
    assert_eq!(scene.does(), ["publish 2 over 101 of old"]);
    scene.publish(2);
    assert!(scene.does().is_empty());
    assert_eq!(scene.status().handled_requests.unwrap().renewal_hint.as_deref(), Some("r1"));
    // Said again under another id, it is about a leaf that is gone.
    scene.certificate().status.handled_requests = None;
    scene.version_mut(2).request = None;
    assert!(scene.does().is_empty());
    assert_eq!(scene.status().handled_requests.unwrap().renewal_hint.as_deref(), Some("r1"));
}

#[test]
fn keys_are_kept_of_as_many_versions_as_a_rollback_may_need() {
    let long = |scene: &mut Scene| {
        scene.certificate().spec.history = Some(10);
        (2..=6).for_each(|number| scene.version(number, OLD));
        scene.publish(6);
    };
    let removes = |change: fn(&mut Scene), expected: &[u64]| {
        let changed = |scene: &mut Scene| {
            long(scene);
            change(scene);
        };
        let expected: Vec<_> = expected.iter().map(|number| format!("remove the key of {number}")).collect();
        follows(changed, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    removes(|_| {}, &[1, 2, 3]);
    removes(|scene| scene.certificate().spec.rollback_versions = Some(0), &[1, 2, 3, 4, 5]);
    removes(|scene| scene.certificate().spec.rollback_versions = Some(49), &[]);
    // Once.
    removes(|scene| (1..=3).for_each(|number| scene.version_mut(number).has_key = false), &[]);
    // What cannot be rolled back to takes no place of what can.
    removes(|scene| scene.version_mut(5).leaf.not_after = scene.now, &[1, 2, 5]);
    removes(|scene| scene.version_mut(4).root = root_id(NEW), &[1, 2, 4]);
    // A copy has the key of what it is a copy of.
    removes(
        |scene| {
            let fourth = scene.version_mut(4).clone();
            let copy = Version { copy_of: Some(4), ..fourth };
            *scene.version_mut(6) = Version { resource_version: stamp(206), ..copy };
            scene.publish(6);
        },
        &[1, 2],
    );
    // The spec may be changed back.
    removes(|scene| scene.version_mut(5).spec_digest = "of the spec before".into(), &[1, 2, 3]);
    // While the newest version waits, the one before is served.
    removes(|scene| scene.certificate().published = Published::OwnedByOther("it is another's".into()), &[]);
}
