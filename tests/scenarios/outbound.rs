//! A fixed route carries plain traffic over mTLS to a server that shows the name it should.

use std::net::SocketAddr;

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::{Agent, Launch};
use kit::app::{App, pattern};
use kit::client::{Answer, Curl, SERVER, python, python_files};
use kit::forge::Forge;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, issue, request, spiffe};
use kit::scene::Scene;

use kit::volume::Volume;
use kit::{DEADLINE, own, until};
use rcgen::SanType;

/// An agent that goes out as `storefront` on these routes.
fn outbound(pki: &Pki, mode: &str, route: String) -> (Volume, Agent) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let agent = Launch::new(&volume.path).outbound(mode, route).ready();
    (volume, agent)
}

fn get(agent: &Agent, path: &str) -> Answer {
    Curl::new(&format!("http://{}{path}", agent.address("outbound"))).run().answer
}

/// A Python server as `payments`, and its address.
pub fn python_server(pki: &Pki, mode: &str) -> (Pipe, SocketAddr) {
    let mut server = python("server.py");
    server.arg(mode).args(python_files(&pki.client(SERVER)));
    let mut server = Pipe::program(server);
    let port = server.line()["port"].as_u64().unwrap() as u16;
    (server, ([127, 0, 0, 1], port).into())
}

#[test]
fn tcp_to_a_server_that_is_not_ours() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "echo");
    let (volume, agent) = outbound(&pki, "", format!("{address}#{}", dns(SERVER)));
    let mut before = Pipe::tcp(agent.address("outbound"));
    assert!(before.echoes("hello"));
    let leaf = pki.leaf("storefront");
    volume.publish(&leaf, pki.roots());
    agent.wait_serving(&leaf.serial);
    assert!(before.echoes("across a rotation"));
    assert!(Pipe::tcp(agent.address("outbound")).echoes("with the new leaf"));
    assert!(
        agent.metrics().sum("hotcert_handshakes_total", &[("side", "outbound"), ("result", "ok")]) >= 2.0
    );
}

#[test]
fn what_was_said_before_a_half_close_arrives_and_is_answered() {
    let scene = Scene::tcp(&[]);
    let (_volume, agent) = outbound(&scene.pki, "", format!("{}#{}", scene.inbound(), dns(SERVER)));
    let mut pipe = Pipe::tcp(agent.address("outbound"));
    assert!(pipe.say(&("x".repeat(4 << 20) + "the end\n")));
    pipe.end();
    assert!(pipe.hear("the end\n").is_some_and(|all| all.len() == (4 << 20) + 8));
    pipe.wait_closed(DEADLINE);
}

#[test]
fn tcp_to_a_server_with_another_name_carries_nothing() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "echo");
    let (_volume, agent) = outbound(&pki, "", format!("{address}#{}", dns("billing")));
    match Pipe::try_tcp(agent.address("outbound")) {
        Ok(mut pipe) => {
            pipe.say("secret\n");
            assert_eq!(pipe.hear("\n"), None);
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let sent = [("side", "outbound"), ("direction", "sent")];
    assert_eq!(agent.metrics().one("hotcert_bytes_total", &sent), 0.0);
    until("the reason in the log", || (agent.logged(&dns("billing")) > 1).then_some(()));
}

#[test]
fn the_name_is_that_of_the_host_unless_given() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "http");
    let (_volume, agent) = outbound(&pki, "http:", format!("localhost:{}", address.port()));
    let seen = get(&agent, "/somewhere").json();
    assert_eq!(seen["target"], "/somewhere");
    assert!(seen["peer"].to_string().contains(&spiffe("storefront")), "{seen}");
}

#[test]
fn sni_and_expected_names_are_apart() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "http");
    let local = format!("localhost:{}", address.port());
    let (ours, theirs) = (dns(SERVER), dns("billing"));
    for (route, sni) in [
        (format!("{local}#{ours}"), Some("localhost")),
        (format!("{local}#dns:{ours}"), Some("localhost")),
        (format!("{local}#{}", spiffe(SERVER)), Some("localhost")),
        (format!("{local}#dns:{theirs}+{}", spiffe(SERVER)), Some("localhost")),
        (format!("{local}#sni:other.test+dns:{ours}"), Some("other.test")),
        (format!("{local}#sni:other.test"), Some("other.test")),
        (format!("{address}#{ours}"), None),
        (format!("{address}#sni:other.test+{}", spiffe(SERVER)), Some("other.test")),
    ] {
        let (_volume, agent) = outbound(&pki, "http:", route.clone());
        let answer = get(&agent, "/");
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        assert_eq!(answer.json()["sni"].as_str(), sni, "{route}");
    }
    for expected in [format!("dns:{theirs}+{}", spiffe("billing")), format!("sni:{ours}+dns:{theirs}")] {
        let (_volume, agent) = outbound(&pki, "http:", format!("{local}#{expected}"));
        let answer = get(&agent, "/");
        assert!(answer.status == 502 && answer.text().contains(&theirs), "{}", answer.text());
    }
}

#[test]
fn a_server_with_two_uris_has_no_spiffe_id() {
    let (pki, forge, app) = (Pki::default(), Forge::default(), App::default());
    let pair = forge.leaf_with(SERVER, |params| {
        params.subject_alt_names.push(SanType::URI("https://payments.test/".try_into().unwrap()));
    });
    let server = pki.volume(SERVER);
    server.publish(&pair, &forge.cert);
    let server = Launch::new(&server.path).inbound("http:", app.address).ready();
    server.until_logged("the leaf has no SPIFFE ID: it has 2 URIs");
    let volume = pki.volume("storefront");
    volume.publish(&forge.leaf("storefront"), &forge.cert);
    for (expected, status) in [(spiffe(SERVER), 502), (dns(SERVER), 200)] {
        let route = format!("{}#{expected}", server.address("inbound"));
        let agent = Launch::new(&volume.path).outbound("http:", route).ready();
        let answer = get(&agent, "/headers");
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        assert_eq!(text.contains("an X.509-SVID has exactly one"), status == 502, "{text}");
    }
}

