//! Tables of the conditions: what is said of a spec that is refused, of the leaf that serves on, and of an object
//! whose authority is gone.

use super::scene::{OLD, Scene, name};
use super::*;
use crate::api::condition::Condition;
use crate::pki::keyring::Phase;
use crate::planner::observed::{KeyringState, Published};

/// `Ready=False AuthorityNotFound`, for each condition, without those that are about pods.
fn shown(conditions: &[Condition]) -> Vec<String> {
    let about = conditions.iter().filter(|condition| condition.r#type.as_str() != "Served");
    about.map(|condition| format!("{}={} {}", condition.r#type, condition.status, condition.reason)).collect()
}

#[test]
fn a_spec_that_is_refused_is_not_ready_and_what_it_published_serves_on() {
    type Change = fn(&mut Scene);
    let rows: [(Change, &[&str]); 10] = [
        (|_| {}, &["Ready=True Published", "Published=True Published"]),
        (
            |scene| scene.certificate().spec.lifetime = Some("90d".into()),
            &[
                "Ready=False InvalidSpec",
                "Stalled=True InvalidSpec",
                "Published=True Published",
                "Degraded=True InvalidSpec",
            ],
        ),
        (
            |scene| scene.authority().spec.namespaces = Vec::new(),
            &[
                "Ready=False InvalidAuthority",
                "Reconciling=True InvalidAuthority",
                "Published=True Published",
                "Degraded=True InvalidAuthority",
            ],
        ),
        (
            |scene| scene.certificate().spec.authority = "root-prod-mseh".into(),
            &[
                "Ready=False AuthorityNotFound",
                "Reconciling=True AuthorityNotFound",
                "Published=True Published",
                "Degraded=True AuthorityNotFound",
            ],
        ),
        (
            |scene| scene.authority().keyring = KeyringState::Unreadable("torn".into()),
            &[
                "Ready=False RootNotReady",
                "Reconciling=True RootNotReady",
                "Published=True Published",
                "Degraded=True RootNotReady",
            ],
        ),
        (
            |scene| scene.certificate().published = Published::OwnedByOther("is Helm's".into()),
            &[
                "Ready=False ForeignSecret",
                "Stalled=True ForeignSecret",
                "Published=False ForeignSecret",
                "Degraded=True ForeignSecret",
            ],
        ),
        (
            |scene| scene.certificate().published = Published::Inaccessible("no right".into()),
            &[
                "Ready=False NoAccess",
                "Reconciling=True NoAccess",
                "Published=Unknown NoAccess",
                "Degraded=True NoAccess",
            ],
        ),
        (|scene| scene.certificate().deleting = true, &["Ready=False Deleting", "Published=True Published"]),
        (
            |scene| scene.now = start() - HOUR,
            &[
                "Ready=False RootExpired",
                "Reconciling=True RootExpired",
                "Published=False NotYetValid",
                "Degraded=True RootExpired",
            ],
        ),
        (
            |scene| scene.now = start() + ROOT_LIFE,
            &[
                "Ready=False RootExpired",
                "Reconciling=True RootExpired",
                "Published=False Expired",
                "Degraded=True RootExpired",
            ],
        ),
    ];
    for (change, expected) in rows {
        let mut scene = Scene::settled();
        scene.authority().spec.automatic_rollover = Some(false);
        change(&mut scene);
        assert_eq!(shown(&scene.status().conditions), expected);
    }
}

#[test]
fn what_is_tried_again_leaves_a_valid_leaf_ready() {
    let mut scene = Scene::settled();
    scene.observed.failed_actions.insert(name().to_string(), "publish: no room".into());
    let degraded = ["Ready=True ActionFailed", "Published=True Published", "Degraded=True ActionFailed"];
    assert_eq!(shown(&scene.status().conditions), degraded);

    // The leaf under the new root waits for a pod; what is published was made for this spec.
    let mut scene = Scene::rolling(Phase::Reissuing);
    scene.publish(1);
    scene.proven("slow", OLD, &[OLD]);
    assert_eq!(shown(&scene.status().conditions), ["Ready=True WaitingForTrust", "Published=True Published"]);
    // As long as the published leaf is another than the spec asks for, appliers wait.
    scene.version_mut(1).spec_digest = "of the spec before".into();
    assert_eq!(
        shown(&scene.status().conditions),
        ["Ready=True WaitingForTrust", "Reconciling=True WaitingForTrust", "Published=True Published"]
    );
}

#[test]
fn an_authority_that_is_gone_or_being_deleted_leaves_nothing_ready() {
    let mut scene = Scene::settled();
    scene.observed.authorities.clear();
    let gone =
        ["Ready=False AuthorityNotFound", "Reconciling=True AuthorityNotFound", "Published=True Published"];
    assert_eq!(shown(&scene.status().conditions)[..3], gone);

    let mut scene = Scene::settled();
    scene.authority().deleting = true;
    assert_eq!(shown(&scene.authority_status().conditions), ["Ready=False Deleting"]);
    let going =
        ["Ready=False AuthorityDeleting", "Reconciling=True AuthorityDeleting", "Published=True Published"];
    assert_eq!(shown(&scene.status().conditions)[..3], going);
}

#[test]
fn an_authority_is_ready_only_while_its_spec_and_its_root_are_valid() {
    type Change = fn(&mut Scene);
    let rows: [(Change, &[&str]); 6] = [
        (|_| {}, &["Ready=True Usable"]),
        (
            |scene| scene.authority().spec.namespaces = Vec::new(),
            &["Ready=False InvalidSpec", "Stalled=True InvalidSpec", "Degraded=True InvalidSpec"],
        ),
        (
            |scene| scene.authority().keyring = KeyringState::Unreadable("torn".into()),
            &["Ready=False NotUsable", "Reconciling=True NotUsable", "Degraded=True NeedsAttention"],
        ),
        (|scene| scene.now = start() - HOUR, &["Ready=False NotYetValid", "Reconciling=True NotYetValid"]),
        (
            |scene| scene.now = start() + ROOT_LIFE - DAY,
            &["Ready=True NeedsAttention", "Degraded=True NeedsAttention"],
        ),
        (
            |scene| scene.authority().keyring = KeyringState::Absent,
            &["Ready=False Creating", "Reconciling=True Creating"],
        ),
    ];
    for (change, expected) in rows {
        let mut scene = Scene::settled();
        scene.authority().spec.automatic_rollover = Some(false);
        change(&mut scene);
        assert_eq!(shown(&scene.authority_status().conditions), expected);
    }
}

#[test]
fn conditions_have_the_generation_that_they_were_computed_for() {
    let mut scene = Scene::settled();
    scene.certificate().generation = 7;
    scene.authority().generation = 3;
    let (status, of_authority) = (scene.status(), scene.authority_status());
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    assert!(of_authority.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    assert_eq!((status.observed_generation, of_authority.observed_generation), (Some(7), Some(3)));
    // As a definition of an earlier version stores it.
    let mut pruned = status;
    pruned.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
    scene.certificate().status = pruned.clone();
    assert_eq!(scene.status(), pruned, "it is not written over and over");
}

#[test]
fn rejected_notification_settings_are_a_condition_of_every_authority() {
    let why = "notifications.yaml:3: unknown field `tpoics`";
    let mut scene = Scene::settled();
    scene.observed.notification_settings = Some(Err(why.into()));
    let status = scene.authority_status();
    assert_eq!(shown(&status.conditions), ["Ready=True Usable", "SettingsRejected=True InvalidSettings"]);
    assert_eq!(status.conditions[1].message, why);
    scene.authority().status = status.clone();
    // A command has no settings.
    scene.observed.notification_settings = None;
    assert_eq!(scene.authority_status(), status);
    scene.observed.notification_settings = Some(Ok(()));
    assert_eq!(shown(&scene.authority_status().conditions), ["Ready=True Usable"]);
}
