//! A root that is removed is gone: for new connections at once, for old ones too, and whatever became
//! of the leaf beside the new bundle.

use std::fs;
use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

use kit::agent::Launch;
use kit::app::{App, HALF};
use kit::client::{Curl, SERVER, accepted, served};
use kit::echo::Echo;
use kit::forge::{Forge, from_now};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, Pki, authority, issue, request};
use kit::scene::Scene;
use kit::volume::{PlainDirectory, Volume};
use kit::{DEADLINE, until};
use serde_json::Value;

/// Two roots, both trusted; the server's leaf is under the new one, and there is a client under each.
struct Rollover {
    pki: Pki,
    leaf: Pair,
    new_root: String,
    volume: Volume,
    old_client: Credentials,
    new_client: Credentials,
}

fn rollover() -> Rollover {
    let pki = Pki::default();
    let new = authority("root two");
    let new_root = new.certificate_pem().to_owned();
    let both = format!("{}{new_root}", pki.roots());
    let leaf = issue(&new, &request(SERVER));
    let volume = pki.volume(SERVER);
    volume.publish(&leaf, &both);
    let old_client = pki.credentials("old", &pki.leaf("old"), &both);
    let new_client = pki.credentials("new", &issue(&new, &request("new")), &both);
    Rollover { leaf, new_root, volume, old_client, new_client, pki }
}

impl Rollover {
    fn remove_old_root(&self) {
        self.volume.publish(&self.leaf, &self.new_root);
    }
}

#[test]
fn a_bundle_of_two_roots_accepts_clients_of_both() {
    let set = rollover();
    let echo = Echo::default();
    let agent = Launch::new(&set.volume.path).inbound("", echo.address).ready();
    assert!(accepted(agent.address("inbound"), &set.old_client));
    assert!(accepted(agent.address("inbound"), &set.new_client));
    assert_eq!(agent.health()["served"]["roots"].as_array().unwrap().len(), 2);
}

#[test]
fn a_removed_root_is_refused_at_once_and_its_tcp_connections_are_cut() {
    let set = rollover();
    let echo = Echo::default();
    let agent = Launch::new(&set.volume.path).inbound("", echo.address).args(["--root-drain", "1h"]).ready();
    let inbound = agent.address("inbound");
    let mut old = Pipe::tls(inbound, &set.old_client, &[]);
    let mut new = Pipe::tls(inbound, &set.new_client, &[]);
    assert!(old.echoes("hello") && new.echoes("hello"));
    set.remove_old_root();
    agent.wait_until("the new bundle", |health| health["served"]["roots"].as_array().unwrap().len() == 1);
    assert!(!accepted(inbound, &set.old_client), "a new connection");
    old.wait_closed(DEADLINE);
    assert!(new.echoes("still here"));
    assert!(accepted(inbound, &set.new_client));
    until("counted", || {
        let reasons = [("reason", "root_removed")];
        (agent.metrics().sum("hotcert_connections_closed_total", &reasons) == 1.0).then_some(())
    });
}

#[test]
fn a_root_that_is_added_closes_nothing() {
    let scene = Scene::tcp(&[]);
    let mut held = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(held.echoes("hello"));
    let both = format!("{}{}", authority("root two").certificate_pem(), scene.pki.roots());
    scene.volume.publish(&scene.leaf, &both);
    scene.agent.wait_until("both roots", |health| health["served"]["roots"].as_array().unwrap().len() == 2);
    assert!(held.echoes("still here"));
    assert!(scene.accepts());
}

#[test]
fn a_bundle_that_is_written_slowly_takes_no_root_away_but_a_shorter_one_does() {
    let set = rollover();
    let both = format!("{}{}", set.new_root, set.pki.roots());
    let directory = PlainDirectory::create(set.pki.path("plain"), &set.leaf, &both);
    let echo = Echo::default();
    let agent =
        Launch::new(&directory.0).inbound("", echo.address).args(["--poll-interval", "100ms"]).ready();
    let mut old = Pipe::tls(agent.address("inbound"), &set.old_client, &[]);
    assert!(old.echoes("hello"));
    // Between the two roots the file is a good bundle of one.
    let mut file = fs::File::create(directory.0.join("ca.crt")).unwrap();
    for part in [&set.new_root, set.pki.roots()] {
        file.write_all(part.as_bytes()).unwrap();
        // The slowness is what is tested.
        sleep(Duration::from_millis(60));
    }
    agent.wait_looks(2);
    assert!(old.echoes("still here"));
    directory.replace("ca.crt", &set.new_root);
    old.wait_closed(DEADLINE);
    assert!(!accepted(agent.address("inbound"), &set.old_client));
}

#[test]
fn http_connections_of_a_removed_root_finish_their_request_and_are_closed() {
    let set = rollover();
    let app = App::default();
    let agent =
        Launch::new(&set.volume.path).inbound("http:", app.address).args(["--root-drain", "15s"]).ready();
    let inbound = agent.address("inbound");
    let mut idle = Pipe::tls(inbound, &set.old_client, &[]);
    let mut new = Pipe::tls(inbound, &set.new_client, &[]);
    assert!(idle.get("/bytes/10").is_some() && new.get("/bytes/10").is_some());
    let in_flight = Curl::https(inbound, "/gated", &set.old_client).start();
    until("the first half", || (in_flight.received() > 0).then_some(()));
    set.remove_old_root();
    until("asked to close with the next answer", || match idle.get("/bytes/10") {
        Some(head) => head.to_ascii_lowercase().contains("connection: close").then_some(()),
        None => Some(()),
    });
    idle.wait_closed(Duration::from_secs(5));
    app.open_gate();
    let got = in_flight.finish();
    assert_eq!((got.exit, got.answer.body.len()), (0, 2 * HALF), "{}", got.errors);
    assert_ne!(Curl::https(inbound, "/bytes/10", &set.old_client).run().exit, 0);
    assert!(new.get("/bytes/10").is_some());
}

