//! Metrics in both formats are what the tools of Prometheus take, without complaint.

use std::io::Write as _;
use std::process::{Command, Stdio};

use kit::agent::{Agent, Launch};
use kit::client::SERVER;
use kit::installed::{promtool, python};
use kit::machine::Machine;
use kit::pki::{Pki, dns, issue, request};
use kit::scene::Scene;
use kit::{until, volume};
use serde_json::{Value, json};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
/// Of Prometheus itself.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// What a program prints when it reads this; it must succeed and complain of nothing.
fn accepted_by(mut program: Command, text: &str) -> String {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "{errors}{said}\n{text}");
    said.into_owned()
}

/// The families by their types, as a parser of Prometheus reads them.
fn families(agent: &Agent, accept: &str, content_type: &str, format: &str) -> Value {
    let answer = agent.exposition(accept);
    assert!(answer.header("content-type").is_some_and(|is| is.starts_with(content_type)), "{}", answer.head);
    let text = answer.text();
    if format == "text" {
        let mut check = promtool();
        check.args(["check", "metrics"]);
        assert_eq!(accepted_by(check, &text), "");
    }
    let mut parser = python("exposition.py");
    parser.arg(format);
    serde_json::from_str(&accepted_by(parser, &text)).unwrap()
}

/// In both formats, with these families among them.
fn assert_clean(agent: &Agent, prefix: &str, expected: &[(&str, &str)]) {
    let count = |families: &Value| families.as_object().map_or(0, serde_json::Map::len);
    // Families come with their first sample, which may be between the two.
    let (by_openmetrics, by_text) = until("the same families in both formats", || {
        let by_openmetrics = families(agent, ACCEPT, OPENMETRICS, "openmetrics");
        let by_text = families(agent, "text/plain", "text/plain; version=0.0.4", "text");
        (count(&by_openmetrics) == count(&by_text)).then_some((by_openmetrics, by_text))
    });
    for (name, kind) in expected {
        let name = format!("{prefix}_{name}");
        assert_eq!(by_openmetrics[&name], *kind, "{name} of {by_openmetrics:#}");
        let (of_text, kind) = match *kind {
            "info" => (format!("{name}_info"), "gauge"),
            kind => (name, kind),
        };
        assert_eq!(by_text[&of_text], kind, "{of_text} of {by_text:#}");
    }
}

#[test]
fn metrics_of_an_agent_are_clean_in_both_formats() {
    let scene = Scene::http(&["--allow", "dns:*.shop.svc", "--outbound", "127.0.0.1:0=payments.shop.svc:1"]);
    scene.curl("/headers").run();
    scene.curl("/status/503").run();
    scene.rotate_and_wait();
    assert_clean(
        &scene.agent,
        "hotcert",
        &[
            ("build", "info"),
            ("handshakes", "counter"),
            ("ready", "gauge"),
            ("request_duration_seconds", "histogram"),
            ("swap_to_served_seconds", "histogram"),
        ],
    );
    // A person, and whatever does not say.
    let answer = scene.agent.admin("/metrics");
    assert!(answer.header("content-type").is_some_and(|is| is.starts_with("text/plain; version=0.0.4")));
}

#[test]
fn metrics_of_a_controller_are_clean_in_both_formats() {
    let machine = Machine::with(&["payments"]);
    let controller = machine.controller(1, &[]);
    until("it leads", || (controller.admin("/readyz").status == 200).then_some(()));
    let expected = [
        ("leading", "gauge"),
        ("log_lines_dropped", "counter"),
        ("published_to_served_seconds", "histogram"),
    ];
    assert_clean(&controller, "hotcert_controller", &expected);
}

#[test]
fn an_agent_that_checks_itself_counts_no_client_and_no_failure() {
    let pki = Pki::default();
    let mut server_only = request(SERVER);
    server_only.usage = hotcert::api::leaf_request::Usage::ServerOnly;
    let leaf = issue(&pki.root, &server_only);
    let volume: volume::Volume = pki.volume(SERVER);
    volume.publish(&leaf, pki.roots());
    let echo = kit::echo::Echo::default();
    let agent = Launch::new(&volume.path).inbound("", echo.address).ready();
    agent.wait_until("proof", |health| health["served"]["proof"]["outcome"] == "served");
    assert_eq!(agent.health()["served"]["roles"], json!(["server"]));
    let count = |result: &str| {
        agent.metrics().sum("hotcert_handshakes_total", &[("side", "inbound"), ("result", result)])
    };
    until("the check is counted", || (count("self_check") >= 1.0).then_some(()));
    let all = agent.metrics().sum("hotcert_handshakes_total", &[("side", "inbound")]);
    assert_eq!(all, count("self_check"), "of {}", dns(SERVER));
    assert_eq!(agent.logged("client refused"), 0);
}
