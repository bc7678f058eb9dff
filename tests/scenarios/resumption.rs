//! No session outlives the trust that it began under: none is ever resumed, by whichever client and
//! version it is offered.

use std::time::Duration;

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::Launch;
use kit::client::{SERVER, accepted, openssl, python, python_files};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, Pki, authority, issue, request};
use kit::revocation::list;
use kit::scene::Scene;
use kit::until;

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn openssl_offers_its_session_and_gets_a_new_one() {
    let scene = Scene::tcp(&[]);
    for version in VERSIONS {
        let session = scene.pki.path(&format!("session{version}"));
        let session = session.to_str().unwrap();
        let mut first = Pipe::tls(scene.inbound(), &scene.client, &[version, "-sess_out", session]);
        assert!(first.echoes("a ticket would have come before this"));
        drop(first);
        if std::path::Path::new(session).exists() {
            let second = openssl("s_client", scene.inbound(), &scene.client, &[version, "-sess_in", session]);
            assert!(second.contains("New, TLSv1") && !second.contains("Reused"), "{version}: {second}");
        }
    }
}

#[test]
fn openssl_reconnects_without_reuse() {
    let scene = Scene::tcp(&[]);
    for version in VERSIONS {
        let text = openssl("s_client", scene.inbound(), &scene.client, &[version, "-reconnect"]);
        assert!(text.matches("New, TLSv1").count() >= 6 && !text.contains("Reused"), "{version}: {text}");
    }
}

#[test]
fn s_time_never_reuses() {
    let scene = Scene::tcp(&[]);
    for version in VERSIONS {
        let text = openssl("s_time", scene.inbound(), &scene.client, &[version, "-reuse", "-time", "1"]);
        // One mark for each connection: `r` is a reused session.
        let is_marks = |line: &&str| !line.is_empty() && line.chars().all(|mark| "r3t*".contains(mark));
        let marks: String = text.lines().filter(is_marks).collect();
        assert!(marks.len() > 5 && !marks.contains('r'), "{version}: {text}");
    }
}

fn reuse(inbound: std::net::SocketAddr, who: &Credentials, version: &str) -> Pipe {
    let mut reuse = python("reuse.py");
    reuse.arg(inbound.to_string()).args(python_files(who)).args(["--tls", version]);
    let mut reuse = Pipe::program(reuse);
    let first = reuse.line();
    assert_eq!((&first["ok"], &first["reused"]), (&true.into(), &false.into()), "{first}");
    reuse
}

#[test]
fn python_offers_its_session_and_gets_a_new_one() {
    let scene = Scene::tcp(&[]);
    for version in ["1.2", "1.3"] {
        let mut reuse = reuse(scene.inbound(), &scene.client, version);
        for _ in 0..3 {
            reuse.say("again\n");
            let again = reuse.line();
            assert_eq!((&again["ok"], &again["reused"]), (&true.into(), &false.into()), "{version}: {again}");
        }
    }
}

#[test]
fn a_session_does_not_outlive_its_root() {
    let pki = Pki::default();
    let (new, echo, volume) = (authority("root two"), Echo::default(), pki.volume(SERVER));
    let both = format!("{}{}", pki.roots(), new.certificate_pem());
    let leaf = issue(&new, &request(SERVER));
    volume.publish(&leaf, &both);
    let agent = Launch::new(&volume.path).inbound("", echo.address).ready();
    let old = pki.credentials("old", &pki.leaf("old"), &both);
    let mut sessions = ["1.2", "1.3"].map(|version| reuse(agent.address("inbound"), &old, version));
    volume.publish(&leaf, new.certificate_pem());
    agent.wait_until("the new bundle", |health| health["served"]["roots"].as_array().unwrap().len() == 1);
    for session in &mut sessions {
        session.say("again\n");
        let refused = session.line();
        assert_eq!(refused["ok"], false, "{refused}");
    }
}

#[test]
fn a_session_does_not_outlive_the_revocation_of_its_client() {
    let scene = Scene::tcp(&[]);
    let stolen = scene.pki.leaf("stolen");
    let thief = scene.pki.credentials("stolen", &stolen, scene.pki.roots());
    let mut sessions = ["1.2", "1.3"].map(|version| reuse(scene.inbound(), &thief, version));
    let list = list(&scene.pki, 1, &[&stolen.serial], 1);
    let Pair { cert, key, .. } = &scene.leaf;
    let files =
        [("tls.crt", cert.as_str()), ("tls.key", key), ("ca.crt", scene.pki.roots()), ("ca.crl", &list)];
    scene.volume.publish_files(&files);
    scene.agent.wait_until("the list", |health| !health["served"]["revocation_lists"].is_null());
    for session in &mut sessions {
        session.say("again\n");
        let refused = session.line();
        assert_eq!(refused["ok"], false, "{refused}");
    }
    assert!(scene.accepts(), "another client");
}

#[test]
fn a_session_does_not_outlive_its_clients_certificate() {
    let scene = Scene::tcp(&[]);
    let short = LeafRequest { lifetime: Duration::from_secs(3), ..request("short") };
    let short = scene.pki.credentials("short", &issue(&scene.pki.root, &short), scene.pki.roots());
    let mut sessions = ["1.2", "1.3"].map(|version| reuse(scene.inbound(), &short, version));
    until("the client's certificate expired", || (!accepted(scene.inbound(), &short)).then_some(()));
    for session in &mut sessions {
        session.say("again\n");
        let refused = session.line();
        assert_eq!(refused["ok"], false, "{refused}");
    }
    assert!(scene.accepts(), "another client");
}
