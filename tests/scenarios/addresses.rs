//! A server whose name has several addresses is reached while one of them answers.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use kit::agent::{Agent, Launch};
use kit::client::{Answer, Curl, SERVER, python, python_files};
use kit::own;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns};
use kit::silent::Silent;
use kit::volume::Volume;
use tempfile::TempDir;

/// A Python server of this name on an address of its own, and the port that it shares with loopback's first address, which
/// is tried before it.
fn server<First>(
    pki: &Pki,
    name: &str,
    mut first: impl FnMut(SocketAddr) -> Option<First>,
) -> (Pipe, SocketAddr, First) {
    // Something else may have the port on the other address.
    for _ in 0..20 {
        let mut server = python("server.py");
        server.args(["http", "--host", &own::address(1).ip().to_string()]);
        server.args(python_files(&pki.client(name)));
        let mut server = Pipe::program(server);
        let port = server.line()["port"].as_u64().unwrap() as u16;
        if let Some(first) = first(([127, 0, 0, 1], port).into()) {
            return (server, (own::address(1).ip(), port).into(), first);
        }
    }
    panic!("no port is free on both addresses")
}

/// An agent that goes out to the server by its name, which has loopback's first address too.
fn agent(pki: &Pki, server: SocketAddr, args: &[&str]) -> (Volume, Agent, TempDir) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let files = TempDir::new().unwrap();
    let hosts = files.path().join("hosts");
    fs::write(&hosts, format!("127.0.0.1 {0}\n{1} {0}\n", dns(SERVER), server.ip())).unwrap();
    let route = format!("{}:{}", dns(SERVER), server.port());
    let agent = Launch::new(&volume.path).outbound("http:", route).args(args).with_hosts(&hosts).ready();
    (volume, agent, files)
}

fn get(agent: &Agent) -> Answer {
    Curl::new(&format!("http://{}/", agent.address("outbound"))).run().answer
}

#[test]
fn an_address_that_does_not_answer_fails_no_request() {
    let pki = Pki::default();
    let (_server, address, _silent) = server(&pki, SERVER, Silent::at);
    let (_volume, agent, _files) = agent(&pki, address, &[]);
    let answer = get(&agent);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let metrics = agent.metrics();
    assert!(metrics.one("hotcert_failed_addresses_total", &[]) >= 1.0);
}

#[test]
fn an_address_that_accepts_and_says_nothing_fails_no_request() {
    let pki = Pki::default();
    let (_server, address, _listener) = server(&pki, SERVER, |first| TcpListener::bind(first).ok());
    let (_volume, agent, _files) = agent(&pki, address, &["--connect-timeout", "1s"]);
    let answer = get(&agent);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let of =
        |result| agent.metrics().sum("hotcert_handshakes_total", &[("side", "outbound"), ("result", result)]);
    assert_eq!((of("timeout"), of("ok")), (1.0, 1.0));
}

#[test]
fn an_address_with_another_name_is_an_error_and_no_other_is_asked() {
    let pki = Pki::default();
    // The first address is another agent's, with the name of another service.
    let (_server, address, port) = server(&pki, SERVER, |first| Some(first.port()));
    let volume = pki.volume("billing");
    volume.publish(&pki.leaf("billing"), pki.roots());
    let listen = format!("127.0.0.1:{port}=127.0.0.1:9");
    let _other = Launch::new(&volume.path).args(["--inbound", listen.as_str()]).ready();
    let (_volume, agent, _files) = agent(&pki, address, &[]);
    let answer = get(&agent);
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains(&dns("billing")), "{}", answer.text());
    let ok = [("side", "outbound"), ("result", "ok")];
    assert_eq!(agent.metrics().sum("hotcert_handshakes_total", &ok), 0.0);
}
