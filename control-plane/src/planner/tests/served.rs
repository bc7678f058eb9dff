//! Tables of what follows a publication: who is listed, nudged and asked, and what is said of it.

use super::scene::{NEW, OLD, Scene};
use super::*;
use crate::planner::observed::Published;

/// Published a moment ago, with one pod.
fn fresh() -> Scene {
    let mut scene = Scene::settled();
    scene.publish(1);
    scene.now += 3 * SECOND;
    scene.pod("one");
    scene
}

fn nudged(scene: &Scene) -> usize {
    scene.plan().actions.iter().filter(|action| matches!(action, Action::Nudge { .. })).count()
}

/// It shows the published leaf and speaks of the published bundle.
fn serve(scene: &mut Scene) {
    scene.look().pods.clear();
    let pod = scene.proven("one", 1, &[OLD]);
    let shown = pod.proof.as_mut().unwrap().result.as_mut().unwrap();
    shown.connections_under.insert(root_id(OLD), 0);
}

#[test]
fn pods_are_listed_nudged_and_asked_until_they_serve_what_is_published() {
    let mut scene = fresh();
    let plan = scene.plan();
    assert!(plan.list_pods.contains("shop"));
    assert_eq!(plan.probes.iter().map(|prove| prove.roots.clone()).collect::<Vec<_>>(), [[root_id(OLD)]]);
    assert_eq!(nudged(&scene), 1);
    assert_eq!(scene.condition("Served").unwrap().1, "Probing");
    serve(&mut scene);
    assert_eq!(scene.condition("Served").unwrap().1, "Served");
    assert!(scene.plan().probes.is_empty());
    assert_eq!(nudged(&scene), 0);
    let served = scene.status().served.unwrap();
    assert_eq!((served.pods, served.serving), (1, 1));
    assert!(served.seconds.is_some_and(|seconds| (0.0..60.0).contains(&seconds)));
    // What is known to be served is not looked at again.
    scene.certificate().status = scene.status();
    assert!(scene.plan().list_pods.is_empty());
}

#[test]
fn a_pod_is_nudged_once_a_revision_and_not_when_it_follows_the_api_or_nobody_may() {
    let mut scene = fresh();
    scene.look().pods[0].nudged_revision = Some(10);
    assert_eq!(nudged(&scene), 0);
    scene.look().pods[0].nudged_revision = Some(9);
    assert_eq!(nudged(&scene), 1);
    scene.observed.nudge = false;
    assert_eq!(nudged(&scene), 0);
    scene.observed.nudge = true;
    scene.look().pods[0].agent.as_mut().unwrap().watches_api = true;
    assert_eq!(nudged(&scene), 0);
    scene.now += 10 * SECOND;
    assert_eq!(nudged(&scene), 1, "it may have lost the API");
}

#[test]
fn that_pods_are_looked_at_is_not_written_down_for_those_who_show_it_at_once() {
    let mut scene = fresh();
    scene.now -= 2 * SECOND;
    assert_eq!(scene.condition("Served"), None);
    assert_eq!(scene.plan().wake_at, Some(scene.now + SECOND));
    serve(&mut scene);
    assert_eq!(scene.condition("Served").unwrap().1, "Served");
}

#[test]
fn what_was_seen_before_the_writing_does_not_count() {
    let mut scene = fresh();
    serve(&mut scene);
    scene.look().pods[0].proof.as_mut().unwrap().taken_at = start();
    assert_eq!(scene.condition("Served").unwrap().1, "Probing");
    let mut scene = fresh();
    scene.proven("two", NEW, &[OLD]);
    assert_eq!(scene.condition("Served").unwrap().1, "Probing");
}

#[test]
fn who_is_late_is_named_and_who_has_no_agent_as_well() {
    let mut scene = fresh();
    scene.pod("bare").agent = None;
    scene.now += 6 * MINUTE;
    let (status, reason, message) = scene.condition("Served").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotServedInTime"));
    assert_eq!(message, "0 of 2 pods serve what is published");
    let named: Vec<_> =
        scene.status().served.unwrap().by_pod.into_iter().map(|pod| pod.problem.unwrap()).collect();
    assert_eq!(named, ["it has no agent for this Secret", "it has not been asked yet"]);
}

#[test]
fn without_pods_it_is_said_that_there_are_none_and_without_a_secret_nothing() {
    let mut scene = fresh();
    scene.look().pods.clear();
    assert_eq!(scene.condition("Served").unwrap().1, "NoPods");
    scene.look().error = Some("forbidden".into());
    let (status, reason, message) = scene.condition("Served").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "PodsNotListed"));
    assert!(message.contains("forbidden"), "{message}");
    scene.certificate().published = Published::Absent;
    assert_eq!(scene.condition("Served"), None);
    assert!(scene.plan().list_pods.is_empty());
}
