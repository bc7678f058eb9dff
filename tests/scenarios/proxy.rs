//! The HTTP forward proxy turns `http://HOST:PORT/…` into mTLS to a server that shows HOST.

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::{Agent, Launch};
use kit::client::{Curl, Fetched, SERVER, ask};
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, hex, issue, request, spiffe, write};
use kit::scene::Scene;
use kit::{DEADLINE, own};
use sha2::{Digest as _, Sha256};

fn proxy(pki: &Pki) -> Agent {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    Launch::new(&volume.path).http_proxy().ready()
}

fn through(agent: &Agent, url: &str, args: &[&str]) -> Fetched {
    let proxy = format!("http://{}", agent.address("http-proxy"));
    Curl::new(url).args(["-x", &proxy]).args(args).run()
}

#[test]
fn an_absolute_url_reaches_the_app_over_mtls() {
    let scene = Scene::http(&[]);
    let agent = proxy(&scene.pki);
    let url = format!("http://localhost:{}/headers?a=b", scene.inbound().port());
    let got = through(&agent, &url, &["-H", "Proxy-Authorization: Basic c2VjcmV0"]);
    assert_eq!(got.answer.status, 200, "{}", got.answer.text());
    let seen = got.answer.json();
    assert_eq!(seen["target"], "/headers?a=b");
    let headers = seen["headers"].to_string();
    assert!(headers.contains(&format!("URI={}", spiffe("storefront"))), "{headers}");
    assert!(!headers.contains("proxy-"), "what is for the proxy ends there: {headers}");
    assert!(headers.contains(&format!("localhost:{}", scene.inbound().port())), "{headers}");
}

#[test]
fn bodies_pass_whole() {
    let scene = Scene::http(&[]);
    let agent = proxy(&scene.pki);
    let base = format!("http://localhost:{}", scene.inbound().port());
    let content = kit::app::pattern(0, 10 << 20);
    let file = write(&scene.pki.path("upload"), &content);
    let up = through(&agent, &format!("{base}/digest"), &["-T", file.to_str().unwrap()]);
    assert_eq!(up.answer.json()["sha256"], hex(&Sha256::digest(&content)));
    let down = through(&agent, &format!("{base}/chunked/{}", content.len()), &[]);
    assert!(down.answer.body == content);
}

#[test]
fn what_is_not_an_absolute_http_url_is_refused() {
    let agent = proxy(&Pki::default());
    for target in ["/headers", "https://localhost/headers", "ftp://localhost/headers"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = ask(agent.address("http-proxy"), &request).unwrap();
        assert!((400..500).contains(&answer.status), "{target}: {answer:?}");
    }
}

#[test]
fn a_server_with_another_name_is_a_502_that_names_both() {
    let scene = Scene::http(&[]);
    let elsewhere = LeafRequest { dns_names: vec![dns(SERVER)], ..request(SERVER) };
    let leaf = issue(&scene.pki.root, &elsewhere);
    scene.volume.publish(&leaf, scene.pki.roots());
    scene.agent.wait_serving(&leaf.serial);
    let agent = proxy(&scene.pki);
    let answer = through(&agent, &format!("http://localhost:{}/", scene.inbound().port()), &[]).answer;
    let text = answer.text();
    assert_eq!(answer.status, 502, "{text}");
    assert!(text.contains("localhost") && text.contains(&dns(SERVER)), "{text}");
    assert!(answer.header("x-hotcert-error").is_some());
}

#[test]
fn what_cannot_be_reached_is_a_502() {
    let agent = proxy(&Pki::default());
    for host in [format!("localhost:{}", own::port(0)), "no-such-host.invalid:80".into()] {
        let answer = through(&agent, &format!("http://{host}/"), &[]).answer;
        assert_eq!(answer.status, 502, "{host}");
        assert!(answer.text().contains(host.split(':').next().unwrap()), "{}", answer.text());
    }
}

/// The host of a URL that leads to this machine, in every way in which one can be written, and other places that no
/// request should find.
#[test]
fn what_the_machine_has_for_itself_is_answered_as_what_cannot_be_reached() {
    let scene = Scene::http(&[]);
    let volume = scene.pki.volume("storefront");
    volume.publish(&scene.pki.leaf("storefront"), scene.pki.roots());
    let agent = Launch::new(&volume.path).strict_http_proxy().ready();
    let port = scene.inbound().port();
    let admin = agent.address("admin").port();
    let mut answers = Vec::new();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::]:{port}"),
        format!("localhost:{admin}"),
        format!("localhost:{}", agent.address("http-proxy").port()),
        "169.254.169.254:80".into(),
        "[fe80::1]:80".into(),
        "224.0.0.1:80".into(),
        "no-such-host.invalid:80".into(),
    ] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = ask(agent.address("http-proxy"), &request).unwrap();
        let text = answer.text().replace(&host, "HOST");
        assert_eq!(
            answer.header("x-hotcert-error").map(|error| error.replace(&host, "HOST")).as_deref(),
            text.strip_prefix("hotcert-agent: ").map(str::trim_end),
            "{answer:?}"
        );
        answers.push((host, answer.status, text));
    }
    let alike = |answer: &(String, u16, String)| answer.1 == 502 && answer.2 == answers[0].2;
    assert!(answers.iter().all(alike), "{answers:#?}");
    assert_eq!(scene.service.requests(), 0);
    // A tunnel does not lead there either, nor bytes in it.
    let mut tunnel = Pipe::tcp(agent.address("http-proxy"));
    tunnel.say(&format!("CONNECT localhost:{port} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"));
    assert!(tunnel.hear("\r\n\r\n").is_some_and(|head| head.starts_with("HTTP/1.1 200")));
    tunnel.say("SSH-2.0-OpenSSH_9.2\r\n");
    tunnel.wait_closed(DEADLINE);
    assert_eq!(
        scene.agent.metrics().sum("hotcert_handshakes_total", &[("side", "inbound"), ("result", "ok")]),
        0.0
    );
    for reason in
        ["is a loopback address", "is a link-local address", "is a multicast address", "is an unspecified"]
    {
        agent.until_logged(reason);
    }
}

#[test]
fn a_host_is_allowed_and_denied_by_name_before_its_address_is() {
    let scene = Scene::http(&[]);
    let volume = scene.pki.volume("storefront");
    volume.publish(&scene.pki.leaf("storefront"), scene.pki.roots());
    let url = format!("http://localhost:{}/headers", scene.inbound().port());
    for (flags, expected) in [
        (&["--http-proxy-allow", "localhost"][..], 200),
        (&["--http-proxy-allow", "127.0.0.0/8,::1", "--http-proxy-deny", "localhost"], 502),
        (&["--http-proxy-allow", "localhost", "--http-proxy-deny", "127.0.0.0/8,::1"], 200),
        (&["--http-proxy-allow", "other.test", "--http-proxy-deny", "localhost"], 502),
    ] {
        let agent = Launch::new(&volume.path).strict_http_proxy().args(flags).ready();
        let answer = through(&agent, &url, &[]).answer;
        assert_eq!(answer.status, expected, "{flags:?}: {answer:?}");
    }
}
