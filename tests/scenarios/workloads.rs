//! Every kind of workload gets its agent, as a native sidecar and as a plain container: from the command,
//! whose output a real API server takes, and from the webhook, in the answer that an API server would get.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::agent::program;
use kit::client::{Curl, both};
use kit::kube::ApiServer;
use kit::pki::write;
use serde_json::{Value, json};

use crate::manifests::objects::{parse, said};
use crate::webhook::Cluster;

/// The first minor version of Kubernetes that takes a native sidecar.
const NATIVE_SINCE: u32 = 29;
const KINDS: [(&str, &str); 7] = [
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
];
/// Where a server before 1.21 has CronJobs.
const EARLY_CRON_JOB: &str = "batch/v1beta1";

/// A pod that asks, with a probe that only the agent can carry.
fn template(restart: &str) -> Value {
    json!({
        "metadata": {
            "labels": {"app": "app", "hotcert.dev/inject": "enabled"},
            "annotations": {"hotcert.dev/secret": "app-tls", "hotcert.dev/inbound": "http:8443=8080"},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": restart,
            "containers": [{
                "name": "app", "image": "app:1",
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
            }],
        },
    })
}

fn workload(version: &str, kind: &str) -> Value {
    let restart = if matches!(kind, "Job" | "CronJob") { "Never" } else { "Always" };
    let (template, selector) = (template(restart), json!({"matchLabels": {"app": "app"}}));
    let mut object =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "app", "namespace": "shop"}});
    match kind {
        "Pod" => {
            object["metadata"]["labels"] = template["metadata"]["labels"].clone();
            object["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
            object["spec"] = template["spec"].clone();
        }
        "Job" => object["spec"] = json!({"template": template}),
        "CronJob" => {
            object["spec"] =
                json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}});
        }
        "StatefulSet" => {
            object["spec"] = json!({"serviceName": "app", "selector": selector, "template": template})
        }
        _ => object["spec"] = json!({"selector": selector, "template": template}),
    }
    object
}

fn pod_of(object: &Value) -> Value {
    let template = match object["kind"].as_str().unwrap() {
        "Pod" => object,
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    json!({"metadata": template["metadata"], "spec": template["spec"]})
}

/// The agent is where this kind of sidecar is, and carries the app's probe.
#[track_caller]
fn assert_injected(pod: &Value, sidecar: &str) {
    let list = if sidecar == "native" { "initContainers" } else { "containers" };
    let agent = &pod["spec"][list][0];
    assert_eq!(agent["name"], "hotcert-agent", "{pod:#}");
    let restart = if sidecar == "native" { json!("Always") } else { Value::Null };
    assert_eq!(agent["restartPolicy"], restart);
    assert_eq!(agent["startupProbe"]["httpGet"]["path"], "/readyz");
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let app = containers.iter().find(|container| container["name"] == "app").unwrap();
    let get = &app["readinessProbe"]["httpGet"];
    assert_eq!((&get["port"], &get["path"]), (&json!(9640), &json!("/probe/8080/healthz")));
    for (volume, holders) in [("hotcert-identity", 1), ("hotcert-token", 1)] {
        let mounts = |container: &&Value| {
            container["volumeMounts"].as_array().into_iter().flatten().any(|mount| mount["name"] == volume)
        };
        let all = pod["spec"]["initContainers"].as_array().into_iter().flatten().chain(containers);
        assert_eq!(all.filter(mounts).count(), holders, "{volume} is in the agent's container alone");
    }
}

fn minor(server: &ApiServer) -> u32 {
    let version: Value =
        serde_json::from_slice(&server.kubectl(&["get", "--raw", "/version"], "").stdout).unwrap();
    version["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
}

/// The version in which this server has the kind.
fn version_of(server: &ApiServer, version: &'static str, kind: &str) -> &'static str {
    if kind != "CronJob" {
        return version;
    }
    let listed = server.kubectl(&["get", "--raw", &format!("/apis/{version}")], "");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let has = listed["resources"].as_array().unwrap().iter().any(|resource| resource["kind"] == kind);
    if has { version } else { EARLY_CRON_JOB }
}

#[test]
fn the_command_injects_every_kind_and_an_api_server_takes_it() {
    let server = ApiServer::start();
    server.namespace("shop");
    let takes_native = minor(&server) >= NATIVE_SINCE;
    let dry_run = |yaml: &str| server.kubectl(&["apply", "--dry-run=server", "-f", "-"], yaml);
    for (version, kind) in KINDS {
        let plain = workload(version_of(&server, version, kind), kind).to_string();
        for sidecar in ["native", "container"] {
            let mut inject = Command::new(program("hotcert"));
            let yaml = said(inject.args(["inject", "--rbac", "--sidecar", sidecar]), &plain);
            let objects = parse(&yaml);
            assert_injected(&pod_of(&objects[0]), sidecar);
            assert_eq!((&objects[1]["kind"], &objects[2]["kind"]), (&json!("Role"), &json!("RoleBinding")));
            let output = dry_run(&yaml);
            let taken = sidecar == "container" || takes_native;
            assert_eq!(output.status.success(), taken, "{kind} {sidecar}: {}", both(&output));
        }
        let without = plain.replace("\"enabled\"", "\"disabled\"");
        let untouched = said(Command::new(program("hotcert")).arg("inject"), &without);
        assert_eq!(untouched, without, "byte for byte");
        assert!(dry_run(&untouched).status.success());
    }
}

#[test]
fn the_webhook_answers_for_the_pods_of_every_kind() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    for sidecar in ["native", "container"] {
        let controller = cluster.controller(&["--sidecar", sidecar]);
        if sidecar == "native" {
            cluster.configure([&controller, &controller]);
        }
        controller.wait_ready();
        let root = write(&directory.path().join("root.pem"), cluster.bundle());
        for (version, kind) in KINDS {
            let mut pod = pod_of(&workload(version, kind));
            pod["metadata"]["generateName"] = json!("app-");
            if kind == "Job" {
                pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "app", "uid": "u", "controller": true}]);
            }
            let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": format!("uid of {kind}"), "namespace": "shop", "operation": "CREATE", "object": pod,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
            }});
            let body = write(&directory.path().join("review"), review.to_string());
            let curl = Curl::new(&format!("https://{}/mutate/pods", controller.address("webhook")));
            let data = format!("@{}", body.display());
            let fetched = curl.args(["--data-binary", &data, "--cacert", root.to_str().unwrap()]).run();
            let response = fetched.answer.json()["response"].clone();
            assert_eq!((&response["allowed"], &response["uid"]), (&json!(true), &review["request"]["uid"]));
            let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut pod, &patch).unwrap();
            assert_injected(&pod, sidecar);
            let warned = response["warnings"].to_string().contains("Job");
            assert_eq!(warned, kind == "Job" && sidecar == "container", "{response:#}");
        }
    }
}
