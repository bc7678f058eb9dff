//! Every form in which tools write keys, chains and files is taken.

use std::fmt::Write as _;

use hotcert::api::algorithm::Algorithm;
use hotcert::api::leaf_request::{LeafRequest, Usage};
use kit::agent::Launch;
use kit::client::{Curl, SERVER, accepted, both, command, openssl, served};
use kit::echo::Echo;
use kit::forge::Forge;
use kit::pki::{Pair, Pki, dns, issue, request, spiffe, write};
use kit::scene::Scene;
use rcgen::SanType;

/// Served, and does as a client certificate too.
#[track_caller]
fn serves(pki: &Pki, pair: &Pair, roots: &str, files: &[(&str, &str)], args: &[&str]) {
    let (volume, echo) = (pki.volume(SERVER), Echo::default());
    volume.publish_files(files);
    let agent = Launch::new(&volume.path).inbound("", echo.address).args(args).start();
    let health = agent.wait_until("a judgement", |health| !health["last_attempt"].is_null());
    assert_eq!(health["refused"]["leaf"], serde_json::Value::Null);
    agent.wait_ready();
    let client = pki.credentials("client", pair, roots);
    assert_eq!(served(agent.address("inbound"), &client).as_ref(), Some(&pair.serial));
    assert!(accepted(agent.address("inbound"), &client));
}

fn serves_key(algorithm: Algorithm, convert: &[&str]) {
    let pki = Pki::default();
    let leaf = issue(&pki.root, &LeafRequest { algorithm, ..request(SERVER) });
    let mut key = leaf.key.clone();
    if !convert.is_empty() {
        let input = write(&pki.path("key.pem"), &leaf.key);
        let output = command("openssl").args(convert).arg("-in").arg(input).output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
        key = String::from_utf8(output.stdout).unwrap();
        assert!(!key.contains("BEGIN PRIVATE KEY"), "openssl converts");
    }
    let files = [("tls.crt", leaf.cert.as_str()), ("tls.key", &key), ("ca.crt", pki.roots())];
    serves(&pki, &leaf, pki.roots(), &files, &[]);
}

const TRADITIONAL: &[&str] = &["pkey", "-traditional"];

macro_rules! keys {
    ($($name:ident: $algorithm:ident $convert:expr;)*) => {$(
        #[test]
        fn $name() {
            serves_key(Algorithm::$algorithm, $convert);
        }
    )*};
}

keys! {
    p256_pkcs8: P256 &[];
    p256_sec1: P256 TRADITIONAL;
    p384_pkcs8: P384 &[];
    p384_sec1: P384 TRADITIONAL;
    ed25519_pkcs8: Ed25519 &[];
    rsa_2048_pkcs8: Rsa2048 &[];
    rsa_2048_pkcs1: Rsa2048 TRADITIONAL;
    rsa_3072_pkcs1: Rsa3072 TRADITIONAL;
    rsa_4096_pkcs8: Rsa4096 &[];
}

#[test]
fn key_behind_its_parameters() {
    let pki = Pki::default();
    let leaf = pki.leaf(SERVER);
    let input = write(&pki.path("key.pem"), &leaf.key);
    let output = command("openssl").args(["pkey", "-traditional", "-in"]).arg(input).output().unwrap();
    let parameters = command("openssl").args(["ecparam", "-name", "prime256v1"]).output().unwrap();
    let key = both(&parameters) + &both(&output);
    assert!(key.contains("EC PARAMETERS") && key.contains("EC PRIVATE KEY"));
    let files = [("tls.crt", leaf.cert.as_str()), ("tls.key", &key), ("ca.crt", pki.roots())];
    serves(&pki, &leaf, pki.roots(), &files, &[]);
}

#[test]
fn words_and_windows_line_ends_around_the_pem() {
    let pki = Pki::default();
    let leaf = pki.leaf(SERVER);
    let around = |pem: &str| format!("Subject: somebody\n{pem}\n# the end\n").replace('\n', "\r\n");
    let (cert, key, roots) = (around(&leaf.cert), around(&leaf.key), around(pki.roots()));
    serves(&pki, &leaf, pki.roots(), &[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &roots)], &[]);
}

#[test]
fn file_names_of_choice() {
    let pki = Pki::default();
    let leaf = pki.leaf(SERVER);
    let files = [("cert.pem", leaf.cert.as_str()), ("key.pem", &leaf.key), ("roots.pem", pki.roots())];
    let args = ["--cert-file", "cert.pem", "--key-file", "key.pem", "--ca-file", "roots.pem"];
    serves(&pki, &leaf, pki.roots(), &files, &args);
}

