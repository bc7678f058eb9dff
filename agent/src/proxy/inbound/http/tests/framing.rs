//! Requests that say twice where they end.

use super::*;

#[tokio::test]
async fn connection_ends_after_a_request_with_both_framings_and_the_app_sees_one() {
    for (first, second) in [
        ("content-length: 3", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 3"),
    ] {
        let app = HttpServer::plain().await;
        let agent = Agent::new(&app.address.to_string(), &[]);
        let mut client = agent.client().await;
        let request = format!("POST / HTTP/1.1\r\nhost: a.test\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n");
        let response = exchange(&mut client, &(request + GET)).await;
        assert!(response.starts_with("http/1.1 200") && response.contains("connection: close"), "{response}");
        // What follows is not a request: it may have been a part of the first in another's eyes.
        ended(&mut client).await;
        let head = app.first_head();
        assert!(head.starts_with("post / ") && !head.contains("content-length"), "{head}");
        assert_eq!(head.matches("transfer-encoding: chunked").count(), 1, "{head}");
    }
}

#[tokio::test]
async fn lengths_that_are_repeated_are_one_length_or_refused() {
    let app = HttpServer::plain().await;
    let agent = Agent::new(&app.address.to_string(), &[]);
    let post = |headers: &str| format!("POST / HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n\r\n");
    let mut client = agent.client().await;
    let same = exchange(&mut client, &post("content-length: 0\r\ncontent-length: 0")).await;
    assert!(same.starts_with("http/1.1 200"), "{same}");
    assert_eq!(app.last_head().matches("content-length").count(), 1, "{}", app.last_head());
    for headers in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: 5x",
        "content-length:",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: identity",
    ] {
        let refused = exchange(&mut agent.client().await, &post(headers)).await;
        assert!(refused.starts_with("http/1.1 400"), "{headers}: {refused}");
    }
    assert_eq!(app.requests(), 1);
}
