//! What a stranger takes of the admin port, the receiver and the webhook is no more than others leave: honest
//! clients beside it are served, from another address and from the same one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use hotcert::notify::signature::Signer;
use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Curl, SERVER, get};
use kit::flood::{Flood, OTHER_SOURCE, SAME_SOURCE, TlsClient};
use kit::machine::Machine;
use kit::pki::{Pki, write};
use kit::{until, within};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::notifications::machine;
use crate::webhook::Cluster;

/// The app's answer to a probe.
const LATE: &str = "/late/300";

/// An agent whose admin port carries a probe that the app answers slowly.
struct Probed {
    agent: Agent,
    _app: App,
    path: String,
}

impl Probed {
    fn start() -> Self {
        let (pki, app) = (Pki::default(), App::default());
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let probe = format!("{}{LATE}", app.address.port());
        let agent = Launch::new(&volume.path).inbound("http:", app.address).args(["--probe", &probe]).ready();
        Self { agent, _app: app, path: format!("/probe/{probe}") }
    }

    fn address(&self) -> SocketAddr {
        self.agent.address("admin")
    }

    /// How many fail of four probes at a time, as kubelet has it.
    fn failed(&self) -> usize {
        let probe = || !get(self.address(), &self.path).is_ok_and(|answer| answer.status == 200);
        std::thread::scope(|scope| {
            let probes: Vec<_> = (0..4).map(|_| scope.spawn(probe)).collect();
            probes.into_iter().filter_map(|probe| probe.join().unwrap().then_some(())).count()
        })
    }
}

#[test]
fn probes_that_wait_for_the_app_pass_beside_a_flood_of_the_admin_port() {
    let probed = Probed::start();
    // Among connections of its own address a probe is the newest until its head is read, and may be the one that gives
    // way when very many come just then.
    for (from, may_fail) in [(SAME_SOURCE, 2), (OTHER_SOURCE, 0)] {
        let flood = Flood::silent(600, from, probed.address());
        until("every place to be taken", || (flood.begun() > 1000).then_some(()));
        let (before, mut probes, mut failed) = (flood.begun(), 0, 0);
        let during =
            within(Duration::from_secs(60), "each place to change hands while the app is asked", || {
                failed += probed.failed();
                probes += 4;
                let during = flood.begun() - before;
                (probes >= 32 && during > 1000).then_some(during)
            });
        let what = format!("{failed} of {probes} probes failed beside {during} connections from {from}");
        assert!(failed <= may_fail, "{what}");
        println!("{what}");
    }
    let metrics = probed.agent.metrics();
    let labels = [("listener", "admin"), ("reason", "displaced")];
    assert!(metrics.sum("hotcert_admin_connections_refused_total", &labels) > 1000.0);
}

#[test]
fn probes_pass_beside_another_address_that_has_every_place_wait_for_the_app() {
    let probed = Probed::start();
    let request = format!("GET {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", probed.path);
    let flood = Flood::asking(300, OTHER_SOURCE, probed.address(), request);
    until("every place to be taken", || (flood.open() >= 256).then_some(()));
    assert_eq!((0..4).map(|_| probed.failed()).sum::<usize>(), 0, "of 16");
}

#[test]
fn proof_is_given_beside_silent_connections_from_the_same_address() {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).ready();
    let address = agent.address("proof");
    let flood = Flood::silent(600, SAME_SOURCE, address);
    until("every place to be taken", || (flood.begun() > 600).then_some(()));
    let client = pki.client("control-plane");
    for _ in 0..5 {
        // A handshake gives way when so many others of its own address begin before it is done.
        let is_given = || Curl::https(address, "/proof", &client).run().answer.status == 200;
        until("the proof", || is_given().then_some(()));
    }
}

