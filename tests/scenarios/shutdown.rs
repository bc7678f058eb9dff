//! On SIGTERM nothing is lost that was under way; a second one ends at once.

use std::time::{Duration, Instant};

use kit::agent::{Agent, Launch};
use kit::app::{App, HALF};
use kit::client::{Curl, Fetching, SERVER};
use kit::pipe::Pipe;
use kit::pki::{Credentials, dns};
use kit::scene::Scene;
use kit::{DEADLINE, until};
use rustix::process::Signal;

struct Stopping {
    agent: Agent,
    app: App,
    client: Credentials,
    /// A download that has half arrived.
    transfer: Fetching,
    /// Where the outbound route leads.
    _peer: Scene<App>,
}

fn in_mid_transfer(args: &[&str]) -> Stopping {
    let peer = Scene::http(&[]);
    let app = App::default();
    let volume = peer.pki.volume("both-ways");
    volume.publish(&peer.pki.leaf(SERVER), peer.pki.roots());
    let route = format!("{}#{}", peer.inbound(), dns(SERVER));
    let agent =
        Launch::new(&volume.path).inbound("http:", app.address).outbound("http:", route).args(args).ready();
    let transfer = Curl::https(agent.address("inbound"), "/gated", &peer.client).start();
    until("half of the transfer", || (transfer.received() > 0).then_some(()));
    Stopping { client: peer.client.clone(), agent, app, transfer, _peer: peer }
}

impl Stopping {
    fn inbound_answers(&self) -> bool {
        Curl::https(self.agent.address("inbound"), "/bytes/10", &self.client).run().answer.status == 200
    }

    fn outbound_answers(&self) -> bool {
        Curl::new(&format!("http://{}/bytes/10", self.agent.address("outbound"))).run().answer.status == 200
    }
}

#[test]
fn a_transfer_is_finished_and_outbound_kept_for_the_app() {
    let mut set =
        in_mid_transfer(&["--shutdown-delay", "3s", "--shutdown-grace", "40s", "--outbound-linger", "2s"]);
    assert!(set.inbound_answers() && set.outbound_answers());
    let begin = Instant::now();
    set.agent.signal(Signal::TERM);
    let readyz = until("unready", || Some(set.agent.admin("/readyz")).filter(|answer| answer.status == 503));
    assert!(begin.elapsed() < Duration::from_secs(1), "unready after {:?}", begin.elapsed());
    assert!(readyz.text().contains("draining"), "{readyz:?}");
    assert_eq!(set.agent.health()["draining"], true);
    assert!(set.inbound_answers(), "new connections while endpoints propagate");
    assert!(set.outbound_answers());
    until("no new connections after the delay", || (!set.inbound_answers()).then_some(()));
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(set.outbound_answers(), "the app may still need others");
    set.app.open_gate();
    let got = set.transfer.finish();
    assert_eq!((got.exit, got.answer.body.len()), (0, 2 * HALF), "{}", got.errors);
    let outbound = Curl::new(&format!("http://{}/bytes/10", set.agent.address("outbound"))).run();
    assert_eq!(outbound.answer.status, 200, "while the app shuts down");
    let status = set.agent.wait_exit(DEADLINE);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut set = in_mid_transfer(&["--shutdown-delay", "30s", "--shutdown-grace", "60s"]);
        set.agent.signal(signal);
        set.agent.wait_until("draining", |health| health["draining"] == true);
        set.agent.signal(signal);
        set.agent.wait_exit(Duration::from_secs(1));
        assert_ne!(set.transfer.finish().exit, 0);
    }
}

#[test]
fn what_is_not_over_within_the_grace_is_cut() {
    let mut set =
        in_mid_transfer(&["--shutdown-delay", "0s", "--shutdown-grace", "1s", "--outbound-linger", "0s"]);
    set.agent.signal(Signal::TERM);
    set.agent.wait_exit(Duration::from_secs(5));
    assert_ne!(set.transfer.finish().exit, 0);
}

#[test]
fn tcp_connections_go_on_until_the_grace_is_over() {
    let mut scene = Scene::tcp(&["--shutdown-delay", "0s", "--shutdown-grace", "4s"]);
    let mut held = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(held.echoes("hello"));
    scene.agent.signal(Signal::TERM);
    until("no new connections", || (!scene.accepts()).then_some(()));
    assert!(held.echoes("still here"));
    held.wait_closed(DEADLINE);
    scene.agent.wait_exit(Duration::from_secs(5));
}

#[test]
fn with_nothing_under_way_it_ends_soon() {
    let mut scene = Scene::tcp(&["--shutdown-delay", "0s", "--outbound-linger", "0s"]);
    scene.agent.signal(Signal::TERM);
    let status = scene.agent.wait_exit(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_rotation_is_taken_even_while_it_drains() {
    let scene = Scene::tcp(&["--shutdown-delay", "20s"]);
    scene.agent.signal(Signal::TERM);
    scene.agent.wait_until("draining", |health| health["draining"] == true);
    let leaf = scene.rotate_and_wait();
    assert_eq!(scene.served(), Some(leaf.serial));
}
