//! What injection writes is what the agent reads: the control plane has types of its own for it, and no code of the
//! agent.

use std::fmt::Display;
use std::str::FromStr;

use hotcert::api::agent_ports;
use hotcert::inject::pod::{Context, Injection, inject};
use hotcert::inject::problem::InvalidPod;
use hotcert::inject::sidecar_kind::SidecarKind;
use hotcert_agent::admin::app_probe::Probe;
use hotcert_agent::config::ports;
use hotcert_agent::proxy::authorization::AllowLists;
use hotcert_agent::proxy::inbound::InboundRoute;
use hotcert_agent::proxy::outbound::OutboundRoute;
use serde_json::{Value, json};

/// The pod with the annotation, injected; its app listens on port 8080 and has a probe of `path`.
fn injected(annotation: &str, value: &str, path: &str) -> Result<Value, InvalidPod> {
    injected_with(&[(annotation, value)], path)
}

fn injected_with(given: &[(&str, &str)], path: &str) -> Result<Value, InvalidPod> {
    let mut annotations = json!({ "hotcert.dev/secret": "app-tls", "hotcert.dev/inbound": "8443=8080" });
    for (annotation, value) in given {
        annotations[format!("hotcert.dev/{annotation}")] = json!(value);
    }
    let probe = json!({ "httpGet": { "port": 8080, "path": path } });
    let pod = json!({
        "metadata": { "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "readinessProbe": probe }] },
    });
    let context = Context {
        namespace: "shop",
        namespace_label: Some("enabled"),
        agent_image: "agent:1",
        sidecar: SidecarKind::Native,
        is_job: false,
    };
    match inject(&pod, &context)? {
        Injection::Injected { pod, .. } => Ok(pod),
        Injection::NotRequested => panic!("not injected"),
    }
}

/// The value of a variable of the agent.
fn variable(pod: &Value, name: &str) -> String {
    let variables = pod["spec"]["initContainers"][0]["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name).unwrap();
    found["value"].as_str().unwrap().to_owned()
}

/// What was rendered, as the agent parses it and shows it again.
fn read_by_the_agent<T: FromStr<Err: Display> + Display>(list: &str) -> String {
    let parsed = list.split(',').map(|item| match item.parse::<T>() {
        Ok(value) => value.to_string(),
        Err(error) => panic!("{error}"),
    });
    parsed.collect::<Vec<_>>().join(",")
}

#[test]
fn the_agent_reads_the_routes_that_injection_writes() {
    for value in [
        "8443=8080",
        "http:8443=8080, 8444=8081",
        "[::]:8443=8080",
        "10.0.0.1:8443=[::1]:8080",
        "http:0.0.0.0:8443=10.0.0.9:80",
        "h2c:8443=8080",
        "h2c:[::]:8443=[::1]:8080, http:8444=8081",
        "alpn=postgresql:5432=5433",
        "alpn=h2+http/1.1:[::]:8443=8080, 8444=8081",
        "alpn=a=b:8443=8080",
        "5432=5433#proxy-v2, alpn=postgresql:5434=[::1]:5433#proxy-v2, http:8443=8080",
    ] {
        let rendered = variable(&injected("inbound", value, "/").unwrap(), "HOTCERT_INBOUND");
        assert_eq!(read_by_the_agent::<InboundRoute>(&rendered), rendered, "{value}");
    }
    for value in [
        "9001=payments.shop.svc:443",
        "http:9001=Payments.Shop.svc:443",
        "9001=10.0.0.1:443, http:9002=[fd00::1]:443",
        "[::1]:9001=[fd00::1]:443#payments.shop.svc",
        "127.0.0.2:9001=payments:443#spiffe://shop/ns/shop/sa/payments",
        "9001=payments:443#10.0.0.1",
        "9001=payments:443#dns:Payments+spiffe://Shop/a+ip:10.0.0.1",
        "http:9001=payments:443#sni:Other.test, 9002=10.0.0.1:443#sni:a+dns:b",
        "alpn=postgresql:9001=payments:5432",
        "alpn=h2+http/1.1:[::1]:9001=[fd00::1]:443#payments.shop.svc, http:9002=orders:443",
    ] {
        let rendered = variable(&injected("outbound", value, "/").unwrap(), "HOTCERT_OUTBOUND");
        assert_eq!(read_by_the_agent::<OutboundRoute>(&rendered), rendered, "{value}");
    }
}

#[test]
fn the_agent_reads_the_lists_that_injection_writes() {
    for (allow, lists) in [
        ("dns:a, spiffe://D/b", "dns:a,spiffe://d/b"),
        ("8443=dns:a+spiffe://d/b, dns:c", "dns:c,[::]:8443=dns:a+spiffe://d/b"),
        ("8443=dns:a, [::1]:8444=dns:b, 8443=dns:c", "[::]:8443=dns:a+dns:c,[::1]:8444=dns:b"),
    ] {
        let inbound = "8443=8080, http:[::1]:8444=8081, 8445=8082";
        let annotations = [("inbound", inbound), ("allow", allow)];
        let rendered = variable(&injected_with(&annotations, "/").unwrap(), "HOTCERT_ALLOW");
        let read = AllowLists::new(rendered.split(',').map(|item| item.parse().unwrap()).collect());
        assert_eq!(read.to_string(), lists, "{allow}");
    }
}

/// In the long form nothing is added to what was written, so both judge the same text.
#[test]
fn injection_refuses_the_routes_that_the_agent_refuses_with_the_same_reason() {
    let refused = |annotation: &str, value: &str, reason: &dyn Display| {
        let Err(InvalidPod(problems)) = injected(annotation, value, "/") else {
            panic!("{annotation}: {value} was accepted")
        };
        // The agent names its flag, injection its annotation.
        let reason = reason.to_string().replace("--inbound", "hotcert.dev/inbound");
        let message = &problems[0].message;
        assert!(message.starts_with(&reason), "{message}\nis not\n{reason}");
    };
    for value in [
        "0.0.0.0:8443",
        "0.0.0.0=127.0.0.1:8080",
        "app:8443=127.0.0.1:8080",
        "0.0.0.0:99999=127.0.0.1:8080",
        "https:0.0.0.0:8443=127.0.0.1:8080",
        "0.0.0.0:8443=app:8080",
        "0.0.0.0:8443=127.0.0.1",
        "0.0.0.0:8443=unix:app",
        "a b=c",
        "grpc:0.0.0.0:8443=127.0.0.1:8080",
        "tcp:0.0.0.0:8443=127.0.0.1:8080",
        "h2c:0.0.0.0:8443",
        "alpn=h2",
        "alpn=:0.0.0.0:8443=127.0.0.1:8080",
        "alpn=h2+:0.0.0.0:8443=127.0.0.1:8080",
        "alpn=a b:0.0.0.0:8443=127.0.0.1:8080",
        "alpn=h2+h2:0.0.0.0:8443=127.0.0.1:8080",
        "0.0.0.0:8443=127.0.0.1:8080#proxy",
        "0.0.0.0:8443=127.0.0.1:8080#proxy-v2#proxy-v2",
        "http:0.0.0.0:8443=127.0.0.1:8080#proxy-v2",
        "h2c:0.0.0.0:8443=127.0.0.1:8080#proxy-v2",
    ] {
        refused("inbound", value, &value.parse::<InboundRoute>().unwrap_err());
    }
    for value in [
        "127.0.0.1:9001",
        "0.0.0.0:9001=payments:443",
        "127.0.0.1:9001=payments",
        "127.0.0.1:9001=payments:99999",
        "127.0.0.1:9001=:443",
        "127.0.0.1:9001=:443#payments",
        "127.0.0.1:9001=payments:443#a b",
        "127.0.0.1:9001=payments:443#spiffe://shop/*",
        "127.0.0.1:9001=payments:443#spiffe://shop",
        "127.0.0.1:9001=payments:443#",
        "127.0.0.1:9001=payments:443#a+",
        "127.0.0.1:9001=payments:443#ip:a",
        "127.0.0.1:9001=payments:443#sni:10.0.0.1",
        "127.0.0.1:9001=payments:443#sni:a+sni:b",
        "h2c:127.0.0.1:9001=payments:443",
        "grpc:127.0.0.1:9001=payments:443",
        "alpn=h2+h2:127.0.0.1:9001=payments:443",
    ] {
        refused("outbound", value, &value.parse::<OutboundRoute>().unwrap_err());
    }
}

#[test]
fn the_agent_relays_the_probes_that_injection_gives_it_and_no_others() {
    for path in ["", "/", "healthz", "/healthz?full=1,2", "/a%2Cb", "/a%20b", "/a b", "/a#b", "/\u{1}", "/é"]
    {
        let pod = injected("inbound", "8443=8080", path).unwrap();
        let get = &pod["spec"]["containers"][0]["readinessProbe"]["httpGet"];
        let slash = if path.starts_with('/') { "" } else { "/" };
        let Ok(probe) = format!("8080{slash}{path}").parse::<Probe>() else {
            assert_eq!(get, &json!({ "port": 8080, "path": path }));
            continue;
        };
        assert_eq!(variable(&pod, "HOTCERT_PROBE").parse(), Ok(probe.clone()), "{path}");
        assert_eq!(get["port"], ports::ADMIN);
        assert!(probe.is(get["path"].as_str().unwrap()), "{get}");
    }
}

#[test]
fn the_control_plane_knows_the_ports_of_the_agent() {
    assert_eq!((agent_ports::ADMIN, agent_ports::PROOF), (ports::ADMIN, ports::PROOF));
}
