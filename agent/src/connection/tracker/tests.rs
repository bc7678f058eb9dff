//! When connections are asked to end, by a clock that the test moves.

#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

use super::*;
use crate::tls::config::{ClientAuth, Configs};
use crate::tls::credential::{Credential, LeafParts};
use crate::tls::identity::{Identity, Policy, Trust};
use crate::tls::peer::Peers;
use crate::tls::snapshot::{self, Delivery};
use crate::tls::source::SourceKind;

const SECOND: Duration = Duration::from_secs(1);

type Root = CertifiedIssuer<'static, KeyPair>;

fn root(name: &str) -> Root {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An identity under `issuer`, trusting `roots`, and its leaf's DER.
fn identity(issuer: &Root, roots: &[&Root]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["a.test".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let bundle: String = roots.iter().map(|root| root.pem()).collect();
    let part = |text: String| Ok(Zeroizing::new(text.into_bytes()));
    let credential = Credential {
        leaf: LeafParts::Pair { certificate: part(certificate.pem()), key: part(key.serialize_pem()) },
        trust: part(bundle),
        revision: None,
        changed_at: None,
        atomic: true,
    };
    Identity::parse(&credential, &Policy::default(), None, SystemTime::now()).merge(None).unwrap()
}

struct World {
    tracker: ConnectionTracker,
    publisher: snapshot::Publisher,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            max_connections: 3,
            idle: 100 * SECOND,
            max_age: 1000 * SECOND,
            request_head: 10 * SECOND,
            drain_after: 20 * SECOND,
            root_drain: 5 * SECOND,
        };
        Self {
            tracker: ConnectionTracker::new(limits),
            publisher: snapshot::channel().0,
            now: Duration::ZERO,
        }
    }

    fn publish(&mut self, identity: &Identity) -> Arc<Snapshot> {
        let configs = Configs::build(identity, ClientAuth::Require).unwrap();
        let delivery = Delivery { from: SourceKind::Volume, changed_at: None, written_at: None };
        let snapshot = self.publisher.publish(identity.clone(), configs, delivery);
        self.tracker.judge(Arc::clone(&snapshot));
        snapshot
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tracker.advance(self.now);
        self.tracker.expire(SystemTime::now());
    }
}

fn peer(identity: &Identity) -> Option<Arc<Peer>> {
    Peers::default().intern(&identity.leaf.certified.cert)
}

#[test]
fn client_of_a_removed_root_is_cut_on_tcp_and_has_a_last_request_on_http() {
    let (old, new) = (root("old"), root("new"));
    let mut world = World::new();
    let both = identity(&new, &[&old, &new]);
    let snapshot = world.publish(&both);
    let stale = peer(&identity(&old, &[&old]));
    let fresh = peer(&identity(&new, &[&new]));
    let open = |kind, peer: &Option<Arc<Peer>>| {
        world.tracker.open(Side::Inbound, kind, &snapshot, peer.clone()).unwrap()
    };
    let (tcp, http, kept) =
        (open(Protocol::Tcp, &stale), open(Protocol::Http1, &stale), open(Protocol::Tcp, &fresh));
    world.publish(&identity(&new, &[&new]));
    assert_eq!(
        (tcp.close_stage(), http.close_stage(), kept.close_stage()),
        (CloseStage::Cut, CloseStage::LastRequest, CloseStage::None)
    );
    assert_eq!(world.tracker.under_removed_roots(), 2);
    world.pass(6 * SECOND);
    assert_eq!((http.close_stage(), kept.close_stage()), (CloseStage::Cut, CloseStage::None));
}

#[test]
fn connection_that_shook_hands_before_the_removal_and_opens_after_is_cut() {
    let (old, new) = (root("old"), root("new"));
    let mut world = World::new();
    let before = world.publish(&identity(&new, &[&old, &new]));
    world.publish(&identity(&new, &[&new]));
    let late =
        world.tracker.open(Side::Inbound, Protocol::Tcp, &before, peer(&identity(&old, &[&old]))).unwrap();
    assert_eq!(late.close_stage(), CloseStage::Cut);
}

#[test]
fn http_under_an_older_leaf_is_asked_to_close_after_a_while_and_tcp_is_not() {
    let root = root("root");
    let mut world = World::new();
    let snapshot = world.publish(&identity(&root, &[&root]));
    let http = world.tracker.open(Side::Inbound, Protocol::Http1, &snapshot, None).unwrap();
    let tcp = world.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None).unwrap();
    world.publish(&identity(&root, &[&root]));
    let current = world.tracker.count(Side::Inbound, 2);
    assert_eq!(current, ByGeneration { current: 0, previous: 2, older: 0 });
    world.pass(19 * SECOND);
    assert_eq!(http.close_stage(), CloseStage::None);
    world.pass(12 * SECOND);
    assert_eq!(http.close_stage(), CloseStage::LastRequest);
    world.pass(32 * SECOND);
    assert_eq!((http.close_stage(), tcp.close_stage()), (CloseStage::Finish, CloseStage::None));
}

