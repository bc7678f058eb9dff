//! Upgrades to a protocol that nobody knows: the bytes of both sides pass as they are, from the first one on, and an app
//! that does not upgrade answers as ever.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use kit::DEADLINE;
use kit::app::pattern;
use kit::client::Curl;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki};
use kit::until;

use super::{Inbound, Outbound};

const ASK: &str = "GET /upgrade HTTP/1.1\r\nhost: payments\r\nconnection: keep-alive, Upgrade\r\nupgrade: made-up/1\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: made-up/1\r\nx-more: yes\r\n\r\n";
const LENGTH: usize = 16 << 20;

/// An app that does this with each connection, once it has read the head of a request, which it is given.
fn app(serve: impl Fn(TcpStream, &str) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || {
                if let Some(head) = head(&mut stream) {
                    serve(stream, &head);
                }
            });
        }
    });
    address
}

/// Reads a head and nothing beyond it.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Agrees, with its first words in the same segment, and says back what comes.
fn say_back(mut stream: TcpStream, head: &str) {
    assert!(head.to_ascii_lowercase().contains("upgrade: made-up/1"), "{head}");
    stream.write_all(format!("{AGREE}first words\n").as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

struct Scene {
    inbound: Inbound,
    client: Credentials,
    pki: Pki,
}

fn scene(app: SocketAddr, args: &[&str]) -> Scene {
    let pki = Pki::default();
    Scene { inbound: Inbound::new(&pki, "http:", app, args), client: pki.client("storefront"), pki }
}

impl Scene {
    fn tls(&self) -> Pipe {
        Pipe::tls(self.inbound.address(), &self.client, &[])
    }

    /// A plain connection that leads through two agents.
    fn across(&self) -> (Outbound, TcpStream) {
        let outbound = Outbound::new(&self.pki, self.inbound.address(), &[]);
        let stream = TcpStream::connect(outbound.agent.address("outbound")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        (outbound, stream)
    }
}

#[test]
fn first_words_that_come_with_the_head_are_passed_on() {
    let scene = scene(app(say_back), &[]);
    let mut client = scene.tls();
    client.say(ASK);
    let head = client.hear("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("upgrade: made-up/1") && lower.contains("x-more: yes"), "{head}");
    assert_eq!(client.hear("first words\n").unwrap(), "first words\n");
    for line in ["one", "two", "HTTP/1.1 200 OK\r\n\r\n"] {
        assert!(client.echoes(line));
    }
}

#[test]
fn bytes_that_follow_the_request_at_once_are_passed_on() {
    let scene = scene(app(say_back), &[]);
    let mut client = scene.tls();
    client.say(&format!("{ASK}not waiting\n"));
    assert!(client.hear("\r\n\r\n").unwrap().starts_with("HTTP/1.1 101"));
    assert_eq!(client.hear("not waiting\n").unwrap(), "first words\nnot waiting\n");
    assert!(client.echoes("later"));
}

#[test]
fn an_app_that_refuses_answers_as_ever_and_the_connection_goes_on() {
    let refuse = |mut stream: TcpStream, _: &str| {
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\nx-why: policy\r\n\r\nnot today";
        while stream.write_all(answer.as_bytes()).is_ok() && head(&mut stream).is_some() {}
    };
    let scene = scene(app(refuse), &[]);
    let mut client = scene.tls();
    for _ in 0..2 {
        client.say(ASK);
        let head = client.hear("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403") && head.contains("x-why: policy"), "{head}");
        assert_eq!(client.hear("not today").unwrap(), "not today");
    }
    assert!(client.get("/next").unwrap().starts_with("HTTP/1.1 403"));
}

#[test]
fn an_app_that_upgrades_unasked_is_a_502() {
    let agree = |mut stream: TcpStream, _: &str| stream.write_all(AGREE.as_bytes()).unwrap();
    let scene = scene(app(agree), &[]);
    for flag in ["--http1.1", "--http2"] {
        let got = Curl::https(scene.inbound.address(), "/", &scene.client).args([flag]).run();
        assert_eq!(got.answer.status, 502, "{flag}: {got:?}");
        assert!(got.answer.header("x-hotcert-error").is_some(), "{got:?}");
    }
}

#[test]
fn a_client_that_is_not_allowed_is_not_upgraded() {
    let scene = scene(app(say_back), &["--allow", "dns:billing.shop.svc"]);
    let mut client = scene.tls();
    client.say(ASK);
    assert!(client.hear("\r\n\r\n").unwrap().starts_with("HTTP/1.1 403"));
}

/// With it a client could speak to the app past the agent.
#[test]
fn an_upgrade_to_h2c_is_not_passed_on() {
    let tell = |mut stream: TcpStream, head: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).unwrap();
    };
    let scene = scene(app(tell), &[]);
    for asked in ["h2c", "x, h2c", "h2c, x", "h2c-14", "HTTP/2.0", "TLS/1.2"] {
        for connection in ["upgrade, http2-settings", "upgrade"] {
            let fields = [format!("upgrade: {asked}"), format!("connection: {connection}")];
            let settings = "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA";
            let args = ["--http1.1", "-H", &fields[0], "-H", &fields[1], "-H", settings];
            let got = Curl::https(scene.inbound.address(), "/", &scene.client).args(args).run();
            let seen = got.answer.text().to_ascii_lowercase();
            assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{asked}: {got:?}");
            assert!(matches!(got.answer.status, 200 | 400..=499), "{asked}: {got:?}");
        }
    }
}

#[test]
fn a_client_that_has_said_all_hears_the_rest() {
    let after_the_end = |mut stream: TcpStream, _: &str| {
        stream.write_all(AGREE.as_bytes()).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard.reverse();
        stream.write_all(&heard).unwrap();
    };
    let scene = scene(app(after_the_end), &[]);
    let (_outbound, mut client) = scene.across();
    client.write_all(ASK.as_bytes()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    client.write_all(&pattern(0, 1 << 20)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    heard.reverse();
    assert!(heard == pattern(0, 1 << 20), "{} bytes", heard.len());
    until("the gauge back at zero", || {
        (scene.inbound.agent.metrics().sum("hotcert_connections_open", &[]) == 0.0).then_some(())
    });
}

#[test]
fn an_app_that_has_said_all_hears_the_rest() {
    let (told, heard) = std::sync::mpsc::channel();
    let first = move |mut stream: TcpStream, _: &str| {
        stream.write_all(AGREE.as_bytes()).unwrap();
        stream.write_all(b"all that I say").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        told.send(rest).unwrap();
    };
    let scene = scene(app(first), &[]);
    let (_outbound, mut client) = scene.across();
    client.write_all(ASK.as_bytes()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"all that I say");
    client.write_all(&pattern(0, 1 << 20)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(heard.recv_timeout(DEADLINE).unwrap() == pattern(0, 1 << 20));
}

#[test]
fn much_passes_both_ways_at_once() {
    let both = |mut stream: TcpStream, _: &str| {
        stream.write_all(AGREE.as_bytes()).unwrap();
        let mut reads = stream.try_clone().unwrap();
        let heard = std::thread::spawn(move || {
            let mut heard = vec![0; LENGTH];
            reads.read_exact(&mut heard).unwrap();
            heard
        });
        stream.write_all(&pattern(LENGTH, LENGTH)).unwrap();
        let heard = heard.join().unwrap();
        stream.write_all(&[u8::from(heard == pattern(0, LENGTH))]).unwrap();
    };
    let scene = scene(app(both), &[]);
    let (_outbound, mut client) = scene.across();
    client.write_all(ASK.as_bytes()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    let mut writes = client.try_clone().unwrap();
    let said = std::thread::spawn(move || writes.write_all(&pattern(0, LENGTH)));
    let mut heard = vec![0; LENGTH];
    client.read_exact(&mut heard).unwrap();
    said.join().unwrap().unwrap();
    assert!(heard == pattern(LENGTH, LENGTH), "what the app said");
    let mut verdict = [0];
    client.read_exact(&mut verdict).unwrap();
    assert_eq!(verdict, [1], "what the client said");
}
