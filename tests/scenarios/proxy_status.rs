//! `Proxy-Status` (RFC 9209) says why the agent answered a request itself, in words that a program reads.

use std::collections::BTreeMap;
use std::net::TcpListener;

use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Answer, Curl, SERVER, ask};
use kit::pki::{Pki, dns};
use kit::scene::Scene;
use kit::volume::Volume;

/// One proxy's word: its name, and its parameters.
type Member = (String, BTreeMap<String, String>);

/// A list of tokens with parameters that are tokens or strings (RFC 9651, 4.2), and nothing else.
fn parse(mut rest: &str) -> Vec<Member> {
    let mut members = Vec::new();
    loop {
        let name = token(&mut rest);
        let mut parameters = BTreeMap::new();
        while let Some(more) = rest.strip_prefix(';') {
            rest = more.trim_start_matches(' ');
            let key = token(&mut rest);
            rest = rest.strip_prefix('=').expect("a value");
            let value = if rest.starts_with('"') { string(&mut rest) } else { token(&mut rest) };
            assert!(parameters.insert(key, value).is_none(), "a parameter twice");
        }
        members.push((name, parameters));
        match rest.trim_start_matches([' ', '\t']).strip_prefix(',') {
            Some(more) => rest = more.trim_start_matches([' ', '\t']),
            None => {
                assert_eq!(rest, "", "after the last member");
                return members;
            }
        }
    }
}

fn token(rest: &mut &str) -> String {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.*:/%".contains(c)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    assert!(token.starts_with(|c: char| c.is_ascii_alphabetic()), "no token: {token:?}{after:?}");
    *rest = after;
    token.into()
}

fn string(rest: &mut &str) -> String {
    let (mut text, mut characters) = (String::new(), rest[1..].char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[1..][at + 1..];
                return text;
            }
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                other => panic!("an escape of {other:?}"),
            },
            ' '..='~' => text.push(character),
            other => panic!("{other:?} in a string"),
        }
    }
    panic!("a string without an end");
}

/// What the one agent that answered says.
#[track_caller]
fn said(answer: &Answer, error: &str) -> BTreeMap<String, String> {
    let fields = answer.head.to_lowercase().matches("\nproxy-status:").count();
    assert_eq!(fields, 1, "{}", answer.head);
    let members = parse(answer.header("proxy-status").unwrap());
    let [(name, parameters)] = &members[..] else { panic!("{members:?}") };
    assert_eq!((name.as_str(), parameters["error"].as_str()), ("hotcert-agent", error), "{}", answer.head);
    assert!(!parameters["details"].is_empty());
    parameters.clone()
}

fn outbound(pki: &Pki, route: &str) -> (Volume, Agent) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let agent = Launch::new(&volume.path).outbound("http:", route).ready();
    (volume, agent)
}

fn closed() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn an_answer_of_the_agent_says_why_and_where_it_went() {
    let pki = Pki::default();
    let app = closed();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let agent = Launch::new(&volume.path).inbound("http:", app).ready();
    let (_volume, before) = outbound(&pki, &format!("{}#{}", agent.address("inbound"), dns(SERVER)));
    let client = pki.client("storefront");
    for version in ["--http1.1", "--http2"] {
        let one = Curl::https(agent.address("inbound"), "/", &client).args([version]).run().answer;
        let status = said(&one, "connection_refused");
        assert_eq!(status["next-hop"], app.to_string());
        assert!(one.text().contains(&status["details"]), "{}", one.text());
        // What the one said the other passes on, and adds nothing.
        let two = Curl::new(&format!("http://{}/", before.address("outbound"))).args([version]).run().answer;
        assert_eq!(said(&two, "connection_refused"), status);
    }
}

#[test]
fn a_server_that_is_not_trusted_or_not_there_has_its_type() {
    let scene = Scene::<App>::http(&[]);
    let inbound = scene.inbound();
    let closed = closed();
    for (route, error, next_hop) in [
        (format!("{inbound}#{}", dns("billing")), "tls_certificate_error", inbound.to_string()),
        (format!("{closed}#{}", dns(SERVER)), "connection_refused", closed.to_string()),
        ("no-such-host.invalid:1".into(), "dns_error", "no-such-host.invalid:1".into()),
    ] {
        let (_volume, agent) = outbound(&scene.pki, &route);
        let answer = Curl::new(&format!("http://{}/", agent.address("outbound"))).run().answer;
        assert_eq!(said(&answer, error)["next-hop"], next_hop);
    }
}

#[test]
fn requests_that_are_refused_have_their_type_in_every_dialect() {
    let scene = Scene::<App>::http_by(|launch| launch.args(["--allow", "dns:nobody.test"]));
    for version in ["--http1.1", "--http2"] {
        let answer = scene.curl("/").args([version]).run().answer;
        assert!(!said(&answer, "http_request_denied").contains_key("next-hop"));
    }
    let call = ["--http2", "-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers"];
    let answer = scene.curl("/").args(call).run().answer;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("7")), "{}", answer.head);
    said(&answer, "http_request_denied");
}

/// What is refused is told as what is not there.
#[test]
fn the_forward_proxy_says_no_more_in_it_than_in_the_body() {
    let pki = Pki::default();
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let agent = Launch::new(&volume.path).strict_http_proxy().ready();
    let admin = agent.address("admin").port();
    for host in [format!("127.0.0.1:{admin}"), closed().to_string(), "no-such-host.invalid:1".into()] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = ask(agent.address("http-proxy"), &request).unwrap();
        let status = said(&answer, "destination_unavailable");
        assert!(!status.contains_key("next-hop"), "{status:?}");
    }
    // The text of this one has a character beyond ASCII.
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = ask(agent.address("http-proxy"), request).unwrap();
    assert!(said(&answer, "http_request_error")["details"].contains("http://HOST:PORT/..."));
    let header = answer.header("x-hotcert-error").unwrap_or_default();
    assert!(header.is_ascii() && header.contains("http://HOST:PORT/..."), "{header}");
}
