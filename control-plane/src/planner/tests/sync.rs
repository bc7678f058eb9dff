//! Tables of certificates that an external manager has: when they are fetched, what is new, and what is pushed.

use std::sync::Arc;

use super::scene::{OLD, Scene, name};
use super::*;
use crate::api::leaf_request::Usage;
use crate::api::resource::ManagerRef;
use crate::outbox::DeliveryKey;
use crate::planner::observed::{FetchTrigger, Fetched, Published};

fn manager() -> ManagerRef {
    ManagerRef { name: "ibm".into(), id: "payments".into() }
}

impl Scene {
    /// Not signed here; the manager has version 1, which is published.
    fn fetched() -> Self {
        let mut scene = Self::with_manager();
        scene.certificate().spec.authority = String::new();
        let digest = FetchedSettings::validate(&name().name, &scene.certificate().spec).unwrap().digest();
        let version = scene.version_mut(1);
        version.own_bundle = Some(BTreeSet::from([root_id(OLD)]));
        version.spec_digest = digest;
        scene
    }

    /// Signed here, and known to a manager.
    fn with_manager() -> Self {
        let mut scene = Self::settled();
        scene.certificate().spec.manager = Some(manager());
        scene.observed.external.managers = Some(Arc::new(BTreeSet::from(["ibm".to_owned()])));
        scene
    }

    /// What was found for the task that the plan wants, as if it was done now.
    fn find(&mut self, number: u64) {
        let SyncAction::Fetch { trigger: occasion, .. } = self.task().action else {
            panic!("nothing is to be fetched")
        };
        let roots = BTreeSet::from([root_id(OLD)]);
        let found = Fetched { from: manager(), trigger: occasion, fingerprint: fingerprint(number), roots };
        Arc::make_mut(&mut self.observed.external.fetched).insert(name(), found);
    }

    /// The one that is wanted.
    fn task(&self) -> SyncTask {
        let [task] = <[_; 1]>::try_from(self.sync_tasks()).unwrap();
        task
    }

    fn sync_tasks(&self) -> Vec<SyncTask> {
        plan(&self.observed, self.now).sync_tasks
    }

    fn failing(&self, key: DeliveryKey) -> Self {
        let mut observed = self.observed.clone();
        observed.external.failed.insert(key, "it is down".into());
        Self { observed, now: self.now }
    }
}

#[test]
fn a_certificate_is_fetched_once_an_hour_and_stored_once() {
    let mut scene = Scene::fetched();
    assert_eq!(scene.does(), [""; 0]);
    scene.find(1);
    assert_eq!((scene.does(), scene.sync_tasks()), (vec![], vec![]), "it is known");
    let wake = plan(&scene.observed, scene.now).wake_at.unwrap();
    assert!(wake > scene.now && wake <= scene.now + HOUR, "{wake:?}");
    scene.now = wake;
    assert_eq!(scene.sync_tasks().len(), 1, "it is time to look again");
    scene.find(2);
    assert_eq!(scene.does(), ["keep 2"]);
    // However often it is planned, it is the same one.
    assert_eq!((scene.does(), scene.sync_tasks()), (vec!["keep 2".to_owned()], vec![]));
}

#[test]
fn a_request_triggers_a_fetch_and_is_handled_whatever_is_fetched() {
    for verb in ["rotate", "renewal-hint"] {
        let mut scene = Scene::fetched();
        scene.find(1);
        scene.ask(verb, "");
        let task = scene.task();
        assert_eq!(
            task.action,
            SyncAction::Fetch { trigger: FetchTrigger::Request("r1".into()), usage: Usage::default() }
        );
        scene.find(1);
        assert_eq!((scene.does(), scene.sync_tasks()), (vec![], vec![]));
        let answered = scene.status().handled_requests.unwrap();
        assert_eq!(
            [answered.rotate, answered.renewal_hint].into_iter().flatten().collect::<Vec<_>>(),
            ["r1"]
        );

        let mut scene = Scene::fetched();
        scene.ask(verb, "");
        scene.find(2);
        assert_eq!(scene.does(), ["keep 2 for r1"], "{verb}");
    }
}

