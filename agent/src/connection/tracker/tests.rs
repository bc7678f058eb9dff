//! When connections are asked to close, by a clock that the test advances.

#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, SystemTime};

use hotcert_tls::Trust;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::proxy_fixture::{self, Issued, Publisher, Root, identity, publisher, root};

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        max_connections: 3,
        kept_for_each_side: 0,
        idle: 100 * SECOND,
        max_age: 1000 * SECOND,
        max_age_grace: 200 * SECOND,
        request_head: 10 * SECOND,
        first_request: 2000 * SECOND,
        drain_after: 20 * SECOND,
        root_drain: 5 * SECOND,
    }
}

struct TestTracker {
    tracker: ConnectionTracker,
    publisher: Publisher,
    now: Duration,
}

impl TestTracker {
    fn new() -> Self {
        Self { tracker: ConnectionTracker::new(limits()), publisher: publisher(), now: Duration::ZERO }
    }

    fn publish(&mut self, identity: &Issued) -> Arc<Snapshot> {
        let snapshot = proxy_fixture::publish(&mut self.publisher, identity);
        self.tracker.apply_snapshot(Arc::clone(&snapshot));
        snapshot
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.tracker.shared.advance(self.now);
        self.tracker.close_due(SystemTime::now());
    }
}

fn peer(identity: &Issued) -> Option<Arc<Peer>> {
    publisher().identities.intern(&identity.leaf.certified.cert)
}

#[test]
fn client_of_a_removed_root_is_cut_on_tcp_and_gets_a_last_request_on_http() {
    let (old, new) = (root("old"), root("new"));
    let mut test = TestTracker::new();
    let both = identity(&new, &[&old, &new]);
    let snapshot = test.publish(&both);
    let stale = peer(&identity(&old, &[&old]));
    let fresh = peer(&identity(&new, &[&new]));
    let open = |protocol, peer: &Option<Arc<Peer>>| {
        test.tracker.open(Side::Inbound, protocol, &snapshot, peer.clone()).unwrap()
    };
    let (tcp, http, kept) =
        (open(Protocol::Tcp, &stale), open(Protocol::Http1, &stale), open(Protocol::Tcp, &fresh));
    test.publish(&identity(&new, &[&new]));
    assert_eq!(
        (tcp.close_stage(), http.close_stage(), kept.close_stage()),
        (CloseStage::Cut, CloseStage::LastRequest, CloseStage::None)
    );
    assert_eq!(test.tracker.under_removed_roots(), 2);
    test.advance(6 * SECOND);
    assert_eq!((http.close_stage(), kept.close_stage()), (CloseStage::Cut, CloseStage::None));
}

#[test]
fn connection_with_a_handshake_before_the_removal_that_opens_after_is_cut() {
    let (old, new) = (root("old"), root("new"));
    let mut test = TestTracker::new();
    let before = test.publish(&identity(&new, &[&old, &new]));
    test.publish(&identity(&new, &[&new]));
    let late =
        test.tracker.open(Side::Inbound, Protocol::Tcp, &before, peer(&identity(&old, &[&old]))).unwrap();
    assert_eq!(late.close_stage(), CloseStage::Cut);
}

#[test]
fn http_under_an_older_leaf_is_drained_and_tcp_is_not() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let http = test.tracker.open(Side::Inbound, Protocol::Http1, &snapshot, None).unwrap();
    let tcp = test.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None).unwrap();
    test.publish(&identity(&root, &[&root]));
    let current = test.tracker.count(Side::Inbound, 2);
    assert_eq!(current, ByGeneration { current: 0, previous: 2, older: 0 });
    test.advance(19 * SECOND);
    assert_eq!(http.close_stage(), CloseStage::None);
    test.advance(12 * SECOND);
    assert_eq!(http.close_stage(), CloseStage::LastRequest);
    test.advance(32 * SECOND);
    assert_eq!((http.close_stage(), tcp.close_stage()), (CloseStage::Finish, CloseStage::None));
}

#[test]
fn connection_that_opens_after_its_leaf_was_superseded_is_drained_too() {
    let root = root("root");
    let mut test = TestTracker::new();
    let before = test.publish(&identity(&root, &[&root]));
    test.publish(&identity(&root, &[&root]));
    let late = test.tracker.open(Side::Inbound, Protocol::Http1, &before, None).unwrap();
    test.advance(31 * SECOND);
    assert_eq!(late.close_stage(), CloseStage::LastRequest);
}

