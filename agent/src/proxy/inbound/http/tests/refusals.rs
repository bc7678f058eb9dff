//! Requests that cannot be read: the client is told why, and so are metrics.

use super::script::{Client, Script, Step};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn request_that_cannot_be_read_is_refused_with_its_reason() {
    let script = Script::says(OK).await;
    let agent = script.agent();
    let refused = |reason| {
        let labels = RefusedLabels { side: Side::Inbound.as_str(), reason };
        agent.context.requests.refused.get_or_create(&labels).get()
    };
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n\r\n");
    for (request, status, reason) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".into(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nhost : a.test\r\n\r\n".into(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\n folded\r\n\r\n".into(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nx: a\rb\r\n\r\n".into(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nx: \0\r\n\r\n".into(), 400, "malformed"),
        ("hello\r\n".into(), 400, "malformed"),
        ("GET / HTTP/2.0\r\n\r\n".into(), 505, "version"),
        ("GET / HTTP/0.9\r\n\r\n".into(), 505, "version"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)), 414, "target_too_long"),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(70_000)), 431, "fields_too_large"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(257)), 431, "fields_too_large"),
        (post("content-length: 5\r\ncontent-length: 6"), 400, "length"),
        (post("content-length: -5"), 400, "length"),
        (post("transfer-encoding: gzip, chunked"), 501, "transfer_encoding"),
        (post("transfer-encoding: chunked, gzip"), 400, "transfer_encoding"),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400, "transfer_encoding"),
        (post("transfer-encoding: chunked\r\n\r\n5\nhello"), 400, "chunk"),
        (post("transfer-encoding: chunked\r\n\r\n5\r\nhello!"), 400, "chunk"),
        (post("transfer-encoding: chunked\r\n\r\n11111111111111111\r\n"), 400, "chunk"),
        (post("transfer-encoding: chunked\r\n\r\n0\r\nno colon\r\n"), 400, "malformed"),
    ] {
        let before = refused(reason);
        let mut client = Client::new(&agent).await;
        client.say(&request).await;
        let (answer, whole) = client.rest().await;
        let request = &request[..request.len().min(80)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && whole, "{request}: {answer}");
        for part in [
            "x-hotcert-error: the request cannot be read: ",
            "connection: close\r\n",
            "\r\n\r\nhotcert-agent: the request",
        ] {
            assert!(answer.contains(part), "{request}: {answer}");
        }
        assert_eq!(refused(reason), before + 1, "{request}");
    }
    // None of them was a request for the app, or ended as one.
    assert!(script.heard().iter().all(|heard| !heard.contains("\r\n\r\n0\r\n")));
}

#[tokio::test]
async fn request_may_have_many_fields() {
    let script = Script::says(OK).await;
    let mut client = Client::new(&script.agent()).await;
    let fields: String = (0..255).map(|number| format!("x-{number}: y\r\n")).collect();
    client.say(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).await;
    client.hear("\r\n\r\nok").await;
    assert!(script.heard()[0].contains("x-254: y\r\n"));
}

#[tokio::test]
async fn client_that_still_sends_sees_why_it_is_refused() {
    const REFUSED: &str =
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
    let script = Script::start(&[Step::Say(REFUSED), Step::Close]).await;
    let agent = script.agent();
    for chunked in [false, true] {
        let mut client = Client::new(&agent).await;
        let (head, piece) = match chunked {
            false => (format!("content-length: {}\r\n\r\n", 30 << 20), "x".repeat(1 << 16)),
            true => {
                ("transfer-encoding: chunked\r\n\r\n".into(), format!("10000\r\n{}\r\n", "x".repeat(1 << 16)))
            }
        };
        client.say(format!("POST / HTTP/1.1\r\nhost: a.test\r\n{head}")).await;
        for _ in 0..(30 << 20) >> 16 {
            client.say(&piece).await;
        }
        let (answer, whole) = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("no\n") && whole, "{answer}");
    }
}

#[tokio::test]
async fn connection_is_used_again_when_the_rest_of_a_refused_request_is_small() {
    let agent = Agent::new("unix:/nowhere/app.sock", &[]);
    let mut client = Client::new(&agent).await;
    for _ in 0..3 {
        client.say("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\n").await;
        client.say("x".repeat(100_000)).await;
        assert!(client.hear("\r\n").await.starts_with("HTTP/1.1 502"));
        let head = client.hear("\r\n\r\n").await;
        assert!(!head.contains("connection: close"), "{head}");
        client.hear("\n").await;
    }
}

#[tokio::test]
async fn head_that_cannot_be_read_is_refused_without_content() {
    let script = Script::says(OK).await;
    let agent = script.agent();
    for malformed in ["no colon", "host: a.test\r\ncontent-length: 5, 6"] {
        let mut client = Client::new(&agent).await;
        client.say(format!("HEAD / HTTP/1.1\r\n{malformed}\r\n\r\n")).await;
        let (answer, whole) = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n") && whole, "{answer}");
    }
}
