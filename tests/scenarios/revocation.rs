//! A certificate that its authority has withdrawn is refused at once, on new connections and on those that are open, and
//! nobody else notices. Lists are made by OpenSSL.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::{Launch, program};
use kit::client::{Curl, SERVER, accepted};
use kit::clock::Clock;
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::{Credentials, HOUR, Pair, Pki, authority, issue, request, write};
use kit::revocation::{List, list};
use kit::scene::Scene;
use kit::{DEADLINE, until};
use serde_json::Value;

/// What the connections of a revoked peer may last on.
const CUT_WITHIN: Duration = Duration::from_secs(1);

fn files<'a>(leaf: &'a Pair, roots: &'a str, list: &'a str) -> [(&'a str, &'a str); 4] {
    [("tls.crt", &leaf.cert), ("tls.key", &leaf.key), ("ca.crt", roots), ("ca.crl", list)]
}

/// The leaf of the server beside a list.
fn publish<S>(scene: &Scene<S>, leaf: &Pair, list: &str) -> Instant {
    scene.volume.publish_files(&files(leaf, scene.pki.roots(), list))
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

/// Keep-alive HTTP/1.1 and new connections, until it is told to end. Returns how many requests it has made.
fn load(inbound: SocketAddr, who: &Credentials, end: &AtomicBool) -> usize {
    let (mut kept, mut requests) = (Pipe::tls(inbound, who, &[]), 0);
    while !end.load(Relaxed) {
        assert!(kept.get("/bytes/100").is_some(), "a kept connection, after {requests} requests");
        let new = Curl::https(inbound, "/bytes/100", who).args(["--http2"]).run();
        assert_eq!((new.exit, new.answer.status), (0, 200), "{}", new.errors);
        requests += 2;
    }
    requests
}

#[test]
fn http_of_a_revoked_client_is_cut_within_a_second_and_no_request_of_another_fails() {
    let scene = Scene::http(&["--root-drain", "1h"]);
    let (leaf, stolen) = (scene.pki.leaf(SERVER), scene.pki.leaf("stolen"));
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    publish(&scene, &leaf, &list(&scene.pki, 1, &[], 1));
    scene.agent.wait_until("lists in use", |health| !health["served"]["revocation_lists"].is_null());
    let mut idle = Pipe::tls(scene.inbound(), &thief, &[]);
    assert!(idle.get("/bytes/10").is_some());
    let in_flight = ["--http1.1", "--http2"]
        .map(|version| Curl::https(scene.inbound(), "/gated", &thief).args([version]).start());
    until("both in flight", || in_flight.iter().all(|each| each.received() > 0).then_some(()));
    let end = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let others = threads.spawn(|| load(scene.inbound(), &scene.client, &end));
        let begin = publish(&scene, &leaf, &list(&scene.pki, 2, &[&stolen.serial], 1));
        for each in in_flight {
            assert_ne!(each.finish().exit, 0, "the gate was never opened");
        }
        idle.wait_closed(DEADLINE);
        assert!(begin.elapsed() < CUT_WITHIN, "{:?}", begin.elapsed());
        assert_ne!(Curl::https(scene.inbound(), "/bytes/10", &thief).run().exit, 0);
        end.store(true, Relaxed);
        assert!(others.join().unwrap() > 0);
    });
    until("counted", || {
        let metrics = scene.agent.metrics();
        (metrics.sum("hotcert_connections_closed_total", &[("reason", "revoked")]) == 3.0).then_some(())
    });
}

#[test]
fn a_server_that_is_revoked_is_not_called_and_its_connections_are_cut() {
    let server = Scene::http(&[]);
    let volume = server.pki.volume("caller");
    let caller = server.pki.leaf("caller");
    let served = server.served().unwrap();
    let publish = |list: &str| volume.publish_files(&files(&caller, server.pki.roots(), list));
    publish(&list(&server.pki, 1, &[], 1));
    let route = format!("{}#{}", server.inbound(), kit::pki::dns(SERVER));
    let agent = Launch::new(&volume.path).outbound("", &route).outbound("http:", &route).http_proxy().ready();
    let [bytes, http] = agent.addresses("outbound")[..] else { panic!("two routes") };
    let mut held = Pipe::tcp(bytes);
    assert!(held.get("/bytes/10").is_some());
    let tunnel = format!("localhost:{}", server.inbound().port());
    let mut tunnelled = Pipe::tcp(agent.address("http-proxy"));
    tunnelled.say(&format!("CONNECT {tunnel} HTTP/1.1\r\nhost: {tunnel}\r\n\r\n"));
    assert!(tunnelled.hear("\r\n\r\n").unwrap().contains(" 200 "));
    assert!(tunnelled.get("/bytes/10").is_some());
    let in_flight = Curl::new(&format!("http://{http}/gated")).start();
    until("in flight", || (in_flight.received() > 0).then_some(()));

    let begin = publish(&list(&server.pki, 2, &[&served], 1));
    held.wait_closed(DEADLINE);
    assert_ne!(in_flight.finish().exit, 0, "the gate was never opened");
    assert!(begin.elapsed() < CUT_WITHIN, "{:?}", begin.elapsed());
    let refused = Curl::new(&format!("http://{http}/bytes/10")).run().answer;
    assert!(refused.status == 502 && refused.text().contains("revoked"), "{refused:?}");
    assert!(Pipe::try_tcp(bytes).ok().is_none_or(|mut pipe| pipe.get("/bytes/10").is_none()));
    // The tunnel is the app's own, each request in it is not.
    assert!(tunnelled.get("/bytes/10").unwrap().contains(" 502 "));
}

