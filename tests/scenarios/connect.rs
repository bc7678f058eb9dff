//! CONNECT at the forward proxy: what is in plain text inside the tunnel goes to that host over mTLS; TLS inside it is
//! refused, as the agent could add nothing to it; and what cannot be reached is a clear answer.

use std::net::{SocketAddr, TcpListener};

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::{Agent, Launch};
use kit::app::{App, pattern};
use kit::client::{Curl, Fetched, SERVER, both, command};
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, hex, issue, request, spiffe, write};
use kit::scene::Scene;
use kit::volume::Volume;
use kit::{own, until};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

struct Proxy {
    agent: Agent,
    volume: Volume,
}

fn proxy(pki: &Pki) -> Proxy {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    Proxy { agent: Launch::new(&volume.path).http_proxy().ready(), volume }
}

impl Proxy {
    fn address(&self) -> SocketAddr {
        self.agent.address("http-proxy")
    }

    /// curl, with everything in a tunnel.
    fn curl(&self, url: &str, args: &[&str]) -> Fetched {
        let proxy = format!("http://{}", self.address());
        // The answer to CONNECT is no response of the host.
        Curl::new(url).args(["-x", &proxy, "-p", "--suppress-connect-headers"]).args(args).run()
    }

    /// A connection on which a tunnel to this was asked for, and the answer's head.
    #[track_caller]
    fn tunnel(&self, target: &str) -> (Pipe, String) {
        let mut pipe = Pipe::tcp(self.address());
        pipe.say(&format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"));
        let head = pipe.hear("\r\n\r\n").expect("an answer to CONNECT");
        (pipe, head)
    }
}

fn target(scene: &Scene<App>) -> String {
    format!("localhost:{}", scene.inbound().port())
}

#[test]
fn plain_http_in_a_tunnel_becomes_mtls() {
    let scene = Scene::http(&[]);
    let proxy = proxy(&scene.pki);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let got = proxy.curl(&format!("http://{}/headers?a=b", target(&scene)), &[flag]);
        assert_eq!((got.answer.status, got.version.as_str()), (200, version), "{got:?}");
        let seen = got.answer.json();
        assert_eq!(seen["target"], "/headers?a=b");
        let headers = seen["headers"].to_string();
        assert!(headers.contains(&format!("URI={}", spiffe("storefront"))), "{headers}");
        assert!(headers.contains(&target(&scene)) && !headers.contains("proxy-"), "{headers}");
    }
}

#[test]
fn bodies_pass_whole() {
    let scene = Scene::http(&[]);
    let proxy = proxy(&scene.pki);
    let content = pattern(0, 8 << 20);
    let file = write(&scene.pki.path("upload"), &content);
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let base = format!("http://{}", target(&scene));
        let up = proxy.curl(&format!("{base}/digest"), &[flag, "-T", file.to_str().unwrap()]);
        assert_eq!(up.answer.json()["sha256"], hex(&Sha256::digest(&content)), "{flag}: {}", up.errors);
        let down = proxy.curl(&format!("{base}/chunked/{}", content.len()), &[flag]);
        assert!(down.answer.body == content, "{flag}: {}", down.errors);
    }
}

#[test]
fn a_tunnel_goes_on_while_both_sides_rotate() {
    let scene = Scene::http(&["--drain-after", "50ms"]);
    let proxy = proxy(&scene.pki);
    let (mut pipe, head) = proxy.tunnel(&target(&scene));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for round in 0..20 {
        let leaf = scene.pki.leaf("storefront");
        proxy.volume.publish(&leaf, scene.pki.roots());
        proxy.agent.wait_serving(&leaf.serial);
        scene.rotate_and_wait();
        let head = pipe.get("/bytes/100").unwrap_or_else(|| panic!("closed in round {round}"));
        assert!(head.starts_with("HTTP/1.1 200"), "round {round}: {head}");
    }
}

/// A tunnel leads to one host, whatever the requests in it say.
#[test]
fn a_request_in_a_tunnel_goes_nowhere_else() {
    let (scene, elsewhere) = (Scene::http(&[]), TcpListener::bind("127.0.0.1:0").unwrap());
    let proxy = proxy(&scene.pki);
    elsewhere.set_nonblocking(true).unwrap();
    let evil = format!("localhost:{}", elsewhere.local_addr().unwrap().port());
    let (mut pipe, _) = proxy.tunnel(&target(&scene));
    pipe.say(&format!("GET http://{evil}/headers HTTP/1.1\r\nhost: {evil}\r\nconnection: close\r\n\r\n"));
    let answer = pipe.rest();
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let (mut pipe, _) = proxy.tunnel(&target(&scene));
    pipe.say(&format!("GET /headers HTTP/1.1\r\nhost: {evil}\r\nconnection: close\r\n\r\n"));
    pipe.rest();
    let came = elsewhere.accept();
    assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nothing came");
}

