//! A pooled connection that the app closes under a request costs the client nothing, if the request may be sent again.

use std::fmt::Display;
use std::net::SocketAddr;

use kit::agent::{Agent, Launch};
use kit::client::{Curl, SERVER, python};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki};
use kit::volume::Volume;

const REQUESTS: usize = 60;

/// An app that closes each connection when the second request comes on it, behind an agent.
fn closing_app() -> (Pipe, Volume, Agent, Pki) {
    let mut app = Pipe::program(python("closing_app.py"));
    let port = app.line()["port"].as_u64().unwrap() as u16;
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let agent = Launch::new(&volume.path).inbound("http:", target).ready();
    (app, volume, agent, pki)
}

/// The status codes of so many requests on one connection.
fn statuses(agent: &Agent, client: &Credentials, count: usize, extra: &[&str]) -> Vec<String> {
    let range = format!("/[1-{count}]");
    let curl = Curl::https(agent.address("inbound"), &range, client);
    // The body of each is in place of the one before.
    let fetched = curl.args(["--http1.1", "-w", "%{http_code}\n"]).args(extra).run();
    assert_eq!(fetched.exit, 0, "{}", fetched.errors);
    fetched.said.lines().map(str::to_owned).collect()
}

fn retries(agent: &Agent, reason: impl Display) -> f64 {
    let labels = [("side", "inbound"), ("reason", &*reason.to_string())];
    agent.metrics().sum("hotcert_retried_requests_total", &labels)
}

#[test]
fn requests_that_may_be_repeated_survive_an_app_that_closes_its_connection_as_they_come() {
    let (_app, _volume, agent, pki) = closing_app();
    let client = pki.client("storefront");
    assert_eq!(statuses(&agent, &client, REQUESTS, &[]), ["200"; REQUESTS]);
    let retried = retries(&agent, "closed") + retries(&agent, "unsent");
    // A request that comes before the connection is back in the pool has a new one.
    let some = (REQUESTS / 2) as f64..REQUESTS as f64;
    assert!(
        some.contains(&retried),
        "those that find their connection closed are sent again once, not {retried}"
    );
}

#[test]
fn a_request_whose_body_was_partly_sent_is_a_502_and_reaches_the_app_once() {
    let (mut app, _volume, agent, pki) = closing_app();
    let client = pki.client("storefront");
    let body = "x".repeat(100_000);
    let statuses = statuses(&agent, &client, 1, &["--data", &body]);
    assert_eq!(statuses, ["502"]);
    assert_eq!(app.line()["method"], "POST");
    assert_eq!(retries(&agent, "closed") + retries(&agent, "unsent"), 0.0);
    let requests = [("side", "inbound"), ("code", "5xx")];
    assert_eq!(agent.metrics().one("hotcert_proxied_requests_total", &requests), 1.0);
}

#[test]
fn nothing_is_sent_again_after_the_failure_of_a_new_connection() {
    let (mut app, _volume, agent, pki) = closing_app();
    let client = pki.client("storefront");
    let status = |path: &str| Curl::https(agent.address("inbound"), path, &client).run().answer.status;
    assert_eq!(status("/never"), 502);
    assert_eq!(status("/once"), 200);
    assert_eq!((app.line()["path"].as_str(), app.line()["path"].as_str()), (Some("/never"), Some("/once")));
    assert_eq!(retries(&agent, "closed") + retries(&agent, "unsent"), 0.0);
}