#[test]
fn a_spiffe_id_is_a_name() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, "http:", format!("{}#{}", scene.inbound(), spiffe(SERVER)));
    let seen = get(&agent, "/headers").json();
    assert!(seen.to_string().contains(&format!("URI={}", spiffe("storefront"))), "{seen}");
}

#[test]
fn a_server_with_another_name_is_a_502_that_names_both() {
    let scene = Scene::http(&[]);
    for wanted in [dns("billing"), spiffe("billing")] {
        let (_volume, agent) = outbound(&scene.pki, "http:", format!("{}#{wanted}", scene.inbound()));
        let answer = get(&agent, "/headers");
        let (text, header) = (answer.text(), answer.header("x-hotcert-error").unwrap_or_default());
        assert_eq!(answer.status, 502, "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        for part in [wanted.as_str(), &dns(SERVER), &spiffe(SERVER)] {
            assert!(text.contains(part) && header.contains(part), "{part} is not in {text}");
        }
    }
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_server_under_another_root_is_a_502() {
    let (scene, stranger) = (Scene::http(&[]), Pki::default());
    let (_volume, agent) = outbound(&stranger, "http:", format!("{}#{}", scene.inbound(), dns(SERVER)));
    let answer = get(&agent, "/headers");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_server_that_is_not_there_is_a_502() {
    let address = own::address(19_000);
    let (_volume, agent) = outbound(&Pki::default(), "http:", format!("{address}#{}", dns(SERVER)));
    let answer = get(&agent, "/headers");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains(&address.to_string()), "{}", answer.text());
    let requests = [("side", "outbound"), ("code", "5xx")];
    assert_eq!(agent.metrics().one("hotcert_proxied_requests_total", &requests), 1.0);
}

#[test]
fn large_bodies_cross_two_agents_whole() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, "http:", format!("{}#{}", scene.inbound(), dns(SERVER)));
    let length = 20 << 20;
    assert!(get(&agent, &format!("/bytes/{length}")).body == pattern(0, length));
    assert!(get(&agent, &format!("/chunked/{length}")).body == pattern(0, length));
}

#[test]
fn a_download_may_take_longer_than_a_request_head() {
    let scene = Scene::http(&["--request-timeout", "1s"]);
    let volume = scene.pki.volume("storefront");
    volume.publish(&scene.pki.leaf("storefront"), scene.pki.roots());
    let route = format!("{}#{}", scene.inbound(), dns(SERVER));
    let launch = Launch::new(&volume.path).args(["--request-timeout", "1s"]);
    let agent = launch.outbound("http:", route).http_proxy().ready();
    let fixed = Curl::new(&format!("http://{}/slow/30", agent.address("outbound")));
    let proxy = format!("http://{}", agent.address("http-proxy"));
    let url = format!("http://localhost:{}/slow/30", scene.inbound().port());
    for download in [fixed, Curl::new(&url).args(["-x", &proxy])].map(Curl::start) {
        let got = download.finish();
        assert_eq!((got.exit, got.answer.body.len()), (0, 30 << 10), "{}", got.errors);
        assert!(got.answer.body == pattern(0, 30 << 10));
    }
}

#[test]
fn a_kept_connection_goes_on_while_both_sides_rotate() {
    let scene = Scene::http(&["--drain-after", "200ms"]);
    let (volume, agent) = outbound(&scene.pki, "http:", format!("{}#{}", scene.inbound(), dns(SERVER)));
    let mut kept = Pipe::tcp(agent.address("outbound"));
    for round in 0..20 {
        let leaf = scene.pki.leaf("storefront");
        volume.publish(&leaf, scene.pki.roots());
        agent.wait_serving(&leaf.serial);
        scene.rotate_and_wait();
        for _ in 0..10 {
            let head = kept.get("/bytes/100").unwrap_or_else(|| panic!("closed in round {round}"));
            assert!(head.starts_with("HTTP/1.1 200"), "round {round}: {head}");
        }
    }
}

#[test]
fn the_earliest_end_among_peers_is_a_metric() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, "http:", format!("{}#{}", scene.inbound(), dns(SERVER)));
    assert_eq!(get(&agent, "/headers").status, 200);
    let ends = |agent: &Agent| agent.metrics().one("hotcert_peer_earliest_not_after_timestamp_seconds", &[]);
    let of_server = scene.agent.metrics().one("hotcert_leaf_not_after_timestamp_seconds", &[]);
    assert_eq!(ends(&agent), of_server);
    let short = LeafRequest { lifetime: kit::pki::HOUR / 2, ..request("short") };
    let short = scene.pki.credentials("short", &issue(&scene.pki.root, &short), scene.pki.roots());
    let before = ends(&scene.agent);
    assert_eq!(Curl::https(scene.inbound(), "/headers", &short).run().answer.status, 200);
    assert!(ends(&scene.agent) < before);
}

#[test]
fn many_requests_share_few_connections() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, "http:", format!("{}#{}", scene.inbound(), dns(SERVER)));
    for _ in 0..20 {
        assert_eq!(get(&agent, "/bytes/10").status, 200);
    }
    let handshakes = agent.metrics().sum("hotcert_handshakes_total", &[("side", "outbound")]);
    assert!(handshakes <= 3.0, "{handshakes} handshakes for 20 requests");
}
