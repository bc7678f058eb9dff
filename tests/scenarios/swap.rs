//! A new leaf is shown by the next handshake, however the directory came to hold it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::Duration;

use kit::agent::{Agent, Launch};
use kit::client::{SERVER, exchange, served};
use kit::echo::Echo;
use kit::pki::{Pki, serial};
use kit::scene::Scene;
use kit::volume::{PlainDirectory, Volume};
use kit::{DEADLINE, until};
use rustix::process::Signal;

#[test]
fn the_next_handshake_shows_the_new_leaf() {
    let scene = Scene::tcp(&["--poll-interval", "1h"]);
    assert_eq!(scene.served(), Some(scene.leaf.serial.clone()));
    for generation in 2..=6 {
        let leaf = scene.rotate_and_wait();
        assert_eq!(scene.served(), Some(leaf.serial));
        assert_eq!(scene.health()["generation"], generation);
        assert!(scene.accepts());
    }
}

#[test]
fn an_earlier_leaf_is_taken_again_and_the_same_one_is_no_change() {
    let scene = Scene::tcp(&["--poll-interval", "100ms"]);
    scene.rotate_and_wait();
    scene.volume.publish(&scene.leaf, scene.pki.roots());
    scene.agent.wait_serving(&scene.leaf.serial);
    assert_eq!(scene.served(), Some(scene.leaf.serial.clone()));
    scene.volume.publish(&scene.leaf, scene.pki.roots());
    scene.agent.wait_looks(2);
    assert_eq!(scene.health()["generation"], 3);
    assert_eq!(scene.health()["last_attempt"]["outcome"], "unchanged");
}

#[test]
fn the_agent_sees_its_own_listener_serve_the_new_leaf() {
    let scene = Scene::tcp(&[]);
    let leaf = scene.rotate_and_wait();
    let health = scene.agent.wait_until("proof of the new leaf", |health| {
        let proof = &health["served"]["proof"];
        proof["outcome"] == "served" && proof["leaf_sha256"] == leaf.sha256.as_str()
    });
    let seconds = health["served"]["proof"]["swap_to_served_seconds"].as_f64().unwrap();
    assert!((0.0..DEADLINE.as_secs_f64()).contains(&seconds), "{seconds}");
    assert!(scene.agent.metrics().one("hotcert_swap_to_served_seconds_count", &[]) >= 1.0);
}

#[test]
fn files_that_are_missing_at_start_are_taken_when_they_appear() {
    let pki = Pki::default();
    let echo = Echo::default();
    let volume = pki.volume(SERVER);
    let agent = Launch::new(&volume.path).inbound("", echo.address).start();
    appears(&pki, agent, || volume.publish(&pki.leaf(SERVER), pki.roots()));
}

#[test]
fn a_directory_that_is_missing_is_said_to_be() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let path = pki.path("nowhere");
    let agent = Launch::new(&path).inbound("", echo.address).start();
    let health = agent.wait_until("a look", |health| !health["last_attempt"].is_null());
    let detail = health["last_attempt"]["detail"].as_str().unwrap();
    assert!(detail.contains("does not exist") && detail.contains(path.to_str().unwrap()), "{health:#}");
}

#[test]
fn a_directory_that_is_missing_at_start_is_taken_when_it_appears() {
    let pki = Pki::default();
    let echo = Echo::default();
    let path = pki.path("not/yet/there");
    let agent = Launch::new(&path).inbound("", echo.address).start();
    appears(&pki, agent, || Volume::open(&path).publish(&pki.leaf(SERVER), pki.roots()));
}