#[test]
fn responses_on_a_pooled_outbound_connection_do_not_begin_a_request() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let pooled = test.tracker.open(Side::Outbound, Protocol::Http1, &snapshot, None).unwrap();
    test.advance(SECOND);
    pooled.record_received();
    test.advance(60 * SECOND);
    assert_eq!(pooled.close_stage(), CloseStage::None);
}

#[test]
fn plain_connection_of_the_app_ends_when_it_is_idle_or_slow_and_takes_no_place() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open = |_| test.tracker.open(Side::Outbound, Protocol::Http1, &snapshot, None);
    let plain: Vec<_> = (0..5).map(|_| test.tracker.open_plain()).collect();
    assert!((0..3).map(open).all(|server| server.is_some()), "all places are free");
    let [slow, asking, tunnel, later, idle] = &plain[..] else { unreachable!() };
    test.advance(SECOND);
    slow.record_received();
    asking.record_received();
    let in_flight = asking.begin_request();
    tunnel.record_received();
    tunnel.speaks(Protocol::Tcp);
    test.advance(11 * SECOND);
    let stages = |plain: &[Connection]| plain.iter().map(Connection::close_stage).collect::<Vec<_>>();
    let [cut, open] = [CloseStage::Cut, CloseStage::None];
    assert_eq!(stages(&plain), [cut, open, open, open, open]);
    later.record_activity();
    // A new leaf is no reason: there is none on it.
    test.publish(&identity(&root, &[&root]));
    test.advance(95 * SECOND);
    assert_eq!(stages(&plain), [cut, cut, cut, open, cut]);
    drop((in_flight, idle));
    drop(plain);
    let of = |reason| test.tracker.closed().get_or_create(&ClosedLabels { side: "app", reason }).get();
    assert_eq!((of("slow_request"), of("idle"), of("done")), (1, 3, 1));
}

#[test]
fn idle_old_and_slow_connections_end_and_moving_ones_do_not() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open =
        |test: &TestTracker, protocol| test.tracker.open(Side::Inbound, protocol, &snapshot, None).unwrap();
    let (idle, moving, slow) =
        (open(&test, Protocol::Tcp), open(&test, Protocol::Tcp), open(&test, Protocol::Http1));
    test.advance(SECOND);
    slow.record_received();
    test.advance(11 * SECOND);
    assert_eq!(slow.close_stage(), CloseStage::Cut);
    moving.record_activity();
    test.advance(89 * SECOND);
    assert_eq!((idle.close_stage(), moving.close_stage()), (CloseStage::Cut, CloseStage::None));
    for _ in 0..10 {
        moving.record_activity();
        test.advance(90 * SECOND);
    }
    assert_eq!(moving.close_stage(), CloseStage::Cut);
    assert_eq!(
        [&idle, &slow, &moving].map(|connection| connection.entry.close_reason()),
        [CloseReason::Idle, CloseReason::SlowRequest, CloseReason::MaxAge]
    );
}

#[test]
fn connection_that_opens_while_its_side_drains_is_asked_to_close_at_once() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open = |side| test.tracker.open(side, Protocol::Http1, &snapshot, None).unwrap();
    let stages =
        |connections: &[Connection]| connections.iter().map(Connection::close_stage).collect::<Vec<_>>();
    let mut inbound = vec![open(Side::Inbound)];
    let outbound = open(Side::Outbound);
    test.tracker.close_all(Side::Inbound, CloseStage::LastRequest);
    inbound.push(open(Side::Inbound));
    assert_eq!(stages(&inbound), [CloseStage::LastRequest; 2]);
    test.tracker.close_all(Side::Inbound, CloseStage::Finish);
    test.tracker.close_all(Side::Inbound, CloseStage::LastRequest);
    drop(inbound.remove(0));
    inbound.push(open(Side::Inbound));
    assert_eq!(stages(&inbound), [CloseStage::Finish; 2]);
    assert_eq!(outbound.close_stage(), CloseStage::None);
    assert_eq!(inbound[1].entry.close_reason(), CloseReason::Shutdown);
}