#[test]
fn connection_that_opens_after_its_leaf_was_superseded_is_drained_too() {
    let root = root("root");
    let mut world = World::new();
    let before = world.publish(&identity(&root, &[&root]));
    world.publish(&identity(&root, &[&root]));
    let late = world.tracker.open(Side::Inbound, Protocol::Http1, &before, None).unwrap();
    world.pass(31 * SECOND);
    assert_eq!(late.close_stage(), CloseStage::LastRequest);
}

#[test]
fn answers_on_a_pooled_outbound_connection_begin_no_request() {
    let root = root("root");
    let mut world = World::new();
    let snapshot = world.publish(&identity(&root, &[&root]));
    let pooled = world.tracker.open(Side::Outbound, Protocol::Http1, &snapshot, None).unwrap();
    world.pass(SECOND);
    pooled.head_bytes();
    world.pass(60 * SECOND);
    assert_eq!(pooled.close_stage(), CloseStage::None);
}

#[test]
fn idle_old_and_slow_connections_end_and_moving_ones_do_not() {
    let root = root("root");
    let mut world = World::new();
    let snapshot = world.publish(&identity(&root, &[&root]));
    let open = |world: &World, kind| world.tracker.open(Side::Inbound, kind, &snapshot, None).unwrap();
    let (idle, moving, slow) =
        (open(&world, Protocol::Tcp), open(&world, Protocol::Tcp), open(&world, Protocol::Http1));
    world.pass(SECOND);
    slow.head_bytes();
    world.pass(11 * SECOND);
    assert_eq!(slow.close_stage(), CloseStage::Cut);
    moving.touch();
    world.pass(89 * SECOND);
    assert_eq!((idle.close_stage(), moving.close_stage()), (CloseStage::Cut, CloseStage::None));
    for _ in 0..10 {
        moving.touch();
        world.pass(90 * SECOND);
    }
    assert_eq!(moving.close_stage(), CloseStage::Cut);
    assert_eq!(
        (idle.entry.reason(), slow.entry.reason(), moving.entry.reason()),
        ("idle", "slow_request", "max_age")
    );
}

#[test]
fn ledger_is_bounded_and_forgets_what_is_dropped() {
    let root = root("root");
    let mut world = World::new();
    let snapshot = world.publish(&identity(&root, &[&root]));
    let open = || world.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None);
    let held: Vec<_> = (0..3).map(|_| open().unwrap()).collect();
    assert!(open().is_none() && world.tracker.is_full());
    drop(held);
    assert!(world.tracker.count(Side::Inbound, 1).total() == 0 && open().is_some());
}

#[test]
fn connections_hang_on_the_one_root_that_verifies_their_peer() {
    let (old, new, other) = (root("root"), root("root"), root("other"));
    let mut world = World::new();
    let both = world.publish(&identity(&new, &[&old, &new]));
    let trust = |snapshot: &Snapshot| snapshot.identity.trust.clone().unwrap();
    let (stale, fresh) = (peer(&identity(&old, &[&old])), peer(&identity(&new, &[&new])));
    let stranger = peer(&identity(&other, &[&other]));
    let open = |side, peer: &Option<Arc<Peer>>| {
        world.tracker.open(side, Protocol::Tcp, &both, peer.clone()).unwrap()
    };
    let held = [open(Side::Inbound, &stale), open(Side::Outbound, &stale), open(Side::Inbound, &fresh)];
    let sha256 = |root: &Root| crate::tls::hex::sha256_hex(root.der());
    let counts = |trust: &Trust| {
        let counts = world.tracker.under_each_root(trust);
        [&old, &new].map(|root| counts.get(&sha256(root)).copied())
    };
    // Asked again, it is the same from memory.
    assert_eq!([counts(&trust(&both)), counts(&trust(&both))], [[Some(2), Some(1)]; 2]);
    let one = identity(&new, &[&new]);
    assert_eq!(counts(one.trust.as_ref().unwrap()), [None, Some(1)]);
    drop(held);
    assert_eq!(counts(&trust(&both)), [Some(0), Some(0)]);
    let _on_none = [open(Side::Inbound, &stranger), open(Side::Inbound, &None)];
    let _fresh = open(Side::Inbound, &fresh);
    assert_eq!(counts(&trust(&both)), [Some(0), Some(1)]);
}

#[tokio::test]
async fn the_sweeper_stands_still_without_connections_and_is_awake_with_one() {
    let root = root("root");
    let mut world = World::new();
    let shared = Arc::get_mut(&mut world.tracker.shared).unwrap();
    shared.started -= 3600 * SECOND;
    shared.limits.idle = Duration::ZERO;
    let snapshot = world.publish(&identity(&root, &[&root]));
    let (_publisher, current) = snapshot::channel();
    let sweeper = tokio::spawn(world.tracker.clone().sweep(current));
    // As long as a few of its ticks would take.
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(world.tracker.now(), 0);
    for _ in 0..2 {
        let connection = world.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None).unwrap();
        assert!(world.tracker.now() >= 3_600_000);
        let cut = async {
            while connection.close_stage() != CloseStage::Cut {
                tokio::time::sleep(SECOND / 100).await;
            }
        };
        tokio::time::timeout(10 * SECOND, cut).await.unwrap();
    }
    sweeper.abort();
}