#[test]
fn tls_in_a_tunnel_is_a_fatal_alert_and_the_log_says_why() {
    let scene = Scene::http(&[]);
    let proxy = proxy(&scene.pki);
    let ca = scene.client.ca.to_str().unwrap();
    let got = proxy.curl(&format!("https://{}/headers", target(&scene)), &["--cacert", ca]);
    assert_eq!(got.exit, 35, "{got:?}");
    assert!(got.errors.contains("alert"), "{}", got.errors);
    let mut openssl = command("openssl");
    openssl.args(["s_client", "-proxy", &proxy.address().to_string(), "-connect", &target(&scene)]);
    let said = both(&openssl.output().unwrap());
    assert!(said.contains("SSL alert number"), "{said}");
    assert!(!said.contains("BEGIN CERTIFICATE"), "{said}");
    until("the reason in the log", || {
        let text = proxy.agent.log_text();
        let reason =
            |line: &str| line.contains("TLS") && line.contains(&target(&scene)) && line.contains("http://");
        text.lines().any(reason).then_some(())
    });
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn another_protocol_in_a_tunnel_is_carried_as_bytes() {
    let scene = Scene::tcp(&[]);
    let proxy = proxy(&scene.pki);
    let (mut pipe, _) = proxy.tunnel(&format!("localhost:{}", scene.inbound().port()));
    for line in ["SSH-2.0-OpenSSH_9.2", "and more", "GET / HTTP/1.1"] {
        assert!(pipe.echoes(line));
    }
}

#[test]
fn a_target_without_port_is_a_bad_request() {
    let proxy = proxy(&Pki::default());
    for wrong in ["localhost", "localhost:", "localhost:99999", "/", "*", ":443"] {
        let (mut pipe, head) = proxy.tunnel(wrong);
        assert!(head.starts_with("HTTP/1.1 400"), "{wrong}: {head}");
        assert!(head.to_ascii_lowercase().contains("x-hotcert-error: "), "{wrong}: {head}");
        pipe.end();
    }
}

/// The answer to CONNECT, or to the request inside, when the host cannot be trusted or reached.
#[track_caller]
fn is_refused(proxy: &Proxy, target: &str, parts: &[&str]) {
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let got = proxy.curl(&format!("http://{target}/headers"), &[flag]);
        // Only the first line of a refused CONNECT is shown by curl.
        if got.answer.status == 0 {
            assert!(got.errors.contains("502"), "{flag}: {got:?}");
            let (mut pipe, head) = proxy.tunnel(target);
            pipe.end();
            let answer = head + &pipe.rest();
            parts.iter().for_each(|part| assert!(answer.contains(part), "{part} is not in {answer}"));
            continue;
        }
        assert_eq!(got.answer.status, 502, "{flag}: {got:?}");
        let error = got.answer.header("x-hotcert-error").unwrap_or_default();
        for part in parts {
            assert!(error.contains(part) && got.answer.text().contains(part), "{part} is not in {got:?}");
        }
    }
}

#[test]
fn a_host_with_another_name_is_a_502_that_names_both() {
    let scene = Scene::http(&[]);
    let leaf = issue(&scene.pki.root, &LeafRequest { dns_names: vec![dns(SERVER)], ..request(SERVER) });
    scene.volume.publish(&leaf, scene.pki.roots());
    scene.agent.wait_serving(&leaf.serial);
    is_refused(&proxy(&scene.pki), &target(&scene), &["localhost", &dns(SERVER)]);
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_host_under_another_root_is_a_502() {
    let scene = Scene::http(&[]);
    is_refused(&proxy(&Pki::default()), &target(&scene), &["localhost"]);
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_port_that_is_closed_is_a_502() {
    is_refused(&proxy(&Pki::default()), &format!("localhost:{}", own::port(0)), &["localhost"]);
    is_refused(&proxy(&Pki::default()), "no-such-host.invalid:80", &["no-such-host.invalid"]);
}

/// A client that is not the app's own cannot make the agent dial for it.
#[test]
fn a_route_into_the_app_takes_no_connect() {
    let scene = Scene::http(&[]);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    pipe.say("CONNECT localhost:443 HTTP/1.1\r\nhost: localhost:443\r\n\r\n");
    let head = pipe.hear("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 405") || head.starts_with("HTTP/1.1 400"), "{head}");
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_fixed_route_takes_no_connect() {
    let scene = Scene::http(&[]);
    let volume = scene.pki.volume("storefront");
    volume.publish(&scene.pki.leaf("storefront"), scene.pki.roots());
    let route = format!("{}#{}", scene.inbound(), dns(SERVER));
    let agent = Launch::new(&volume.path).outbound("http:", route).ready();
    let mut pipe = Pipe::tcp(agent.address("outbound"));
    pipe.say("CONNECT localhost:443 HTTP/1.1\r\nhost: localhost:443\r\n\r\n");
    let head = pipe.hear("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 405") || head.starts_with("HTTP/1.1 400"), "{head}");
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn tunnels_that_are_over_leave_nothing_behind() {
    let scene = Scene::http(&[]);
    let proxy = proxy(&scene.pki);
    let tasks = |agent: &Agent| agent.metrics().sum("hotcert_tasks", &[]);
    let before = (proxy.agent.descriptors(), tasks(&proxy.agent));
    for _ in 0..30 {
        let (mut pipe, _) = proxy.tunnel(&target(&scene));
        assert!(pipe.get("/bytes/10").is_some());
    }
    for _ in 0..30 {
        // Nothing was ever said in these.
        proxy.tunnel(&target(&scene));
    }
    until("all tunnels gone", || {
        // A connection to the host may be kept for the next one.
        let now = (proxy.agent.descriptors(), tasks(&proxy.agent));
        (now.0 <= before.0 + 2 && now.1 <= before.1 + 4.0).then_some(())
    });
    let health: Value = proxy.agent.health();
    assert_eq!(health["draining"], false);
}
