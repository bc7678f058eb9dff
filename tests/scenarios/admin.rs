//! The admin port tells a probe, a scraper and a person what is served, and no secret; `/proof` tells
//! the same to those whom the current roots trust.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use kit::agent::Launch;
use kit::client::{Curl, SERVER, ask};
use kit::echo::Echo;
use kit::pki::{Credentials, Pair, Pki, authority, issue, request, spiffe};
use kit::scene::Scene;
use serde_json::Value;

const PAGES: [(&str, &str); 5] = [
    ("/livez", "text/plain"),
    ("/readyz", "text/plain"),
    ("/healthz", "application/json"),
    ("/metrics", "text/plain; version=0.0.4"),
    ("/", "text/html"),
];

#[test]
fn every_page_answers_get_and_nothing_else() {
    let scene = Scene::tcp(&[]);
    for (path, kind) in PAGES {
        let answer = scene.agent.admin(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}: {}", answer.head);
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            assert_eq!(ask(scene.agent.address("admin"), &request).unwrap().status, 405, "{method} {path}");
        }
    }
    for path in ["/nothing", "/proof", "/healthz/", "//", "/../healthz"] {
        assert_eq!(scene.agent.admin(path).status, 404, "{path}");
    }
}

#[test]
fn health_says_what_is_served() {
    let scene = Scene::tcp(&[]);
    let health = scene.agent.wait_until("proof", |health| health["served"]["proof"]["outcome"] == "served");
    let served = &health["served"];
    assert_eq!(kit::pki::serial(served["serial"].as_str().unwrap()), scene.leaf.serial);
    assert_eq!(served["sha256"], scene.leaf.sha256);
    assert_eq!(served["roots"][0]["sha256"], scene.pki.root.sha256());
    assert_eq!(served["roles"], serde_json::json!(["server", "client"]));
    let names: Vec<_> =
        served["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        names.contains(&"dns:payments.shop.svc") && names.contains(&spiffe(SERVER).as_str()),
        "{names:?}"
    );
    // An authority backdates what it issues.
    let (age, left) =
        (served["age_seconds"].as_i64().unwrap(), served["expires_in_seconds"].as_i64().unwrap());
    assert!((300..360).contains(&age) && (3500..=3600).contains(&left), "{age} {left}");
    for (pointer, expected) in [
        ("/ready", Value::Bool(true)),
        ("/reason", Value::Null),
        ("/draining", Value::Bool(false)),
        ("/generation", 1.into()),
        ("/source/kind", "volume".into()),
        ("/source/atomic", Value::Bool(true)),
        ("/source/watching", Value::Bool(true)),
        ("/source/directory", scene.volume.path.to_str().unwrap().into()),
        ("/refused/leaf", Value::Null),
        ("/refused/trust", Value::Null),
        ("/held", Value::Null),
        ("/connections/older", 0.into()),
    ] {
        assert_eq!(health.pointer(pointer), Some(&expected), "{pointer}");
    }
    for pointer in ["/served/not_before", "/served/not_after", "/served/published_at", "/last_attempt/at"] {
        let date = health.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(date.len() >= 20 && date.ends_with('Z'), "{pointer}: {date}");
    }
}

