//! Requests at the edges of HTTP: what is legal arrives as it was meant, what is not is refused.

use kit::client::{Curl, SERVER};
use kit::pipe::Pipe;
use kit::pki::dns;
use kit::scene::Scene;
use serde_json::Value;

/// The values of this header that the app saw.
fn values(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap().into()).collect()
}

fn head(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", dns(SERVER))
}

#[test]
fn a_claim_after_the_body_does_not_reach_the_app() {
    let scene = Scene::http(&[]);
    for name in ["X-Forwarded-Client-Cert", "x_forwarded_client_cert"] {
        let request = head("POST /trailers", &format!("Trailer: {name}\r\nTransfer-Encoding: chunked\r\n"))
            + &format!("5\r\nhello\r\n0\r\n{name}: Hash=evil\r\n\r\n");
        let mut direct = Pipe::tcp(scene.service.address);
        direct.say(&request);
        assert!(direct.rest().contains("evil"), "the app would see it");
        let mut through = Pipe::tls(scene.inbound(), &scene.client, &[]);
        through.say(&request);
        let answer = through.rest();
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("evil"), "{name}: {answer}");
    }
}

#[test]
fn a_get_may_have_a_body() {
    let scene = Scene::http(&[]);
    let mut through = Pipe::tls(scene.inbound(), &scene.client, &[]);
    through.say(&(head("GET /digest", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n"));
    let answer = through.rest();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"length\":5"), "{answer}");
    for flag in ["--http1.1", "--http2"] {
        let got = scene.curl("/digest").args([flag, "-X", "GET", "-d", "hello"]).run();
        assert_eq!(got.answer.json()["length"], 5, "{flag}");
    }
}

#[test]
fn two_hosts_are_one_too_many() {
    let scene = Scene::http(&[]);
    let mut through = Pipe::tls(scene.inbound(), &scene.client, &[]);
    through.say(&head("GET /headers", "Host: elsewhere\r\n"));
    let answer = through.rest();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn the_host_is_not_for_the_next_hop_alone() {
    let scene = Scene::http(&[]);
    let args = ["--http1.1", "-H", "Connection: Host", "-H", "Host: shop.example"];
    let got = scene.curl("/headers").args(args).run();
    assert_eq!(values(&got.answer.json(), "host"), ["shop.example"], "{}", got.errors);
}

#[test]
fn cookies_in_several_fields_reach_the_app_as_one() {
    let scene = Scene::http(&[]);
    // curl sends each as it is given.
    let got = scene.curl("/headers").args(["--http2", "-H", "cookie: a=1", "-H", "cookie: b=2"]).run();
    assert_eq!(got.version, "2");
    assert_eq!(values(&got.answer.json(), "cookie"), ["a=1; b=2"]);
}

#[test]
fn a_client_without_certificate_is_told_what_is_missing() {
    let scene = Scene::http(&[]);
    let port = scene.inbound().port();
    let (url, resolve) =
        (format!("https://{}:{port}/", dns(SERVER)), format!("{}:{port}:127.0.0.1", dns(SERVER)));
    for round in 0..10 {
        let args = ["--http2", "--resolve", &resolve, "--cacert", scene.client.ca.to_str().unwrap()];
        let got = Curl::new(&url).args(args).run();
        assert!(
            got.exit != 0 && got.errors.contains("certificate required"),
            "round {round}: {}",
            got.errors
        );
    }
    assert_eq!(scene.service.requests(), 0);
}