fn appears<T>(pki: &Pki, agent: Agent, publish: impl FnOnce() -> T) {
    let client = pki.client("storefront");
    let readyz = agent.admin("/readyz");
    assert_eq!(readyz.status, 503, "{readyz:?}");
    assert_eq!(agent.admin("/livez").status, 200);
    assert!(agent.health()["served"].is_null());
    assert_eq!(served(agent.address("inbound"), &client), None);
    publish();
    agent.wait_ready();
    assert_eq!(exchange(agent.address("inbound"), &client, &[])["ok"], true);
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_followed() {
    let scene = Scene::tcp(&["--poll-interval", "200ms"]);
    for _ in 0..2 {
        fs::remove_dir_all(&scene.volume.path).unwrap();
        scene
            .agent
            .wait_until("the loss noticed", |health| health["last_attempt"]["reason"] == "missing_file");
        assert_eq!(scene.agent.admin("/readyz").status, 200, "the last good identity goes on being served");
        assert!(scene.accepts());
        let leaf = scene.pki.leaf(SERVER);
        Volume::open(&scene.volume.path).publish(&leaf, scene.pki.roots());
        scene.agent.wait_serving(&leaf.serial);
        assert_eq!(scene.served(), Some(leaf.serial));
    }
}

#[test]
fn a_directory_that_another_takes_the_place_of_is_followed() {
    let scene = Scene::tcp(&["--poll-interval", "200ms"]);
    for round in 0..2 {
        let leaf = scene.pki.leaf(SERVER);
        let next = scene.pki.volume(&format!("next-{round}"));
        next.publish(&leaf, scene.pki.roots());
        fs::rename(&scene.volume.path, scene.pki.path(&format!("before-{round}"))).unwrap();
        fs::rename(&next.path, &scene.volume.path).unwrap();
        scene.agent.wait_serving(&leaf.serial);
        assert_eq!(scene.served(), Some(leaf.serial));
    }
    // And what is published into the new directory is seen too.
    let leaf = scene.pki.leaf(SERVER);
    Volume::open(&scene.volume.path).publish(&leaf, scene.pki.roots());
    scene.agent.wait_serving(&leaf.serial);
}

/// An agent on a directory of plain files, as a `subPath` mount shows them.
fn plain(args: &[&str]) -> (Pki, PlainDirectory, Agent) {
    let pki = Pki::default();
    let echo = Echo::default();
    let directory = PlainDirectory::create(pki.path("plain"), &pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&directory.0).inbound("", echo.address).args(args).ready();
    (pki, directory, agent)
}

#[test]
fn a_directory_without_data_link_is_said_once_and_followed() {
    let (pki, directory, agent) = plain(&["--poll-interval", "100ms"]);
    let leaf = pki.leaf(SERVER);
    directory.replace("tls.crt", &leaf.cert);
    directory.replace("tls.key", &leaf.key);
    agent.wait_serving(&leaf.serial);
    agent.wait_looks(5);
    agent.until_logged("subPath");
    assert_eq!(agent.logged("subPath"), 1, "said once");
    let source = &agent.health()["source"];
    assert_eq!(source["atomic"], false);
    assert!(source["notices"][0].as_str().unwrap().contains("subPath"), "{source}");
}

#[test]
fn a_slow_writer_breaks_nothing() {
    let (pki, directory, agent) = plain(&["--poll-interval", "50ms"]);
    let client = pki.client("storefront");
    let before = serial(agent.health()["served"]["serial"].as_str().unwrap());
    let leaf = pki.leaf(SERVER);
    for (name, content) in [("tls.crt", &leaf.cert), ("tls.key", &leaf.key)] {
        let mut file = fs::File::create(directory.0.join(name)).unwrap();
        for piece in content.as_bytes().chunks(120) {
            file.write_all(piece).unwrap();
            // The slowness is what is tested.
            sleep(Duration::from_millis(30));
            let shown = exchange(agent.address("inbound"), &client, &[]);
            assert_eq!(shown["ok"], true, "{shown}");
            let shown = serial(shown["serial"].as_str().unwrap());
            assert!(shown == before || shown == leaf.serial);
        }
    }
    agent.wait_serving(&leaf.serial);
    assert_eq!(agent.admin("/readyz").status, 200);
}

#[test]
fn sighup_finds_what_no_event_told() {
    let pki = Pki::default();
    let echo = Echo::default();
    let first = pki.leaf(SERVER);
    // The files are links into a directory that is not watched.
    let hidden = PlainDirectory::create(pki.path("hidden"), &first, pki.roots());
    let shown = pki.path("shown");
    fs::create_dir(&shown).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(hidden.0.join(name), shown.join(name)).unwrap();
    }
    let agent = Launch::new(&shown).inbound("", echo.address).args(["--poll-interval", "1h"]).ready();
    let leaf = pki.leaf(SERVER);
    hidden.replace("tls.crt", &leaf.cert);
    hidden.replace("tls.key", &leaf.key);
    agent.signal(Signal::HUP);
    agent.wait_serving(&leaf.serial);
}

#[test]
fn the_poll_finds_what_no_event_told() {
    let pki = Pki::default();
    let echo = Echo::default();
    let hidden = pki.volume("hidden");
    hidden.publish(&pki.leaf(SERVER), pki.roots());
    let shown = pki.path("shown");
    fs::create_dir(&shown).unwrap();
    symlink(hidden.path.join("..data"), shown.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{name}"), shown.join(name)).unwrap();
    }
    let agent = Launch::new(&shown).inbound("", echo.address).args(["--poll-interval", "100ms"]).ready();
    let leaf = pki.leaf(SERVER);
    hidden.publish(&leaf, pki.roots());
    agent.wait_serving(&leaf.serial);
    let client = pki.client("storefront");
    until("OpenSSL is shown the new leaf", || {
        (served(agent.address("inbound"), &client)? == leaf.serial).then_some(())
    });
}
