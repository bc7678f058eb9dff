//! A simulated cluster that is not as the controller observed it: pods take a Secret late, agents become
//! unreachable, the controller crashes between two writes, plans on an old state, and its clock is set; specs move
//! to another authority, namespaces close, objects are deleted and made again, and the store is restored from a
//! backup. Steps come in any order; [`check`] has the invariants after each of them, and the state in which it
//! must end.

mod apply;
mod check;
mod counts;
mod rounds;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use self::rounds::Memory;
use self::steps::Step;
use super::super::plan;
use super::*;
use crate::api::resource::CertificateStatus;
use crate::planner::observed::{Proof, Request};

/// The other authority.
const OTHER: &str = "root-prod-other";
/// There is none of this name.
const MISTYPED: &str = "root-prod-mehs";

struct World {
    /// What the controller's clock says.
    now: SystemTime,
    /// Names what is new: it only grows.
    counter: u64,
    store: SimulatedStore,
    /// Copies of the store, and when each was made.
    backups: Vec<(SystemTime, SimulatedStore)>,
    pods: Vec<SimulatedPod>,
    memory: Memory,
    planner: Planner,
    rounds: u64,
    /// Namespaces that the controller has no right to.
    closed: BTreeSet<String>,
    /// The authority that each root was made for.
    made_for: BTreeMap<RootId, String>,
    /// What rollovers went on without, by uid or name.
    overridden: BTreeSet<String>,
    /// Authorities of which a root was taken out by force and is not gone everywhere yet.
    forced: BTreeSet<String>,
    /// Roots that were taken out by force: a pod that still has one is cut off.
    removed: BTreeSet<RootId>,
    /// The store was restored, and pods may have come further.
    restored: bool,
    /// The actions applied now were planned on an earlier state.
    stale: bool,
    /// The keyrings that the actions applied now were planned on.
    planned_on: BTreeMap<String, u64>,
    /// Whether the controller reads the ledger.
    has_ledger: bool,
}

/// What is in the cluster's store.
#[derive(Clone, Default)]
struct SimulatedStore {
    authorities: BTreeMap<String, SimulatedAuthority>,
    certificates: BTreeMap<ObjectName, SimulatedCertificate>,
    /// By the certificate that it is or was published by, which a pod names as well.
    targets: BTreeMap<ObjectName, Target>,
}

#[derive(Clone, Default)]
struct SimulatedAuthority {
    /// The keyring outlives it.
    deleted: bool,
    status: AuthorityStatus,
    requests: BTreeMap<String, Request>,
    ring: Option<(State, BTreeMap<RootId, Root>)>,
    stamp: u64,
}

#[derive(Clone)]
struct SimulatedCertificate {
    spec: ServiceCertificateSpec,
    status: CertificateStatus,
    requests: BTreeMap<String, Request>,
    versions: BTreeMap<u64, Version>,
    newest: u64,
}

#[derive(Clone, Default)]
struct Target {
    secret: Option<Secret>,
    /// All that ever was in the Secret and could be served, in order.
    contents: Vec<Content>,
    revision: u64,
    vanished_at: Option<SystemTime>,
}

/// As it is in the store.
#[derive(Clone)]
struct Secret {
    stamp: u64,
    fingerprint: Fingerprint,
    leaf_sha256: String,
    roots: BTreeSet<RootId>,
    revision: u64,
    written_at: SystemTime,
    /// `None` after its contents were edited.
    content: Option<usize>,
}

/// What can be served.
#[derive(Clone, Debug)]
struct Content {
    leaf: Leaf,
    root: RootId,
    trust: BTreeSet<RootId>,
}

struct SimulatedPod {
    name: String,
    uid: String,
    certificate: ObjectName,
    agent: bool,
    reachable: bool,
    /// It could not be reached all the time since the store was restored.
    was_unreachable: bool,
    nudged: Option<u64>,
    /// What it really serves and trusts: an index into [`Target::contents`].
    serves: Option<usize>,
    connections: BTreeMap<RootId, u64>,
}

