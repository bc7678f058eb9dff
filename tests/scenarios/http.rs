//! Inbound HTTP: whatever the client speaks reaches the app whole, with the client's identity beside it
//! and nothing that the client said about itself under that name.

use kit::agent::Launch;
use kit::app::{App, pattern};
use kit::client::{Curl, SERVER};
use kit::forge::Forge;
use kit::pipe::Pipe;
use kit::pki::{Pair, Pki, hex, spiffe, write};
use kit::scene::Scene;
use rcgen::{DnType, SanType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];
const LARGE: usize = 50 << 20;
const CLAIM: &str = "x-forwarded-client-cert";

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The values of headers that an app could take for this one.
fn values<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().unwrap().iter();
    let is = |header: &&Value| header[0].as_str().unwrap().replace('_', "-").eq_ignore_ascii_case(name);
    headers.filter(is).map(|header| header[1].as_str().unwrap()).collect()
}

#[test]
fn both_versions_of_http_get_answers() {
    let scene = Scene::http(&[]);
    for (flag, version) in VERSIONS {
        let got = scene.curl("/headers?a=b%20c").args([flag]).run();
        assert_eq!((got.answer.status, got.version.as_str()), (200, version), "{}", got.errors);
        let seen = got.answer.json();
        assert_eq!(seen["target"], "/headers?a=b%20c");
        let host = format!("payments.shop.svc:{}", scene.inbound().port());
        assert_eq!(values(&seen, "host"), [host.as_str()]);
    }
    let requests = [("side", "inbound"), ("code", "2xx")];
    assert_eq!(scene.agent.metrics().one("hotcert_proxied_requests_total", &requests), 2.0);
}

#[test]
fn the_app_is_told_who_calls() {
    let scene = Scene::http(&[]);
    let client = Pair::new(std::fs::read_to_string(&scene.client.cert).unwrap(), "");
    for (flag, _) in VERSIONS {
        let seen = scene.curl("/headers").args([flag]).run().answer.json();
        let claims = values(&seen, CLAIM);
        assert_eq!(claims.len(), 1, "{seen}");
        let fields: Vec<_> = claims[0].split(';').collect();
        assert_eq!(fields[0], format!("By={}", spiffe(SERVER)));
        assert_eq!(fields[1], format!("Hash={}", client.sha256));
        assert!(fields[2].starts_with("Subject=\"") && fields[2].contains("storefront"), "{fields:?}");
        assert_eq!(fields[3], format!("URI={}", spiffe("storefront")));
        assert_eq!(fields[4], "DNS=storefront.shop.svc");
    }
}

#[test]
fn what_the_client_claims_about_itself_is_removed() {
    let scene = Scene::http(&[]);
    for (flag, _) in VERSIONS {
        for claim in [
            "X-Forwarded-Client-Cert: evil",
            "x-FORWARDED-client-CERT: evil",
            "X_Forwarded_Client_Cert: evil",
            "X-Forwarded_Client-Cert: evil",
            "X.Forwarded.Client.Cert: evil",
            "X!Forwarded~Client*Cert: evil",
            "X-Forwarded-Client.Cert: evil",
            "x-forwarded-client-cert: a=evil,b=evil",
        ] {
            let args = [flag, "-H", claim, "-H", claim, "-H", "Connection: x-forwarded-client-cert"];
            // HTTP/2 knows no Connection header; curl would not send it.
            let args = if flag == "--http2" { &args[..5] } else { &args[..] };
            let seen = scene.curl("/headers").args(args).run().answer.json();
            let claims = values(&seen, CLAIM);
            assert!(claims.len() == 1 && claims[0].contains("Hash="), "{claim}: {seen}");
            assert!(!seen["headers"].to_string().contains("evil"), "{claim}: {seen}");
        }
    }
}