#[test]
fn the_page_for_a_person_says_the_same() {
    let scene = Scene::tcp(&[]);
    let page = scene.agent.admin("/").text();
    for part in ["payments.shop.svc", &spiffe(SERVER), "<html"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(page.to_ascii_lowercase().contains(&scene.leaf.serial), "{page}");
}

#[test]
fn metrics_are_well_formed_and_complete() {
    let scene = Scene::http(&[]);
    assert_eq!(scene.curl("/bytes/5000").run().answer.status, 200);
    scene.rotate_and_wait();
    let other = scene.pki.leaf(SERVER);
    scene.volume.publish(&Pair { key: scene.leaf.key.clone(), ..other }, scene.pki.roots());
    scene.agent.wait_until("a refusal", |health| !health["refused"]["leaf"].is_null());
    let metrics = scene.agent.metrics();
    for name in [
        "hotcert_leaf_not_after_timestamp_seconds",
        "hotcert_leaf_not_before_timestamp_seconds",
        "hotcert_leaf_age_seconds",
        "hotcert_root_not_after_timestamp_seconds",
        "hotcert_root_not_before_timestamp_seconds",
        "hotcert_generation",
        "hotcert_ready",
        "hotcert_swap_to_served_seconds_count",
        "hotcert_peer_earliest_not_after_timestamp_seconds",
        "hotcert_tasks",
        "hotcert_build_info",
    ] {
        assert!(metrics.one(name, &[]).is_finite(), "{name}");
    }
    assert_eq!(metrics.one("hotcert_generation", &[]), 2.0);
    assert_eq!(metrics.one("hotcert_ready", &[]), 1.0);
    let reloads =
        |outcome, reason| metrics.one("hotcert_reloads_total", &[("outcome", outcome), ("reason", reason)]);
    assert_eq!((reloads("published", "none"), reloads("refused", "key_mismatch")), (2.0, 1.0));
    let root = scene.pki.root.sha256();
    assert_eq!(
        metrics.label_values("hotcert_root_not_after_timestamp_seconds", "root"),
        [&root[..16]].into()
    );
    let generations = metrics.label_values("hotcert_connections_open", "generation");
    assert_eq!(generations, ["current", "older", "previous"].into());
    assert!(metrics.one("hotcert_bytes_total", &[("side", "inbound"), ("direction", "sent")]) >= 5000.0);
    assert!(metrics.one("hotcert_handshakes_total", &[("side", "inbound"), ("result", "ok")]) >= 1.0);
    for (name, kind) in [
        ("hotcert_reloads", "counter"),
        ("hotcert_tasks", "gauge"),
        ("hotcert_swap_to_served_seconds", "histogram"),
    ] {
        assert_eq!(metrics.kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
}

#[test]
fn no_key_is_shown_anywhere() {
    let pki = Pki::default();
    let (volume, echo) = (pki.volume(SERVER), Echo::default());
    let leaves: [_; 3] = std::array::from_fn(|_| pki.leaf(SERVER));
    volume.publish(&leaves[0], pki.roots());
    let agent = Launch::new(&volume.path)
        .inbound("", echo.address)
        .args(["--poll-interval", "100ms"])
        .env("HOTCERT_LOG", "trace")
        .ready();
    let [one, two, three] = &leaves;
    let broken = three.key.replace("PRIVATE KEY", "PRIVATE THING");
    for [cert, key, roots] in [
        [&two.cert, &three.key, pki.roots()],
        [&two.cert, &broken, pki.roots()],
        [&two.cert, &two.key[..two.key.len() - 40], pki.roots()],
        [&one.cert, &one.key, &three.key],
    ] {
        volume.publish_files(&[("tls.crt", cert), ("tls.key", key), ("ca.crt", roots)]);
        agent.wait_until("a refusal", |health| health["last_attempt"]["outcome"] == "refused");
        let shown: String =
            PAGES.iter().map(|(path, _)| agent.admin(path).text()).chain([agent.log_text()]).collect();
        for line in leaves.iter().flat_map(|leaf| leaf.key.lines()).filter(|line| !line.starts_with("---")) {
            // The first line says the algorithm rather than the secret.
            let secret = &line[line.len() / 2..];
            assert!(!shown.contains(secret), "a key is shown");
        }
        volume.publish(&leaves[0], pki.roots());
        agent.wait_until("recovery", |health| health["last_attempt"]["outcome"] != "refused");
    }
}

#[test]
fn proof_needs_mutual_tls_and_says_what_is_served() {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    let leaf = pki.leaf(SERVER);
    volume.publish(&leaf, pki.roots());
    // A pod without inbound routes has it too.
    let agent = Launch::new(&volume.path).ready();
    let proof = |path: &str, who: &Credentials| Curl::https(agent.address("proof"), path, who).run();
    let got = proof("/proof", &pki.client("control-plane"));
    assert_eq!(got.answer.status, 200, "{}", got.errors);
    let said = got.answer.json();
    assert_eq!(said["leaf_sha256"], leaf.sha256);
    assert_eq!(said["generation"], 1);
    assert_eq!(said["roots"], serde_json::json!([pki.root.sha256()]));
    assert_eq!(said["trust_sha256"], agent.health()["served"]["trust_sha256"]);
    assert_eq!(said["connections_under_removed_roots"], 0);
    assert_eq!(proof("/healthz", &pki.client("control-plane")).answer.status, 404);
    let port = agent.address("proof").port();
    let insecure =
        |extra: &[&str]| Curl::new(&format!("https://127.0.0.1:{port}/proof")).args(["-k"]).args(extra).run();
    assert_eq!((insecure(&[]).answer.status, insecure(&[]).exit != 0), (0, true));
    let stranger = Pki::default().leaf("control-plane");
    let stranger = pki.credentials("stranger", &stranger, pki.roots());
    let got = insecure(&["--cert", text(&stranger.cert), "--key", text(&stranger.key)]);
    assert!(got.answer.status == 0 && got.exit != 0, "{got:?}");
    let post =
        Curl::https(agent.address("proof"), "/proof", &pki.client("control-plane")).args(["-d", "x"]).run();
    assert_eq!(post.answer.status, 405);
}

#[test]
fn silent_connections_keep_no_probe_out() {
    let scene = Scene::tcp(&["--handshake-timeout", "30s"]);
    let (admin, proof) = (scene.agent.address("admin"), scene.agent.address("proof"));
    let silent = |address| (0..100).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
    let _silent = [silent(admin), silent(proof)];
    let begin = Instant::now();
    for _ in 0..5 {
        assert_eq!(scene.agent.admin("/livez").status, 200);
        let got = Curl::https(proof, "/proof", &scene.client).run();
        assert_eq!(got.answer.status, 200, "{}", got.errors);
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn proof_shows_that_a_root_is_gone() {
    let pki = Pki::default();
    let (new, volume) = (authority("root two"), pki.volume(SERVER));
    let both = format!("{}{}", pki.roots(), new.certificate_pem());
    let leaf = issue(&new, &request(SERVER));
    volume.publish(&leaf, &both);
    let agent = Launch::new(&volume.path).ready();
    let (old_client, new_client) = (pki.leaf("old"), issue(&new, &request("new")));
    let old_client = pki.credentials("old", &old_client, &both);
    let new_client = pki.credentials("new", &new_client, &both);
    let proof = |who: &Credentials| Curl::https(agent.address("proof"), "/proof", who).run().answer.status;
    assert_eq!((proof(&old_client), proof(&new_client)), (200, 200));
    volume.publish(&leaf, new.certificate_pem());
    agent.wait_until("the new bundle", |health| health["served"]["roots"].as_array().unwrap().len() == 1);
    assert_eq!((proof(&old_client), proof(&new_client)), (0, 200));
}
