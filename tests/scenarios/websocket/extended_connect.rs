//! WebSocket for clients of HTTP/2 (RFC 8441): to an app of HTTP/1.1 the agent makes an Upgrade of it and checks what
//! comes back; to an app of HTTP/2 that takes extended CONNECT it is passed on; any other app is a clear refusal.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use kit::app::App;
use kit::client::{SERVER, python_files};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, authority, issue, request, spiffe};
use kit::until;
use serde_json::{Value, json};

use super::{Inbound, Library, Outbound, Websockets, Ws, claims, heard_both_ends, listening, passed};

fn client(mode: &str, address: SocketAddr, who: Option<&Credentials>) -> Command {
    let mut client = python("websocket_http2.py");
    client.arg(address.to_string()).args(["--mode", mode]);
    if let Some(who) = who {
        client.args(python_files(who));
    }
    client
}

fn trial(address: SocketAddr, who: Option<&Credentials>) -> Value {
    Pipe::program(client("trial", address, who)).line()
}

fn http2_app(args: &[&str]) -> (Pipe, SocketAddr) {
    let mut app = python("http2_app.py");
    app.args(args);
    listening(app)
}

#[track_caller]
fn of_storefront(result: &Value) {
    let claims = claims(result);
    assert_eq!(claims.len(), 1, "{result}");
    assert!(claims[0].contains(&format!("URI={}", spiffe("storefront"))), "{claims:?}");
    assert!(!claims[0].contains("evil"), "{claims:?}");
}

#[track_caller]
fn to_an_app_of_http_1(library: Library) {
    let pki = Pki::default();
    let (mut app, address) = library.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &[]);
    let result = trial(inbound.address(), Some(&pki.client("storefront")));
    passed(&result);
    assert_eq!(result["offered"], true, "the agent says that it takes extended CONNECT");
    assert!(result["accept"].is_null(), "HTTP/2 has no Sec-WebSocket-Accept: {result}");
    of_storefront(&result);
    heard_both_ends(&mut app);
}

#[test]
fn it_becomes_an_upgrade_for_an_app_of_ws() {
    to_an_app_of_http_1(Ws);
}

#[test]
fn it_becomes_an_upgrade_for_an_app_of_websockets() {
    to_an_app_of_http_1(Websockets);
}

#[test]
fn it_reaches_an_app_of_http_2() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&["--connect-protocol"]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let result = trial(inbound.address(), Some(&pki.client("storefront")));
    passed(&result);
    of_storefront(&result);
}

#[test]
fn it_crosses_two_agents() {
    let pki = Pki::default();
    let (_app, address) = Websockets.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &[]);
    let outbound = Outbound::new(&pki, inbound.address(), &[]);
    let result = trial(outbound.agent.address("outbound"), None);
    passed(&result);
    of_storefront(&result);
}

#[test]
fn it_crosses_two_agents_to_an_app_of_http_2() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&["--connect-protocol"]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let outbound = Outbound::new(&pki, inbound.address(), &[]);
    let result = trial(outbound.agent.address("outbound"), None);
    passed(&result);
    of_storefront(&result);
}

#[test]
fn it_reaches_a_server_of_http_1_with_tls() {
    let pki = Pki::default();
    let (_server, address) = Ws.server(Some(&pki.client(SERVER)));
    let outbound = Outbound::new(&pki, address, &[]);
    passed(&trial(outbound.agent.address("outbound"), None));
}

#[test]
fn a_client_of_http_1_reaches_an_app_of_http_2() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&["--connect-protocol"]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let mut program = Websockets.program("trial");
    let result = Pipe::program({
        program.arg(inbound.url()).args(python_files(&pki.client("storefront")));
        program
    })
    .line();
    passed(&result);
    of_storefront(&result);
}

#[test]
fn an_app_of_http_2_without_extended_connect_is_a_clear_refusal() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&[]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let result = trial(inbound.address(), Some(&pki.client("storefront")));
    assert!(matches!(result["refused"].as_u64(), Some(501 | 502)), "{result}");
    assert!(result["body"].as_str().unwrap().contains("extended CONNECT"), "{result}");
    assert!(!result["headers"]["x-hotcert-error"].is_null(), "{result}");
}

#[test]
fn an_app_of_http_1_that_does_not_upgrade_is_not_a_tunnel() {
    let (pki, app) = (Pki::default(), App::default());
    let inbound = Inbound::new(&pki, "http:", app.address, &[]);
    let result = trial(inbound.address(), Some(&pki.client("storefront")));
    // Its answer is 200, which would mean to the client that it talks WebSocket now.
    assert_eq!(result["refused"], 502, "{result}");
    assert_eq!(app.requests(), 1);
}

#[test]
fn the_refusal_of_an_app_of_http_1_arrives() {
    let refused = refusal("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 9\r\n\r\nnot today");
    assert_eq!((&refused["refused"], &refused["body"]), (&json!(426), &json!("not today")), "{refused}");
}

