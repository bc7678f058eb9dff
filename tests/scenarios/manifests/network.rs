//! All traffic to a pod goes to its agent: Services, network policies and probes name the ports that the
//! programs listen on, and none of the app's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::objects::{array, matches, object, objects, of_kind, parse, pods, selected, title};
use super::restricted::containers;
use super::{SIDECARS, VERSION, agent, help, injected_pods, variable};
use crate::documents::block::{Marker, with};

#[test]
fn services_lead_to_the_agent_and_not_past_it() {
    let services = objects("demo");
    let services = of_kind(&services, "Service");
    assert_eq!(services.len(), 2);
    let pods = injected_pods();
    for service in services {
        let behind = selected(&pods, service, &service["spec"]["selector"]);
        assert_eq!(behind.len(), SIDECARS.len(), "{}", title(service));
        for pod in behind {
            let open = inbound_ports(pod);
            for port in array(&service["spec"]["ports"]) {
                assert!(open.contains(&resolve(pod, &port["targetPort"])), "{}: {open:?}", title(service));
            }
        }
    }
}

#[test]
fn an_app_listens_where_nobody_but_its_agent_comes() {
    for pod in injected_pods() {
        let app = containers(&pod).find(|container| container["name"] != "hotcert-agent").unwrap();
        let listen = variable(app, "DEMO_LISTEN").unwrap();
        let routes = variable(agent(&pod), "HOTCERT_INBOUND").unwrap();
        assert!(listen.starts_with("127.0.0.1:"), "{listen}");
        assert!(routes.ends_with(&format!("={listen}")), "{routes} leads past {listen}");
        let mounted = |name| array(&app["volumeMounts"]).iter().any(|mount| mount["name"] == name);
        assert!(!mounted("hotcert-identity") && !mounted("hotcert-token"), "{app:#}");
    }
    for account in of_kind(&objects("demo"), "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false, "{}", title(account));
    }
}

#[test]
fn the_webhooks_service_leads_to_where_the_controller_listens() {
    let objects = objects("base");
    let (pods, service) = (pods(&objects), object(&objects, "Service"));
    let controller = containers(&pods[0]).next().unwrap();
    let port = &service["spec"]["ports"][0];
    assert_eq!(resolve(&pods[0], &port["targetPort"]), default_port(controller, "--webhook-listen"));
    for webhook in array(&object(&objects, "MutatingWebhookConfiguration")["webhooks"]) {
        assert_eq!(webhook["clientConfig"]["service"]["port"], port["port"]);
    }
}

#[test]
fn probes_ask_the_admin_port() {
    let mut probed = 0;
    for pod in [pods(&objects("base")), injected_pods()].concat() {
        let ours = containers(&pod).find(|container| container["image"] != format!("hotcert-demo:{VERSION}"));
        let admin = default_port(ours.unwrap(), "--admin");
        for container in containers(&pod) {
            for probe in
                ["startupProbe", "readinessProbe", "livenessProbe"].map(|probe| &container[probe]["httpGet"])
            {
                if probe.is_object() {
                    assert_eq!(resolve(&pod, &probe["port"]), admin, "{}: {probe}", container["name"]);
                    probed += 1;
                }
            }
        }
    }
    assert_eq!(
        probed,
        2 + SIDECARS.len() * 2 * (3 + 2),
        "two of the controller, three of each agent, two of each app"
    );
}