#[test]
fn a_fetch_before_a_request_does_not_handle_it() {
    let mut scene = Scene::fetched();
    scene.find(2);
    scene.ask("renewal-hint", "");
    assert_eq!(scene.does(), ["keep 2"], "it is new all the same");
    assert_eq!(
        scene.task().action,
        SyncAction::Fetch { trigger: FetchTrigger::Request("r1".into()), usage: Usage::default() }
    );
}

#[test]
fn a_version_that_was_rolled_back_from_does_not_return() {
    let mut scene = Scene::fetched();
    scene.version(2, OLD);
    let one = scene.version_mut(1).clone();
    *scene.version_mut(2) =
        Version { fingerprint: fingerprint(2), leaf: leaf(2, scene.now, LEAF_LIFE), ..one };
    scene.publish(2);
    scene.find(2);
    scene.ask("rollback", "");
    assert_eq!(scene.does(), ["copy 1 as 3"]);
    let copy = Version { copy_of: Some(1), request: Some("r1".into()), ..scene.version_mut(1).clone() };
    scene.certificate().versions.insert(3, Arc::new(copy));
    assert_eq!(scene.does(), ["publish 3 over 102 of old"]);
    scene.publish(3);
    assert_eq!(scene.does(), [""; 0], "the manager still has version 2");
    scene.now += HOUR;
    scene.find(3);
    assert_eq!(scene.does(), ["keep 4"], "until it has another");
}

#[test]
fn an_earlier_version_is_new_when_the_manager_has_it_again() {
    let mut scene = Scene::fetched();
    let one = scene.version_mut(1).clone();
    scene.certificate().versions.insert(2, Arc::new(Version { fingerprint: fingerprint(2), ..one.clone() }));
    scene.publish(2);
    scene.find(1);
    assert_eq!(scene.does(), ["keep 3"]);
    // Also after it was signed here in between.
    let signed = Version { fingerprint: fingerprint(2), own_bundle: None, ..one };
    scene.certificate().versions.insert(2, Arc::new(signed));
    assert_eq!(scene.does(), ["keep 3"]);
}

#[test]
fn a_version_that_was_rolled_back_from_is_kept_and_an_edited_bundle_does_not_restore_it() {
    let mut scene = Scene::fetched();
    scene.certificate().spec.history = Some(1);
    let one = scene.version_mut(1).clone();
    let two = Version { fingerprint: fingerprint(2), ..one.clone() };
    scene.certificate().versions.insert(2, Arc::new(two));
    scene.certificate().versions.insert(3, Arc::new(Version { copy_of: Some(1), ..one }));
    scene.publish(3);
    scene.find(2);
    assert_eq!(scene.does(), ["prune 1"], "by version 2 it is known what is new");
    let found = Arc::make_mut(&mut scene.observed.external.fetched).get_mut(&name()).unwrap();
    found.roots.insert(root_id(9));
    assert_eq!(scene.does(), ["prune 1"]);
}

#[test]
fn a_copy_keeps_its_own_roots_where_the_newest_has_none() {
    let mut scene = Scene::fetched();
    let one = scene.version_mut(1).clone();
    let signed = Version { fingerprint: fingerprint(2), own_bundle: None, ..one };
    scene.certificate().versions.insert(2, Arc::new(signed));
    scene.ask("rollback", "to=1");
    let plan = scene.plan();
    let copy = plan.actions.iter().find(|action| matches!(action, Action::RollBack { .. }));
    assert!(matches!(copy, Some(Action::RollBack { bundle_from: None, to: 1, .. })), "{copy:?}");
}

