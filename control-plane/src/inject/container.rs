//! The agent's container, and the volumes that only this container mounts.

use hotcert_tls::ClientAuth;
use serde_json::{Value, json};

use super::pod_spec::PROBES;
use super::settings::PodSettings;
use super::sidecar_kind::SidecarKind;
use crate::api::agent_ports::{ADMIN, PROOF};

pub const AGENT_CONTAINER: &str = "hotcert-agent";
pub const VOLUMES: [&str; 2] = [IDENTITY_VOLUME, TOKEN_VOLUME];
const IDENTITY_VOLUME: &str = "hotcert-identity";
pub const TOKEN_VOLUME: &str = "hotcert-token";
const IDENTITY_DIRECTORY: &str = "/run/hotcert/identity";
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The API server renews bound tokens of exactly this age without a warning in its audit log.
const TOKEN_SECONDS: u32 = 3607;

/// Kubernetes' default for `terminationGracePeriodSeconds`, for which the agent's own defaults are made.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Kept free between the agent's end and SIGKILL, at most.
const GRACE_MARGIN_MILLIS: i64 = 5000;
/// The agent's default for `--shutdown-delay`.
const DEFAULT_DELAY_MILLIS: i64 = 5000;

pub fn agent(spec: &Value, settings: &PodSettings, image: &str, probe_targets: &[String]) -> Value {
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": ADMIN } });
    let mut startup = probe("/readyz");
    startup["periodSeconds"] = json!(1);
    startup["failureThreshold"] = json!(600);
    let mut readiness = probe("/readyz");
    readiness["periodSeconds"] = json!(2);
    let mut liveness = probe("/livez");
    liveness["periodSeconds"] = json!(10);
    let mut agent = json!({
        "name": AGENT_CONTAINER,
        "image": image,
        "args": ["run"],
        "env": environment(spec, settings, probe_targets),
        "ports": ports(settings),
        "startupProbe": startup,
        "readinessProbe": readiness,
        "livenessProbe": liveness,
        "resources": settings.resources.to_json(),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": mounts(settings),
    });
    if settings.sidecar == SidecarKind::Native {
        agent["restartPolicy"] = json!("Always");
    }
    agent
}

/// Keeps what admission has added to the agent's container since an earlier injection: defaults of the API
/// server, limits of LimitRanger, the policy of AlwaysPullImages. They validate the complete pod again but do
/// not add it again.
pub fn keep_admission_defaults(agent: &mut Value, mut previous: Value) {
    if let Some(previous) = previous.as_object_mut() {
        // Set by the injection, and only on a native sidecar.
        previous.remove("restartPolicy");
        // A probe of another kind is not a default.
        previous.retain(|key, value| !PROBES.contains(&key.as_str()) || value["httpGet"].is_object());
    }
    for field in PROBES.into_iter().chain(["resources"]) {
        fill_missing(&mut agent[field], previous[field].take(), true);
    }
    fill_missing(agent, previous, false);
}

/// Adds the fields of `theirs` that `ours` does not have.
fn fill_missing(ours: &mut Value, theirs: Value, deep: bool) {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else {
        return;
    };
    for (key, value) in theirs {
        match ours.get_mut(&key) {
            Some(known) if deep => fill_missing(known, value, deep),
            Some(_) => {}
            None => drop(ours.insert(key, value)),
        }
    }
}

/// With mode 0444 the agent can read the Secret without an `fsGroup`; with `optional` the pod starts unready
/// while the Secret is missing, instead of not at all.
pub fn volumes(settings: &PodSettings) -> Vec<Value> {
    let identity = json!({
        "name": IDENTITY_VOLUME,
        "secret": { "secretName": settings.secret, "defaultMode": 0o444, "optional": true },
    });
    let token = json!({
        "name": TOKEN_VOLUME,
        "projected": { "defaultMode": 0o444, "sources": [
            { "serviceAccountToken": { "path": "token", "expirationSeconds": TOKEN_SECONDS } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [
                { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } },
            ] } },
        ] },
    });
    if settings.api { vec![identity, token] } else { vec![identity] }
}

fn mounts(settings: &PodSettings) -> Vec<Value> {
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let mut mounts = vec![mount(IDENTITY_VOLUME, IDENTITY_DIRECTORY)];
    if settings.api {
        mounts.push(mount(TOKEN_VOLUME, TOKEN_DIRECTORY));
    }
    mounts
}

fn ports(settings: &PodSettings) -> Vec<Value> {
    let port =
        |name: String, number: u16| json!({ "name": name, "containerPort": number, "protocol": "TCP" });
    let mut ports = vec![port("hotcert-admin".into(), ADMIN), port("hotcert-proof".into(), PROOF)];
    for route in settings.inbound.iter().filter(|route| !route.listen.ip().is_loopback()) {
        let number = route.listen.port();
        if ports.iter().all(|port| port["containerPort"] != number) {
            ports.push(port(format!("hotcert-{number}"), number));
        }
    }
    ports
}

fn environment(spec: &Value, settings: &PodSettings, probe_targets: &[String]) -> Vec<Value> {
    let PodSettings { secret, inbound, outbound, http_proxy, allow, trust_forwarded, expect_name, .. } =
        settings;
    let mut variables = vec![("HOTCERT_IDENTITY", IDENTITY_DIRECTORY.to_owned())];
    if settings.api {
        // Without a namespace: the token names it, and a manifest may not know it yet.
        variables.push(("HOTCERT_SECRET", secret.clone()));
    }
    let lists = [
        ("HOTCERT_INBOUND", joined(inbound)),
        ("HOTCERT_OUTBOUND", joined(outbound)),
        ("HOTCERT_HTTP_PROXY", joined(http_proxy.as_slice())),
        ("HOTCERT_ALLOW", joined(allow)),
        ("HOTCERT_TRUST_FORWARDED", joined(trust_forwarded)),
        ("HOTCERT_EXPECT_NAME", joined(expect_name)),
        ("HOTCERT_PROBE", joined(probe_targets)),
    ];
    variables.extend(lists.into_iter().filter(|(_, value)| !value.is_empty()));
    if settings.client_auth == ClientAuth::None {
        variables.push(("HOTCERT_CLIENT_AUTH", "none".into()));
    }
    variables.push(("HOTCERT_LOG_FORMAT", "json".into()));
    variables.extend(settings.log.clone().map(|level| ("HOTCERT_LOG", level)));
    variables.extend(settings.access_log.clone().map(|target| ("HOTCERT_ACCESS_LOG", target)));
    variables.extend(shutdown(spec));
    variables.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The agent must finish draining before kubelet kills it, and have time for open connections after it has
/// stopped accepting new ones.
fn shutdown(spec: &Value) -> Vec<(&'static str, String)> {
    let kill_after = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE_SECONDS);
    if kill_after == DEFAULT_GRACE_SECONDS {
        return Vec::new();
    }
    let kill_after = kill_after.max(1).saturating_mul(1000);
    let grace = kill_after - GRACE_MARGIN_MILLIS.min(kill_after / 5);
    let delay = DEFAULT_DELAY_MILLIS.min(grace / 2);
    vec![("HOTCERT_SHUTDOWN_GRACE", duration(grace)), ("HOTCERT_SHUTDOWN_DELAY", duration(delay))]
}

fn duration(millis: i64) -> String {
    if millis % 1000 == 0 { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn joined(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