#[test]
fn endless_answer_is_cut_after_the_grace_that_follows_the_maximum_age() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open = |side, protocol| test.tracker.open(side, protocol, &snapshot, None).unwrap();
    let open = [
        open(Side::Inbound, Protocol::Http1),
        open(Side::Inbound, Protocol::Http2),
        open(Side::Outbound, Protocol::Http2),
    ];
    let _endless = open.each_ref().map(Connection::begin_request);
    let mut advance = |seconds| {
        for _ in 0..seconds {
            open.iter().for_each(Connection::record_activity);
            test.advance(SECOND);
        }
        open.each_ref().map(Connection::close_stage)
    };
    assert_eq!(advance(899), [CloseStage::None; 3]);
    // The maximum age is 1000 s, less up to a tenth.
    assert!(advance(102).iter().all(|stage| (CloseStage::LastRequest..CloseStage::Cut).contains(stage)));
    assert_eq!(advance(200), [CloseStage::Cut; 3]);
}

#[test]
fn upload_that_outlives_its_answer_is_not_a_slow_request() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let connection = test.tracker.open(Side::Inbound, Protocol::Http1, &snapshot, None).unwrap();
    connection.record_received();
    let answer = connection.begin_request();
    let upload = answer.share();
    drop(answer);
    connection.record_received();
    test.advance(11 * SECOND);
    assert_eq!(connection.close_stage(), CloseStage::None);
    drop(upload);
    connection.record_received();
    test.advance(11 * SECOND);
    assert_eq!(connection.close_stage(), CloseStage::Cut);
}

#[test]
fn connection_on_which_no_request_comes_is_closed_and_one_that_had_one_is_not() {
    let root = root("root");
    let mut test = TestTracker::new();
    let shared = Arc::get_mut(&mut test.tracker.shared).unwrap();
    shared.limits.first_request = 30 * SECOND;
    shared.limits.max_connections = 10;
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open = |side, protocol| test.tracker.open(side, protocol, &snapshot, None).unwrap();
    let unused = [open(Side::Inbound, Protocol::Http1), open(Side::Inbound, Protocol::Http2)];
    let used = open(Side::Inbound, Protocol::Http2);
    let others = [open(Side::Inbound, Protocol::Tcp), open(Side::Outbound, Protocol::Http2)];
    drop(used.begin_request());
    let mut advance = |time: Duration| {
        // What moves without a request, such as HTTP/2 frames, is no reason to stay.
        unused.iter().for_each(Connection::record_activity);
        test.advance(time);
        unused.each_ref().map(Connection::close_stage)
    };
    assert_eq!(advance(29 * SECOND), [CloseStage::None; 2]);
    assert_eq!(advance(3 * SECOND / 2), [CloseStage::Finish; 2]);
    assert_eq!(advance(SECOND), [CloseStage::Cut; 2]);
    assert_eq!(used.close_stage(), CloseStage::None);
    assert_eq!(others.each_ref().map(Connection::close_stage), [CloseStage::None; 2]);
    drop(unused);
    let labels = ClosedLabels { side: "inbound", reason: "no_request" };
    assert_eq!(test.tracker.closed().get_or_create(&labels).get(), 2);
}

#[test]
fn upgraded_connection_is_closed_as_tcp_is() {
    let (old, new) = (root("old"), root("new"));
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&new, &[&old, &new]));
    let stale = peer(&identity(&old, &[&old]));
    let open = |protocol| test.tracker.open(Side::Inbound, protocol, &snapshot, stale.clone()).unwrap();
    let (before, after) = (open(Protocol::Http1), open(Protocol::Http1));
    let stream = open(Protocol::Http2);
    before.upgrade();
    before.record_received();
    test.advance(11 * SECOND);
    assert_eq!(before.close_stage(), CloseStage::None, "its bytes begin no request");
    test.publish(&identity(&new, &[&new]));
    assert_eq!((before.close_stage(), after.close_stage()), (CloseStage::Cut, CloseStage::LastRequest));
    after.upgrade();
    assert_eq!(after.close_stage(), CloseStage::Cut);
    drop(after);
    let _switching = stream.begin_request();
    let tunnel = stream.open_tunnel().unwrap();
    assert_eq!(tunnel.close_stage(), CloseStage::Cut);
    assert!(stream.open_tunnel().is_none(), "tunnels count as connections");
}

