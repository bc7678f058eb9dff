//! Messages of HTTP/1 at the edges of their framing, from raw bytes to raw bytes.

use tokio::io::AsyncWriteExt as _;

use super::script::{Client, Script, Step};
use super::*;

/// A head without what changes from one time to the next.
fn plain(answer: &str) -> String {
    let date =
        answer.find("date: ").map(|at| &answer[at..at + "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len()]);
    date.map_or_else(|| answer.to_owned(), |date| answer.replace(date, ""))
}

#[tokio::test]
async fn response_is_framed_anew_whatever_the_app_says_of_it() {
    for (app, head, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "content-length: 5\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 05\r\n\r\nhello", "content-length: 5\r\n", "hello"),
        (
            "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n",
        ),
    ] {
        let script = Script::says(app).await;
        let mut client = Client::new(&script.agent()).await;
        for _ in 0..2 {
            client.say(GET).await;
            let answer = client.hear(body).await;
            let reason = if app.contains("Fine") { "Fine" } else { "OK" };
            assert_eq!(plain(&answer), format!("HTTP/1.1 200 {reason}\r\n{head}\r\n{body}"), "{app}");
        }
        let connections = script.heard().len();
        // One that contradicts itself has no other request.
        assert_eq!(connections, if app.contains("Content-Length: 2") { 2 } else { 1 }, "{app}");
    }
}

#[tokio::test]
async fn response_that_has_no_certain_end_is_a_502() {
    for app in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/3 200 OK\r\n\r\n",
        "+OK ready\r\n",
    ] {
        let script = Script::says(app).await;
        let mut client = Client::new(&script.agent()).await;
        client.say(GET).await;
        let answer = client.hear("\n").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{app}: {answer}");
        assert!(client.hear("\r\n\r\n").await.contains("x-hotcert-error: no valid response from the app"));
    }
}

#[tokio::test]
async fn response_that_breaks_off_is_not_completed() {
    for app in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx",
    ] {
        let script = Script::start(&[Step::Say(app), Step::Close]).await;
        let mut client = Client::new(&script.agent()).await;
        client.say(GET).await;
        let (answer, said_so) = client.rest().await;
        assert!(answer.contains("hello") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        assert!(!said_so, "an end of the stream that is no failure");
    }
}

