//! What does not go on ends: an app that does not finish its request, a response that does not begin, and a peer that has
//! gone without a word.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use kit::agent::{Agent, Launch};
use kit::client::{Curl, Fetched, SERVER, python_files};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns};
use kit::scene::Scene;
use kit::volume::Volume;
use kit::{DEADLINE, until};
use tempfile::NamedTempFile;

/// An agent that goes out as `storefront` to this server.
fn outbound(pki: &Pki, server: SocketAddr, args: &[&str]) -> (Volume, Agent) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let route = format!("{server}#{}", dns(SERVER));
    let agent = Launch::new(&volume.path).outbound("http:", route).args(args).ready();
    (volume, agent)
}

fn ask(agent: &Agent, path: &str, args: &[&str]) -> Fetched {
    Curl::new(&format!("http://{}{path}", agent.address("outbound"))).args(args).run()
}

#[test]
fn an_app_that_does_not_finish_its_request_is_closed() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, scene.inbound(), &["--request-timeout", "1s"]);
    let mut app = TcpStream::connect(agent.address("outbound")).unwrap();
    app.set_read_timeout(Some(DEADLINE)).unwrap();
    app.write_all(b"GET /headers HT").unwrap();
    assert!(app.read(&mut [0; 64]).is_ok(), "no end before the deadline");
    let slow = [("side", "app"), ("reason", "slow_request")];
    until("the close is counted", || {
        (agent.metrics().sum("hotcert_connections_closed_total", &slow) == 1.0).then_some(())
    });
    // What is asked in time may take longer.
    assert_eq!(ask(&agent, "/late/2000", &[]).answer.status, 200);
}

#[test]
fn an_app_that_says_nothing_is_closed_when_it_is_idle() {
    let scene = Scene::http(&[]);
    let (_volume, agent) = outbound(&scene.pki, scene.inbound(), &["--idle-timeout", "1s"]);
    let mut app = TcpStream::connect(agent.address("outbound")).unwrap();
    app.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(app.read(&mut [0]).is_ok_and(|count| count == 0), "no end before the deadline");
}

#[test]
fn a_response_that_does_not_begin_in_time_is_a_504_on_either_side() {
    let limit = ["--response-timeout", "1s"];
    let scene = Scene::http(&limit);
    let late = scene.curl("/late/30000").run().answer;
    assert_eq!(late.status, 504, "{}", late.text());
    assert!(late.text().contains("--response-timeout"), "{}", late.text());
    assert_eq!(scene.curl("/late/100").run().answer.status, 200);
    // Once it has begun it may take as long as it likes.
    assert_eq!(scene.curl("/slow/20").run().answer.body.len(), 20 << 10);
    let unlimited = Scene::http(&[]);
    let (_volume, agent) = outbound(&unlimited.pki, unlimited.inbound(), &limit);
    assert_eq!(ask(&agent, "/late/30000", &[]).answer.status, 504);
    let refused = [("side", "outbound"), ("reason", "response_timeout")];
    assert_eq!(agent.metrics().one("hotcert_refused_requests_total", &refused), 1.0);
}

#[test]
fn the_time_for_a_response_begins_when_the_request_has_been_sent() {
    let scene = Scene::http(&["--response-timeout", "1s"]);
    let body = NamedTempFile::new().unwrap();
    body.as_file().set_len(300_000).unwrap();
    for version in ["--http1.1", "--http2"] {
        let upload = scene.curl("/digest").args(["--limit-rate", "100k", version, "--data-binary"]);
        let answer = upload.args([format!("@{}", body.path().display())]).run().answer;
        assert_eq!(answer.status, 200, "{version}: {}", answer.text());
        assert_eq!(answer.json()["length"], 300_000);
    }
}

#[test]
fn requests_fail_when_their_server_has_gone_without_a_word() {
    let pki = Pki::default();
    let mut server = python("http2_app.py");
    server.args(python_files(&pki.client(SERVER)));
    let mut server = Pipe::program(server);
    let port = server.line()["port"].as_u64().unwrap() as u16;
    let (_volume, agent) = outbound(&pki, ([127, 0, 0, 1], port).into(), &[]);
    assert_eq!(ask(&agent, "/", &[]).answer.status, 200);
    server.freeze();
    let begun = Instant::now();
    let answer = ask(&agent, "/", &["--data", "not to be repeated"]).answer;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("PING"), "{}", answer.text());
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    let closed = [("side", "outbound"), ("reason", "unresponsive")];
    until("the close is counted", || {
        (agent.metrics().sum("hotcert_connections_closed_total", &closed) == 1.0).then_some(())
    });
}