#[test]
fn an_answer_to_another_key_is_a_502() {
    let refused = refusal(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert_eq!(refused["refused"], 502, "{refused}");
    assert!(
        refused["body"].as_str().unwrap().to_ascii_lowercase().contains("sec-websocket-accept"),
        "{refused}"
    );
}

/// What a client is told when the app gives this answer.
fn refusal(answer: &'static str) -> Value {
    let pki = Pki::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inbound = Inbound::new(&pki, "http:", listener.local_addr().unwrap(), &[]);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = answer_once(stream, answer);
        }
    });
    trial(inbound.address(), Some(&pki.client("storefront")))
}

fn answer_once(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
    while !asked.ends_with(b"\r\n\r\n") {
        let length @ 1.. = stream.read(&mut buffer)? else { return Ok(()) };
        asked.extend_from_slice(&buffer[..length]);
    }
    stream.write_all(answer.as_bytes())?;
    let _ = stream.read(&mut buffer)?;
    Ok(())
}

#[test]
fn a_client_that_is_not_allowed_is_refused() {
    let pki = Pki::default();
    let (_app, address) = Ws.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &["--allow", "dns:billing.shop.svc"]);
    let result = trial(inbound.address(), Some(&pki.client("storefront")));
    assert_eq!(result["refused"], 403, "{result}");
}

#[test]
fn bytes_of_another_protocol_pass_both_ways_to_an_app_of_http_2() {
    let pki = Pki::default();
    let (_app, address) = http2_app(&["--connect-protocol"]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let mut client = client("bytes", inbound.address(), Some(&pki.client("storefront")));
    client.args(["--protocol", "made-up"]);
    assert_eq!(Pipe::program(client).line(), json!({ "same": true }));
}

/// As a connection of HTTP/1.1 that was upgraded would be.
#[test]
fn it_goes_on_through_20_leaf_swaps() {
    let pki = Pki::default();
    let (_app, address) = Ws.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &[]);
    let mut held = Pipe::program(client("hold", inbound.address(), Some(&pki.client("storefront"))));
    assert_eq!(held.line(), json!({ "open": true }));
    for round in 0..20 {
        let leaf = pki.leaf(SERVER);
        inbound.volume.publish(&leaf, pki.roots());
        inbound.agent.wait_serving(&leaf.serial);
        held.say(&format!("round {round}\n"));
        assert_eq!(held.line(), json!({ "echoed": format!("round {round}") }));
    }
}

/// As one of TCP, without the grace that requests have.
#[test]
fn it_ends_at_its_maximum_age() {
    let pki = Pki::default();
    let (_app, address) = Ws.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &["--max-age", "2s", "--max-age-grace", "1h"]);
    let mut held = Pipe::program(client("hold", inbound.address(), Some(&pki.client("storefront"))));
    assert_eq!(held.line(), json!({ "open": true }));
    held.say("still here\n");
    assert_eq!(held.line(), json!({ "echoed": "still here" }));
    assert!(held.line()["closed"].is_string());
    let aged = [("reason", "max_age")];
    until("counted", || {
        (inbound.agent.metrics().sum("hotcert_connections_closed_total", &aged) >= 1.0).then_some(())
    });
}

/// So are those of an app to a server.
#[test]
fn it_is_cut_when_the_root_of_its_server_is_removed() {
    let (pki, new) = (Pki::default(), authority("root two"));
    let (_app, address) = http2_app(&["--connect-protocol"]);
    let inbound = Inbound::new(&pki, "h2c:", address, &[]);
    let outbound = Outbound::new(&pki, inbound.address(), &["--root-drain", "1h"]);
    let leaf = pki.leaf("storefront");
    outbound.volume.publish(&leaf, &format!("{}{}", pki.roots(), new.certificate_pem()));
    outbound.agent.wait_serving(&leaf.serial);
    let mut held = Pipe::program(client("hold", outbound.agent.address("outbound"), None));
    assert_eq!(held.line(), json!({ "open": true }));
    outbound.volume.publish(&leaf, new.certificate_pem());
    let begin = Instant::now();
    assert!(held.line()["closed"].is_string());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

/// What is under way on the same connection as a root that is gone is gone too.
#[test]
fn it_is_cut_when_the_root_of_its_client_is_removed() {
    let (pki, new) = (Pki::default(), authority("root two"));
    let (_app, address) = Ws.server(None);
    let inbound = Inbound::new(&pki, "http:", address, &["--root-drain", "1h"]);
    let leaf = issue(&new, &request(SERVER));
    let both = format!("{}{}", pki.roots(), new.certificate_pem());
    inbound.volume.publish(&leaf, &both);
    inbound.agent.wait_serving(&leaf.serial);
    let who = pki.credentials("storefront", &pki.leaf("storefront"), &both);
    let mut held = Pipe::program(client("hold", inbound.address(), Some(&who)));
    assert_eq!(held.line(), json!({ "open": true }));
    inbound.volume.publish(&leaf, new.certificate_pem());
    let begin = Instant::now();
    assert!(held.line()["closed"].is_string());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
