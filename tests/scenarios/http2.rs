//! HTTP/2 through the agent, by curl, nghttp, h2load and Python's h2: in and out, to apps of HTTP/1.1 and of HTTP/2.

mod drain;
mod frames;
mod interim;
mod memory;
mod refusals;
mod streams;

use std::net::SocketAddr;

use kit::agent::{Agent, Launch};
use kit::app::{App, pattern};
use kit::client::{Curl, SERVER, both, command, python_files};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, dns, hex, spiffe, write};
use kit::volume::Volume;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::outbound::python_server;

/// An app that speaks HTTP/2 alone: in the clear, or over TLS as this server.
fn http2_app(args: &[&str], who: Option<&Credentials>) -> (Pipe, SocketAddr) {
    let mut app = python("http2_app.py");
    app.args(args);
    if let Some(who) = who {
        app.args(python_files(who));
    }
    let mut app = Pipe::program(app);
    let port = app.line()["port"].as_u64().unwrap() as u16;
    (app, ([127, 0, 0, 1], port).into())
}

/// Lines of an app, up to the one that holds this for.
#[track_caller]
fn told(app: &mut Pipe, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let line = app.line();
        if holds(&line) {
            return line;
        }
    }
}

/// An app of HTTP/2 behind `--inbound h2c:`.
struct Scene {
    app: Pipe,
    agent: Agent,
    volume: Volume,
    client: Credentials,
    pki: Pki,
}

fn scene(args: &[&str]) -> Scene {
    scene_with(&[], args)
}

fn scene_with(app: &[&str], args: &[&str]) -> Scene {
    let pki = Pki::default();
    let (app, address) = http2_app(app, None);
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("h2c:", address).args(args).ready();
    Scene { client: pki.client("storefront"), app, agent, volume, pki }
}

impl Scene {
    fn address(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    fn curl(&self, path: &str) -> Curl {
        Curl::https(self.address(), path, &self.client)
    }

    /// The program of Python's h2, with a client certificate.
    fn client(&self, mode: &str, path: &str, args: &[&str]) -> Pipe {
        client(self.address(), Some(&self.client), mode, path, args)
    }

    /// An agent that goes out as `storefront` to this one.
    fn outbound(&self) -> Outbound {
        outbound(&self.pki, self.address(), &[])
    }

    #[track_caller]
    fn rotate(&self) {
        let leaf = self.pki.leaf(SERVER);
        self.volume.publish(&leaf, self.pki.roots());
        self.agent.wait_serving(&leaf.serial);
    }
}

struct Outbound {
    agent: Agent,
    _volume: Volume,
}

fn outbound(pki: &Pki, server: SocketAddr, args: &[&str]) -> Outbound {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let route = format!("{server}#{}", dns(SERVER));
    Outbound { agent: Launch::new(&volume.path).outbound("http:", route).args(args).ready(), _volume: volume }
}

impl Outbound {
    fn address(&self) -> SocketAddr {
        self.agent.address("outbound")
    }

    fn curl(&self, path: &str) -> Curl {
        Curl::new(&format!("http://{}{path}", self.address()))
    }
}

fn client(address: SocketAddr, who: Option<&Credentials>, mode: &str, path: &str, args: &[&str]) -> Pipe {
    let mut client = python("http2_client.py");
    client.arg(address.to_string()).args(["--mode", mode, "--path", path]).args(args);
    if let Some(who) = who {
        client.args(python_files(who));
    }
    Pipe::program(client)
}

/// What nghttp prints: the body of the response.
fn nghttp(url: &str, args: &[&str]) -> Vec<u8> {
    command("nghttp").args(["--timeout=20", "--no-verify-peer"]).args(args).arg(url).output().unwrap().stdout
}

/// All requests of h2load, of which none may fail.
#[track_caller]
fn h2load(url: &str, requests: usize, args: &[&str]) {
    let count = requests.to_string();
    let said =
        both(&command("h2load").args(["-n", &count, "-T", "60"]).args(args).arg(url).output().unwrap());
    assert!(said.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{said}");
    assert!(said.contains(&format!("status codes: {requests} 2xx")), "{said}");
}

/// What an app of HTTP/2 says that it was asked, by the name of the header.
fn header<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

#[test]
fn curl_reaches_an_app_of_http_2_with_either_version() {
    let scene = scene(&[]);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let args = [flag, "-H", "x-forwarded-client-cert: evil", "-H", "x-own: kept"];
        let got = scene.curl("/what?a=b%20c").args(args).run();
        assert_eq!((got.answer.status, got.version.as_str()), (200, version), "{got:?}");
        let seen = got.answer.json();
        assert_eq!((header(&seen, ":method"), header(&seen, ":path")), (vec!["GET"], vec!["/what?a=b%20c"]));
        let authority = format!("payments.shop.svc:{}", scene.address().port());
        assert_eq!(header(&seen, ":authority"), [authority.as_str()], "{seen}");
        assert_eq!(header(&seen, "x-own"), ["kept"]);
        let claims = header(&seen, "x-forwarded-client-cert");
        assert!(claims.len() == 1 && claims[0].contains(&format!("URI={}", spiffe("storefront"))), "{seen}");
        // The app would have to take it for a malformed request.
        assert!(header(&seen, "host").len() <= 1 && header(&seen, "connection").is_empty(), "{seen}");
        assert!(header(&seen, "transfer-encoding").is_empty(), "{seen}");
    }
}

#[test]
fn bodies_pass_whole_to_and_from_an_app_of_http_2() {
    let scene = scene(&[]);
    let content = pattern(0, 8 << 20);
    let file = write(&scene.pki.path("upload"), &content);
    for flag in ["--http1.1", "--http2"] {
        let up = scene.curl("/digest").args([flag, "-T", file.to_str().unwrap()]).run();
        let expected = json!({ "sha256": hex(&Sha256::digest(&content)), "length": content.len() });
        assert_eq!(up.answer.json(), expected, "{flag}: {}", up.errors);
        let chunked = ["-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", file.to_str().unwrap()];
        if flag == "--http1.1" {
            assert_eq!(scene.curl("/digest").args([flag]).args(chunked).run().answer.json(), expected);
        }
        let down = scene.curl(&format!("/bytes/{}", content.len())).args([flag]).run();
        assert!(down.exit == 0 && down.answer.body == content, "{flag}: {}", down.errors);
    }
}

#[test]
fn nghttp_and_h2load_reach_apps_of_both_versions_without_certificate() {
    let (pki, http1) = (Pki::default(), App::default());
    let (_http2, address) = http2_app(&[], None);
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let launch = Launch::new(&volume.path).inbound("http:", http1.address).inbound("h2c:", address);
    let agent = launch.args(["--client-auth", "none"]).ready();
    for route in agent.addresses("inbound") {
        let url = format!("https://{route}/bytes/1000");
        assert!(nghttp(&url, &[]) == pattern(0, 1000));
        h2load(&url, 1000, &["-c", "4", "-m", "25"]);
        h2load(&url, 200, &["-c", "4", "--h1"]);
    }
}

#[test]
fn nghttp_and_h2load_reach_servers_through_an_outbound_route() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&[], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    let url = format!("http://{}/bytes/1000", outbound.address());
    assert!(nghttp(&url, &[]) == pattern(0, 1000));
    h2load(&url, 1000, &["-c", "4", "-m", "25"]);
    h2load(&url, 200, &["-c", "4", "--h1"]);
    let handshakes = [("side", "outbound"), ("result", "ok")];
    let made = outbound.agent.metrics().sum("hotcert_handshakes_total", &handshakes);
    assert!(made <= 8.0, "{made} handshakes: requests share a connection");
}

