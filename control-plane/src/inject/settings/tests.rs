#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::inject::pod::{Context, Injection, inject};
use crate::inject::problem::{InvalidPod, Problem};

const CONTEXT: Context<'static> = Context {
    namespace: "shop",
    namespace_label: Some("enabled"),
    agent_image: "agent:1",
    sidecar: SidecarKind::Native,
    is_job: false,
};

fn inject_with(annotations: &[(&str, &str)]) -> Result<Injection, InvalidPod> {
    let mut all = json!({ "hotcert.dev/secret": "payments-tls" });
    for (name, value) in annotations {
        all[format!("hotcert.dev/{name}")] = json!(value);
    }
    inject(&json!({ "metadata": { "annotations": all }, "spec": { "containers": [] } }), &CONTEXT)
}

#[test]
fn an_invalid_value_is_rejected_with_its_annotation_and_the_fix() {
    let long = "x".repeat(254);
    for (name, value, fix) in [
        ("secret", "", "give a value"),
        ("secret", "shop/payments-tls", "give only its name"),
        ("secret", "Payments", "lower-case"),
        ("secret", "a..b", "lower-case"),
        ("secret", "-a", "lower-case"),
        ("secret", &long, "at most 253"),
        ("inbound", "", "give a value"),
        ("inbound", "8443", "PORT=APPPORT"),
        ("inbound", "8443=", "PORT=APPPORT"),
        ("inbound", "8443=app:8080", "PORT=APPPORT"),
        (
            "inbound",
            "https:8443=8080",
            "\"https:8443=8080\": unknown prefix https:; the prefixes are http:, h2c: and",
        ),
        ("inbound", "grpc:8443=8080", "for gRPC write h2c:"),
        ("inbound", "alpn=h2", "write it like alpn=h2:"),
        ("inbound", "alpn=:5432=5433", "write it like alpn=h2:"),
        ("inbound", "99999=8080", "PORT=APPPORT"),
        ("inbound", "0=8080", "1 to 65535"),
        ("inbound", "8443=8080,", "remove the comma"),
        ("inbound", "8443=unix:/run/app.sock", "listen on a port of 127.0.0.1"),
        ("outbound", "h2c:9001=payments:8443", "\"h2c:9001=payments:8443\": h2c: is for hotcert.dev/inbound"),
        ("outbound", "grpc:9001=payments:8443", "for gRPC write http:"),
        ("outbound", "9001=payments", "PORT=HOST:PORT[#SAN]"),
        ("outbound", "9001=8443", "PORT=HOST:PORT[#SAN]"),
        ("outbound", "0.0.0.0:9001=payments:8443", "loopback"),
        ("outbound", "9001=payments:8443#not a name", "PORT=HOST:PORT[#SAN]"),
        ("http-proxy", "x", "such as 9000"),
        ("http-proxy", "0.0.0.0:9000", "give only the port"),
        ("http-proxy", "0", "1 to 65535"),
        ("allow", "payments", "spiffe://DOMAIN/PATH"),
        ("allow", " ", "remove it"),
        ("allow", "spiffe://d", "for all of its workloads write spiffe://d/**"),
        ("allow", "spiffe://d/a/", "path segment"),
        ("allow", "8443=dns:a", "\"8443\" is the port of no route"),
        ("inbound", "http:8443=8080#proxy-v2", "#proxy-v2 is for routes that carry bytes"),
        ("inbound", "8443=8080#proxy", "#proxy is not an option"),
        ("outbound", "9001=a:1#sni:10.0.0.1", "after sni: is not a DNS name"),
        ("outbound", "9001=a:1#spiffe://d/*", "is not a SPIFFE ID: it has a path"),
        ("expect-name", "dns:a.*", "dns:NAME"),
        ("client-auth", "optional", "require or none"),
        ("api", "yes", "enabled, disabled"),
        ("sidecar", "auto", "native, container"),
        ("cpu-request", "lots", "100m"),
        ("memory-request", "64MB", "64Mi"),
        ("cpu-limit", "-1", "100m"),
        ("memory-limit", "0", "above 0"),
        ("log", "trace", "error, warn, info, debug"),
        ("trust-forwarded", "ingress", "spiffe://DOMAIN/PATH"),
        ("access-log", "/var/log/access", "off, stdout"),
    ] {
        let Err(InvalidPod(problems)) = inject_with(&[(name, value)]) else {
            panic!("{name}: {value:?} was accepted");
        };
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].location, format!("annotation hotcert.dev/{name}"), "{value:?}");
        assert!(problems[0].message.contains(fix), "{name}: {value:?}: {}", problems[0]);
    }
}

