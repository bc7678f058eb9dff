//! ALPN on TCP routes: the agent negotiates the list of a route and carries bytes, so that a client which insists on a
//! protocol reaches an app that speaks it in the clear.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};

use kit::DEADLINE;
use kit::agent::{Agent, Launch};
use kit::client::{Curl, SERVER, accepted, both, openssl, python, python_files};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, Pki, dns};
use kit::until;
use kit::volume::Volume;
use serde_json::Value;

/// An echo service behind a route with this prefix.
struct Scene {
    agent: Agent,
    volume: Volume,
    client: Credentials,
    pki: Pki,
    _echo: Echo,
}

fn inbound(mode: &str) -> Scene {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound(mode, echo.address).ready();
    Scene { client: pki.client("storefront"), agent, volume, pki, _echo: echo }
}

impl Scene {
    fn address(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    /// What OpenSSL says of a handshake with these protocols.
    fn openssl(&self, alpn: &str) -> String {
        openssl("s_client", self.address(), &self.client, &["-alpn", alpn])
    }

    /// What Python says of a line there and back with these protocols.
    fn python(&self, alpn: &str) -> Value {
        by_python(self.address(), &self.client, alpn)
    }

    fn rotate(&self) -> Pair {
        let leaf = self.pki.leaf(SERVER);
        self.volume.publish(&leaf, self.pki.roots());
        self.agent.wait_serving(&leaf.serial);
        leaf
    }
}

fn by_python(address: SocketAddr, who: &Credentials, alpn: &str) -> Value {
    let mut client = python("alpn.py");
    client.arg(address.to_string()).args(python_files(who)).args(["--alpn", alpn]);
    let output = client.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)))
}

#[test]
fn the_protocol_of_a_route_is_negotiated() {
    let scene = inbound("alpn=postgresql:");
    let said = scene.openssl("postgresql");
    assert!(said.contains("ALPN protocol: postgresql"), "{said}");
    let seen = scene.python("postgresql");
    assert!(seen["ok"] == true && seen["selected"] == "postgresql", "{seen}");
    for version in ["-tls1_2", "-tls1_3"] {
        let said = openssl("s_client", scene.address(), &scene.client, &["-alpn", "postgresql", version]);
        assert!(said.contains("ALPN protocol: postgresql"), "{version}: {said}");
    }
}

#[test]
fn the_order_is_that_of_the_route() {
    let scene = inbound("alpn=h2+http/1.1:");
    for (offered, selected) in [
        ("http/1.1,h2", "h2"),
        ("h2,http/1.1", "h2"),
        ("imap,http/1.1", "http/1.1"),
        ("http/1.1", "http/1.1"),
    ] {
        let seen = scene.python(offered);
        assert!(seen["ok"] == true && seen["selected"] == selected, "{offered}: {seen}");
        let said = scene.openssl(offered);
        assert!(said.contains(&format!("ALPN protocol: {selected}")), "{offered}: {said}");
    }
}

#[test]
fn a_client_of_another_protocol_is_told_so() {
    let scene = inbound("alpn=postgresql:");
    let said = scene.openssl("imap,postgresq");
    assert!(said.contains("no application protocol"), "{said}");
    let seen = scene.python("imap");
    let error = seen["error"].as_str().unwrap().to_ascii_lowercase().replace('_', " ");
    assert!(error.contains("no application protocol"), "{seen}");
    until("counted", || {
        let metrics = scene.agent.metrics();
        let of = |result| metrics.sum("hotcert_handshakes_total", &[("side", "inbound"), ("result", result)]);
        let all = metrics.sum("hotcert_handshakes_total", &[("side", "inbound")]);
        (all - of("ok") - of("self_check") == 2.0).then_some(())
    });
    assert!(scene.python("postgresql")["ok"] == true);
}

#[test]
fn a_client_without_alpn_is_carried() {
    let scene = inbound("alpn=postgresql:");
    assert!(accepted(scene.address(), &scene.client));
    let said = openssl("s_client", scene.address(), &scene.client, &[]);
    assert!(said.contains("No ALPN negotiated"), "{said}");
}

#[test]
fn a_route_without_a_list_negotiates_nothing() {
    let scene = inbound("");
    let said = scene.openssl("postgresql");
    assert!(said.contains("No ALPN negotiated"), "{said}");
    let seen = scene.python("h2,http/1.1");
    assert!(seen["ok"] == true && seen["selected"].is_null(), "{seen}");
}

