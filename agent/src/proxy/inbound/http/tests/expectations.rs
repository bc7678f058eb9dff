//! Interim responses of the app, and `Expect`.

use super::script::{Client, Script, Step};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EXPECTS: &str = "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn interim_responses_come_before_the_response() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nConnection: x\r\nX: y\r\n\r\n";
    let script = Script::start(&[Step::Say(hints), Step::Say(hints), Step::Say(OK)]).await;
    let mut client = Client::new(&script.agent()).await;
    for _ in 0..2 {
        client.say(GET).await;
        let answer = client.hear("\r\n\r\nok").await;
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";
        assert!(answer.starts_with(&format!("{hint}{hint}HTTP/1.1 200 OK\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn endless_interim_responses_are_a_502() {
    let endless: &str = Box::leak("HTTP/1.1 102 Processing\r\n\r\n".repeat(30_000).into_boxed_str());
    let script = Script::says(endless).await;
    let mut client = Client::new(&script.agent()).await;
    client.say(GET).await;
    while !client.hear("\r\n").await.starts_with("HTTP/1.1 502") {}
}

#[tokio::test]
async fn client_that_waits_sends_its_body_when_the_app_says_so() {
    let steps = [Step::Say(CONTINUE), Step::Read(5), Step::Say(OK)];
    let script = Script::start(&steps).await;
    let mut client = Client::new(&script.agent()).await;
    client.say(EXPECTS).await;
    assert_eq!(client.hear("\r\n\r\n").await, CONTINUE);
    assert!(script.heard()[0].contains("expect: 100-continue\r\n"));
    client.say("hello").await;
    assert!(client.hear("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn client_that_waits_is_told_to_go_on_if_the_app_does_not_say_so() {
    let script = Script::start(&[Step::Read(5), Step::Say(OK)]).await;
    let mut client = Client::new(&script.agent()).await;
    client.say(EXPECTS).await;
    assert_eq!(client.hear("\r\n\r\n").await, CONTINUE);
    client.say("hello").await;
    // Not said a second time.
    assert!(client.hear("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn client_that_waits_may_be_refused_instead() {
    let script = Script::says("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    let mut client = Client::new(&script.agent()).await;
    client.say(EXPECTS).await;
    let (answer, whole) = client.rest().await;
    // Whether the body follows is not known, so nothing else may.
    assert!(
        answer.starts_with("HTTP/1.1 417") && answer.contains("connection: close\r\n") && whole,
        "{answer}"
    );
}

#[tokio::test]
async fn client_that_does_not_wait_is_told_what_the_app_says() {
    let steps = [Step::Say(CONTINUE), Step::Read(5), Step::Say(CONTINUE), Step::Say(OK)];
    let script = Script::start(&steps).await;
    let mut client = Client::new(&script.agent()).await;
    client.say("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello").await;
    let heard = client.hear("\r\n\r\nok").await;
    assert_eq!(heard.matches("HTTP/1.1 100").count(), 2, "{heard}");
    assert_eq!(heard.matches("HTTP/1.1 200").count(), 1, "{heard}");
}

#[tokio::test]
async fn other_expectations_are_for_the_app() {
    let script = Script::says(OK).await;
    let mut client = Client::new(&script.agent()).await;
    client.say("GET / HTTP/1.1\r\nhost: a.test\r\nexpect: tea\r\n\r\n").await;
    client.hear("\r\n\r\nok").await;
    assert!(script.heard()[0].contains("expect: tea\r\n"));
}