#[test]
fn network_policies_open_the_ports_of_the_programs_and_no_other() {
    let (base, demo) = (objects("base"), objects("demo"));
    let labels = &object(&base, "Namespace")["metadata"]["labels"];
    assert!(matches(&namespace("hotcert-system")[0]["namespaceSelector"], labels));
    for pod in injected_pods() {
        let inbound = inbound_ports(&pod).into_iter().map(|port| (port, json!([{ "podSelector": {} }])));
        let mut expected: Vec<_> = inbound.collect();
        expected.push((default_port(agent(&pod), "--admin"), namespace("monitoring")));
        expected.push((default_port(agent(&pod), "--proof"), namespace("hotcert-system")));
        assert_eq!(open(&demo, &pod), expected);
    }
    let controller = &pods(&base)[0];
    let container = containers(controller).next().unwrap();
    let ports = ["--webhook-listen", "--admin"].map(|flag| (default_port(container, flag), Value::Null));
    assert_eq!(open(&base, controller), ports);
    for (objects, namespace) in [(&base, "hotcert-system"), (&demo, "shop")] {
        let stranger = json!({ "metadata": { "namespace": namespace, "labels": {} } });
        assert_eq!(open(objects, &stranger), [], "a pod of {namespace} that nobody thought of");
    }
}

#[test]
fn documented_policy_of_an_app_opens_the_ports_of_its_agent_and_no_other() {
    let pages = with(Marker::YamlObjects);
    let block =
        pages.iter().find(|block| block.page == "docs/injection.md" && block.heading == "Network policy");
    let policy = parse(&block.expect("an example").text);
    let pod = &injected_pods()[0];
    let labels = policy[0]["spec"]["podSelector"]["matchLabels"].clone();
    let mut of_app = pod.clone();
    of_app["metadata"]["labels"] = labels;
    of_app["metadata"]["namespace"] = policy[0]["metadata"]["namespace"].clone();
    let expected = [
        (8443, json!([{ "podSelector": {} }])),
        (default_port(agent(pod), "--admin"), namespace("monitoring")),
        (default_port(agent(pod), "--proof"), namespace("hotcert-system")),
    ];
    assert_eq!(open(&policy, &of_app), expected);
}

/// Every pod of this namespace.
fn namespace(name: &str) -> Value {
    json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } }])
}

/// Which ports of a pod the policies open, and to whom, in their order. Panics if none closes the others.
fn open(objects: &[Value], pod: &Value) -> Vec<(u64, Value)> {
    let means = |policy: &Value| {
        let chosen = selected(std::slice::from_ref(pod), policy, &policy["spec"]["podSelector"]);
        !chosen.is_empty() && policy["spec"]["policyTypes"] == json!(["Ingress"])
    };
    let policies: Vec<_> =
        of_kind(objects, "NetworkPolicy").into_iter().filter(|policy| means(policy)).collect();
    assert!(!policies.is_empty(), "open to all: {pod:#}");
    let rules = policies.iter().flat_map(|policy| array(&policy["spec"]["ingress"]));
    rules
        .flat_map(|rule| {
            assert!(!array(&rule["ports"]).is_empty(), "every port is open: {rule}");
            array(&rule["ports"]).iter().map(|port| (resolve(pod, &port["port"]), rule["from"].clone()))
        })
        .collect()
}

/// The port that a program listens on unless it is told otherwise.
fn default_port(container: &Value, flag: &str) -> u64 {
    let help = help(container);
    let flag = format!(" {flag} ");
    let of_flag = help.split_once(&flag).unwrap_or_else(|| panic!("no {flag} in {help}")).1;
    // The address has brackets too.
    let value = of_flag.split_once("[default: ").unwrap().1.split("]\n").next().unwrap();
    value.rsplit(':').next().unwrap().parse().unwrap()
}

/// The ports that the agent serves TLS on for the app.
fn inbound_ports(pod: &Value) -> BTreeSet<u64> {
    let routes = variable(agent(pod), "HOTCERT_INBOUND").unwrap().split(',');
    routes
        .map(|route| route.split('=').next().unwrap().rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

/// A port by number, or by the name that a container of the pod gives it.
fn resolve(pod: &Value, port: &Value) -> u64 {
    let mut named = containers(pod).flat_map(|container| array(&container["ports"]));
    port.as_u64().unwrap_or_else(|| {
        let found = named.find(|declared| declared["name"] == *port);
        found.unwrap_or_else(|| panic!("no port {port}"))["containerPort"].as_u64().unwrap()
    })
}
