//! From a pod to a pod with the agent: the pure function behind the webhook and `hotcert inject`.
//!
//! It removes what an earlier injection added and adds it again, so it is **idempotent**, whichever kind of
//! sidecar the agent was before. Fields that it does not know stay as they are, and so does what admission has
//! added to the agent's container since.

use serde_json::{Map, Value, json};

use super::annotations::{self, INJECT_LABEL, INJECTED};
use super::container::{self, AGENT_CONTAINER};
use super::pod_spec::{containers, items};
use super::ports;
use super::probes;
use super::problem::{InvalidPod, Problem, Problems};
use super::settings::PodSettings;
use super::sidecar_kind::SidecarKind;
use super::warnings;

/// The container that `kubectl logs` and `kubectl exec` select.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Lists of a pod that may be missing.
const OPTIONAL_LISTS: [&str; 2] = ["initContainers", "volumes"];

const MAX_CONTAINERS: usize = 256;
/// What is known of a pod besides its own fields.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Where the pod is created; its metadata may not name it yet.
    pub namespace: &'a str,
    /// The namespace's [`INJECT_LABEL`].
    pub namespace_label: Option<&'a str>,
    pub agent_image: &'a str,
    /// The kind that the nodes support; the pod's annotation wins.
    pub sidecar: SidecarKind,
    /// The pod belongs to a Job, whether or not it has the owner reference yet.
    pub is_job: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// Neither the pod nor its namespace asks for the agent, or one of them opts out.
    NotRequested,
    Injected {
        pod: Value,
        /// One line each.
        warnings: Vec<String>,
    },
}

/// Adds the agent to a pod or a pod template that asks for it.
pub fn inject(pod: &Value, context: &Context<'_>) -> Result<Injection, InvalidPod> {
    match is_requested(pod, context) {
        Ok(true) => {}
        Ok(false) => return Ok(Injection::NotRequested),
        Err(problem) => return Err(InvalidPod(vec![problem])),
    }
    let mut problems = Problems::default();
    check_shape(pod, &mut problems);
    annotations::check_sizes(pod, &mut problems);
    problems.take_result()?;

    let mut pod = pod.clone();
    let previous = remove_agent(&mut pod);
    check_reserved_names(&pod, &mut problems);
    let settings = PodSettings::parse(&pod, context.sidecar, &mut problems);
    if pod["spec"]["hostNetwork"] == true {
        problems.add("spec.hostNetwork", "the agent's loopback ports would be open to every process of the node: set it to false, or label the pod hotcert.dev/inject: disabled");
    }
    ports::check(&pod, &settings, &mut problems);
    problems.take_result()?;

    let is_job = context.is_job || owned_by_job(&pod);
    let warnings = warnings::for_pod(&pod, &settings, is_job);
    let probe_targets = probes::rewrite(&mut pod, &settings);
    add_agent(&mut pod, &settings, context, &probe_targets, previous);
    Ok(Injection::Injected { pod, warnings })
}

fn is_requested(pod: &Value, context: &Context<'_>) -> Result<bool, Problem> {
    let requested = |location: &str, value: Option<&str>| match value {
        None => Ok(None),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(other) => Err(Problem::new(location, &format!("{other:?} is not \"enabled\" or \"disabled\""))),
    };
    let label = &pod["metadata"]["labels"][INJECT_LABEL];
    // A label that is not a string is rejected by its text.
    let text = label.as_str().map_or_else(|| label.to_string(), str::to_owned);
    let pod = requested(&format!("label {INJECT_LABEL}"), (!label.is_null()).then_some(text.as_str()))?;
    if pod == Some(false) {
        return Ok(false);
    }
    let location = format!("label {INJECT_LABEL} of namespace {}", context.namespace);
    let namespace = requested(&location, context.namespace_label)?;
    Ok(namespace != Some(false) && (pod == Some(true) || namespace == Some(true)))
}

