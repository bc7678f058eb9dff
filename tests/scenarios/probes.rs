//! An app on loopback is probed through the admin port, for the paths that were listed and no others; an
//! app that listens beyond loopback is noticed.

use std::net::TcpListener;

use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Answer, SERVER, ask, get};
use kit::pki::Pki;

fn agent(pki: &Pki, app: &str, probes: &[String]) -> Agent {
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let probes = probes.iter().flat_map(|probe| ["--probe", probe.as_str()]);
    Launch::new(&volume.path).inbound("http:", app).args(probes).ready()
}

#[test]
fn listed_probes_are_carried_to_the_app_and_nothing_else_is() {
    let (pki, mut app) = (Pki::default(), App::default());
    let port = app.address.port();
    let listed = ["/status/204", "/status/302", "/status/500", "/wants/x-probe/yes", "/headers?a=b"];
    let host = format!("/wants/host/127.0.0.1:{port}");
    let probes: Vec<_> = listed.iter().chain([&host.as_str()]).map(|path| format!("{port}{path}")).collect();
    let agent = agent(&pki, &app.address.to_string(), &probes);
    let probe = |path: &str| agent.admin(&format!("/probe/{port}{path}"));

    assert_eq!(probe("/status/204").status, 200);
    assert_eq!(probe("/headers?a=b").status, 200);
    let moved = probe("/status/302");
    assert_eq!((moved.status, moved.header("location")), (200, None), "kubelet is not sent elsewhere");
    let failed = probe("/status/500");
    assert_eq!(failed.status, 503);
    assert!(failed.text().contains("500"), "{failed:?}");

    let with = |path: &str, head: &str| -> Answer {
        let request = format!("GET /probe/{port}{path} HTTP/1.1\r\n{head}connection: close\r\n\r\n");
        ask(agent.address("admin"), &request).unwrap()
    };
    assert_eq!(with("/wants/x-probe/yes", "host: a\r\nx-probe: yes\r\n").status, 200, "headers are carried");
    assert_eq!(with("/wants/x-probe/yes", "host: a\r\n").status, 503);
    let dialled = format!("host: {}\r\n", agent.address("admin"));
    assert_eq!(with(&host, &dialled).status, 200, "the app is named, not the agent");

    let asked = app.requests();
    for other in ["/headers", "/headers?a=c", "/status/204/", "/status/204?x", "/", "", "/../status/204"] {
        assert_eq!(probe(other).status, 404, "{other}");
    }
    assert_eq!(agent.admin(&format!("/probe/{}/status/204", port ^ 1)).status, 404);
    assert_eq!(app.requests(), asked, "the app was not troubled");

    app.stop();
    let gone = probe("/status/204");
    assert_eq!(gone.status, 503);
    assert!(gone.text().contains("cannot be reached"), "{gone:?}");
}

#[test]
fn an_app_that_listens_beyond_loopback_is_noticed() {
    let pki = Pki::default();
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let agent = agent(&pki, &format!("127.0.0.1:{port}"), &[]);
    let health = agent.wait_until("notice", |health| health["exposed"] != serde_json::json!([]));
    assert_eq!(health["exposed"], serde_json::json!([format!("0.0.0.0:{port}")]));
    assert_eq!(agent.metrics().one("hotcert_app_exposed", &[]), 1.0);
    let page = get(agent.address("admin"), "/").unwrap().text();
    assert!(page.contains(&format!("0.0.0.0:{port}")), "{page}");
    let said = "the app listens beyond loopback";
    agent.until_logged(said);
    assert_eq!(agent.logged(said), 1);

    drop(open);
    let _inside = TcpListener::bind(("127.0.0.1", port)).unwrap();
    agent.wait_until("all well", |health| health["exposed"] == serde_json::json!([]));
}