impl World {
    fn new() -> Self {
        let authorities = [AUTHORITY, OTHER].map(|name| (name.to_owned(), SimulatedAuthority::default()));
        let mut world = Self {
            now: start(),
            counter: 0,
            store: SimulatedStore { authorities: BTreeMap::from(authorities), ..SimulatedStore::default() },
            backups: Vec::new(),
            pods: Vec::new(),
            memory: Memory::new(start()),
            planner: Planner::default(),
            rounds: 0,
            closed: BTreeSet::new(),
            made_for: BTreeMap::new(),
            overridden: BTreeSet::new(),
            forced: BTreeSet::new(),
            removed: BTreeSet::new(),
            restored: false,
            stale: false,
            planned_on: BTreeMap::new(),
            has_ledger: true,
        };
        for namespace in ["shop", "shop", "bank"] {
            world.add_certificate(namespace);
        }
        world
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn add_certificate(&mut self, namespace: &str) {
        let name = ObjectName::new(namespace, format!("mtls-prod-app{}", self.count()));
        self.store.certificates.insert(name.clone(), SimulatedCertificate::new());
        self.store.targets.entry(name).or_default();
    }

    fn state(&self) -> Option<&State> {
        self.state_of(AUTHORITY)
    }

    fn state_of(&self, authority: &str) -> Option<&State> {
        self.store.authorities.get(authority)?.ring.as_ref().map(|(state, _)| state)
    }

    /// What a pod really serves.
    fn content_of(&self, pod: &SimulatedPod) -> Option<&Content> {
        self.store.targets.get(&pod.certificate)?.contents.get(pod.serves?)
    }

    fn run(steps: &[Step], one_pod_stays_unreachable: bool, has_ledger: bool) {
        let mut world = Self::new();
        world.has_ledger = has_ledger;
        world.set_up();
        for step in steps {
            counts::count(step);
            world.step(step);
            world.check();
        }
        world.settle(one_pod_stays_unreachable);
    }
}

impl SimulatedCertificate {
    fn new() -> Self {
        Self {
            spec: certificate_spec(),
            status: CertificateStatus::default(),
            requests: BTreeMap::new(),
            versions: BTreeMap::new(),
            newest: 0,
        }
    }
}

fn secret_name(certificate: &ObjectName) -> String {
    format!("{}-tls", certificate.name.trim_start_matches("mtls-prod-"))
}

/// By how many cases: `PROPTEST_CASES`, or so many that the test takes a few seconds.
fn cases(default: u32) -> ProptestConfig {
    let mut config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = default;
    }
    config
}

/// The same cases every time, unless `PROPTEST_CASES` asks for a search.
fn runner(config: ProptestConfig) -> TestRunner {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

fn any_steps() -> impl Strategy<Value = (Vec<Step>, bool)> {
    (prop::collection::vec(Step::any(), 10..90), prop::bool::weighted(0.2))
}

#[test]
fn pods_trust_each_other_after_any_step_and_in_the_end_all_is_settled_or_its_blocker_is_named() {
    let config = cases(400);
    let wanted = if config.cases >= 20_000 { 1_000 } else { 1 };
    let result = runner(config).run(&any_steps(), |(steps, one_pod_stays_unreachable)| {
        World::run(&steps, one_pod_stays_unreachable, true);
        Ok(())
    });
    let counts = counts::take();
    println!("{counts:#?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    for (step, count) in &counts {
        assert!(*count >= wanted, "{step} ran {count} times only");
    }
}

/// The steps are such that they find what the ledger is there for.
#[test]
fn a_controller_that_reads_no_ledger_cuts_pods_off() {
    let config = ProptestConfig { max_shrink_iters: 0, ..cases(20_000) };
    let result = runner(config).run(&any_steps(), |(steps, _)| {
        World::run(&steps, false, false);
        Ok(())
    });
    counts::take();
    let Err(TestError::Fail(why, _)) = result else { panic!("no step needs the ledger: {result:?}") };
    assert!(why.to_string().contains("shows a leaf under"), "{why}");
}

#[test]
fn an_action_planned_on_an_old_keyring_does_not_restore_an_old_bundle() {
    let mut world = World::new();
    world.set_up();
    world.step(&Step::DeleteSecret(0));
    // It is planned to be written again, but the plan is not applied yet.
    let (observed, at) = (world.observe(), world.now);
    assert!(plan(&observed, at).actions.iter().any(|action| matches!(action, Action::Publish { .. })));
    world.step(&Step::Rollover(1));
    let reissued = |world: &World| {
        let to = world.state().and_then(State::rollover).map(|rollover| rollover.to.clone());
        to.is_some_and(|to| {
            world.pods.iter().all(|pod| world.content_of(pod).is_some_and(|own| own.root == to))
        })
    };
    for _ in 0..20 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.step(&Step::SyncAll);
        world.check();
        if reissued(&world) {
            break;
        }
    }
    assert!(reissued(&world), "{:?}", world.state());
    world.step(&Step::DeleteSecret(0));
    for action in &plan(&observed, at).actions {
        world.apply(action);
    }
    world.step(&Step::AddPod { certificate: 0, agent: true });
    world.check();
    world.settle(false);
}

/// All of them, at once: whatever talks to whatever before does so in every step between.
#[test]
fn certificates_that_move_to_another_authority_together_never_stop_talking_to_each_other() {
    let mut world = World::new();
    world.set_up();
    for certificate in world.store.certificates.values_mut() {
        certificate.spec.authority = OTHER.into();
    }
    for pod in 0..60 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.check_all_trust_each_other();
        // One pod takes what is there.
        world.step(&Step::Sync { pod, lag: 0 });
        world.check_all_trust_each_other();
    }
    let homes = world.pods.iter().filter_map(|pod| Some(&world.content_of(pod)?.trust));
    let of_other = world.state_of(OTHER).map(|state| BTreeSet::from([state.signing().clone()])).unwrap();
    assert!(homes.into_iter().all(|trust| *trust == of_other), "{:?}", world.store.certificates.keys());
    world.settle(false);
}