/// The structure that the injection relies on: a malformed pod is rejected, not modified.
fn check_shape(pod: &Value, problems: &mut Problems) {
    for (field, value) in [("metadata", &pod["metadata"]), ("spec", &pod["spec"])] {
        if !value.is_object() {
            problems.add(field, "it must be an object");
        }
    }
    let annotations = &pod["metadata"]["annotations"];
    if !annotations.is_null() && !annotations.is_object() {
        problems.add("metadata.annotations", "it must be an object");
    }
    for list in ["initContainers", "containers", "volumes"] {
        let value = &pod["spec"][list];
        let missing = value.is_null() && OPTIONAL_LISTS.contains(&list);
        if !missing && !value.as_array().is_some_and(|items| items.iter().all(Value::is_object)) {
            problems.add(format!("spec.{list}"), "it must be a list of objects");
        }
    }
    let count = containers(pod).count();
    if count > MAX_CONTAINERS {
        problems.add("spec.containers", format!("{count} containers, including initContainers, are more than {MAX_CONTAINERS}: use several pods"));
    }
}

/// Undoes an earlier injection, which is recognised by its annotation. Returns the agent's container.
fn remove_agent(pod: &mut Value) -> Option<Value> {
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let injected = annotations.is_some_and(|annotations| annotations.remove(INJECTED).is_some());
    let mut previous = None;
    for (list, names) in [
        ("initContainers", &[AGENT_CONTAINER] as &[&str]),
        ("containers", &[AGENT_CONTAINER]),
        ("volumes", &container::VOLUMES),
    ] {
        let ours = |item: &Value| item["name"].as_str().is_some_and(|name| names.contains(&name));
        let items = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        if let Some(items) = items.filter(|_| injected) {
            let removed = items.extract_if(.., |item| ours(item));
            previous = previous.or(removed.filter(|item| item["name"] == AGENT_CONTAINER).last());
        }
    }
    if injected {
        probes::restore(pod);
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        // An empty list and a missing one are the same, with or without an earlier injection.
        spec.retain(|name, value| !OPTIONAL_LISTS.contains(&name.as_str()) || !is_empty(value));
    }
    previous
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn check_reserved_names(pod: &Value, problems: &mut Problems) {
    if containers(pod).any(|container| container["name"] == AGENT_CONTAINER) {
        problems.add(
            format!("container {AGENT_CONTAINER}"),
            "the name is reserved for the injected agent: remove or rename it",
        );
    }
    for name in container::VOLUMES {
        if items(&pod["spec"]["volumes"]).any(|volume| volume["name"] == name) {
            problems.add(format!("volume {name}"), "the name is reserved for the injected agent: rename it");
        }
        for container in containers(pod) {
            if items(&container["volumeMounts"]).any(|mount| mount["name"] == name) {
                problems.add(
                    format!("container {}", container["name"].as_str().unwrap_or_default()),
                    format!("its volumeMount {name} would expose a volume of the agent: remove it"),
                );
            }
        }
    }
}

fn owned_by_job(pod: &Value) -> bool {
    items(&pod["metadata"]["ownerReferences"]).any(|owner| owner["kind"] == "Job")
}

fn add_agent(
    pod: &mut Value,
    settings: &PodSettings,
    context: &Context<'_>,
    probe_targets: &[String],
    previous: Option<Value>,
) {
    let mut agent = container::agent(&pod["spec"], settings, context.agent_image, probe_targets);
    if let Some(previous) = previous {
        container::keep_admission_defaults(&mut agent, previous);
    }
    let list = match settings.sidecar {
        SidecarKind::Native => "initContainers",
        SidecarKind::Container => "containers",
    };
    let spec = &mut pod["spec"];
    let app = spec["containers"][0]["name"].as_str().map(str::to_owned);
    list_mut(spec, list).insert(0, agent);
    list_mut(spec, "volumes").extend(container::volumes(settings));
    let annotations = &mut pod["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    annotations[INJECTED] = json!(settings.sidecar.to_string());
    if let Some(app) = app.filter(|_| annotations.get(DEFAULT_CONTAINER).is_none()) {
        annotations[DEFAULT_CONTAINER] = json!(app);
    }
}

/// A list, created if it is missing; any other type was rejected by [`check_shape`].
fn list_mut<'a>(spec: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    if !spec[name].is_array() {
        spec[name] = Value::Array(Vec::new());
    }
    match &mut spec[name] {
        Value::Array(items) => items,
        _ => unreachable!("it was just set to a list"),
    }
}

#[cfg(test)]
mod tests;
