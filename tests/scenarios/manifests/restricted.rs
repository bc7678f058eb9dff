//! The Pod Security level `restricted`, and a read-only root file system, as a function from a pod to what is
//! wrong with it. After <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, and stricter
//! where none of ours needs what the level leaves open: no sysctls, no SELinux options, no capability added.

use serde_json::{Value, json};

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// All that a pod, or a pod template, has against it.
pub fn faults(pod: &Value) -> Vec<String> {
    let (spec, context) = (&pod["spec"], &pod["spec"]["securityContext"]);
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let mut faults = named([
        ("hostNetwork", spec["hostNetwork"] == true),
        ("hostPID", spec["hostPID"] == true),
        ("hostIPC", spec["hostIPC"] == true),
        ("sysctls", is_set(&context["sysctls"])),
        ("appArmor annotation", annotations.into_iter().any(|(name, _)| name.starts_with(APPARMOR))),
    ]);
    for volume in array(&spec["volumes"]) {
        let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        faults.extend(
            kinds.filter(|kind| !VOLUMES.contains(&kind.as_str())).map(|kind| format!("volume {kind}")),
        );
    }
    faults.extend(of_context(context));
    for container in containers(pod) {
        faults.extend(of_context(&container["securityContext"]));
        faults.extend(of_container(container, context));
    }
    faults
}

/// Containers of every kind.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|kind| array(&pod["spec"][kind]))
}

/// What neither a pod's security context nor a container's may say.
fn of_context(context: &Value) -> Vec<String> {
    let confined = |kind: &Value| kind.is_null() || kind == "RuntimeDefault" || kind == "Localhost";
    named([
        ("runAsUser", context["runAsUser"] == 0),
        ("runAsNonRoot", context["runAsNonRoot"] == false),
        ("seccompProfile", !confined(&context["seccompProfile"]["type"])),
        ("appArmorProfile", !confined(&context["appArmorProfile"]["type"])),
        ("seLinuxOptions", is_set(&context["seLinuxOptions"])),
        ("windowsOptions", is_set(&context["windowsOptions"])),
    ])
}

/// What a container has to say, itself or through its pod.
fn of_container(container: &Value, pod: &Value) -> Vec<String> {
    let context = &container["securityContext"];
    let said = |field: &str| is_set(&pod[field]) || is_set(&context[field]);
    let host = |action: &Value| is_set(&action["httpGet"]["host"]) || is_set(&action["tcpSocket"]["host"]);
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    named([
        ("privileged", context["privileged"] == true),
        ("allowPrivilegeEscalation", context["allowPrivilegeEscalation"] != false),
        ("readOnlyRootFilesystem", context["readOnlyRootFilesystem"] != true),
        ("capabilities.drop", !array(&context["capabilities"]["drop"]).contains(&"ALL".into())),
        ("capabilities.add", is_set(&context["capabilities"]["add"])),
        ("procMount", is_set(&context["procMount"])),
        ("runAsNonRoot missing", !said("runAsNonRoot")),
        ("seccompProfile missing", !said("seccompProfile")),
        ("hostPort", array(&container["ports"]).iter().any(|port| is_set(&port["hostPort"]))),
        ("host of a probe", probes.iter().any(|probe| host(&container[probe]))),
        ("host of a hook", ["postStart", "preStop"].iter().any(|hook| host(&container["lifecycle"][hook]))),
    ])
}

fn named<const N: usize>(checks: [(&str, bool); N]) -> Vec<String> {
    checks.into_iter().filter(|(_, wrong)| *wrong).map(|(what, _)| what.into()).collect()
}

fn is_set(value: &Value) -> bool {
    !value.is_null()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn every_breach_is_found_in_every_kind_of_container() {
    let pod = json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "identity", "secret": {} }],
    });
    let container = json!({ "ports": [{ "containerPort": 1 }], "securityContext": {
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    }});
    let faults_with = |kind: &str, pod: &Value, container: &Value| {
        let mut spec = pod.clone();
        spec[kind] = json!([container]);
        faults(&json!({ "metadata": {}, "spec": spec }))
    };
    assert_eq!(faults_with("containers", &pod, &container), Vec::<String>::new());

    for (path, value, fault) in [
        ("hostNetwork", json!(true), "hostNetwork"),
        ("hostPID", json!(true), "hostPID"),
        ("hostIPC", json!(true), "hostIPC"),
        ("securityContext.sysctls", json!([{ "name": "kernel.sem" }]), "sysctls"),
        ("securityContext.runAsUser", json!(0), "runAsUser"),
        ("securityContext.runAsNonRoot", json!(false), "runAsNonRoot"),
        ("securityContext.runAsNonRoot", Value::Null, "runAsNonRoot missing"),
        ("securityContext.seccompProfile", json!({ "type": "Unconfined" }), "seccompProfile"),
        ("securityContext.seccompProfile", Value::Null, "seccompProfile missing"),
        ("securityContext.windowsOptions", json!({ "hostProcess": true }), "windowsOptions"),
        ("volumes", json!([{ "name": "root", "hostPath": { "path": "/" } }]), "volume hostPath"),
    ] {
        assert_eq!(faults_with("containers", &with(&pod, path, value), &container), [fault]);
    }
    for (path, value, fault) in [
        ("securityContext.runAsUser", json!(0), "runAsUser"),
        ("securityContext.runAsNonRoot", json!(false), "runAsNonRoot"),
        ("securityContext.seccompProfile", json!({ "type": "Unconfined" }), "seccompProfile"),
        ("securityContext.appArmorProfile", json!({ "type": "Unconfined" }), "appArmorProfile"),
        ("securityContext.seLinuxOptions", json!({ "type": "spc_t" }), "seLinuxOptions"),
        ("securityContext.privileged", json!(true), "privileged"),
        ("securityContext.allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation"),
        ("securityContext.readOnlyRootFilesystem", Value::Null, "readOnlyRootFilesystem"),
        ("securityContext.capabilities.drop", json!(["NET_RAW"]), "capabilities.drop"),
        ("securityContext.capabilities.add", json!(["SYS_ADMIN"]), "capabilities.add"),
        ("securityContext.procMount", json!("Unmasked"), "procMount"),
        ("ports", json!([{ "hostPort": 80 }]), "hostPort"),
        ("livenessProbe.httpGet.host", json!("10.0.0.1"), "host of a probe"),
        ("lifecycle.preStop.tcpSocket.host", json!("10.0.0.1"), "host of a hook"),
    ] {
        for kind in ["containers", "initContainers", "ephemeralContainers"] {
            assert_eq!(faults_with(kind, &pod, &with(&container, path, value.clone())), [fault], "{kind}");
        }
    }
}

fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    *path.split('.').fold(&mut object, |at, key| &mut at[key]) = value;
    object
}