/// The fields of a claim as Envoy reads them: quotes hide `;` and `,`.
fn fields(claim: &str) -> Vec<String> {
    let (mut fields, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for letter in claim.chars() {
        match letter {
            ';' | ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().unwrap().push(letter),
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    fields
}

#[test]
fn a_certificate_cannot_claim_more_than_its_fields_say() {
    let (scene, forge) = (Scene::http(&[]), Forge::default());
    let roots = format!("{}{}", scene.pki.roots(), forge.cert);
    scene.volume.publish(&scene.leaf, &roots);
    scene.agent.wait_until("both roots", |health| health["served"]["roots"].as_array().unwrap().len() == 2);
    for evil in [
        "a\";URI=spiffe://evil",
        "a;URI=spiffe://evil",
        "a,URI=spiffe://evil",
        "a\\\";URI=spiffe://evil",
        "a\\",
    ] {
        let pair = forge.leaf_with("mallory", |params| {
            params.distinguished_name.push(DnType::CommonName, evil);
            params.distinguished_name.push(DnType::OrganizationName, "b\";URI=spiffe://evil");
            params.subject_alt_names =
                vec![SanType::URI(format!("{}/{evil}", spiffe("mallory")).try_into().unwrap())];
        });
        let mallory = scene.pki.credentials("mallory", &pair, &roots);
        let got = Curl::https(scene.inbound(), "/headers", &mallory).run();
        if got.answer.status != 200 {
            continue;
        }
        let seen = got.answer.json();
        let claims = values(&seen, CLAIM);
        assert_eq!(claims.len(), 1, "{seen}");
        let uris: Vec<_> = fields(claims[0]).into_iter().filter(|field| field.starts_with("URI=")).collect();
        assert!(uris.len() <= 1 && !uris.contains(&"URI=spiffe://evil".into()), "{claims:?}");
    }
}

#[test]
fn a_subject_beyond_ascii_does_not_hide_who_calls() {
    let (pki, forge, app) = (Pki::default(), Forge::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&forge.leaf(SERVER), &forge.cert);
    let agent = Launch::new(&volume.path).inbound("http:", app.address).ready();
    let pair = forge.leaf_with("storefront", |params| {
        params.distinguished_name.push(DnType::CommonName, "Bäckerei \u{1F950}\r\n\u{1}");
    });
    let client = pki.credentials("client", &pair, &forge.cert);
    let seen = Curl::https(agent.address("inbound"), "/headers", &client).run().answer.json();
    assert!(seen.to_string().contains(&format!("URI={}", spiffe("storefront"))), "{seen}");
    assert!(seen.to_string().contains(&format!("Hash={}", pair.sha256)), "{seen}");
}

#[test]
fn headers_for_the_next_hop_end_at_the_agent() {
    let scene = Scene::http(&[]);
    let args = ["--http1.1", "-H", "Connection: x-hop", "-H", "X-Hop: 1", "-H", "X-End: 2"];
    let seen = scene.curl("/headers").args(args).run().answer.json();
    assert!(values(&seen, "x-hop").is_empty() && values(&seen, "x-end") == ["2"], "{seen}");
}

#[test]
fn large_uploads_arrive_whole() {
    let scene = Scene::http(&[]);
    let content = pattern(0, LARGE);
    let file = write(&scene.pki.path("upload"), &content);
    for (flag, _) in VERSIONS {
        for chunked in [false, true] {
            let mut curl = scene.curl("/digest").args([flag, "-T", file.to_str().unwrap()]);
            if chunked && flag == "--http1.1" {
                curl = curl.args(["-H", "Transfer-Encoding: chunked"]);
            }
            let got = curl.run();
            assert_eq!(got.exit, 0, "{flag}: {}", got.errors);
            assert_eq!(got.answer.json(), json!({ "sha256": digest(&content), "length": LARGE }));
        }
    }
    let bytes = [("side", "inbound"), ("direction", "received")];
    assert!(scene.agent.metrics().one("hotcert_bytes_total", &bytes) >= 4.0 * LARGE as f64);
}

#[test]
fn large_downloads_arrive_whole() {
    let scene = Scene::http(&[]);
    let expected = digest(&pattern(0, LARGE));
    for (flag, _) in VERSIONS {
        for path in ["bytes", "chunked"] {
            let got = scene.curl(&format!("/{path}/{LARGE}")).args([flag]).run();
            assert_eq!(got.exit, 0, "{flag} {path}: {}", got.errors);
            assert_eq!(digest(&got.answer.body), expected, "{flag} {path}");
            assert_eq!(got.answer.header("content-length").is_some(), path == "bytes");
        }
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let scene = Scene::http(&[]);
    for (flag, _) in VERSIONS {
        let head = scene.curl("/bytes/1234").args([flag, "--head"]).run();
        assert_eq!((head.exit, head.answer.status), (0, 200), "{}", head.errors);
        assert_eq!(head.answer.header("content-length"), Some("1234"));
        for status in [204, 304] {
            let got = scene.curl(&format!("/status/{status}")).args([flag]).run();
            assert_eq!(
                (got.exit, got.answer.status, got.answer.body.len()),
                (0, status, 0),
                "{}",
                got.errors
            );
        }
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let scene = Scene::http(&[]);
    let args = ["--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "30", "--data", "hello"];
    let got = scene.curl("/digest").args(args).run();
    assert!(got.answer.head.starts_with("HTTP/1.1 100"), "{}", got.answer.head);
    assert_eq!(got.answer.json()["length"], 5);
}

#[test]
fn an_app_that_is_down_is_a_502_with_the_reason() {
    let mut scene = Scene::http(&[]);
    assert_eq!(scene.curl("/headers").run().answer.status, 200);
    scene.service.stop();
    for (flag, _) in VERSIONS {
        let answer = scene.curl("/headers").args([flag]).run().answer;
        assert_eq!(answer.status, 502);
        assert!(answer.header("x-hotcert-error").is_some(), "{}", answer.head);
        assert!(answer.text().contains(&scene.service.address.to_string()), "{}", answer.text());
    }
    let requests = [("side", "inbound"), ("code", "5xx")];
    assert_eq!(scene.agent.metrics().one("hotcert_proxied_requests_total", &requests), 2.0);
}

#[test]
fn an_app_on_a_unix_socket() {
    let (pki, volume) = with_leaf();
    let socket = pki.path("app.sock");
    let _app = App::unix(&socket);
    let agent = Launch::new(&volume.path).inbound("http:", format!("unix:{}", socket.display())).ready();
    let client = pki.client("storefront");
    for (flag, _) in VERSIONS {
        let got = Curl::https(agent.address("inbound"), "/bytes/100000", &client).args([flag]).run();
        assert_eq!((got.exit, &got.answer.body[..]), (0, &pattern(0, 100_000)[..]), "{}", got.errors);
    }
}

fn with_leaf() -> (Pki, kit::volume::Volume) {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    (pki, volume)
}

/// Asks without a client certificate.
fn anonymous(scene: &Scene<App>) -> kit::client::Fetched {
    let (port, ca) = (scene.inbound().port(), scene.client.ca.to_str().unwrap());
    let resolve = format!("payments.shop.svc:{port}:127.0.0.1");
    let url = format!("https://payments.shop.svc:{port}/headers");
    Curl::new(&url).args(["--resolve", &resolve, "--cacert", ca]).run()
}

#[test]
fn a_client_without_certificate_is_refused() {
    let scene = Scene::http(&[]);
    let got = anonymous(&scene);
    assert!(got.exit != 0 && got.answer.status == 0, "{got:?}");
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_public_certificate_serves_clients_without_certificate() {
    let scene = Scene::http(&["--client-auth", "none"]);
    let got = anonymous(&scene);
    assert_eq!(got.answer.status, 200, "{}", got.errors);
    assert!(values(&got.answer.json(), CLAIM).is_empty(), "nobody is vouched for");
    let spoof = scene.curl("/headers").args(["-H", "X-Forwarded-Client-Cert: evil"]).run().answer.json();
    assert!(values(&spoof, CLAIM).is_empty(), "{spoof}");
}

#[test]
fn a_public_certificate_needs_no_bundle() {
    let pki = Pki::default();
    let (volume, app, leaf) = (pki.volume(SERVER), App::default(), pki.leaf(SERVER));
    volume.publish_files(&[("tls.crt", &leaf.cert), ("tls.key", &leaf.key)]);
    let agent =
        Launch::new(&volume.path).inbound("http:", app.address).args(["--client-auth", "none"]).ready();
    let got = Curl::https(agent.address("inbound"), "/headers", &pki.client("anyone")).run();
    assert_eq!(got.answer.status, 200, "{}", got.errors);
}

#[test]
fn a_host_that_is_none_is_a_400_that_says_so() {
    let scene = Scene::http(&[]);
    for host in ["a b", "user@payments.shop.svc", "payments.shop.svc:x", "a,b", "payments.shop.svc/x", "[::1"]
    {
        for (flag, _) in VERSIONS {
            let got = scene.curl("/headers").args([flag, "-H", &format!("Host: {host}")]).run();
            // HTTP/2 has it as :authority, of which some is refused before there is a request.
            if flag == "--http2" && got.answer.status == 0 {
                continue;
            }
            assert_eq!(got.answer.status, 400, "{flag} {host}: {:?}", got.answer);
            let reason = got.answer.header("x-hotcert-error").unwrap_or_default();
            assert!(
                reason.contains("host") && got.answer.text().contains(reason),
                "{host}: {:?}",
                got.answer
            );
        }
    }
    assert_eq!(scene.service.requests(), 0);
    let refused = [("side", "inbound"), ("reason", "host")];
    assert!(scene.agent.metrics().sum("hotcert_refused_requests_total", &refused) >= 6.0);
    let logged = scene.agent.log_lines("invalid request refused");
    let named = |line: &serde_json::Value| {
        line["reason"] == "host" && line["from"].as_str().is_some_and(|from| from.contains("storefront"))
    };
    assert!(!logged.is_empty() && logged.iter().all(named) && logged.len() < 6, "{logged:?}");
    assert_eq!(scene.curl("/headers").run().answer.status, 200);
}

#[test]
fn a_connection_ends_after_a_request_that_says_twice_where_it_ends() {
    let scene = Scene::http(&[]);
    let host = format!("host: {}", kit::pki::dns(SERVER));
    let next = format!("GET /headers HTTP/1.1\r\n{host}\r\nx-next: 1\r\n\r\n");
    for (first, second) in [
        ("content-length: 4", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 4"),
    ] {
        let before = scene.service.requests();
        let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
        pipe.say(&format!("POST /digest HTTP/1.1\r\n{host}\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n{next}"));
        let answer = pipe.rest();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(scene.service.requests(), before + 1);
    }
}
