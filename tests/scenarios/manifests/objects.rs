//! The objects of a folder of manifests, as kubectl renders it, and questions to them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kit::agent::program;
use serde_json::Value;

/// `manifests/FOLDER`
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("manifests").join(name)
}

/// What `kubectl apply -k` would apply.
pub fn rendered(name: &str) -> String {
    let mut kubectl = Command::new("kubectl");
    said(kubectl.arg("kustomize").arg(folder(name)), "")
}

pub fn objects(name: &str) -> Vec<Value> {
    parse(&rendered(name))
}

/// The same after `hotcert inject`.
pub fn injected(name: &str, args: &[&str]) -> String {
    said(Command::new(program("hotcert")).arg("inject").args(args), &rendered(name))
}

pub fn parse(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|fault| panic!("{fault} in:\n{yaml}"))
}

/// What a program writes to standard output when it is told this.
#[track_caller]
pub fn said(command: &mut Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Broken when the program does not read: its status says why.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The only one of its kind.
#[track_caller]
pub fn object(objects: &[Value], kind: &str) -> Value {
    let [one] = of_kind(objects, kind)[..] else { panic!("not one {kind}") };
    one.clone()
}

/// The pod templates of all workloads, each with the namespace that its pods will be in.
pub fn pods(objects: &[Value]) -> Vec<Value> {
    let workloads = objects.iter().filter(|object| object["spec"]["template"]["spec"].is_object());
    workloads
        .map(|workload| {
            let mut pod = workload["spec"]["template"].clone();
            pod["metadata"]["namespace"] = workload["metadata"]["namespace"].clone();
            pod["metadata"]["name"] = workload["metadata"]["name"].clone();
            pod
        })
        .collect()
}

/// The pods in the namespace of `object` that a selector of labels means.
pub fn selected<'a>(pods: &'a [Value], object: &Value, selector: &Value) -> Vec<&'a Value> {
    let namespace = &object["metadata"]["namespace"];
    pods.iter()
        .filter(|pod| {
            &pod["metadata"]["namespace"] == namespace && matches(selector, &pod["metadata"]["labels"])
        })
        .collect()
}

/// Whether a label selector, or the plain map that a Service has, matches labels.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let of_expressions = array(&selector["matchExpressions"]).iter().all(|expression| {
        let label = &labels[expression["key"].as_str().unwrap()];
        let listed = array(&expression["values"]).contains(label);
        match expression["operator"].as_str().unwrap() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => !label.is_null(),
            "DoesNotExist" => label.is_null(),
            other => panic!("{other} is not expected here"),
        }
    });
    let is_plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let wanted = if is_plain { selector } else { &selector["matchLabels"] };
    of_expressions && wanted.as_object().into_iter().flatten().all(|(key, value)| &labels[key] == value)
}

/// `kind namespace/name`
pub fn title(object: &Value) -> String {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{} {}/{}", object["kind"].as_str().unwrap_or_default(), of("namespace"), of("name"))
}

pub fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
