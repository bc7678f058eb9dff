//! Who gives way to whom, as a table, and over a tracker that is full.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use std::hash::RandomState;
use std::net::IpAddr;

use hotcert_tls::Peer;

use super::*;
use crate::connection::tracker::{CloseStage, Connection, ConnectionTracker, InFlight};
use crate::proxy_fixture::{self, identity, publisher, root};
use hotcert_tls::Snapshot;

#[test]
fn place_is_taken_from_the_peer_that_has_most_and_for_one_that_has_less() {
    const IDLE: bool = true;
    const BUSY: bool = false;
    for (state, held, asking, expected, why) in [
        (IDLE, 100, 0, true, "the one peer gives way to the first of another"),
        (IDLE, 100, 100, true, "and to a new connection of its own"),
        (IDLE, 1, 0, true, "many peers of one connection each"),
        (IDLE, 1, 2, false, "nobody takes from one that has less"),
        (BUSY, 100, 0, true, "over its share, to a peer that has none"),
        (BUSY, 100, 100, false, "not to its own: nothing would be won"),
        (BUSY, 60, 29, true, "to one that has less than half as many"),
        (BUSY, 60, 30, false, "to one that has half as many"),
        (BUSY, 26, 0, true, "just over its share"),
        (BUSY, 25, 0, false, "a quarter of the places is a peer's to keep"),
        (BUSY, 1, 0, false, "a single connection"),
    ] {
        assert_eq!(gives_way(100, state == IDLE, held, asking), expected, "{why}");
    }
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

#[test]
fn peers_are_told_apart_by_identity_and_source_and_strangers_by_their_network() {
    let hasher = RandomState::new();
    let (root, snapshot) = (root("root"), publisher());
    let peer_of =
        |issued: &proxy_fixture::Issued| snapshot.identities.intern(&issued.leaf.certified.cert).unwrap();
    // Two leaves of one name.
    let (old, new) = (peer_of(&identity(&root, &[&root])), peer_of(&identity(&root, &[&root])));
    let of = |peer: Option<&Peer>, source: &str| PeerId::new(&hasher, peer, source.parse().unwrap());
    assert_eq!(of(Some(&old), "10.0.0.1"), of(Some(&new), "10.0.0.1"));
    assert_eq!(of(Some(&old), "10.0.0.1"), of(Some(&new), "::ffff:10.0.0.1"));
    let (one, other) = (of(Some(&old), "10.0.0.1"), of(Some(&old), "10.0.0.2"));
    assert!(one.identity == other.identity && one.source != other.source);
    assert_ne!(of(None, "10.0.0.1").identity, of(None, "10.0.0.2").identity);
    assert_ne!(of(None, "10.0.0.1").identity, one.identity);
    let strangers = (of(None, "fd00::1"), of(None, "fd00::2"), of(None, "fd00:0:0:1::1"));
    assert_eq!(strangers.0.identity, strangers.1.identity);
    assert_ne!(strangers.0.identity, strangers.2.identity);
}

struct Full {
    tracker: ConnectionTracker,
    snapshot: Arc<Snapshot>,
    now: Duration,
}

impl Full {
    fn new(max_connections: usize, kept_for_each_side: usize) -> Self {
        let root = root("root");
        let mut publisher = publisher();
        let snapshot = proxy_fixture::publish(&mut publisher, &identity(&root, &[&root]));
        let hour = Duration::from_secs(3600);
        let times = Limits { idle: hour, first_request: hour, max_age: hour, ..proxy_fixture::limits() };
        let limits = Limits { max_connections, kept_for_each_side, ..times };
        Self { tracker: ConnectionTracker::new(limits), snapshot, now: Duration::ZERO }
    }

    /// A client without a certificate, which is its address.
    fn admit(&self, protocol: Protocol, last: u8) -> Option<Connection> {
        self.tracker.admit(protocol, &self.snapshot, None, address(last), true)
    }

    fn outbound(&self) -> Option<Connection> {
        self.tracker.open(Side::Outbound, Protocol::Http1, &self.snapshot, None)
    }

    fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.tracker.shared.advance(self.now);
        self.tracker.close_due(std::time::SystemTime::now());
    }

    fn count(&self, reason: CloseReason) -> u64 {
        let labels = super::super::ClosedLabels { side: "inbound", reason: reason.as_str() };
        self.tracker.closed().get_or_create(&labels).get()
    }
}

fn stages(connections: &[Connection]) -> Vec<CloseStage> {
    connections.iter().map(Connection::close_stage).collect()
}

