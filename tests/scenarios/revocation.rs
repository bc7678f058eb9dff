//! A certificate that its authority has withdrawn is refused at once, on new connections and on those that are open, and
//! nobody else notices. Lists are made by OpenSSL.

use kit::agent::Launch;
use kit::client::{SERVER, accepted};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::Pair;
use kit::revocation::list;
use kit::scene::Scene;
use kit::{DEADLINE, until};

/// The leaf of the server beside a list.
fn publish<S>(scene: &Scene<S>, leaf: &Pair, list: &str) {
    let files = [
        ("tls.crt", leaf.cert.as_str()),
        ("tls.key", &leaf.key),
        ("ca.crt", scene.pki.roots()),
        ("ca.crl", list),
    ];
    scene.volume.publish_files(&files);
}

#[test]
fn revoked_peers_lose_their_connections_and_nobody_else_does() {
    let scene = Scene::tcp(&[]);
    let (leaf, stolen) = (scene.pki.leaf(SERVER), scene.pki.leaf("stolen"));
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    publish(&scene, &leaf, &list(&scene.pki, 1, &[], 1));
    scene.agent.wait_until("lists in use", |health| health["served"]["revocation_lists"][0]["revoked"] == 0);
    let mut open = [Pipe::tls(scene.inbound(), &scene.client, &[]), Pipe::tls(scene.inbound(), &thief, &[])];
    assert!(open.iter_mut().all(|pipe| pipe.echoes("hello")));

    publish(&scene, &leaf, &list(&scene.pki, 2, &[&stolen.serial], 1));
    let [good, revoked] = &mut open;
    revoked.wait_closed(DEADLINE);
    assert!(good.echoes("still here"));
    assert!(accepted(scene.inbound(), &scene.client));
    assert!(!accepted(scene.inbound(), &thief));
    let metrics = scene.agent.metrics();
    assert_eq!(metrics.sum("hotcert_connections_closed_total", &[("reason", "revoked")]), 1.0);
    assert_eq!(metrics.sum("hotcert_connections_closed_total", &[("reason", "root_removed")]), 0.0);
    assert_eq!(scene.agent.logged("is revoked"), 1);
}

#[test]
fn a_server_that_is_revoked_is_not_called() {
    let server = Scene::tcp(&[]);
    let volume = server.pki.volume("caller");
    let caller = server.pki.leaf("caller");
    let served = server.served().unwrap();
    let publish = |list: &str| {
        let files = [
            ("tls.crt", caller.cert.as_str()),
            ("tls.key", &caller.key),
            ("ca.crt", server.pki.roots()),
            ("ca.crl", list),
        ];
        volume.publish_files(&files);
    };
    publish(&list(&server.pki, 1, &[], 1));
    let agent = Launch::new(&volume.path)
        .outbound("", format!("{}#{}", server.inbound(), kit::pki::dns(SERVER)))
        .ready();
    let mut held = Pipe::tcp(agent.address("outbound"));
    assert!(held.echoes("hello"));
    publish(&list(&server.pki, 2, &[&served], 1));
    held.wait_closed(DEADLINE);
    assert!(!Pipe::tcp(agent.address("outbound")).echoes("hello"));
}

#[test]
fn a_list_that_is_out_of_date_trusts_nobody_but_for_its_grace() {
    let echo = Echo::default();
    let pki = kit::pki::Pki::default();
    let (leaf, client) = (pki.leaf(SERVER), pki.client("storefront"));
    let volume = pki.volume(SERVER);
    let stale = list(&pki, 1, &[], -1);
    let files = [
        ("tls.crt", leaf.cert.as_str()),
        ("tls.key", &leaf.key),
        ("ca.crt", pki.roots()),
        ("ca.crl", &stale),
    ];
    volume.publish_files(&files);
    let graceful = Launch::new(&volume.path).inbound("", echo.address).args(["--crl-grace", "2days"]).ready();
    assert!(accepted(graceful.address("inbound"), &client));
    let list = &graceful.health()["served"]["revocation_lists"][0];
    assert_eq!(list["usable"], true, "{list}");
    assert!(list["next_update"].as_str() < list["usable_until"].as_str(), "{list}");
}

#[test]
fn a_list_that_vanishes_or_goes_back_stays_in_force() {
    let scene = Scene::tcp(&[]);
    let (leaf, stolen) = (scene.pki.leaf(SERVER), scene.pki.leaf("stolen"));
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    publish(&scene, &leaf, &list(&scene.pki, 7, &[&stolen.serial], 1));
    until("in force", || (!accepted(scene.inbound(), &thief)).then_some(()));
    let reason = |wanted: &str| {
        scene.agent.wait_until(wanted, |health| health["refused"]["trust"]["reason"] == wanted);
        assert!(!accepted(scene.inbound(), &thief));
        assert!(accepted(scene.inbound(), &scene.client));
    };
    publish(&scene, &leaf, &list(&scene.pki, 6, &[], 1));
    reason("older_revocation_list");
    scene.volume.publish(&leaf, scene.pki.roots());
    reason("missing_file");
}