#[test]
fn tracker_is_bounded_and_removes_dropped_connections() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let open = || test.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None);
    let held: Vec<_> = (0..3).map(|_| open().unwrap()).collect();
    assert!(open().is_none() && test.tracker.is_full(Side::Inbound));
    drop(held);
    assert!(test.tracker.count(Side::Inbound, 1).total() == 0 && open().is_some());
}

#[test]
fn connections_depend_on_the_one_root_that_verifies_their_peer() {
    let (old, new, other) = (root("root"), root("root"), root("other"));
    let mut test = TestTracker::new();
    let both = test.publish(&identity(&new, &[&old, &new]));
    let trust = |snapshot: &Snapshot| snapshot.identity.trust.clone().unwrap();
    let (stale, fresh) = (peer(&identity(&old, &[&old])), peer(&identity(&new, &[&new])));
    let unrelated = peer(&identity(&other, &[&other]));
    let open =
        |side, peer: &Option<Arc<Peer>>| test.tracker.open(side, Protocol::Tcp, &both, peer.clone()).unwrap();
    let held = [open(Side::Inbound, &stale), open(Side::Outbound, &stale), open(Side::Inbound, &fresh)];
    let sha256 = |root: &Root| hex::encode(Sha256::digest(root.der()));
    let counts = |trust: &Trust| {
        let counts = test.tracker.under_each_root(trust);
        [&old, &new].map(|root| counts.get(&sha256(root)).copied())
    };
    // The second count comes from the cache.
    assert_eq!([counts(&trust(&both)), counts(&trust(&both))], [[Some(2), Some(1)]; 2]);
    let one = identity(&new, &[&new]);
    assert_eq!(counts(one.trust.as_ref().unwrap()), [None, Some(1)]);
    drop(held);
    assert_eq!(counts(&trust(&both)), [Some(0), Some(0)]);
    let _on_no_root = [open(Side::Inbound, &unrelated), open(Side::Inbound, &None)];
    let _fresh = open(Side::Inbound, &fresh);
    assert_eq!(counts(&trust(&both)), [Some(0), Some(1)]);
}

#[tokio::test]
async fn reaper_pauses_without_connections_and_runs_with_one() {
    let root = root("root");
    let mut test = TestTracker::new();
    let shared = Arc::get_mut(&mut test.tracker.shared).unwrap();
    shared.started -= 3600 * SECOND;
    shared.limits.idle = Duration::ZERO;
    let snapshot = test.publish(&identity(&root, &[&root]));
    let unpublished = publisher();
    let reaper = tokio::spawn(test.tracker.clone().reap(unpublished.identities.snapshots()));
    // Several of its ticks.
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(test.tracker.shared.now(), 0);
    for _ in 0..2 {
        let connection = test.tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None).unwrap();
        assert!(test.tracker.shared.now() >= 3_600_000);
        let cut = async {
            while connection.close_stage() != CloseStage::Cut {
                tokio::time::sleep(SECOND / 100).await;
            }
        };
        tokio::time::timeout(10 * SECOND, cut).await.unwrap();
    }
    reaper.abort();
}

/// Decisions of the reaper that cross with the end of a connection.
const DECISIONS: usize = 200_000;

/// Counts what waits with it, which holds a clone, and what has woken it meanwhile.
#[derive(Default)]
struct CountedWaker(AtomicUsize);

impl Wake for CountedWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn reaper_waits_for_a_tick_or_a_connection_whenever_the_last_one_ends() {
    let root = root("root");
    let mut test = TestTracker::new();
    let snapshot = test.publish(&identity(&root, &[&root]));
    let unpublished = publisher();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let (tracker, decided) = (&test.tracker, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !decided.load(Relaxed) {
                drop(tracker.open(Side::Inbound, Protocol::Tcp, &snapshot, None));
            }
        });
        let waits = (0..DECISIONS).map(|_| {
            let mut reaper = pin!(tracker.clone().reap(unpublished.identities.snapshots()));
            let waker = Arc::new(CountedWaker::default());
            let task = Waker::from(Arc::clone(&waker));
            assert!(reaper.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
            let waiting = Arc::strong_count(&waker) - 2;
            waiting + waker.0.load(Relaxed)
        });
        let fewest = waits.min();
        decided.store(true, Relaxed);
        assert_eq!(fewest, Some(2), "a publication, and a tick or a connection");
    });
}
