//! With `--allow`, only peers with such a name get through.

use std::process::Command;

use kit::agent::{Launch, program};
use kit::app::App;
use kit::client::{Curl, SERVER, accepted, both};
use kit::echo::Echo;
use kit::forge::Forge;
use kit::pipe::Pipe;
use kit::pki::{Pki, dns, spiffe};
use kit::scene::Scene;
use kit::{DEADLINE, own, until};
use rcgen::SanType;

/// Patterns, and whether the client `storefront` of `shop` gets through.
const TABLE: [(&[&str], bool); 10] = [
    (&["spiffe://cluster.test/ns/shop/sa/storefront"], true),
    (&["spiffe://cluster.test/ns/shop/sa/*"], true),
    (&["spiffe://cluster.test/ns/shop/sa/payments"], false),
    (&["spiffe://cluster.test/ns/*/sa/billing", "dns:storefront.shop.svc"], true),
    (&["dns:*.shop.svc"], true),
    (&["dns:payments.shop.svc"], false),
    (&["spiffe://elsewhere.test/ns/shop/sa/storefront"], false),
    (&["spiffe://cluster.test/ns/shop/sa/store"], false),
    (&["SPIFFE://Cluster.Test/ns/shop/sa/storefront"], true),
    (&["spiffe://cluster.test/ns/shop/sa/Storefront"], false),
];

fn flags<'a>(patterns: &[&'a str]) -> Vec<&'a str> {
    patterns.iter().flat_map(|pattern| ["--allow", pattern]).collect()
}

#[test]
fn http_answers_403_to_those_who_are_not_allowed() {
    for (patterns, allowed) in TABLE {
        let scene = Scene::http(&flags(patterns));
        let answer = scene.curl("/headers").run().answer;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{patterns:?}");
        assert_eq!(scene.service.requests(), usize::from(allowed), "{patterns:?}");
    }
}

#[test]
fn tcp_is_closed_to_those_who_are_not_allowed() {
    for (patterns, allowed) in TABLE {
        let scene = Scene::tcp(&flags(patterns));
        assert_eq!(scene.accepts(), allowed, "{patterns:?}");
    }
}

#[test]
fn each_client_is_judged_by_its_own_names() {
    let scene = Scene::tcp(&["--allow", &spiffe("billing"), "--allow", &format!("dns:{}", dns("audit"))]);
    for (name, allowed) in [("billing", true), ("audit", true), ("storefront", false), ("billing2", false)] {
        assert_eq!(accepted(scene.inbound(), &scene.pki.client(name)), allowed, "{name}");
    }
}

#[test]
fn a_kept_connection_of_a_peer_that_may_not_come_in_is_closed() {
    let scene = Scene::http(&["--allow", "dns:billing.shop.svc"]);
    let mut pipe = Pipe::tls(scene.inbound(), &scene.client, &[]);
    assert!(pipe.get("/headers").is_some_and(|head| head.starts_with("HTTP/1.1 403")));
    pipe.wait_closed(DEADLINE);
    assert_eq!(scene.service.requests(), 0);
}

#[test]
fn a_route_may_have_a_list_of_its_own() {
    let (pki, echo, app) = (Pki::default(), Echo::default(), App::default());
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let [bytes, http, other] = [8443, 8444, 8445].map(own::address);
    let lists = format!(
        "dns:{},{bytes}={}+dns:{},{http}={}",
        dns("audit"),
        spiffe("billing"),
        dns("reports"),
        spiffe("storefront")
    );
    let agent = Launch::new(&volume.path)
        .inbound_at("", bytes, echo.address)
        .inbound_at("http:", http, app.address)
        .inbound_at("", other, echo.address)
        .args(["--allow", &lists])
        .ready();
    for (name, admitted) in [
        ("billing", [true, false, false]),
        ("reports", [true, false, false]),
        ("storefront", [false, true, false]),
        ("audit", [false, false, true]),
        ("mallory", [false, false, false]),
    ] {
        let client = pki.client(name);
        let status = Curl::https(http, "/headers", &client).run().answer.status;
        assert_eq!(
            [accepted(bytes, &client), status == 200, accepted(other, &client)],
            admitted,
            "{name}: {status}"
        );
    }
    until("refusals counted by route", || {
        let metrics = agent.metrics();
        let refused = |route: std::net::SocketAddr| {
            metrics.sum("hotcert_not_allowed_total", &[("route", &route.to_string())])
        };
        (refused(bytes) >= 3.0 && refused(http) >= 4.0 && refused(other) >= 4.0).then_some(())
    });
    agent.until_logged(&format!("\"route\":\"{other}\""));
}

#[test]
fn a_list_for_no_route_is_an_error_at_the_start() {
    let run = |allow: &str| {
        let mut agent = Command::new(program("hotcert-agent"));
        agent.args(["run", "--identity", "/nowhere", "--inbound", "127.0.0.1:8443=127.0.0.1:8080"]);
        agent.args(["--allow", allow]).output().unwrap()
    };
    for (allow, said) in [
        ("127.0.0.1:9443=dns:a", "127.0.0.1:9443 is the address of no route of --inbound"),
        ("127.0.0.1:8443=dns:a,dns:b", "every route of --inbound has a list of its own"),
        ("spiffe://cluster.test", "for all of its workloads write spiffe://cluster.test/**"),
        ("spiffe://cluster.test/a/", "path segment"),
    ] {
        let output = run(allow);
        let text = both(&output);
        assert!(output.status.code() == Some(2) && text.contains(said), "{text}");
    }
}

#[test]
fn a_certificate_with_two_uris_has_no_spiffe_id() {
    let (pki, forge, echo) = (Pki::default(), Forge::default(), Echo::default());
    let volume = pki.volume(SERVER);
    volume.publish(&forge.leaf(SERVER), &forge.cert);
    let agent = Launch::new(&volume.path)
        .inbound("", echo.address)
        .args(["--allow", &format!("{},dns:{}", spiffe("storefront"), dns("audit"))])
        .ready();
    let two = |name: &str, other: &str| {
        let pair = forge.leaf_with(name, |params| {
            params.subject_alt_names.push(SanType::URI(other.try_into().unwrap()));
        });
        accepted(agent.address("inbound"), &pki.credentials(name, &pair, &forge.cert))
    };
    assert!(!two("storefront", &spiffe("storefront")));
    assert!(!two("storefront", "https://storefront.test/"));
    agent.until_logged("it has 2 URIs, and an X.509-SVID has exactly one");
    assert!(two("audit", "https://audit.test/"), "its DNS name is one");
}