#[test]
fn what_is_left_of_a_removed_root_is_cut_at_the_deadline() {
    let set = rollover();
    let app = App::default();
    let agent =
        Launch::new(&set.volume.path).inbound("http:", app.address).args(["--root-drain", "300ms"]).ready();
    let mut idle = Pipe::tls(agent.address("inbound"), &set.old_client, &[]);
    assert!(idle.get("/bytes/10").is_some());
    let in_flight = Curl::https(agent.address("inbound"), "/gated", &set.old_client).start();
    until("the first half", || (in_flight.received() > 0).then_some(()));
    set.remove_old_root();
    assert_ne!(in_flight.finish().exit, 0, "the gate was never opened");
    idle.wait_closed(Duration::from_secs(5));
}

#[test]
fn a_root_is_removed_even_when_the_leaf_beside_the_new_bundle_is_refused() {
    let set = rollover();
    let echo = Echo::default();
    let agent = Launch::new(&set.volume.path).inbound("", echo.address).ready();
    let inbound = agent.address("inbound");
    let mut old = Pipe::tls(inbound, &set.old_client, &[]);
    assert!(old.echoes("hello"));
    let mismatched = Pair { key: set.pki.leaf(SERVER).key, ..set.pki.leaf(SERVER) };
    set.volume.publish(&mismatched, &set.new_root);
    agent.wait_until("the leaf refused", |health| health["refused"]["leaf"]["reason"] == "key_mismatch");
    assert!(!accepted(inbound, &set.old_client));
    old.wait_closed(DEADLINE);
    assert!(accepted(inbound, &set.new_client));
    assert_eq!(served(inbound, &set.new_client), Some(set.leaf.serial));
}

#[test]
fn an_expired_root_beside_a_good_one_is_left_out() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    let expired = Forge::root_until("expired", from_now(-60));
    volume.publish(&pki.leaf(SERVER), &format!("{}{}", expired.cert, pki.roots()));
    let agent = Launch::new(&volume.path).inbound("", echo.address).ready();
    let roots = &agent.health()["served"]["roots"];
    assert_eq!((roots.as_array().unwrap().len(), &roots[0]["sha256"]), (1, &pki.root.sha256().into()));
    assert!(accepted(agent.address("inbound"), &pki.client("storefront")));
    let late = pki.credentials("late", &expired.leaf("late"), pki.roots());
    assert!(!accepted(agent.address("inbound"), &late));
}

#[test]
fn a_root_that_expires_while_it_is_served_is_taken_out() {
    let scene = Scene::tcp(&["--poll-interval", "1h"]);
    let short = Forge::root_until("short", from_now(6));
    let late = scene.pki.credentials("late", &short.leaf("late"), scene.pki.roots());
    scene.volume.publish(&scene.leaf, &format!("{}{}", scene.pki.roots(), short.cert));
    let count = |health: &Value| health["served"]["roots"].as_array().map(Vec::len);
    scene.agent.wait_until("both roots", |health| count(health) == Some(2));
    let mut old = Pipe::tls(scene.inbound(), &late, &[]);
    assert!(old.echoes("in time"));
    scene.agent.wait_until("one root", |health| count(health) == Some(1));
    assert!(!accepted(scene.inbound(), &late));
    old.wait_closed(DEADLINE);
    assert!(scene.accepts());
}

#[test]
fn outbound_refuses_a_server_of_a_removed_root() {
    let set = rollover();
    let (near, far) = (set.pki.volume("near"), set.pki.volume("far"));
    let both = format!("{}{}", set.pki.roots(), set.new_root);
    near.publish(&set.leaf, &both);
    far.publish(&set.pki.leaf(SERVER), &both);
    let app = App::default();
    let peer = Launch::new(&far.path).inbound("http:", app.address).ready();
    let route = format!("{}#payments.shop.svc", peer.address("inbound"));
    let agent = Launch::new(&near.path).outbound("http:", route).ready();
    let url = format!("http://{}/bytes/10", agent.address("outbound"));
    assert_eq!(Curl::new(&url).run().answer.status, 200);
    near.publish(&set.leaf, &set.new_root);
    agent.wait_until("the new bundle", |health| health["served"]["roots"].as_array().unwrap().len() == 1);
    let refused = Curl::new(&url).run().answer;
    assert_eq!(refused.status, 502, "{}", refused.text());
}

#[test]
fn clients_that_should_not_get_in_do_not() {
    let forge = Forge::default();
    let scene = Scene::tcp(&[]);
    let both = format!("{}{}", scene.pki.roots(), forge.cert);
    scene.volume.publish(&scene.leaf, &both);
    scene.agent.wait_until("both roots", |health| health["served"]["roots"].as_array().unwrap().len() == 2);
    let try_as =
        |name: &str, pair: &Pair| accepted(scene.inbound(), &scene.pki.credentials(name, pair, &both));
    assert!(try_as("good", &forge.leaf("good")));
    assert!(!try_as("stranger", &Forge::default().leaf("stranger")));
    assert!(!try_as("expired", &forge.leaf_with("expired", |params| params.not_after = from_now(-1))));
    assert!(!try_as("early", &forge.leaf_with("early", |params| params.not_before = from_now(3600))));
    assert!(!try_as(
        "server",
        &forge.leaf_with("server", |params| {
            params.extended_key_usages.pop();
        })
    ));
    assert!(
        scene.agent.metrics().sum("hotcert_handshakes_total", &[("side", "inbound"), ("result", "ok")])
            >= 1.0
    );
    assert!(scene.agent.metrics().label_values("hotcert_handshakes_total", "result").len() >= 2);
}