#[test]
fn a_tunnel_of_bytes_to_a_server_that_is_revoked_is_cut() {
    let server = Scene::tcp(&[]);
    let volume = server.pki.volume("caller");
    let caller = server.pki.leaf("caller");
    volume.publish(&caller, server.pki.roots());
    let agent = Launch::new(&volume.path).http_proxy().ready();
    let tunnel = format!("localhost:{}", server.inbound().port());
    let mut tunnelled = Pipe::tcp(agent.address("http-proxy"));
    tunnelled.say(&format!("CONNECT {tunnel} HTTP/1.1\r\nhost: {tunnel}\r\n\r\n"));
    assert!(tunnelled.hear("\r\n\r\n").unwrap().contains(" 200 "));
    assert!(tunnelled.echoes("hello"));
    let served = server.served().unwrap();
    let list = list(&server.pki, 1, &[&served], 1);
    let begin = volume.publish_files(&files(&caller, server.pki.roots(), &list));
    tunnelled.wait_closed(DEADLINE);
    assert!(begin.elapsed() < CUT_WITHIN, "{:?}", begin.elapsed());
}

#[test]
fn an_agent_whose_own_certificate_is_revoked_is_unready() {
    let scene = Scene::tcp(&[]);
    publish(&scene, &scene.leaf, &list(&scene.pki, 1, &[&scene.leaf.serial], 1));
    let health = scene.agent.wait_until("unready", |health| health["ready"] == false);
    let reason = health["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("peers refuse the served certificate") && reason.contains("is revoked"),
        "{reason}"
    );
    scene.agent.wait_until("said", |health| health["refused"]["leaf"]["reason"] == "revoked");
    publish(&scene, &scene.pki.leaf(SERVER), &list(&scene.pki, 1, &[&scene.leaf.serial], 1));
    scene.agent.wait_ready();
    assert!(scene.accepts());
}

#[test]
fn a_list_that_goes_out_of_date_is_said_before_and_then_trusts_nobody_until_the_next_one_is_there() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let (leaf, client) =
        (issue(&pki.root, &LeafRequest { lifetime: 20 * HOUR, ..request(SERVER) }), "storefront");
    let client = LeafRequest { lifetime: 20 * HOUR, ..request(client) };
    let client = pki.credentials("storefront", &issue(&pki.root, &client), pki.roots());
    let volume = pki.volume(SERVER);
    let hours = |number, until: i64| {
        List { number, serials: &[], seconds: (-8 * 3600, until * 3600), extensions: "" }.of(&pki, &pki.root)
    };
    volume.publish_files(&files(&leaf, pki.roots(), &hours(1, 4)));
    let clock = Clock::new(&pki);
    let launch = clock.of(Launch::new(&volume.path)).args(["--poll-interval", "200ms"]);
    let agent = launch.inbound("", echo.address).ready();
    let accepted = || accepted(agent.address("inbound"), &client);
    assert!(accepted());
    assert_eq!(agent.logged("is about to go out of date"), 0);

    clock.set("+2h");
    agent.until_logged("is about to go out of date");
    assert!(accepted());
    clock.set("+5h");
    let health = agent.wait_until("refused", |health| {
        health["refused"]["leaf"]["reason"] == "revocation_unknown" && health["ready"] == false
    });
    assert!(health["reason"].as_str().unwrap().contains("is out of date since"), "{health:#}");
    assert_eq!(health["served"]["revocation_lists"][0]["usable"], false);
    assert!(!accepted());
    agent.wait_looks(3);
    assert_eq!(agent.logged("is about to go out of date"), 1);
    assert_eq!(agent.logged("nobody under its authority is trusted until the next one is there"), 1);
    let metric = agent.metrics().sum("hotcert_revocation_list_usable_until_timestamp_seconds", &[]);
    assert!(metric > 1e9, "{metric}");

    volume.publish_files(&files(&leaf, pki.roots(), &hours(2, 9)));
    agent.wait_until("ready", |health| health["ready"] == true && health["refused"]["leaf"].is_null());
    assert!(accepted());
    // The clock was wrong.
    volume.publish_files(&files(&leaf, pki.roots(), &hours(3, 4)));
    agent.wait_until("unready", |health| health["ready"] == false);
    clock.set("+0");
    agent.wait_ready();
    assert!(accepted());
}

