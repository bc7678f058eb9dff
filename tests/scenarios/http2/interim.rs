//! What comes before the response: 103 and its like, 100 for those who wait for it. And responses that end with their
//! head.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kit::agent::{Agent, Launch};
use kit::client::SERVER;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki};
use kit::volume::Volume;
use serde_json::{Value, json};

use super::{client, outbound, scene, told};

/// For a client that waits for what is sure to come.
const PATIENT: [&str; 2] = ["--count", "30"];

/// An app of HTTP/1.1 that answers each connection as it is told to, with the agent in front of it.
struct RawScene {
    agent: Agent,
    client: Credentials,
    pki: Pki,
    _volume: Volume,
}

impl RawScene {
    fn new(answer: impl Fn(&mut BufReader<TcpStream>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&mut BufReader::new(stream.unwrap()));
            }
        });
        let pki = Pki::default();
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let agent = Launch::new(&volume.path).inbound("http:", address).ready();
        Self { agent, client: pki.client("storefront"), pki, _volume: volume }
    }

    fn address(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    fn client(&self, mode: &str, args: &[&str]) -> Pipe {
        client(self.address(), Some(&self.client), mode, "/", args)
    }
}

/// The head of the next request, in lower case.
fn head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
    head.to_lowercase()
}

fn say(stream: &mut BufReader<TcpStream>, text: &str) {
    // The agent may have gone.
    let _ = stream.get_mut().write_all(text.as_bytes());
}

/// The interim responses that a client saw.
fn interim(seen: &Value) -> &Vec<Value> {
    seen["interim"].as_array().unwrap()
}

#[test]
fn interim_responses_of_an_app_of_http_1_reach_clients_of_http_2() {
    let scene = RawScene::new(|stream| {
        head(stream);
        say(stream, "HTTP/1.1 100 Continue\r\n\r\n");
        say(stream, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n");
        say(stream, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let outbound = outbound(&scene.pki, scene.address(), &[]);
    for mut each in [scene.client("one", &[]), client(outbound.address(), None, "one", "/", &[])] {
        let seen = each.line();
        // Nobody waits for the 100, which passes all the same.
        let (go_on, hints) = ([[":status", "100"]], [[":status", "103"], ["link", "</a.css>"]]);
        let expected = json!([go_on, hints, [[":status", "102"]]]);
        assert_eq!(seen["interim"], expected, "{seen}");
        assert!(seen["status"] == 200 && seen["text"] == "ok" && seen["end"] == "ended", "{seen}");
    }
}

#[test]
fn early_hints_of_an_app_of_http_2_reach_clients_of_http_2() {
    let scene = scene(&[]);
    let outbound = scene.outbound();
    for mut each in
        [scene.client("one", "/early", &[]), client(outbound.address(), None, "one", "/early", &[])]
    {
        let seen = each.line();
        let expected = json!([[[":status", "103"], ["link", "</style.css>; rel=preload"]]]);
        assert_eq!(seen["interim"], expected, "{seen}");
        assert!(seen["status"] == 200 && seen["end"] == "ended", "{seen}");
    }
}

#[test]
fn endless_interim_responses_end_at_a_bound() {
    let scene = RawScene::new(|stream| {
        head(stream);
        for _ in 0..10_000 {
            say(stream, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        }
        say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let seen = scene.client("one", &[]).line();
    let count = interim(&seen).len();
    assert!(seen["status"] == 200 && (1..100).contains(&count), "{count} before {}", seen["status"]);
}

#[test]
fn a_client_of_http_2_that_waits_for_100_gets_that_of_the_app() {
    let http1 = RawScene::new(|stream| {
        let head = head(stream);
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        say(stream, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.read_exact(&mut [0; 4]).unwrap();
        say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let http2 = scene(&[]);
    let outbound = http2.outbound();
    for mut each in [
        http1.client("expect", &PATIENT),
        http2.client("expect", "/continue", &PATIENT),
        client(outbound.address(), None, "expect", "/continue", &PATIENT),
    ] {
        let seen = each.line();
        assert_eq!(seen["interim"], json!([[[":status", "100"]]]), "{seen}");
        assert!(seen["told"] == true && seen["status"] == 200, "{seen}");
    }
}

#[test]
fn a_body_flows_where_no_100_comes() {
    let http1 = RawScene::new(|stream| {
        head(stream);
        stream.read_exact(&mut [0; 4]).unwrap();
        say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let http2 = scene(&[]);
    for mut each in [http1.client("expect", &[]), http2.client("expect", "/digest", &[])] {
        let seen = each.line();
        assert!(seen["told"] == false && seen["status"] == 200 && seen["end"] == "ended", "{seen}");
    }
}

#[test]
fn an_expectation_that_the_app_refuses_needs_no_body() {
    let http1 = RawScene::new(|stream| {
        head(stream);
        say(stream, "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
    });
    let http2 = scene(&[]);
    for mut each in [http1.client("expect", &PATIENT), http2.client("expect", "/unexpected", &PATIENT)] {
        let seen = each.line();
        assert!(seen["told"] == false && seen["status"] == 417, "{seen}");
    }
}

#[test]
fn a_length_that_an_app_of_http_1_says_twice_is_one_for_clients_of_http_2() {
    let scene = RawScene::new(|stream| {
        while !head(stream).is_empty() {
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let seen = scene.client("one", &[]).line();
    assert!(seen["status"] == 200 && seen["text"] == "ok" && seen["end"] == "ended", "{seen}");
    let fields = seen["fields"].as_array().unwrap();
    let lengths = fields.iter().filter(|field| field[0] == "content-length").collect::<Vec<_>>();
    assert_eq!(lengths, [&json!(["content-length", "2"])]);
}

#[test]
fn answers_without_content_end_with_their_head() {
    let http1 = RawScene::new(|stream| {
        loop {
            let head = head(stream);
            match head.split(' ').next().unwrap() {
                "" => return,
                "head" => say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
                "put" => say(stream, "HTTP/1.1 204 No Content\r\n\r\n"),
                _ => say(stream, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
            }
        }
    });
    for (method, status, length) in [("HEAD", 200, Some("5")), ("PUT", 204, None), ("GET", 304, Some("5"))] {
        let seen = http1.client("one", &["--method", method]).line();
        assert_eq!((&seen["status"], &seen["data_frames"]), (&json!(status), &json!(0)), "{seen}");
        assert_eq!(seen["headers"]["content-length"].as_str(), length, "{seen}");
        assert!(seen["end"] == "ended" && !seen["headers"]["date"].is_null(), "{seen}");
    }
}

#[test]
fn a_head_that_the_agent_answers_has_the_length_and_no_data() {
    let pki = Pki::default();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outbound = outbound(&pki, closed, &[]);
    let ask = |method| client(outbound.address(), None, "one", "/", &["--method", method]).line();
    let (get, head) = (ask("GET"), ask("HEAD"));
    assert_eq!((&get["status"], &head["status"]), (&json!(502), &json!(502)), "{get} {head}");
    assert_eq!((&head["data_frames"], &head["end"]), (&json!(0), &json!("ended")), "{head}");
    assert_eq!(head["headers"]["content-length"], get["length"].to_string(), "{head}");
}

/// It would be a whole request for the app.
#[test]
fn a_request_that_its_client_resets_without_an_error_has_not_ended() {
    let mut scene = scene(&[]);
    let mut client = scene.client("end", "/hold", &["--code", "0"]);
    assert_eq!(told(&mut scene.app, |line| line["event"] == "reset")["code"], 8);
    assert_eq!(client.line()["after"], 200);
}
