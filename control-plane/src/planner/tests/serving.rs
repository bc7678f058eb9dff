//! Tables of what follows a publication: which pods are listed, nudged and probed, and what the status says.

use super::scene::{NEW, OLD, Scene, proof_mut};
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
    scene.list_pods().pods.clear();
    let pod = scene.proven("one", 1, &[OLD]);
    let shown = proof_mut(pod).result.as_mut().unwrap();
    shown.connections_under.insert(root_id(OLD), 0);
}

/// It shows another leaf than the published one.
fn show_another(scene: &mut Scene) {
    scene.list_pods().pods.clear();
    scene.proven("one", NEW, &[OLD]);
}

#[test]
fn pods_are_listed_nudged_and_probed_until_they_serve_the_publication() {
    let mut scene = fresh();
    let plan = scene.plan();
    assert!(plan.list_pods.contains("shop"));
    assert_eq!(plan.probes.iter().map(|prove| prove.roots.clone()).collect::<Vec<_>>(), [[root_id(OLD)]]);
    assert_eq!(nudged(&scene), 1);
    assert_eq!(scene.condition("Served"), None, "it is about to be probed");
    show_another(&mut scene);
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
fn a_pod_is_nudged_once_per_revision_unless_it_watches_the_api_or_nudging_is_off() {
    let mut scene = fresh();
    scene.list_pods().pods[0].nudged_revision = Some(10);
    assert_eq!(nudged(&scene), 0);
    scene.list_pods().pods[0].nudged_revision = Some(9);
    assert_eq!(nudged(&scene), 1);
    scene.observed.nudge = false;
    assert_eq!(nudged(&scene), 0);
    scene.observed.nudge = true;
    scene.list_pods().pods[0].agent.as_mut().unwrap().watches_api = true;
    assert_eq!(nudged(&scene), 0);
    scene.now += 10 * SECOND;
    assert_eq!(nudged(&scene), 1, "it may have lost the API");
}

#[test]
fn probing_is_not_in_the_status_when_pods_serve_the_publication_at_once() {
    let mut scene = fresh();
    scene.now -= 2 * SECOND;
    scene.list_pods();
    assert_eq!(scene.condition("Served"), None, "its pod is not probed yet");
    assert_eq!(scene.plan().wake_at, Some(scene.now + 29 * SECOND));
    show_another(&mut scene);
    assert_eq!(scene.condition("Served"), None, "it may serve it in a moment");
    assert_eq!(scene.plan().wake_at, Some(scene.now + SECOND));
    serve(&mut scene);
    assert_eq!(scene.condition("Served").unwrap().1, "Served");
}

#[test]
fn a_proof_from_before_the_write_does_not_count() {
    let mut scene = fresh();
    serve(&mut scene);
    proof_mut(&mut scene.list_pods().pods[0]).taken_at = start();
    assert_eq!(scene.condition("Served"), None, "it counts as not probed");
    scene.now += 28 * SECOND;
    assert_eq!(scene.condition("Served").unwrap().1, "Probing");
    let mut scene = fresh();
    serve(&mut scene);
    scene.proven("two", NEW, &[OLD]);
    assert_eq!(scene.condition("Served").unwrap().1, "Probing");
}

#[test]
fn late_pods_and_pods_without_an_agent_are_named() {
    let mut scene = fresh();
    scene.pod("bare").agent = None;
    scene.now += 6 * MINUTE;
    let (status, reason, message) = scene.condition("Served").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotServedInTime"));
    assert_eq!(message, "0 of 2 pods serve what is published");
    let named: Vec<_> =
        scene.status().served.unwrap().by_pod.into_iter().map(|pod| pod.problem.unwrap()).collect();
    assert_eq!(named, ["the pod has no agent for this Secret", "the agent has not been probed yet"]);
}

#[test]
fn the_served_condition_reports_that_there_are_no_pods_or_that_they_cannot_be_listed() {
    let mut scene = fresh();
    scene.list_pods().pods.clear();
    assert_eq!(scene.condition("Served").unwrap().1, "NoPods");
    scene.list_pods().error = Some("forbidden".into());
    let (status, reason, message) = scene.condition("Served").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "PodsNotListed"));
    assert!(message.contains("forbidden"), "{message}");
    scene.certificate().published = Published::Absent;
    assert_eq!(scene.condition("Served"), None);
    assert!(scene.plan().list_pods.contains("shop"), "it is about to be published");
}

/// Recorded, and then written with another bundle, which every pod serves.
fn rewritten(phase: Phase) -> Scene {
    let leaf = if phase == Phase::Distributing { 1 } else { 2 };
    let prove = |scene: &mut Scene| {
        scene.list_pods().pods.clear();
        let trusted: Vec<_> = scene.ring().state.trusted().into_iter().cloned().collect();
        let pod = scene.proven("one", leaf, &[OLD, NEW]);
        let shown = proof_mut(pod).result.as_mut().unwrap();
        shown.connections_under.extend(trusted.into_iter().map(|root| (root, 0)));
    };
    let mut scene = Scene::rolling(phase);
    scene.now += 4 * MINUTE;
    prove(&mut scene);
    scene.certificate().status = scene.status();
    assert_eq!(
        scene.certificate().status.served.as_ref().map(|served| (served.pods, served.serving)),
        Some((1, 1))
    );
    scene.publish(leaf);
    scene.certificate().status.revision = Some(10);
    scene.publication().revision = 11;
    scene.now += SECOND;
    prove(&mut scene);
    scene
}

#[test]
fn status_says_roots_that_are_distributed_and_the_leaf_that_follows_at_once() {
    let mut scene = rewritten(Phase::Distributing);
    assert_eq!(scene.status().revision, Some(10), "the next leaf is about to be published");
    assert!(scene.plan().wake_at.is_some_and(|at| at <= scene.now + 2 * MINUTE));
    let mut other = rewritten(Phase::Distributing);
    other.certificate().status.handled_requests = None;
    other.ask("rotate", "");
    other.version_mut(1).request = Some("r1".into());
    assert_eq!(other.status().revision, Some(11), "a request is answered at once");
    scene.now += 2 * MINUTE;
    assert_eq!(scene.status().revision, Some(11), "the rollover is held");
    for phase in [Phase::Reissuing, Phase::Retiring] {
        assert_eq!(rewritten(phase).status().revision, Some(11), "{phase:?}");
    }
}
