//! A world that is not what the controller believes it to be: pods take a Secret late, agents are cut
//! off, the controller crashes between two writes, looks at what is old, and its clock is set. Steps come
//! in any order; [`check`] says what holds after each of them and where it all ends up.

mod apply;
mod check;
mod rounds;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use self::rounds::Memory;
use self::steps::Step;
use super::super::plan;
use super::*;
use crate::api::resource::CertificateStatus;
use crate::planner::observed::{Proof, Request};

struct World {
    /// What the controller's clock says.
    now: SystemTime,
    /// Names what is new: it only grows.
    counter: u64,
    ca: Ca,
    certificates: BTreeMap<ObjectName, Cert>,
    pods: Vec<Inhabitant>,
    memory: Memory,
    /// Pods that the rollover went on without.
    exempted: BTreeSet<String>,
    /// A root was taken out by force and is not gone everywhere yet.
    forced: bool,
    /// Whoever writes now planned it a while ago.
    stale: bool,
}

#[derive(Default)]
struct Ca {
    status: AuthorityStatus,
    requests: BTreeMap<String, Request>,
    ring: Option<(State, BTreeMap<RootId, Root>)>,
    stamp: u64,
}

struct Cert {
    spec: ServiceCertificateSpec,
    status: CertificateStatus,
    requests: BTreeMap<String, Request>,
    versions: BTreeMap<u64, Version>,
    secret: Option<Secret>,
    /// All that ever was in the Secret and could be served, in order.
    contents: Vec<Content>,
    revision: u64,
    newest: u64,
}

/// As it is in the store.
struct Secret {
    stamp: u64,
    fingerprint: Fingerprint,
    leaf_sha256: String,
    roots: BTreeSet<RootId>,
    revision: u64,
    written_at: SystemTime,
    /// `None` after somebody wrote nonsense into it.
    content: Option<usize>,
}

/// What can be served.
#[derive(Clone, Debug)]
struct Content {
    leaf: Leaf,
    root: RootId,
    trust: BTreeSet<RootId>,
}

struct Inhabitant {
    name: String,
    uid: String,
    certificate: ObjectName,
    agent: bool,
    answers: bool,
    nudged: Option<u64>,
    /// What it really serves and trusts: an index into `Cert::contents`.
    serves: Option<usize>,
    connections: BTreeMap<RootId, u64>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: start(),
            counter: 0,
            ca: Ca::default(),
            certificates: BTreeMap::new(),
            pods: Vec::new(),
            memory: Memory::default(),
            exempted: BTreeSet::new(),
            forced: false,
            stale: false,
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
        let certificate = Cert {
            spec: certificate_spec(),
            status: CertificateStatus::default(),
            requests: BTreeMap::new(),
            versions: BTreeMap::new(),
            secret: None,
            contents: Vec::new(),
            revision: 0,
            newest: 0,
        };
        self.certificates.insert(name, certificate);
    }

    fn state(&self) -> Option<&State> {
        self.ca.ring.as_ref().map(|(state, _)| state)
    }

    /// What a pod really serves, unless nobody looks after it any more.
    fn content_of(&self, pod: &Inhabitant) -> Option<&Content> {
        self.certificates.get(&pod.certificate)?.contents.get(pod.serves?)
    }
}

fn secret_name(certificate: &ObjectName) -> String {
    format!("{}-tls", certificate.name.trim_start_matches("mtls-prod-"))
}

fn cases() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 400;
    }
    config
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_pods_trust_each_other_and_in_the_end_all_is_settled_or_named(
        steps in prop::collection::vec(Step::any(), 10..90),
        somebody_stays_cut_off in prop::bool::weighted(0.2),
    ) {
        let mut world = World::new();
        world.grow_up();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.calm_down(somebody_stays_cut_off);
    }
}

#[test]
fn who_planned_on_an_old_keyring_does_not_bring_back_an_old_bundle() {
    let mut world = World::new();
    world.grow_up();
    world.step(&Step::DeleteSecret(0));
    // Somebody plans to write it again, and is held up.
    let (observed, at) = (world.observe(), world.now);
    assert!(plan(&observed, at).actions.iter().any(|action| matches!(action, Action::Publish { .. })));
    world.step(&Step::Rollover);
    let reissued = |world: &World| {
        let to = world.state().and_then(State::rollover).map(|rollover| rollover.to.clone());
        to.is_some_and(|to| {
            world.pods.iter().all(|pod| world.content_of(pod).is_some_and(|own| own.root == to))
        })
    };
    for _ in 0..20 {
        world.round(rounds::Fate::Whole, false);
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
    world.calm_down(false);
}