#[tokio::test]
async fn responses_without_content_end_with_their_head() {
    for (request, app, expected) in [
        (
            "HEAD /",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        ("HEAD /", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET /", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET /",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        ),
    ] {
        let script = Script::says(app).await;
        let mut client = Client::new(&script.agent()).await;
        for _ in 0..2 {
            client.say(format!("{request} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
            assert_eq!(plain(&client.hear("\r\n\r\n").await), expected, "{request} {app}");
        }
        assert_eq!(script.heard().len(), 1, "{app}");
    }
}

#[tokio::test]
async fn app_of_http_1_0_does_not_close_the_connection_of_its_client() {
    for (app, body) in [
        ("HTTP/1.0 200 OK\r\n\r\nhello", "5\r\nhello\r\n0\r\n\r\n"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "\r\n\r\nhello"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let script = Script::start(&[Step::Say(app), Step::Close]).await;
        let mut client = Client::new(&script.agent()).await;
        for round in 1..4 {
            client.say(GET).await;
            let answer = client.hear(body).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("connection:"), "{answer}");
            assert_eq!(script.heard().len(), round);
        }
    }
}

#[tokio::test]
async fn client_of_http_1_0_gets_what_it_understands() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const EARLY: &str =
        "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (fields, app, expected) in [
        ("", CHUNKED, "connection: close\r\n\r\nhello"),
        ("connection: keep-alive\r\n", CHUNKED, "connection: close\r\n\r\nhello"),
        ("", LENGTH, "content-length: 5\r\nconnection: close\r\n\r\nhello"),
        ("", EARLY, "content-length: 5\r\nconnection: close\r\n\r\nhello"),
    ] {
        let script = Script::says(app).await;
        let mut client = Client::new(&script.agent()).await;
        client.say(format!("GET /path HTTP/1.0\r\n{fields}\r\n")).await;
        let (answer, whole) = client.rest().await;
        assert_eq!(plain(&answer), format!("HTTP/1.1 200 OK\r\n{expected}"), "{app}");
        assert!(whole);
        let heard = script.heard().remove(0);
        assert!(heard.starts_with("GET /path HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains(&format!("host: {}\r\n", script.address)), "{heard}");
    }
    let script = Script::says(LENGTH).await;
    let mut client = Client::new(&script.agent()).await;
    for _ in 0..2 {
        client.say("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n").await;
        let answer = client.hear("\r\n\r\nhello").await;
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    }
    assert!(script.heard()[0].contains("host: a.test\r\n"));
}

#[tokio::test]
async fn target_reaches_the_app_as_it_came() {
    let script = Script::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = Client::new(&script.agent()).await;
    let targets = ["/?q=up{job=\"x\"}", "/a|b^c`d\\e<f>", "/%2e%2E//..;/", "/a?b?c&d=[e]", "/#f"];
    for target in targets {
        client.say(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        client.hear("\r\n\r\nok").await;
    }
    client.say(b"GET /\xc3\xa4\xff HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.hear("\r\n\r\nok").await;
    let heard = script.heard().remove(0);
    let lines: Vec<_> = heard.lines().filter(|line| line.starts_with("GET ")).collect();
    let expected = targets.map(|target| format!("GET {target} HTTP/1.1"));
    assert_eq!(lines[..targets.len()], expected);
    // Each byte is read as one character.
    assert_eq!(lines[targets.len()], "GET /\u{c3}\u{a4}\u{ff} HTTP/1.1");
}

#[tokio::test]
async fn trailers_pass_both_ways_without_being_announced() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-after: 1\r\n\r\n";
    let script = Script::start(&[Step::ReadTo("x-sum: 2\r\n\r\n"), Step::Say(answer)]).await;
    let mut client = Client::new(&script.agent()).await;
    client.say("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.say("5\r\nhello\r\n0\r\nx-forwarded-client-cert: Hash=evil\r\nhost: b\r\nx-sum: 2\r\n\r\n").await;
    assert!(client.hear("0\r\nx-after: 1\r\n\r\n").await.contains("transfer-encoding: chunked"));
    let heard = script.heard().remove(0);
    assert!(heard.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 2\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let script = Script::says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = Client::new(&script.agent()).await;
    let requests: String =
        (0..50).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a.test\r\n\r\n")).collect();
    client.say(requests).await;
    for _ in 0..50 {
        client.hear("\r\n\r\nok").await;
    }
    let heard = script.heard().concat();
    let seen: Vec<_> = heard.lines().filter_map(|line| line.strip_prefix("GET /")).collect();
    assert_eq!(seen, (0..50).map(|number| format!("{number} HTTP/1.1")).collect::<Vec<_>>());
}

#[tokio::test]
async fn client_that_has_ended_its_side_gets_its_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let script = Script::start(&[Step::Read(5), Step::Say(answer)]).await;
    let mut client = Client::new(&script.agent()).await;
    client.say("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello").await;
    client.0.shutdown().await.unwrap();
    let (answer, whole) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok") && whole, "{answer}");
}

#[tokio::test]
async fn client_that_has_gone_does_not_hold_a_connection_to_the_app() {
    // An app that never answers, and one that never ends its answer.
    for steps in [
        &[Step::ReadTo("never")][..],
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), Step::ReadTo("never")],
    ] {
        let script = Script::start(steps).await;
        let agent = script.agent();
        let mut client = Client::new(&agent).await;
        client.say(GET).await;
        until(|| script.heard().concat().contains("\r\n\r\n")).await;
        drop(client);
        until(|| agent.context.app_connections.open() == 0).await;
    }
}

#[tokio::test]
async fn connection_that_the_app_has_closed_or_misused_is_not_used_again() {
    for steps in [
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Step::Close][..],
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX: smuggled\r\n\r\n")],
    ] {
        let script = Script::start(steps).await;
        let mut client = Client::new(&script.agent()).await;
        for round in 1..4 {
            client.say(GET).await;
            let answer = client.hear("\r\n\r\nok").await;
            assert!(!answer.contains("smuggled"), "{answer}");
            assert_eq!(script.heard().len(), round);
            // What the app sent is there before the next request.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