/// A restored keyring is older than what the pods have: nothing is cut off before a person decides.
#[test]
fn a_keyring_from_before_a_rollover_issues_nothing_until_it_is_accepted() {
    let mut world = World::new();
    world.set_up();
    let backup = world.store.clone();
    world.step(&Step::Rollover(1));
    for _ in 0..40 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.step(&Step::SyncAll);
    }
    assert!(
        world.state().is_some_and(|state| state.rollover().is_none() && !state.rollover_history.is_empty())
    );
    world.restore(backup);
    world.step(&Step::Rotate(0));
    for _ in 0..5 {
        world.round(rounds::RoundOutcome::Whole, false);
    }
    let versions = |world: &World| world.store.certificates.values().map(|held| held.newest).max();
    assert_eq!(versions(&world), Some(1), "it has issued");
    let unknown = world.state().and_then(|state| state.unknown_root.clone()).expect("the root is noticed");
    assert!(unknown.seen_at.contains("/pod"), "{unknown:?}");
    let status = &world.store.authorities[AUTHORITY].status;
    assert!(
        status.conditions.iter().any(|condition| condition.message.contains("older than what is in use"))
    );
    world.step(&Step::AcceptKeyring);
    for _ in 0..5 {
        world.round(rounds::RoundOutcome::Whole, false);
    }
    assert_eq!(versions(&world), Some(2));
    world.settle(false);
}

/// Its leaf is under a root that nobody accepts any more: there is nothing to wait with.
#[test]
fn a_certificate_that_moves_while_its_root_is_removed_by_force_takes_the_new_leaf_at_once() {
    let mut world = World::new();
    world.set_up();
    world.step(&Step::Rollover(1));
    for _ in 0..3 {
        world.round(rounds::RoundOutcome::Whole, false);
    }
    let old = world.state().and_then(State::rollover).map(|rollover| rollover.from.clone());
    let old = old.expect("the rollover is under way");
    let id = old.0[..12].to_owned();
    world.ask_authority(1, "remove-root", format!("{id} stolen"));
    world.step(&Step::Move(0));
    for _ in 0..8 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.check();
        world.step(&Step::SyncAll);
        world.check();
        let mut conditions =
            world.store.certificates.values().flat_map(|certificate| &certificate.status.conditions);
        assert!(!conditions.any(|condition| condition.message.contains("there is no version")));
    }
    assert!(world.pods.iter().all(|pod| world.content_of(pod).is_some_and(|own| own.root != old)));
    world.settle(false);
}

/// One pod has come further than the Secret that was restored, and takes nothing that is older than its own.
#[test]
fn a_move_that_was_restored_from_a_backup_goes_on_with_pods_that_are_further() {
    let mut world = World::new();
    world.set_up();
    world.step(&Step::Move(0));
    let whole = |world: &mut World| drop(world.round(rounds::RoundOutcome::Whole, false));
    (0..3).for_each(|_| whole(&mut world));
    let backup = world.store.clone();
    world.step(&Step::SyncAll);
    (0..4).for_each(|_| whole(&mut world));
    world.step(&Step::Sync { pod: 3, lag: 0 });
    let ahead = world.content_of(&world.pods[3]).map(|content| content.root.clone());
    assert_eq!(ahead.as_ref(), world.state_of(OTHER).map(State::signing), "it shows the new leaf");
    world.restore(backup);
    world.settle(false);
}

/// Enough that what is planned for one object and what is planned for all differ.
fn fleet() -> World {
    let mut world = World::new();
    for number in 0..100 {
        world.add_certificate(if number % 2 == 0 { "shop" } else { "bank" });
    }
    world.set_up();
    for pod in 6..world.store.certificates.len() {
        world.add_pod(pod, true);
    }
    for _ in 0..6 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.step(&Step::SyncAll);
        world.now += MINUTE;
    }
    world
}

#[test]
fn an_event_is_planned_for_what_it_touches_however_many_certificates_there_are() {
    let mut world = fleet();
    world.round(rounds::RoundOutcome::Whole, false);
    assert_eq!(world.planner.planned(), 0, "nothing has changed");
    world.step(&Step::Rotate(0));
    for round in 0..10 {
        world.round(rounds::RoundOutcome::Whole, false);
        let planned = world.planner.planned();
        assert!(
            planned <= 2,
            "{planned} objects in round {round}: more than the certificate and its authority"
        );
        world.step(&Step::SyncAll);
    }
    let versions: Vec<_> = world.store.certificates.values().map(|held| held.newest).collect();
    assert_eq!(
        (versions.iter().max(), versions.iter().filter(|newest| **newest == 2).count()),
        (Some(&2), 1)
    );
    assert_eq!(world.planner.planned(), 0, "all is settled again");
}

#[test]
fn a_fleet_trusts_itself_in_every_step_of_a_rollover() {
    let mut world = fleet();
    world.step(&Step::Rollover(1));
    for _ in 0..40 {
        world.round(rounds::RoundOutcome::Whole, false);
        world.check();
        world.step(&Step::SyncAll);
        world.check();
        world.now += MINUTE;
    }
    assert!(
        world.state().is_some_and(|state| state.rollover().is_none() && state.rollover_history.len() == 1)
    );
}