#[test]
fn a_value_that_yaml_parsed_as_a_number_is_rejected_with_a_hint_to_quote_it() {
    let pod = json!({
        "metadata": { "annotations": { "hotcert.dev/secret": "a", "hotcert.dev/http-proxy": 9000 } },
        "spec": { "containers": [] },
    });
    let Err(InvalidPod(problems)) = inject(&pod, &CONTEXT) else { panic!("accepted") };
    assert!(problems[0].message.contains("quotes"), "{problems:?}");
}

/// Megabytes are rejected before they are parsed, and not quoted in full.
#[test]
fn oversized_values_are_rejected_in_a_short_message() {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    for (name, value, fix) in [
        ("inbound", ",".repeat(3 << 20), "3145728 bytes are more than 4096"),
        ("inbound", many("1=1", 750_000), "2999999 bytes are more than 4096"),
        ("secret", "a".repeat(4097), "4097 bytes are more than 4096"),
        ("inbound", ",".repeat(4096), "4097 items are more than 64"),
        ("outbound", many("9001=a:1", 65), "65 items are more than 64"),
        ("allow", many("dns:a", 65), "65 items are more than 64"),
        ("log", "\u{1}".repeat(4096), "is not one of error, warn, info, debug"),
        (&"x".repeat(3 << 20), "1".into(), "unknown annotation: remove it"),
    ] {
        let Err(invalid) = inject_with(&[(name, &value)]) else { panic!("{name} was accepted") };
        assert_eq!(invalid.0.len(), 1);
        assert!(invalid.0[0].message.contains(fix), "{invalid}");
        assert!(invalid.to_string().len() < 1024, "{invalid}");
    }
    assert!(inject_with(&[("allow", &many("dns:a", 64))]).is_ok());
    let wrong: String = (0..64).map(|port| format!("{port}=x,")).collect();
    let Err(InvalidPod(problems)) = inject_with(&[("inbound", wrong.trim_end_matches(','))]) else {
        panic!("accepted")
    };
    assert_eq!(problems.len(), 17);
    assert_eq!(problems[16].to_string(), "and 48 more: fix these first");
}

#[test]
fn a_missing_secret_is_reported() {
    let pod = json!({ "metadata": {}, "spec": { "containers": [] } });
    let Err(InvalidPod(problems)) = inject(&pod, &CONTEXT) else { panic!("accepted") };
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].location, "annotation hotcert.dev/secret");
    assert!(problems[0].message.contains("missing"));
}

#[test]
fn unknown_annotations_are_rejected_with_the_nearest_name_if_one_is_near() {
    for (name, meant) in [
        ("inbuond", "did you mean hotcert.dev/inbound?"),
        ("memory-limits", "did you mean hotcert.dev/memory-limit?"),
        ("inject", "labels"),
        ("team", "unknown annotation: remove it"),
        ("canary-weight", "unknown annotation: remove it"),
    ] {
        let Err(InvalidPod(problems)) = inject_with(&[(name, "x")]) else { panic!("{name} was accepted") };
        let Problem { location, message } = &problems[0];
        assert_eq!(location, &format!("annotation hotcert.dev/{name}"));
        assert!(message.contains(meant), "{message}");
    }
}

#[test]
fn names_of_clients_without_client_certificates_are_rejected() {
    for name in ["allow", "trust-forwarded"] {
        let annotations = [("inbound", "8443=8080"), (name, "dns:a"), ("client-auth", "none")];
        let Err(InvalidPod(problems)) = inject_with(&annotations) else { panic!("{name} was accepted") };
        assert_eq!(problems[0].location, format!("annotation hotcert.dev/{name}"));
    }
}

#[test]
fn a_limit_below_its_request_is_rejected_even_when_one_is_the_default() {
    for annotations in [
        &[("memory-limit", "16Mi")] as &[_],
        &[("memory-request", "1Gi")],
        &[("memory-request", "2Gi"), ("memory-limit", "1Gi")],
    ] {
        let Err(InvalidPod(problems)) = inject_with(annotations) else {
            panic!("{annotations:?} was accepted")
        };
        assert_eq!(problems[0].location, "annotation hotcert.dev/memory-limit");
    }
    assert!(matches!(inject_with(&[("cpu-limit", "5m")]), Err(InvalidPod(_))));
    assert!(matches!(inject_with(&[("cpu-request", "5")]), Ok(Injection::Injected { .. })));
}

