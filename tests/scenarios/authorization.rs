//! With `--allow`, only peers with such a name get through.

use kit::DEADLINE;
use kit::client::accepted;
use kit::pipe::Pipe;
use kit::pki::{dns, spiffe};
use kit::scene::Scene;

/// Patterns, and whether the client `storefront` of `shop` gets through.
const TABLE: [(&[&str], bool); 8] = [
    (&["spiffe://cluster.test/ns/shop/sa/storefront"], true),
    (&["spiffe://cluster.test/ns/shop/sa/*"], true),
    (&["spiffe://cluster.test/ns/shop/sa/payments"], false),
    (&["spiffe://cluster.test/ns/*/sa/billing", "dns:storefront.shop.svc"], true),
    (&["dns:*.shop.svc"], true),
    (&["dns:payments.shop.svc"], false),
    (&["spiffe://elsewhere.test/ns/shop/sa/storefront"], false),
    (&["spiffe://cluster.test/ns/shop/sa/store"], false),
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