#[test]
fn several_authorities_have_a_list_each_in_one_file() {
    let (pki, echo) = (Pki::default(), Echo::default());
    // Of the same name, as in a rollover.
    let other = authority("root one");
    let roots = format!("{}{}", pki.roots(), other.certificate_pem());
    let [good, bad] = ["good", "bad"].map(|name| issue(&other, &request(name)));
    let clients = [("good", &good), ("bad", &bad)].map(|(name, pair)| pki.credentials(name, pair, &roots));
    let volume = pki.volume(SERVER);
    let of = |root, serials: &[&str]| {
        List { number: 1, serials, seconds: (-3600, 3600), extensions: "" }.of(&pki, root)
    };
    let lists = of(&pki.root, &[]) + &of(&other, &[&bad.serial]);
    volume.publish_files(&files(&pki.leaf(SERVER), &roots, &lists));
    let agent = Launch::new(&volume.path).inbound("", echo.address).ready();
    let let_in = clients.each_ref().map(|client| accepted(agent.address("inbound"), client));
    assert_eq!(let_in, [true, false]);
    assert!(accepted(agent.address("inbound"), &pki.client("storefront")));
    // One of them alone: nobody is let in of whom it cannot be told.
    let alone = pki.volume("alone");
    alone.publish_files(&files(&pki.leaf(SERVER), &roots, &of(&pki.root, &[])));
    let agent = Launch::new(&alone.path).inbound("", echo.address).ready();
    assert!(!accepted(agent.address("inbound"), &clients[0]));
    assert!(accepted(agent.address("inbound"), &pki.client("storefront")));
}

#[test]
fn lists_that_are_not_supported_are_refused_by_their_name() {
    let pki = Pki::default();
    let leaf = pki.leaf(SERVER);
    let check = |name: &str, list: &str| {
        let volume = pki.volume(name);
        volume.publish_files(&files(&leaf, pki.roots(), list));
        let output = Command::new(program("hotcert-agent"))
            .args(["check", "--json"])
            .arg(&volume.path)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["trust"].clone()
    };
    let point = |more: &str| {
        format!(
            "issuingDistributionPoint = critical,@point\n[point]\nfullname = URI:http://crl.test/1\n{more}"
        )
    };
    for (name, extensions, wanted) in [
        ("delta", "2.5.29.27 = critical,ASN1:INTEGER:1".to_owned(), "is a delta list"),
        ("indirect", point("indirectCRL = TRUE"), "is an indirect list"),
        ("reasons", point("onlysomereasons = keyCompromise"), "is about some reasons of revocation only"),
        ("critical", "1.2.3.4 = critical,ASN1:NULL".to_owned(), "has the critical extension 1.2.3.4"),
    ] {
        let list = List { number: 1, serials: &[], seconds: (-3600, 3600), extensions: &extensions };
        let trust = check(name, &list.of(&pki, &pki.root));
        assert_eq!(trust["reason"], "not_supported", "{name}: {trust}");
        let detail = trust["detail"].as_str().unwrap();
        assert!(detail.contains("CN=root one") && detail.contains(wanted), "{name}: {detail}");
    }
    let list = List { number: 1, serials: &[], seconds: (-3600, 3600), extensions: &point("") };
    assert_eq!(check("scope", &list.of(&pki, &pki.root))["accepted"], true);
    let forged = List { number: 1, serials: &[], seconds: (-3600, 3600), extensions: "" };
    let trust = check("forged", &forged.of(&pki, &authority("root one")));
    assert_eq!(trust["reason"], "unsigned_revocation_list", "{trust}");
}

#[test]
fn a_list_beside_the_volume_is_read_where_the_secret_has_none() {
    let scene = Scene::tcp(&[]);
    let stolen = scene.pki.leaf("stolen");
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    let mut open = Pipe::tls(scene.inbound(), &thief, &[]);
    assert!(open.echoes("hello"));
    let beside = |list: String| {
        let made = write(&scene.pki.path("made"), list);
        std::fs::rename(made, scene.volume.path.join("ca.crl")).unwrap();
    };
    beside(list(&scene.pki, 1, &[&stolen.serial], 1));
    open.wait_closed(DEADLINE);
    assert!(!accepted(scene.inbound(), &thief) && scene.accepts());
    // It survives a publication, of which it is not a part.
    scene.rotate_and_wait();
    assert!(!accepted(scene.inbound(), &thief) && scene.accepts());
    assert_eq!(scene.health()["source"]["notices"], serde_json::json!([]));
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
        scene.agent.wait_until(wanted, |health| health["refused"]["revocation"]["reason"] == wanted);
        assert!(!accepted(scene.inbound(), &thief));
        assert!(accepted(scene.inbound(), &scene.client));
    };
    publish(&scene, &leaf, &list(&scene.pki, 6, &[], 1));
    reason("older_revocation_list");
    scene.volume.publish(&leaf, scene.pki.roots());
    reason("missing_file");
}