#[test]
fn each_route_has_a_list_of_its_own() {
    let (pki, echo) = (Pki::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let launch =
        Launch::new(&volume.path).inbound("", echo.address).inbound("alpn=postgresql:", echo.address);
    let agent = launch.inbound("alpn=mqtt+x-amzn-mqtt-ca:", echo.address).ready();
    let client = pki.client("storefront");
    let selected = agent.addresses("inbound").into_iter().map(|route| {
        by_python(route, &client, "postgresql,x-amzn-mqtt-ca")["selected"].as_str().map(str::to_owned)
    });
    let expected = [None, Some("postgresql".into()), Some("x-amzn-mqtt-ca".into())];
    assert_eq!(selected.collect::<Vec<_>>(), expected);
}

#[test]
fn a_new_leaf_changes_no_protocol_and_no_connection() {
    let scene = inbound("alpn=postgresql:");
    let mut held = Pipe::tls(scene.address(), &scene.client, &["-alpn", "postgresql"]);
    assert!(held.echoes("before"));
    for _ in 0..5 {
        let leaf = scene.rotate();
        assert!(held.echoes("after"));
        assert_eq!(scene.python("postgresql")["selected"], "postgresql");
        assert_eq!(kit::client::served(scene.address(), &scene.client), Some(leaf.serial));
    }
}

/// An agent that goes out as `storefront`.
fn outbound(pki: &Pki, mode: &str, server: SocketAddr) -> Agent {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    Launch::new(&volume.path).outbound(mode, format!("{server}#{}", dns(SERVER))).ready()
}

/// The protocols that a ClientHello offers.
fn offered(mut stream: TcpStream) -> Option<Vec<String>> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut hello).unwrap();
    let take = |at: usize, size: usize| {
        hello[at..at + size].iter().fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    // Type and length, version, random; then session, cipher suites, compression.
    let mut at = 4 + 2 + 32;
    for size in [1, 2, 1] {
        at += size + take(at, size);
    }
    at += 2;
    while at < hello.len() {
        let (kind, length) = (take(at, 2), take(at + 2, 2));
        at += 4;
        if kind == 16 {
            let (mut name, mut names) = (at + 2, Vec::new());
            while name < at + length {
                let end = name + 1 + take(name, 1);
                names.push(String::from_utf8(hello[name + 1..end].to_vec()).unwrap());
                name = end;
            }
            return Some(names);
        }
        at += length;
    }
    None
}

#[test]
fn the_list_of_an_outbound_route_is_offered_as_it_is() {
    for (mode, expected) in [
        ("alpn=postgresql:", Some(vec!["postgresql"])),
        ("alpn=b+a+h2:", Some(vec!["b", "a", "h2"])),
        ("", None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = outbound(&Pki::default(), mode, listener.local_addr().unwrap());
        let _app = TcpStream::connect(agent.address("outbound")).unwrap();
        let seen = offered(listener.accept().unwrap().0);
        assert_eq!(seen, expected.map(|names| names.into_iter().map(String::from).collect()), "{mode}");
    }
}

#[test]
fn a_server_selects_from_the_list_of_an_outbound_route() {
    let pki = Pki::default();
    let mut server = python("alpn.py");
    server.arg("127.0.0.1:0").args(["--mode", "server", "--alpn", "imap,postgresql"]);
    let mut server = Pipe::program({
        server.args(python_files(&pki.client(SERVER)));
        server
    });
    let port = server.line()["port"].as_u64().unwrap() as u16;
    let agent = outbound(&pki, "alpn=postgresql+imap:", ([127, 0, 0, 1], port).into());
    assert!(Pipe::tcp(agent.address("outbound")).echoes("hello"));
    assert_eq!(server.line()["selected"], "imap", "OpenSSL prefers the server's order");
}

#[test]
fn agents_negotiate_it_with_each_other() {
    let scene = inbound("alpn=postgresql:");
    let agent = outbound(&scene.pki, "alpn=h2+postgresql:", scene.address());
    assert!(Pipe::tcp(agent.address("outbound")).echoes("hello"));
}

#[test]
fn a_server_of_another_protocol_gets_nothing_and_the_log_says_why() {
    let scene = inbound("alpn=postgresql:");
    let agent = outbound(&scene.pki, "alpn=imap:", scene.address());
    if let Ok(mut pipe) = Pipe::try_tcp(agent.address("outbound")) {
        pipe.say("secret\n");
        assert_eq!(pipe.hear("\n"), None);
    }
    agent.until_logged("none of the offered application protocols");
}

#[test]
fn curl_speaks_http_2_with_an_app_of_h2c_over_a_tcp_route() {
    let pki = Pki::default();
    let mut app = Pipe::program(kit::installed::python("http2_app.py"));
    let port = app.line()["port"].as_u64().unwrap();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("alpn=h2:", format!("127.0.0.1:{port}")).ready();
    let client = pki.client("storefront");
    let got = Curl::https(agent.address("inbound"), "/bytes/5000000", &client).args(["--http2"]).run();
    assert_eq!(
        (got.exit, got.version.as_str(), got.answer.body.len()),
        (0, "2", 5_000_000),
        "{}",
        got.errors
    );
}

/// An unmodified client of gRPC, which insists on ALPN.
#[test]
fn grpcio_calls_grpcio_over_a_tcp_route() {
    let pki = Pki::default();
    let mut server = Pipe::program(kit::installed::python("grpc/server.py"));
    server.hear("listening on ").unwrap();
    let address = server.hear("\n").unwrap();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("alpn=h2:", address.trim()).ready();
    let of_client = pki.volume("storefront");
    of_client.publish(&pki.leaf("storefront"), pki.roots());
    let mut client = kit::installed::python("grpc/client.py");
    client.arg(agent.address("inbound").to_string()).arg("unary").arg(&of_client.path);
    let mut client = Pipe::program(client);
    for _ in 0..3 {
        let leaf = pki.leaf(SERVER);
        volume.publish(&leaf, pki.roots());
        agent.wait_serving(&leaf.serial);
        client.say("call\n");
        client.hear("called\n").unwrap();
    }
    client.end();
    let end = client.rest();
    assert!(end.contains(" failed 0"), "{end}");
}
