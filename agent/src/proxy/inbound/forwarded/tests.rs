#![allow(clippy::unwrap_used)]

use hyper::Request;

use super::*;

fn forwarded(is_trusted: bool) -> Forwarded {
    Forwarded {
        client_cert: Some(HeaderValue::from_static("Hash=own")),
        address: Some(HeaderValue::from_static("192.0.2.7")),
        is_trusted,
    }
}

/// What becomes of these fields, sorted.
fn written(is_trusted: bool, uri: &str, fields: &[(&'static str, &'static str)]) -> Vec<String> {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    forwarded(is_trusted).write(&mut head);
    let mut fields: Vec<_> =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    fields.sort_unstable();
    fields
}

const OWN: [&str; 4] = [
    "x-forwarded-client-cert: Hash=own",
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-host: a.test:8443",
    "x-forwarded-proto: https",
];

#[test]
fn claims_of_a_client_are_replaced() {
    for name in CLAIMS {
        assert_eq!(
            written(false, "https://a.test:8443/", &[(name, "forged"), (name, "again")]),
            OWN,
            "{name}"
        );
    }
    // HTTP/1.1 names the host in Host.
    let mut expected: Vec<_> = OWN.map(str::to_owned).into();
    expected.insert(0, "host: a.test:8443".into());
    assert_eq!(written(false, "/", &[("host", "a.test:8443"), ("x-forwarded-host", "forged")]), expected);
    // A request of HTTP/1.0 may name none.
    assert_eq!(written(false, "/", &[("x-forwarded-host", "forged")]), [OWN[0], OWN[1], OWN[3]]);
}

#[test]
fn claims_of_a_trusted_client_are_kept_and_appended_to() {
    let told = written(
        true,
        "https://a.test/",
        &[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "203.0.113.5, 10.0.0.1"),
            ("x-forwarded-client-cert", "Hash=browser"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=198.51.100.1"),
            ("x-real-ip", "198.51.100.1"),
            // Those are of its own client.
            ("x_forwarded_for", "forged"),
            ("x.real.ip", "forged"),
        ],
    );
    assert_eq!(
        told,
        [
            "forwarded: for=198.51.100.1",
            "x-forwarded-client-cert: Hash=browser,Hash=own",
            "x-forwarded-for: 198.51.100.1, 203.0.113.5, 10.0.0.1, 192.0.2.7",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: http",
            "x-real-ip: 198.51.100.1",
        ]
    );
    assert_eq!(written(true, "https://a.test:8443/", &[]), OWN);
    assert_eq!(written(true, "https://a.test:8443/", &[("x-forwarded-for", "")]), OWN);
}

#[test]
fn every_spelling_of_a_claim_is_removed_and_other_fields_stay() {
    let mut headers = HeaderMap::new();
    for name in [
        "x-forwarded-client-cert",
        "x_forwarded_client_cert",
        "x-forwarded_client-cert",
        "x.forwarded.client.cert",
        "x!forwarded~client*cert",
        "x_forwarded_for",
        "x-forwarded.proto",
        "x_real_ip",
        "forwarded",
        "x-forwarded-client-certs",
        "x-forwarded-clientxcert",
        "x-forwarded-user",
        "x-request-id",
        "forwarded-x",
        "from",
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
    }
    remove_claims(&mut headers);
    let mut kept: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    kept.sort_unstable();
    let others =
        ["forwarded-x", "from", "x-forwarded-client-certs", "x-forwarded-clientxcert", "x-forwarded-user"];
    assert_eq!(kept, [&others[..], &["x-request-id"]].concat());
    let listed = |names| is_named_in(&HeaderValue::from_static(names));
    assert!(listed("a, X.Forwarded.Client.Cert") && listed("X_forwarded-For") && !listed("a,b"));
}

#[test]
fn nobody_is_trusted_without_a_certificate_that_has_the_name() {
    let patterns = |list: &[&str]| TrustedClients(list.iter().map(|text| text.parse().unwrap()).collect());
    assert!(!patterns(&["spiffe://shop/**"]).include(None));
    assert!(!TrustedClients::default().include(None));
}