#[test]
fn an_allow_list_may_be_for_one_route() {
    let allowed = |inbound: &str, allow: &str| {
        let injected = inject_with(&[("inbound", inbound), ("allow", allow)]);
        let Ok(Injection::Injected { pod, .. }) = injected else { panic!("{allow}: {injected:?}") };
        let agent = pod["spec"]["initContainers"][0]["env"].as_array().unwrap().clone();
        agent.iter().find(|variable| variable["name"] == "HOTCERT_ALLOW").unwrap()["value"].clone()
    };
    let routes = "8443=8080,http:127.0.0.2:8444=8081";
    for (allow, flag) in [
        ("dns:a, dns:b", "dns:a,dns:b"),
        ("dns:a+dns:b", "dns:a,dns:b"),
        ("8443=dns:a+spiffe://D/b, dns:c", "[::]:8443=dns:a+spiffe://d/b,dns:c"),
        ("8444=dns:a", "127.0.0.2:8444=dns:a"),
        ("127.0.0.2:8444=dns:a", "127.0.0.2:8444=dns:a"),
    ] {
        assert_eq!(allowed(routes, allow), flag);
    }
    for (inbound, allow, reason) in [
        (routes, "9443=dns:a", "\"9443\" is the port of no route of hotcert.dev/inbound"),
        (routes, "0.0.0.0:8444=dns:a", "\"0.0.0.0:8444\" is the port of no route"),
        (routes, "8443=", "neither spiffe:// nor dns:"),
        ("8443=8080", "8443=dns:a, dns:b", "every route of hotcert.dev/inbound has a list of its own"),
        ("127.0.0.2:8443=8080, 127.0.0.3:8443=8080", "8443=dns:a", "is the port of several routes"),
    ] {
        let Err(InvalidPod(problems)) = inject_with(&[("inbound", inbound), ("allow", allow)]) else {
            panic!("{allow} was accepted")
        };
        assert!(problems.len() == 1 && problems[0].to_string().contains(reason), "{allow}: {problems:?}");
    }
}

#[test]
fn ports_alone_become_addresses_and_full_forms_stay() {
    for (text, long) in [
        ("8443=8080", "[::]:8443=127.0.0.1:8080"),
        ("http:8443=8080", "http:[::]:8443=127.0.0.1:8080"),
        ("h2c:8443=8080", "h2c:[::]:8443=127.0.0.1:8080"),
        ("alpn=postgresql:5432=5433", "alpn=postgresql:[::]:5432=127.0.0.1:5433"),
        ("alpn=h2+http/1.1:[::]:8443=8080", "alpn=h2+http/1.1:[::]:8443=127.0.0.1:8080"),
        ("[::]:8443=8080", "[::]:8443=127.0.0.1:8080"),
        ("8443=[::1]:8080", "[::]:8443=[::1]:8080"),
        ("0.0.0.0:8443=8080", "0.0.0.0:8443=127.0.0.1:8080"),
    ] {
        assert_eq!(parse_inbound(text).unwrap().to_string(), long);
    }
    for (text, long) in [
        ("5432=5433#proxy-v2", "[::]:5432=127.0.0.1:5433#proxy-v2"),
        ("alpn=postgresql:5432=[::1]:5433#proxy-v2", "alpn=postgresql:[::]:5432=[::1]:5433#proxy-v2"),
    ] {
        let route = parse_inbound(text).unwrap();
        assert_eq!(route.to_string(), long);
        assert_eq!(route.short(), text);
    }
    for (text, long) in [
        ("9001=a:1#dns:b+spiffe://d/c", "127.0.0.1:9001=a:1#b+spiffe://d/c"),
        ("9001=a:1#sni:B", "127.0.0.1:9001=a:1#sni:b+a"),
        ("http:9001=a:1#sni:b+dns:c", "http:127.0.0.1:9001=a:1#sni:b+c"),
    ] {
        assert_eq!(parse_outbound(text).unwrap().to_string(), long);
    }
    assert_eq!(parse_outbound("9001=a:1").unwrap().to_string(), "127.0.0.1:9001=a:1#a");
    assert_eq!(parse_outbound("alpn=h2:9001=a:1").unwrap().to_string(), "alpn=h2:127.0.0.1:9001=a:1#a");
    assert_eq!(parse_http_proxy("127.0.0.1:9000"), parse_http_proxy("9000"));
}