#[test]
fn strangers_at_the_admin_and_proof_ports_leave_descriptors_for_the_app_where_there_are_few() {
    let (pki, app) = (Pki::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("http:", app.address).under_hard_limit(512).ready();
    let floods = ["admin", "proof"].map(|port| Flood::silent(400, OTHER_SOURCE, agent.address(port)));
    until("more than there are places for", || floods.iter().all(|flood| flood.begun() > 800).then_some(()));
    let client = pki.client("storefront");
    for _ in 0..20 {
        let got = Curl::https(agent.address("inbound"), "/bytes/10", &client).run();
        assert_eq!((got.exit, got.answer.status), (0, 200), "{} descriptors: {got:?}", agent.descriptors());
    }
}

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A controller that receives notifications. It may have a quarter of its descriptors as connections.
struct Inbox {
    _machine: Machine,
    controller: Agent,
    tls: TlsClient,
    runtime: Runtime,
}

impl Inbox {
    fn start(descriptors: u32) -> Self {
        let machine = machine();
        let settings = machine.home.path().join("notifications.yaml");
        write(&machine.home.path().join("hook.key"), KEY);
        write(
            &settings,
            "senders:\n- { name: s, provider: standard, instance: 'urn:a', keys: [hook.key], names: ['*'] }\n",
        );
        let identity = machine.secret("receiver");
        let controller = Launch::controller_on(machine.home.path(), 2)
            .under_hard_limit(descriptors)
            .args(["--notifications".as_ref(), settings.as_os_str()])
            .args(["--receiver-listen", "127.0.0.1:0", "--receiver-identity"])
            .args([identity])
            .start();
        let tls = TlsClient::new(&machine.credentials("receiver").ca, "localhost");
        let runtime = Runtime::new().unwrap();
        let inbox = Self { _machine: machine, controller, tls, runtime };
        until("the first delivery", || (inbox.deliver(1).delivered == 1).then_some(()));
        inbox
    }

    fn address(&self) -> SocketAddr {
        self.controller.address("receiver")
    }

    /// Signed deliveries one after the other, each on a connection of its own.
    fn deliver(&self, count: usize) -> Deliveries {
        let mut deliveries = Deliveries::default();
        for number in 0..count {
            let begin = Instant::now();
            let delivered =
                self.runtime.block_on(self.tls.status(SAME_SOURCE, self.address(), &signed(number)));
            deliveries.slowest = deliveries.slowest.max(begin.elapsed());
            match delivered {
                Ok(200) => deliveries.delivered += 1,
                other => deliveries.others.push(other),
            }
        }
        deliveries
    }

    fn refused(&self, reason: &str) -> f64 {
        let labels = [("listener", "receiver"), ("reason", reason)];
        self.controller.metrics().sum("hotcert_controller_refused_total", &labels)
    }
}

#[derive(Debug, Default)]
struct Deliveries {
    delivered: usize,
    others: Vec<io::Result<u16>>,
    slowest: Duration,
}

/// A test message, signed as Standard Webhooks defines.
fn signed(number: usize) -> Vec<u8> {
    static BEGIN: OnceLock<SystemTime> = OnceLock::new();
    let begin = BEGIN.get_or_init(SystemTime::now).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let id = format!("{begin}-{number}");
    let body =
        json!({"specversion": "1.0", "id": id, "source": "urn:a", "type": "dev.hotcert.test"}).to_string();
    let signer = Signer::parse([KEY.as_bytes()]).unwrap();
    let headers = signer.headers(&id, body.as_bytes(), SystemTime::now());
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    post("/notifications/s", &headers, body.as_bytes())
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A request whose last byte does not come.
fn withheld(path: &str, length: usize) -> Vec<u8> {
    let mut request = post(path, "", &vec![b' '; length]);
    request.pop();
    request
}

#[test]
fn signed_deliveries_pass_beside_silent_connections_and_heads_that_do_not_end() {
    let inbox = Inbox::start(4096);
    for (from, say) in [(SAME_SOURCE, ""), (OTHER_SOURCE, "POST /notifications/s HTTP/1.1\r\nhost: a\r\n")] {
        let flood = Flood::over_tls(1100, from, inbox.address(), inbox.tls.clone(), say.into());
        let full = "as many connections as there are places";
        within(Duration::from_secs(60), full, || (flood.begun() >= 1020).then_some(()));
        let deliveries = inbox.deliver(20);
        // What comes from the flood's own address may be told to try again.
        let told = deliveries.others.iter().filter(|one| matches!(one, Ok(503))).count();
        let (fewest, told) = if from == SAME_SOURCE { (10, told) } else { (20, 0) };
        assert!(
            deliveries.delivered >= fewest && deliveries.delivered + told == 20,
            "beside {} from {from}: {deliveries:?}",
            flood.open()
        );
        println!("20 deliveries beside {} connections from {from}: {deliveries:?}", flood.open());
    }
    // None of the descriptors of the others was taken.
    assert_eq!(inbox.controller.admin("/livez").status, 200);
    let _one = Flood::over_tls(1, SAME_SOURCE, inbox.address(), inbox.tls.clone(), Vec::new());
    until("silent connections ended", || (inbox.refused("no_request") >= 1.0).then_some(()));
}

#[test]
fn signed_deliveries_pass_beside_bodies_that_are_withheld() {
    let inbox = Inbox::start(1024);
    let alone = inbox.deliver(20);
    assert_eq!(alone.delivered, 20, "{alone:?}");
    let rest = inbox.controller.resident();
    for from in [SAME_SOURCE, OTHER_SOURCE] {
        let say = withheld("/notifications/s", 256 << 10);
        let flood = Flood::over_tls(80, from, inbox.address(), inbox.tls.clone(), say);
        until("more bodies than there is memory for", || (flood.begun() > 70).then_some(()));
        let mut deliveries = inbox.deliver(20);
        // What comes from the flood's own address is told to try again, and does.
        until("20 deliveries", || {
            let told = deliveries.others.iter().filter(|one| matches!(one, Ok(503))).count();
            let tries = if from == SAME_SOURCE { told } else { 0 };
            assert_eq!(tries, deliveries.others.len(), "beside {} from {from}: {deliveries:?}", flood.open());
            if deliveries.delivered < 20 {
                let again = inbox.deliver(20 - deliveries.delivered);
                deliveries.delivered += again.delivered;
                deliveries.others.extend(again.others);
                deliveries.slowest = deliveries.slowest.max(again.slowest);
            }
            (deliveries.delivered == 20).then_some(())
        });
        // Before the deadline of what is withheld.
        assert!(deliveries.slowest < Duration::from_secs(4), "{from}: {deliveries:?}");
        println!(
            "beside {} uploads from {from}: {:?}; alone {:?}",
            flood.begun(),
            deliveries.slowest,
            alone.slowest
        );
    }
    let peak = inbox.controller.resident_peak() - rest;
    println!("{peak} KiB more than at rest at most");
    assert!(peak < 64 << 10, "{peak} KiB more than at rest");
    assert!(inbox.refused("slow_body") + inbox.refused("no_memory") >= 1.0);
}

#[test]
fn body_for_which_there_is_no_memory_is_refused() {
    let inbox = Inbox::start(1024);
    let uploads = |say: Vec<u8>| {
        let say = Arc::new(say);
        let one = || {
            let (tls, address, say) = (inbox.tls.clone(), inbox.address(), Arc::clone(&say));
            async move { tls.status(SAME_SOURCE, address, &say).await }
        };
        inbox.runtime.block_on(async { join_all((0..100).map(|_| one())).await })
    };
    // All hundred at once, of which each but for its last byte is there.
    let statuses = uploads(withheld("/notifications/s", 256 << 10));
    let count = |status: u16| statuses.iter().filter(|one| matches!(one, Ok(is) if *is == status)).count();
    // There is memory for 64; the others need not wait for it.
    assert!(count(503) >= 20 && count(200) == 0, "{statuses:?}");
    // What is addressed to no sender of the settings takes none, and is refused before it has arrived.
    let statuses = uploads(withheld("/notifications/nobody", 256 << 10));
    assert!(statuses.iter().all(|one| matches!(one, Ok(404))), "{statuses:?}");
}

#[test]
fn pods_are_created_beside_bodies_that_are_withheld_from_the_webhook_and_the_receiver() {
    let cluster = Cluster::start();
    let pki = Pki::default();
    let volume = pki.volume("localhost");
    volume.publish(&pki.leaf("localhost"), pki.roots());
    let settings = write(&pki.path("notifications.yaml"), "senders: []\n");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (settings, identity) = (text(&settings), text(&volume.path));
    let controller = cluster.controller(&[
        "--notifications",
        &settings,
        "--receiver-listen",
        "127.0.0.1:0",
        "--receiver-identity",
        &identity,
    ]);
    cluster.configure([&controller, &controller]);
    controller.wait_ready();
    cluster.wait_injecting();
    let roots = write(&pki.path("webhook.crt"), cluster.bundle());
    let attack = |from: Ipv4Addr| {
        let tls = TlsClient::new(&roots, "127.0.0.1");
        Flood::over_tls(24, from, controller.address("webhook"), tls, withheld("/mutate/pods", 4 << 20))
    };
    for from in [SAME_SOURCE, OTHER_SOURCE] {
        let flood = attack(from);
        until("more bodies than there is memory for", || (flood.begun() > 20).then_some(()));
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let begin = Instant::now();
            cluster.inject();
            slowest = slowest.max(begin.elapsed());
        }
        // Before the deadline of what is withheld.
        assert!(slowest < Duration::from_secs(4), "{from}: {slowest:?}");
        println!(
            "10 pods in at most {slowest:?} each beside {} reviews that do not end, from {from}",
            flood.begun()
        );
    }
}
