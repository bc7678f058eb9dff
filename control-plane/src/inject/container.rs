//! The agent's container and the volumes that it alone mounts.

use hotcert_agent::config::ports::{ADMIN, PROOF};
use hotcert_agent::tls::config::ClientAuth;
use serde_json::{Value, json};

use super::pod::SidecarKind;
use super::probes::PROBES;
use super::settings::Settings;

pub const AGENT: &str = "hotcert-agent";
pub const VOLUMES: [&str; 2] = [IDENTITY, TOKEN];
const IDENTITY: &str = "hotcert-identity";
pub const TOKEN: &str = "hotcert-token";
const IDENTITY_DIRECTORY: &str = "/run/hotcert/identity";
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The API server renews bound tokens of exactly this age without a warning in its audit log.
const TOKEN_SECONDS: u32 = 3607;

/// What kubelet waits before it kills, and what the agent's own defaults are made for.
const USUAL_GRACE: i64 = 30;
/// Left to kubelet and the log between the agent's end and the kill, at most.
const SPARE_MILLIS: i64 = 5000;
/// The agent's default for `--shutdown-delay`.
const USUAL_DELAY_MILLIS: i64 = 5000;

pub fn agent(spec: &Value, settings: &Settings, image: &str, probed: &[String]) -> Value {
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": ADMIN } });
    let mut startup = probe("/readyz");
    startup["periodSeconds"] = json!(1);
    startup["failureThreshold"] = json!(600);
    let mut readiness = probe("/readyz");
    readiness["periodSeconds"] = json!(2);
    let mut liveness = probe("/livez");
    liveness["periodSeconds"] = json!(10);
    let mut agent = json!({
        "name": AGENT,
        "image": image,
        "args": ["run"],
        "env": environment(spec, settings, probed),
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

/// Leaves to the agent's container what others gave its predecessor: an API server its defaults,
/// LimitRanger its limits, AlwaysPullImages its policy. They demand it again once the pod is
/// complete, and do not write it again.
pub fn keep(agent: &mut Value, mut former: Value) {
    if let Some(former) = former.as_object_mut() {
        // Ours, and only a native sidecar's.
        former.remove("restartPolicy");
        // A probe of another kind is no default.
        former.retain(|key, value| !PROBES.contains(&key.as_str()) || value["httpGet"].is_object());
    }
    for field in PROBES.into_iter().chain(["resources"]) {
        fill(&mut agent[field], former[field].take(), true);
    }
    fill(agent, former, false);
}

/// Adds what is missing.
fn fill(ours: &mut Value, theirs: Value, deep: bool) {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else {
        return;
    };
    for (key, value) in theirs {
        match ours.get_mut(&key) {
            Some(known) if deep => fill(known, value, deep),
            Some(_) => {}
            None => drop(ours.insert(key, value)),
        }
    }
}

/// Whoever mounts a Secret with mode 0444 can read it without being in a group of its own; and the
/// pod starts without the Secret, unready, rather than not at all.
pub fn volumes(settings: &Settings) -> Vec<Value> {
    let identity = json!({
        "name": IDENTITY,
        "secret": { "secretName": settings.secret, "defaultMode": 0o444, "optional": true },
    });
    let token = json!({
        "name": TOKEN,
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

fn mounts(settings: &Settings) -> Vec<Value> {
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let mut mounts = vec![mount(IDENTITY, IDENTITY_DIRECTORY)];
    if settings.api {
        mounts.push(mount(TOKEN, TOKEN_DIRECTORY));
    }
    mounts
}

fn ports(settings: &Settings) -> Vec<Value> {
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

fn environment(spec: &Value, settings: &Settings, probed: &[String]) -> Vec<Value> {
    let Settings { secret, inbound, outbound, http_proxy, allow, expect_name, .. } = settings;
    let mut variables = vec![("HOTCERT_IDENTITY", IDENTITY_DIRECTORY.to_owned())];
    if settings.api {
        // Without a namespace: the token says which, and a manifest does not know yet.
        variables.push(("HOTCERT_SECRET", secret.clone()));
    }
    let lists = [
        ("HOTCERT_INBOUND", joined(inbound)),
        ("HOTCERT_OUTBOUND", joined(outbound)),
        ("HOTCERT_HTTP_PROXY", joined(http_proxy.as_slice())),
        ("HOTCERT_ALLOW", joined(allow)),
        ("HOTCERT_EXPECT_NAME", joined(expect_name)),
        ("HOTCERT_PROBE", joined(probed)),
    ];
    variables.extend(lists.into_iter().filter(|(_, value)| !value.is_empty()));
    if settings.client_auth == ClientAuth::None {
        variables.push(("HOTCERT_CLIENT_AUTH", "none".into()));
    }
    variables.push(("HOTCERT_LOG_FORMAT", "json".into()));
    variables.extend(settings.log.clone().map(|level| ("HOTCERT_LOG", level)));
    variables.extend(shutdown(spec));
    variables.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The agent must be through before kubelet kills it, and have time for what it carries when new
/// connections have ended.
fn shutdown(spec: &Value) -> Vec<(&'static str, String)> {
    let kill = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(USUAL_GRACE);
    if kill == USUAL_GRACE {
        return Vec::new();
    }
    let kill = kill.max(1).saturating_mul(1000);
    let grace = kill - SPARE_MILLIS.min(kill / 5);
    let delay = USUAL_DELAY_MILLIS.min(grace / 2);
    vec![("HOTCERT_SHUTDOWN_GRACE", duration(grace)), ("HOTCERT_SHUTDOWN_DELAY", duration(delay))]
}

fn duration(millis: i64) -> String {
    if millis % 1000 == 0 { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn joined(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
