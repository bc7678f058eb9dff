//! On a route with `#proxy-v2` the app learns who its client is: HAProxy, nginx, and a reader of our own that is strict
//! about every byte.

mod receivers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::thread;

use kit::agent::{Agent, Launch};
use kit::client::{Curl, SERVER, command, files, openssl};
use kit::own;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, dns, issue, request, spiffe};
use kit::volume::Volume;
use receivers::{Header, Receiver, Server};

/// The client's address, which is none of the agent's.
const CLIENT: &str = "127.0.0.9";

struct Scene {
    agent: Agent,
    client: Credentials,
    pki: Pki,
    _volume: Volume,
}

impl Scene {
    fn new(mode: &str, target: SocketAddr, configure: impl FnOnce(Launch) -> Launch) -> Self {
        let pki = Pki::default();
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let launch = Launch::new(&volume.path).inbound(mode, format!("{target}#proxy-v2"));
        Self { agent: configure(launch).ready(), client: pki.client("storefront"), pki, _volume: volume }
    }

    fn inbound(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    /// What the server answers a client from `CLIENT`.
    fn curl(&self) -> String {
        let fetched = Curl::https(self.inbound(), "/", &self.client).args(["--interface", CLIENT]).run();
        assert_eq!(fetched.answer.status, 200, "{}", fetched.errors);
        fetched.answer.text()
    }
}

#[test]
fn haproxy_sees_the_client_and_the_name_it_asked_for() {
    let server = Server::haproxy(own::address(8443));
    let scene = Scene::new("", server.address, |launch| launch);
    let seen = scene.curl();
    let inbound = scene.inbound();
    assert_eq!(seen, format!("{CLIENT} to {}:{} for {}", inbound.ip(), inbound.port(), dns(SERVER)));
}

#[test]
fn nginx_sees_the_client() {
    let server = Server::nginx(own::address(8443));
    let scene = Scene::new("", server.address, |launch| launch);
    let inbound = scene.inbound();
    assert_eq!(scene.curl(), format!("{CLIENT} to {}:{}", inbound.ip(), inbound.port()));
}

#[test]
fn a_probe_of_such_an_app_is_no_client() {
    for start in [Server::haproxy as fn(_) -> _, Server::nginx] {
        let server: Server = start(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), own::port(0)));
        let probe = format!("{}/healthz", server.address.port());
        let scene = Scene::new("", server.address, |launch| launch.args(["--probe", &probe]));
        let answer = scene.agent.admin(&format!("/probe/{probe}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn the_header_says_what_tls_agreed_on_and_who_the_client_is() {
    let receiver = Receiver::default();
    let scene = Scene::new("alpn=postgresql:", receiver.address, |launch| launch);
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = openssl("s_client", scene.inbound(), &scene.client, &[version, "-alpn", "postgresql"]);
        let cipher = said.split_once("Cipher is ").unwrap().1.lines().next().unwrap().to_owned();
        let Header { to, alpn, authority, ssl, spiffe_id, .. } = receiver.next();
        assert_eq!(to, scene.inbound());
        assert_eq!((alpn.as_deref(), authority.as_deref()), (Some("postgresql"), Some(&*dns(SERVER))));
        assert_eq!(spiffe_id.as_deref(), Some(&*spiffe("storefront")));
        let ssl = ssl.unwrap();
        assert_eq!((ssl.flags, ssl.verify), (7, 0));
        assert_eq!((ssl.version.as_str(), ssl.cipher), (shown, cipher));
        assert_eq!(ssl.common_name.as_deref(), Some("storefront"));
        assert_eq!(
            (ssl.signature.as_deref(), ssl.key.as_deref()),
            (Some("ecdsa-with-SHA256"), Some("EC256"))
        );
    }
}

#[test]
fn bytes_follow_the_header_in_both_directions() {
    let receiver = Receiver::default();
    let scene = Scene::new("", receiver.address, |launch| launch);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(pipe.echoes("hello"));
    let header = receiver.next();
    assert_eq!(header.from.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!((header.alpn, header.authority), (None, Some(dns(SERVER))));
}

#[test]
fn a_name_that_was_not_asked_for_and_an_id_that_is_not_there_are_left_out() {
    let receiver = Receiver::default();
    let scene = Scene::new("", receiver.address, |launch| launch);
    let mut named = request("storefront");
    named.spiffe_id = None;
    let client = scene.pki.credentials("named", &issue(&scene.pki.root, &named), scene.pki.roots());
    let mut nameless = command("openssl");
    nameless.args(["s_client", "-quiet", "-noservername", "-connect", &scene.inbound().to_string()]);
    nameless.args(files(&client)).stderr(Stdio::null());
    let mut pipe = Pipe::program(nameless);
    assert!(pipe.echoes("hello"));
    let header = receiver.next();
    assert_eq!((header.authority, header.spiffe_id), (None, None));
    assert_eq!(header.ssl.unwrap().common_name.as_deref(), Some("storefront"));
}

#[test]
fn clients_of_plain_https_are_not_verified() {
    let receiver = Receiver::default();
    let scene = Scene::new("", receiver.address, |launch| launch.args(["--client-auth", "none"]));
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(pipe.echoes("hello"));
    let header = receiver.next();
    let ssl = header.ssl.unwrap();
    assert_eq!((ssl.flags, ssl.common_name, header.spiffe_id), (1, None, None));
    assert_ne!(ssl.verify, 0);
}

#[test]
fn an_app_that_closes_at_the_header_is_named_in_the_log() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let scene = Scene::new("", address, |launch| launch);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert_eq!(pipe.hear("\n"), None);
    scene.agent.until_logged("PROXY protocol version 2");
    scene.agent.until_logged(&format!("\"target\":\"{address}\""));
}
