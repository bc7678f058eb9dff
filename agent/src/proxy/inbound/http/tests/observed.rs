//! What metrics and the access log are told of requests.

use hotcert_log::LineOutput;
use serde_json::Value;

use super::*;
use crate::proxy::access_log::AccessLog;

/// An agent in front of `app`, and what reads its access log.
fn logging(app: &str, allow: &[&str], queries: bool) -> (Agent, impl Fn() -> Vec<Value> + use<>) {
    let (output, read) = LineOutput::unwritten();
    let agent = Agent::with(app, allow, |context| context.access_log = Some(AccessLog { output, queries }));
    let lines = move || read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (agent, lines)
}

#[tokio::test]
async fn a_request_is_a_line_with_its_peer_and_no_query() {
    let app = HttpServer::plain().await;
    let (agent, lines) = logging(&app.address.to_string(), &[], false);
    let request = "POST /pay?card=1234 HTTP/1.1\r\nhost: user:secret@a.test:8443\r\nuser-agent: \"x\"\t\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ncontent-length: 0\r\n\r\n";
    let mut client = agent.client().await;
    exchange(&mut client, &request.replace("user:secret@", "")).await;
    let line = &lines()[0];
    for (field, expected) in [
        ("side", Value::from("inbound")),
        ("route", "127.0.0.1:0".into()),
        ("protocol", "http1".into()),
        ("peer", "dns:a.test".into()),
        ("generation", 1.into()),
        ("method", "POST".into()),
        ("authority", "a.test:8443".into()),
        ("path", "/pay".into()),
        ("status", 200.into()),
        ("bytes_received", 0.into()),
        ("bytes_sent", 2.into()),
        ("upstream", app.address.to_string().into()),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ("user_agent", "\"x\"".into()),
        ("reason", Value::Null),
        ("flags", Value::Null),
    ] {
        assert_eq!(line[field], expected, "{field} of {line:#}");
    }
    assert!(line["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{line:#}");
    assert!(line["peer_sha256"].as_str().is_some_and(|sha256| sha256.len() == 64), "{line:#}");
    let (first, whole) = (line["first_byte_seconds"].as_f64(), line["duration_seconds"].as_f64());
    assert!(first > Some(0.0) && first <= whole, "{line:#}");
    assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok(), "{line:#}");
    // A refused request is logged as well, without what it must not show.
    exchange(&mut client, request).await;
    let line = &lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&400.into(), &"host".into()), "{line:#}");
    assert_eq!(line["authority"], "a.test:8443");
    assert!(!line.to_string().contains("secret"), "{line:#}");
}

#[tokio::test]
async fn queries_are_shown_if_they_are_asked_for_and_long_paths_are_cut() {
    let app = HttpServer::plain().await;
    let (agent, lines) = logging(&app.address.to_string(), &[], true);
    let mut client = agent.client().await;
    exchange(&mut client, &GET.replace("/path", "/path?q=1")).await;
    assert_eq!(lines()[0]["path"], "/path?q=1");
    exchange(&mut client, &GET.replace("/path", &format!("/{}", "x".repeat(5000)))).await;
    assert_eq!(lines()[0]["path"].as_str().map(|path| path.chars().count()), Some(1025));
}

#[tokio::test]
async fn what_the_agent_answers_itself_has_its_reason_and_is_no_ok_handshake() {
    let app = HttpServer::plain().await;
    let (agent, lines) = logging(&app.address.to_string(), &["dns:other.test"], false);
    exchange(&mut agent.client().await, GET).await;
    let line = &lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&403.into(), &"not_allowed".into()), "{line:#}");
    let (agent, lines) = logging("unix:/nowhere/app.sock", &[], false);
    exchange(&mut agent.client().await, GET).await;
    let line = &lines()[0];
    assert_eq!((&line["status"], &line["reason"]), (&502.into(), &"bad_gateway".into()), "{line:#}");
    assert_eq!(line["upstream"], "unix:/nowhere/app.sock");
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_gone() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (agent, lines) = logging(&silent.local_addr().unwrap().to_string(), &[], false);
    let mut client = agent.client().await;
    tokio::io::AsyncWriteExt::write_all(&mut client, GET.as_bytes()).await.unwrap();
    let _app = silent.accept().await.unwrap();
    drop(client);
    let lines = tokio::task::spawn_blocking(lines).await.unwrap();
    assert_eq!(lines[0]["flags"], serde_json::json!(["client_gone"]), "{:#}", lines[0]);
    assert_eq!(lines[0]["status"], Value::Null);
}