#[test]
fn a_rollback_to_a_version_that_todays_bundle_rejects_is_refused() {
    let mut scene = Scene::fetched();
    let one = scene.version_mut(1).clone();
    let roots = Some(BTreeSet::from([root_id(2)]));
    let two = Version { fingerprint: fingerprint(2), root: root_id(2), own_bundle: roots, ..one };
    scene.certificate().versions.insert(2, Arc::new(two));
    scene.publish(2);
    scene.publication().roots = BTreeSet::from([root_id(2)]);
    scene.ask("rollback", "");
    let (_, _, why) = scene.condition("RollbackRefused").unwrap();
    assert!(why.contains("which today's trust rejects"), "{why}");
}

#[test]
fn a_failed_fetch_is_reported_and_keeps_the_publication() {
    let scene = Scene::fetched();
    let failing = scene.failing(scene.task().key());
    assert_eq!(failing.does(), [""; 0]);
    let (status, reason, message) = failing.condition("Ready").unwrap();
    assert_eq!((status.as_str(), reason.as_str(), message.as_str()), ("True", "NotFetched", "it is down"));
    // The next hour is the same task: how it fares is not forgotten.
    let later = Scene { observed: failing.observed, now: failing.now + HOUR };
    assert_eq!(later.condition("Degraded").unwrap().1, "NotFetched");

    let mut unknown = Scene::fetched();
    unknown.observed.external.managers = Some(Arc::default());
    assert_eq!(
        (unknown.condition("Ready").unwrap().1, unknown.sync_tasks()),
        ("UnknownManager".into(), vec![])
    );
}

#[test]
fn a_command_without_managers_leaves_them_to_the_controller() {
    for scene in [Scene::fetched(), Scene::with_manager()] {
        let mut scene = scene;
        scene.observed.external.managers = None;
        assert_eq!((scene.does(), scene.sync_tasks()), (vec![], vec![]));
        assert!(scene.condition("Degraded").is_none());
    }
    let mut new = Scene::fetched();
    new.observed.external.managers = None;
    new.certificate().versions.clear();
    new.certificate().published = Published::Absent;
    assert_eq!(new.condition("Ready").unwrap().1, "WaitingForManager");
}

#[test]
fn a_spec_must_not_set_what_its_manager_decides() {
    let mut scene = Scene::fetched();
    scene.certificate().spec.lifetime = Some("1d".into());
    let (_, reason, message) = scene.condition("Ready").unwrap();
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("lifetime: remove it; without an authority"), "{message}");
    scene.certificate().spec.manager = Some(ManagerRef { name: "ibm".into(), id: "../other".into() });
    assert!(scene.condition("Ready").unwrap().2.contains("manager: "), "an id is a part of an address");
    scene.certificate().spec.manager = None;
    assert!(scene.condition("Ready").unwrap().2.contains("authority: "));
}

#[test]
fn a_publication_is_pushed_until_the_status_records_it() {
    let mut scene = Scene::with_manager();
    let task = scene.task();
    assert_eq!(task.action, SyncAction::Push { version: 1, sha256: sha256(1) });
    assert_eq!(scene.failing(task.key()).condition("Degraded").unwrap().1, "NotPushed");
    scene.observed.external.done.insert(task.key());
    let imported = scene.status().external_sync.unwrap();
    assert_eq!((imported.version, imported.sha256.as_str()), (1, sha256(1).as_str()));
    assert_eq!(scene.sync_tasks().len(), 1, "it is remembered until it is written down");
    scene.certificate().status.external_sync = Some(imported);
    scene.observed.external.done.clear();
    assert_eq!(scene.sync_tasks(), []);

    // What is not published yet is not pushed.
    scene.version(2, OLD);
    assert_eq!((scene.does(), scene.sync_tasks()), (vec!["publish 2 over 101 of old".to_owned()], vec![]));
    scene.publish(2);
    assert_eq!(scene.task().action, SyncAction::Push { version: 2, sha256: sha256(2) });
    // Another manager has not received it yet.
    scene.certificate().spec.manager = Some(ManagerRef { name: "ibm".into(), id: "other".into() });
    assert_eq!(scene.task().with.id, "other");
}