#[test]
fn nghttp_and_h2load_cross_two_agents() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    let url = format!("http://{}/bytes/1000", outbound.address());
    assert!(nghttp(&url, &[]) == pattern(0, 1000));
    h2load(&url, 1000, &["-c", "4", "-m", "25"]);
    h2load(&url, 200, &["-c", "4", "--h1"]);
}

#[test]
fn an_outbound_route_takes_both_versions_from_the_app() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    // The second one offers h2c by an upgrade, which need not be taken.
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "1.1"), ("--http2-prior-knowledge", "2")] {
        let got = outbound.curl("/what").args([flag]).run();
        assert_eq!((got.answer.status, got.version.as_str()), (200, version), "{flag}: {got:?}");
        let seen = got.answer.json();
        assert!(header(&seen, "x-forwarded-client-cert")[0].contains(&spiffe("storefront")), "{seen}");
        assert!(header(&seen, "http2-settings").is_empty() && header(&seen, "upgrade").is_empty(), "{seen}");
    }
}

/// The server only has HTTP/1.1, by ALPN or for want of it.
#[test]
fn an_app_of_http_2_reaches_a_server_of_http_1() {
    let pki = Pki::default();
    let (_server, address) = python_server(&pki, "http");
    let outbound = outbound(&pki, address, &[]);
    let args = ["--http2-prior-knowledge", "-d", "body"];
    let got = outbound.curl("/somewhere?a=b").args(args).run();
    assert_eq!((got.answer.status, got.version.as_str()), (200, "2"), "{got:?}");
    let seen = got.answer.json();
    assert!(
        seen["target"] == "/somewhere?a=b" && seen["method"] == "POST" && seen["body"] == "body",
        "{seen}"
    );
    assert!(seen["peer"].to_string().contains(&spiffe("storefront")), "{seen}");
    let host = address.to_string();
    let hosts = header(&seen, "host").len() + header(&seen, "Host").len();
    assert!(hosts == 1 || seen["headers"].to_string().contains(&host), "{seen}");
}

#[test]
fn a_hundred_requests_are_under_way_at_once_on_one_connection() {
    let scene = scene(&[]);
    // The app answers none of them before all are there.
    let seen = scene.client("get", "/together/100", &["--count", "200"]).line();
    assert_eq!(seen["ok"], 200, "{seen}");
}

#[test]
fn requests_beyond_the_streams_of_a_server_wait_for_their_turn() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&["--streams", "10"], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    h2load(&format!("http://{}/bytes/10000", outbound.address()), 600, &["-c", "3", "-m", "60"]);
    h2load(&format!("http://{}/bytes/10000", outbound.address()), 600, &["-c", "150", "--h1"]);
}

#[test]
fn requests_beyond_the_streams_of_an_app_wait_for_their_turn() {
    let scene = scene_with(&["--streams", "10"], &[]);
    let seen = scene.client("get", "/bytes/10000", &["--count", "300"]).line();
    assert_eq!(seen["ok"], 300, "{seen}");
}

/// Otherwise ten calls that watch something would hold up all others for as long as they live.
#[test]
fn streams_that_stay_open_keep_no_other_out() {
    let pki = Pki::default();
    let (_server, address) = http2_app(&["--streams", "10"], Some(&pki.client(SERVER)));
    let outbound = outbound(&pki, address, &[]);
    let seen = client(outbound.address(), None, "get", "/together/35", &["--count", "35"]).line();
    assert_eq!(seen["ok"], 35, "{seen}");
}
