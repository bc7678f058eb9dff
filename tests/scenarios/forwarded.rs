//! The app learns where a request comes from, and from no client that is not trusted.

use kit::agent::{Agent, Launch};
use kit::app::App;
use kit::client::{Curl, SERVER};
use kit::pki::{Pki, dns, spiffe};
use kit::scene::Scene;
use kit::volume::Volume;
use serde_json::{Value, json};

/// What a browser might send, or who wants to be taken for it.
const CLAIMS: [&str; 9] = [
    "X-Forwarded-For: 203.0.113.9",
    "X_Forwarded_For: 203.0.113.9",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: shop.example",
    "X-Forwarded-Port: 80",
    "X-Forwarded-Prefix: /shop",
    "X-Real-IP: 203.0.113.9",
    "X.Real.IP: 203.0.113.9",
    "Forwarded: for=203.0.113.9",
];

fn with_claims(curl: Curl) -> Value {
    let headers = CLAIMS.iter().flat_map(|claim| ["-H", claim]);
    curl.args(headers).run().answer.json()
}

/// The fields that tell where a request comes from, without the client's identity.
fn told(seen: &Value) -> Value {
    let headers = seen["headers"].as_array().unwrap().iter();
    let of_origin =
        |name: &str| name != "x-forwarded-client-cert" && name.contains("forwarded") || name.contains("real");
    let told = headers.filter(|header| of_origin(&header[0].as_str().unwrap().to_lowercase()));
    let mut told: Vec<_> = told.cloned().collect();
    told.sort_by_key(Value::to_string);
    Value::Array(told)
}

#[test]
fn claims_of_clients_are_replaced_in_every_version() {
    let scene = Scene::http(&["--trust-forwarded", &spiffe("ingress")]);
    let host = format!("{}:{}", dns(SERVER), scene.inbound().port());
    for version in ["--http1.1", "--http2"] {
        for seen in [
            with_claims(scene.curl("/headers").args([version])),
            scene.curl("/headers").args([version]).run().answer.json(),
        ] {
            let expected = json!([
                ["x-forwarded-for", "127.0.0.1"],
                ["x-forwarded-host", host],
                ["x-forwarded-proto", "https"]
            ]);
            assert_eq!(told(&seen), expected, "{version}");
        }
    }
}

#[test]
fn what_a_trusted_gateway_says_is_kept_and_added_to() {
    let gateway = "storefront";
    let scene = Scene::http(&["--trust-forwarded", &spiffe(gateway)]);
    for version in ["--http1.1", "--http2"] {
        let seen = with_claims(scene.curl("/headers").args([
            version,
            "-H",
            "X-Forwarded-Client-Cert: Hash=browser",
        ]));
        let expected = json!([
            ["forwarded", "for=203.0.113.9"],
            ["x-forwarded-for", "203.0.113.9, 127.0.0.1"],
            ["x-forwarded-host", "shop.example"],
            ["x-forwarded-port", "80"],
            ["x-forwarded-prefix", "/shop"],
            ["x-forwarded-proto", "http"],
            ["x-real-ip", "203.0.113.9"],
        ]);
        assert_eq!(told(&seen), expected, "{version}");
        let headers = seen["headers"].to_string();
        assert!(headers.contains("Hash=browser,By=spiffe://"), "{headers}");
    }
}

/// `storefront` with a route to `payments`.
fn caller(pki: &Pki, to: std::net::SocketAddr) -> (Volume, Agent) {
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let agent =
        Launch::new(&volume.path).outbound("http:", format!("{to}#{}", dns(SERVER))).access_log().ready();
    (volume, agent)
}

#[test]
fn an_app_that_is_trusted_passes_the_browsers_address_through_two_agents() {
    let pki = Pki::default();
    for trusted in [true, false] {
        let app = App::default();
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let launch = Launch::new(&volume.path).inbound("http:", app.address);
        let launch = if trusted { launch.args(["--trust-forwarded", "dns:*.shop.svc"]) } else { launch };
        let payments = launch.ready();
        let (_volume, storefront) = caller(&pki, payments.address("inbound"));
        let url = format!("http://{}/headers", storefront.address("outbound"));
        let seen = Curl::new(&url).args(["-H", "X-Forwarded-For: 203.0.113.9"]).run().answer.json();
        let expected = if trusted { "203.0.113.9, 127.0.0.1" } else { "127.0.0.1" };
        assert_eq!(told(&seen)[0], json!(["x-forwarded-for", expected]), "{seen}");
    }
}

#[test]
fn a_trace_passes_two_agents_unchanged_and_is_in_both_access_logs() {
    let scene = Scene::http_by(Launch::access_log);
    let (_volume, storefront) = caller(&scene.pki, scene.inbound());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let states = ["vendor=t61rcWkgMzE,other@x=00f067aa0ba902b7", "more=1"];
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut headers = vec![format!("traceparent: {parent}")];
        headers.extend(states.map(|state| format!("tracestate: {state}")));
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let url = format!("http://{}/headers", storefront.address("outbound"));
        let seen = Curl::new(&url).args([version]).args(headers).run().answer.json();
        let of = |name: &str| {
            let headers = seen["headers"].as_array().unwrap().iter().filter(|header| header[0] == name);
            headers.map(|header| header[1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (of("traceparent"), of("tracestate")),
            (vec![parent.clone()], states.map(str::to_owned).into())
        );
    }
    for agent in [&scene.agent, &storefront] {
        agent.access("trace_id", trace);
    }
}
