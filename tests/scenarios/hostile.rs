//! Slow, broken and hostile clients are ended in time and cost the others nothing.

use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kit::agent::Launch;
use kit::client::{Fetching, SERVER, accepted, ask, exchange, openssl, python, python_files};
use kit::pipe::Pipe;
use kit::scene::Scene;
use kit::{DEADLINE, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[test]
fn a_connection_that_says_nothing_is_closed_in_time() {
    let scene = Scene::tcp(&["--handshake-timeout", "500ms"]);
    let begin = Instant::now();
    Pipe::tcp(scene.inbound()).wait_closed(DEADLINE);
    assert!(begin.elapsed() >= Duration::from_millis(400));
    let timeouts = [("side", "inbound"), ("result", "timeout")];
    until("counted", || {
        (scene.agent.metrics().sum("hotcert_handshakes_total", &timeouts) == 1.0).then_some(())
    });
}

#[test]
fn garbage_and_plain_http_are_closed() {
    let scene = Scene::http(&[]);
    for garbage in
        ["\0\0\0\0\0\0\0\0\0\0", "SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\x00\x05garba", &"x".repeat(70_000)]
    {
        let mut pipe = Pipe::tcp(scene.inbound());
        pipe.say(garbage);
        pipe.end();
        pipe.wait_closed(DEADLINE);
    }
    let plain = ask(scene.inbound(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(plain.is_err(), "{plain:?}");
    assert_eq!(scene.service.requests(), 0);
    assert_eq!(scene.curl("/headers").run().answer.status, 200);
}

#[test]
fn five_hundred_half_handshakes_hold_nobody_up() {
    let scene = Scene::tcp(&["--handshake-timeout", "6s"]);
    let mut half = python("half.py");
    half.arg(scene.inbound().to_string()).args(python_files(&scene.client)).args(["--connections", "500"]);
    let mut half = Pipe::program(half);
    assert_eq!(half.line()["open"], 500);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begin = Instant::now();
        let shown = exchange(scene.inbound(), &scene.client, &[]);
        assert_eq!(shown["ok"], true, "{shown}");
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    scene.rotate_and_wait();
    half.end();
    assert_eq!(half.line()["closed"], 500);
    assert!(scene.accepts());
}

#[test]
fn no_more_than_the_cap_are_let_in() {
    let scene = Scene::tcp(&["--max-connections", "5", "--handshake-timeout", "2s"]);
    let mut held: Vec<_> = (0..5).map(|_| Pipe::tls(scene.inbound(), &scene.client, &[])).collect();
    assert!(held.iter_mut().all(|pipe| pipe.echoes("in")));
    assert!(!scene.accepts(), "a sixth");
    assert!(scene.agent.metrics().sum("hotcert_connections_closed_total", &[("reason", "limit")]) >= 1.0);
    assert!(held.iter_mut().all(|pipe| pipe.echoes("still in")));
    held.pop();
    until("room again", || accepted(scene.inbound(), &scene.client).then_some(()));
}

#[test]
fn more_silent_connections_than_places_keep_nobody_out() {
    let scene = Scene::tcp(&["--max-connections", "200", "--handshake-timeout", "30s"]);
    let _silent: Vec<_> = (0..300).map(|_| TcpStream::connect(scene.inbound()).unwrap()).collect();
    let begin = Instant::now();
    for _ in 0..5 {
        let shown = exchange(scene.inbound(), &scene.client, &[]);
        assert_eq!(shown["ok"], true, "{shown}");
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn source_whose_handshakes_fail_is_turned_away_and_no_other() {
    let scene = Scene::tcp(&[]);
    let result = |result| {
        scene.agent.metrics().sum("hotcert_handshakes_total", &[("side", "inbound"), ("result", result)])
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let garbage_from = async |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
        let mut socket = socket.connect(scene.inbound()).await?;
        socket.write_all(b"\x16\x03\x01\x00\x05garba").await?;
        socket.read_to_end(&mut Vec::new()).await
    };
    let attack = async || {
        // All at once, so that a slow machine does not make them fewer a second than are forgiven.
        join_all((0..1500).map(|_| garbage_from("127.0.0.2"))).await;
    };
    assert!(scene.accepts());
    until("turned away", || {
        runtime.block_on(attack());
        (result("throttled") > 0.0).then_some(())
    });
    let served = result("ok");
    assert!((0..10).all(|_| scene.accepts()));
    until("all served", || (result("ok") >= served + 10.0).then_some(()));
    scene.rotate_and_wait();
}

#[test]
fn server_chooses_the_strongest_cipher_suite_that_a_client_of_tls_1_2_offers() {
    let scene = Scene::tcp(&[]);
    let weakest_first = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"];
    let shown = openssl("s_client", scene.inbound(), &scene.client, &weakest_first);
    assert!(shown.contains("Cipher is ECDHE-ECDSA-AES256-GCM-SHA384"), "{shown}");
    let only = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let shown = openssl("s_client", scene.inbound(), &scene.client, &only);
    assert!(shown.contains("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256"), "{shown}");
}

#[test]
fn a_head_that_comes_drop_by_drop_is_cut_off() {
    let scene = Scene::http(&["--request-timeout", "1s"]);
    let mut slow = Pipe::tls(scene.inbound(), &scene.client, &[]);
    slow.say("GET /headers HTTP/1.1\r\n");
    let begin = Instant::now();
    until("closed", || {
        // Each drop is progress, so that no idle timeout ends it.
        slow.say("x-a: b\r\n");
        slow.is_closed().then_some(())
    });
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(scene.service.requests(), 0);
    assert!(scene.agent.metrics().sum("hotcert_connections_closed_total", &[]) >= 1.0);
}

#[test]
fn a_huge_head_is_refused() {
    let scene = Scene::http(&[]);
    let header = format!("x-huge: {}", "a".repeat(200_000));
    let file = kit::pki::write(&scene.pki.path("header"), &header);
    let from = format!("@{}", file.display());
    for flag in ["--http1.1", "--http2"] {
        let got = scene.curl("/headers").args([flag, "-H", &from]).run();
        assert!(matches!(got.answer.status, 0 | 400 | 431), "{flag}: {:?}", got.answer);
    }
    assert_eq!(scene.service.requests(), 0);
    assert_eq!(scene.curl("/headers").run().answer.status, 200);
}

#[test]
fn many_headers_are_refused_or_passed_but_break_nothing() {
    let scene = Scene::http(&[]);
    let headers: String = (0..500).map(|at| format!("x-{at}: a\n")).collect();
    let file = kit::pki::write(&scene.pki.path("headers"), &headers);
    let got = scene.curl("/headers").args(["--http1.1", "-H", &format!("@{}", file.display())]).run();
    assert!(matches!(got.answer.status, 200 | 400 | 431 | 502), "{:?}", got.answer);
    assert_eq!(scene.curl("/headers").run().answer.status, 200);
}

#[test]
fn idle_connections_are_closed() {
    let tcp = Scene::tcp(&["--idle-timeout", "1s"]);
    let mut pipe = Pipe::tls(tcp.inbound(), &tcp.client, &[]);
    assert!(pipe.echoes("hello"));
    pipe.wait_closed(DEADLINE);
    let http = Scene::http(&["--idle-timeout", "1s"]);
    let mut pipe = Pipe::tls(http.inbound(), &http.client, &[]);
    assert!(pipe.get("/bytes/10").is_some());
    pipe.wait_closed(DEADLINE);
    for agent in [&tcp.agent, &http.agent] {
        let idle = [("reason", "idle")];
        until("counted", || {
            (agent.metrics().sum("hotcert_connections_closed_total", &idle) == 1.0).then_some(())
        });
    }
}

#[test]
fn clients_that_hardly_read_cost_little_memory() {
    let scene = Scene::http(&[]);
    assert_eq!(scene.curl("/bytes/50000000").run().exit, 0);
    let before = scene.agent.resident();
    let slow: Vec<_> = ["--http1.1", "--http2"]
        .iter()
        .cycle()
        .take(16)
        .map(|flag| scene.curl("/bytes/500000000").args([flag, "--limit-rate", "10k"]).start())
        .collect();
    until("all under way", || slow.iter().all(|curl| curl.received() > 0).then_some(()));
    let bytes =
        || scene.agent.metrics().one("hotcert_bytes_total", &[("side", "inbound"), ("direction", "sent")]);
    let mut last = 0.0;
    // What fits into sockets and windows has gone out when hardly anything more does.
    until("held up", || {
        sleep(Duration::from_millis(300));
        let now = bytes();
        (now - std::mem::replace(&mut last, now) < 2e6).then_some(())
    });
    let grown = scene.agent.resident().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for 16 clients");
    slow.into_iter().for_each(Fetching::stop);
}

#[test]
fn a_busy_connection_is_not_idle() {
    let scene = Scene::tcp(&["--idle-timeout", "1s"]);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        assert!(pipe.echoes("busy"), "closed after {:?}", begin.elapsed());
    }
}

/// The app is Python's own server, which reads no body that its handler does not read.
#[test]
fn a_body_that_the_app_does_not_read_is_not_its_next_request() {
    let pki = kit::pki::Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let mut app = Pipe::program(python("ignores_bodies.py"));
    let port = app.line()["port"].as_u64().unwrap();
    let agent = Launch::new(&volume.path).inbound("http:", format!("127.0.0.1:{port}")).ready();
    let client = pki.client("storefront");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\n\r\n";
    let mut pipe = Pipe::tls(agent.address("inbound"), &client, &[]);
    for method in ["GET", "DELETE", "OPTIONS"] {
        let length = smuggled.len();
        pipe.say(&format!(
            "{method} /first HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{smuggled}"
        ));
        assert!(pipe.hear("\r\n\r\nok").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        pipe.say("GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(pipe.hear("\r\n\r\nok").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        for expected in [format!("{method} /first HTTP/1.1"), "GET /second HTTP/1.1".into()] {
            let seen = app.line();
            assert_eq!(seen["request"], expected);
            assert!(!seen["claims"].to_string().contains("evil"), "{seen}");
        }
    }
}
