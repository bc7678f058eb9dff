//! HTTP/1 as clients and apps speak it that are not ours: old ones, ones that refuse, and ones that send what no standard
//! allows.

use std::net::SocketAddr;

use kit::agent::{Agent, Launch};
use kit::client::{Curl, SERVER, python, python_files};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, dns};
use kit::scene::Scene;

/// An agent before an app in Python.
struct Behind {
    agent: Agent,
    client: Credentials,
    _app: Pipe,
    _pki: Pki,
}

impl Behind {
    fn app(kind: &str) -> Self {
        let pki = Pki::default();
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let mut program = python("http1_app.py");
        program.arg(kind);
        let mut app = Pipe::program(program);
        let port = app.line()["port"].as_u64().unwrap();
        let agent = Launch::new(&volume.path).inbound("http:", format!("127.0.0.1:{port}")).ready();
        Self { agent, client: pki.client("storefront"), _app: app, _pki: pki }
    }

    fn address(&self) -> SocketAddr {
        self.agent.address("inbound")
    }
}

#[test]
fn an_app_of_http_1_0_costs_its_client_one_handshake_for_all_requests() {
    let behind = Behind::app("1.0");
    for path in ["/", "/length"] {
        let handshakes = || {
            let labels = [("side", "inbound"), ("result", "ok")];
            behind.agent.metrics().sum("hotcert_handshakes_total", &labels)
        };
        let before = handshakes();
        let url = format!("https://{}:{}{path}[1-50]", dns(SERVER), behind.address().port());
        let url = if path == "/length" { url.replace("[1-50]", "?[1-50]") } else { url };
        let got = Curl::https(behind.address(), path, &behind.client).args(["--http1.1", &url]).run();
        assert_eq!(got.exit, 0, "{}", got.errors);
        assert_eq!(got.said.matches("200 1.1").count(), 51, "{}", got.said);
        assert_eq!(handshakes() - before, 1.0, "{path}");
    }
}

#[test]
fn a_health_check_of_http_1_0_reaches_an_app_that_wants_a_host() {
    let scene = Scene::http(&[]);
    let mut check = Pipe::tls(scene.inbound(), &scene.client, &[]);
    check.say("GET /headers HTTP/1.0\r\n\r\n");
    let answer = check.rest();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(&format!("[\"host\",\"{}\"]", scene.service.address)), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
}

#[test]
fn thirty_uploads_that_are_refused_see_the_answer() {
    let behind = Behind::app("refuses");
    let mut upload = python("upload.py");
    upload.arg(behind.address().to_string()).args(python_files(&behind.client));
    let output = upload.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let refused = said.lines().filter(|line| *line == r#"{"status": 413, "body": "too large"}"#).count();
    assert_eq!(refused, 30, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn curl_that_uploads_much_is_told_that_it_is_too_much() {
    let behind = Behind::app("refuses");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(30 << 20).unwrap();
    for expect in ["Expect: 100-continue", "Expect:"] {
        let got = Curl::https(behind.address(), "/upload", &behind.client)
            .args(["--http1.1", "-H", expect, "-T"])
            .args([file.path()])
            .run();
        assert_eq!((got.answer.status, got.answer.text().as_str()), (413, "too large"), "{}", got.errors);
    }
}

#[test]
fn an_upload_that_waits_for_100_is_not_held_up() {
    let scene = Scene::http(&[]);
    let body = "x".repeat(2 << 20);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    // curl goes on by itself after this, which no test may wait for.
    let args = ["--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "40", "-T"];
    let got = scene.curl("/digest").args(args).args([file.path()]).run();
    assert_eq!(got.answer.json()["length"], body.len(), "{}", got.errors);
    assert!(got.answer.head.starts_with("HTTP/1.1 100 Continue\r\n"), "{}", got.answer.head);
}

#[test]
fn a_query_of_prometheus_reaches_the_app_as_grafana_sends_it() {
    let behind = Behind::app("1.0");
    for target in ["/echo?q=up{job=\"x\"}", "/echo?a=|^`\\<b>", "/echo/\u{e4}"] {
        let args = ["--http1.1", "--globoff", "--request-target", target];
        let got = Curl::https(behind.address(), "/", &behind.client).args(args).run();
        assert_eq!(got.answer.text(), target, "{}", got.errors);
    }
}