/// A leaf under an intermediate, with the chain up to it.
fn under_intermediate(forge: &Forge) -> Pair {
    let intermediate = forge.intermediate("between");
    let mut pair = intermediate.leaf(SERVER);
    pair.cert += &intermediate.cert;
    pair
}

#[test]
fn intermediates_are_sent_along() {
    let (pki, forge) = (Pki::default(), Forge::default());
    let pair = under_intermediate(&forge);
    let files = [("tls.crt", pair.cert.as_str()), ("tls.key", &pair.key), ("ca.crt", &forge.cert)];
    let leaf_only = Pair {
        cert: pair.cert[..=pair.cert.find("END CERTIFICATE-----\n").unwrap() + 20].into(),
        ..pair.clone()
    };
    serves(&pki, &pair, &forge.cert, &files, &[]);
    // OpenSSL knows the root alone.
    let echo = Echo::default();
    let agent = Launch::new(&pki.path(SERVER)).inbound("", echo.address).ready();
    let client = pki.credentials("client", &pair, &forge.cert);
    let text = openssl("s_client", agent.address("inbound"), &client, &["-verify_return_error"]);
    assert!(text.contains("Verify return code: 0"), "{text}");
    let without = pki.credentials("without", &leaf_only, &forge.cert);
    assert!(!accepted(agent.address("inbound"), &without), "a client that leaves out its intermediate");
}

#[test]
fn credential_bundle() {
    let (pki, forge) = (Pki::default(), Forge::default());
    let pair = under_intermediate(&forge);
    let mut bundle = String::new();
    write!(bundle, "{}{}", pair.key, pair.cert).unwrap();
    let files = [("credentials.pem", bundle.as_str()), ("roots.pem", &forge.cert)];
    let args = ["--bundle-file", "credentials.pem", "--ca-file", "roots.pem"];
    serves(&pki, &pair, &forge.cert, &files, &args);
}

#[test]
fn a_leaf_that_is_known_by_its_spiffe_id_alone() {
    let (pki, forge, echo) = (Pki::default(), Forge::default(), Echo::default());
    let volume = pki.volume(SERVER);
    let only = |name: &str| {
        forge.leaf_with(name, |params| {
            params.subject_alt_names = vec![SanType::URI(spiffe(name).try_into().unwrap())];
        })
    };
    let pair = only(SERVER);
    volume.publish(&pair, &forge.cert);
    let agent = Launch::new(&volume.path).inbound("", echo.address).ready();
    let client = pki.credentials("client", &only("storefront"), &forge.cert);
    assert_eq!(served(agent.address("inbound"), &client), Some(pair.serial));
    assert_eq!(agent.health()["served"]["names"], serde_json::json!([spiffe(SERVER)]));
}

#[test]
fn a_leaf_with_a_wildcard() {
    let (pki, forge) = (Pki::default(), Forge::default());
    let pair = forge.leaf_with(SERVER, |params| {
        params.subject_alt_names = vec![SanType::DnsName("*.shop.svc".try_into().unwrap())];
    });
    let files = [("tls.crt", pair.cert.as_str()), ("tls.key", &pair.key), ("ca.crt", &forge.cert)];
    serves(&pki, &pair, &forge.cert, &files, &[]);
}

#[test]
fn a_leaf_without_client_auth_is_served_inbound_and_limits_outbound() {
    let scene = Scene::http(&[]);
    let leaf = issue(&scene.pki.root, &LeafRequest { usage: Usage::ServerOnly, ..request(SERVER) });
    let volume = scene.pki.volume("server-only");
    volume.publish(&leaf, scene.pki.roots());
    let route = format!("{}#{}", scene.inbound(), dns(SERVER));
    let agent =
        Launch::new(&volume.path).inbound("http:", scene.service.address).outbound("http:", route).ready();
    assert_eq!(agent.health()["served"]["roles"], serde_json::json!(["server"]));
    assert_eq!(Curl::https(agent.address("inbound"), "/headers", &scene.client).run().answer.status, 200);
    let refused = Curl::new(&format!("http://{}/", agent.address("outbound"))).run().answer;
    assert_eq!(refused.status, 502, "{}", refused.text());
    agent.until_logged("client certificate");
}