#[test]
fn longest_idle_connection_of_the_peer_that_has_most_gives_way() {
    let mut full = Full::new(6, 0);
    let other = full.admit(Protocol::Http1, 2).unwrap();
    full.advance(2000);
    let many: Vec<_> = (0..4).map(|_| full.admit(Protocol::Http2, 1).unwrap()).collect();
    let tcp = full.admit(Protocol::Tcp, 1).unwrap();
    let busy: InFlight = many[0].begin_request();
    full.advance(1000);
    many[1].record_activity();
    full.advance(70_000);
    many[2].record_activity();
    full.advance(1000);
    let new = full.admit(Protocol::Http1, 3).unwrap();
    use CloseStage::{Finish, None};
    assert_eq!(stages(&many), [None, None, None, Finish], "the longest idle, and not the busy one");
    let _second = full.admit(Protocol::Http1, 3).unwrap();
    assert_eq!(stages(&many), [None, Finish, None, Finish]);
    assert_eq!([&other, &tcp, &new].map(Connection::close_stage), [None; 3]);
    // One that does not leave is cut, and ends as what it was.
    full.advance(1000);
    assert_eq!(many[3].close_stage(), CloseStage::Cut);
    drop((many, busy));
    assert_eq!(full.count(CloseReason::GaveWay), 2);
}

#[test]
fn busy_connections_give_way_down_to_the_share_and_the_rest_is_refused() {
    let full = Full::new(40, 0);
    let many: Vec<_> = (0..40).map(|_| full.admit(Protocol::Tcp, 1).unwrap()).collect();
    assert!(full.admit(Protocol::Tcp, 1).is_none(), "its own connections are nothing to win for it");
    let admitted: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Tcp, 2)).collect();
    // The first that is refused finds 27 against 13.
    assert_eq!(admitted.len(), 13);
    let cut = stages(&many).iter().filter(|stage| **stage == CloseStage::Cut).count();
    assert_eq!(cut, 13);
    drop(many);
    assert_eq!((full.count(CloseReason::OverShare), full.count(CloseReason::Limit)), (13, 2));
    // What gave way left its place once.
    let rest: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Tcp, 2)).collect();
    assert_eq!(rest.len(), 27);
}

#[test]
fn unlisted_client_takes_nobodys_place_and_is_the_first_to_give_way() {
    let mut full = Full::new(2, 0);
    let unlisted = |full: &Full| full.tracker.admit(Protocol::Http1, &full.snapshot, None, address(1), false);
    let listed = full.admit(Protocol::Http1, 2).unwrap();
    full.advance(10_000);
    let refused = unlisted(&full).unwrap();
    let refusing = refused.begin_request();
    assert!(unlisted(&full).is_none());
    let new = full.admit(Protocol::Http1, 2).unwrap();
    assert_eq!(refused.close_stage(), CloseStage::Cut);
    assert_eq!([&listed, &new].map(Connection::close_stage), [CloseStage::None; 2]);
    drop((refusing, refused, new));
    let late = unlisted(&full).unwrap();
    full.advance(4900);
    assert_eq!(late.close_stage(), CloseStage::None);
    full.advance(200);
    assert_eq!(late.close_stage(), CloseStage::Cut);
    drop(late);
    assert_eq!(full.count(CloseReason::NotAllowed), 1);
}

#[test]
fn each_side_has_places_that_the_other_cannot_take() {
    let full = Full::new(40, 10);
    let inbound: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Tcp, 1)).collect();
    let outbound: Vec<_> = std::iter::from_fn(|| full.outbound()).collect();
    assert_eq!((inbound.len(), outbound.len()), (30, 10));
    assert_eq!(stages(&outbound), [CloseStage::None; 10]);
    drop((inbound, outbound));
    let outbound: Vec<_> = std::iter::from_fn(|| full.outbound()).collect();
    let inbound: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Tcp, 1)).collect();
    assert_eq!((inbound.len(), outbound.len()), (10, 30));
}

#[test]
fn flood_of_new_clients_costs_a_look_at_all_connections_now_and_then() {
    const PLACES: usize = 10_000;
    let mut full = Full::new(PLACES, 0);
    let mut open: VecDeque<_> = (0..PLACES).map(|_| full.admit(Protocol::Http1, 1).unwrap()).collect();
    full.advance(2000);
    for _ in 0..PLACES {
        open.push_back(full.admit(Protocol::Http1, 1).unwrap());
        open.pop_front();
    }
    let searches = |full: &Full| full.tracker.state().places.victims.searches;
    assert!(searches(&full) <= PLACES / (PLACES / 64) + 1, "{}", searches(&full));
    // Those that came last are not idle, and their peer has all places.
    let before = searches(&full);
    assert!((0..1000).all(|_| full.admit(Protocol::Http1, 1).is_none()));
    assert!(searches(&full) <= before + 2, "{}", searches(&full) - before);
}

#[test]
fn connections_that_do_not_leave_are_bounded() {
    let mut full = Full::new(200, 0);
    let held: Vec<_> = (0..200).map(|_| full.admit(Protocol::Http2, 1).unwrap()).collect();
    full.advance(2000);
    let own: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Http2, 1)).collect();
    let others: Vec<_> = std::iter::from_fn(|| full.admit(Protocol::Http2, 2)).collect();
    assert_eq!(
        (own.len(), others.len()),
        (MAX_LEAVING_FOR_THEIR_OWN, MAX_LEAVING - MAX_LEAVING_FOR_THEIR_OWN)
    );
    let of = |stage| stages(&held).iter().filter(|at| **at == stage).count();
    assert_eq!((of(CloseStage::Finish), of(CloseStage::Cut)), (MAX_LEAVING_GRACEFULLY, 32));
}
