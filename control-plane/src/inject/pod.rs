//! A pod with the agent in it: the one function behind the webhook and behind `hotcert inject`.
//!
//! It takes out whatever an earlier injection put in and puts it in anew, so that **doing it twice
//! is doing it once**, whichever way the agent was put in before. What it does not know of a pod
//! stays as it is, and so does what others have added to the agent's container since.

use std::fmt;

use serde_json::{Map, Value, json};

use super::container::{self, AGENT};
use super::ports;
use super::probes;
use super::settings::{self, Settings};
use super::warnings;

/// On a pod (or pod template) or a namespace: `enabled` or `disabled`, which wins.
pub const LABEL: &str = "hotcert.dev/inject";
/// Written by the injection: how the agent was put in.
pub const INJECTED: &str = "hotcert.dev/injected";

/// For `kubectl logs` and `exec`.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Lists of a pod that may be missing.
const OPTIONAL: [&str; 2] = ["initContainers", "volumes"];

const MOST_CONTAINERS: usize = 256;
const MOST_PROBLEMS: usize = 16;
/// Letters of a place and of a cause, which may quote what was given.
const MOST_OF_PLACE: usize = 128;
const MOST_OF_CAUSE: usize = 512;

/// How the agent is put into a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SidecarKind {
    /// First init container with `restartPolicy: Always`: there before the app, gone after it.
    Native,
    /// First of the containers, for nodes that would wait for such an init container to end.
    Container,
}

impl fmt::Display for SidecarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Container => "container",
        })
    }
}

/// What the pod itself does not say.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The pod's own may be missing from its metadata.
    pub namespace: &'a str,
    /// The namespace's [`LABEL`].
    pub namespace_label: Option<&'a str>,
    pub agent_image: &'a str,
    /// What the nodes support; the pod's annotation wins.
    pub sidecar: SidecarKind,
    /// The pod is a Job's, even if no owner reference says so yet.
    pub job: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing asked for the agent, or something asked for its absence.
    Untouched,
    Injected {
        pod: Value,
        /// One line each.
        warnings: Vec<String>,
    },
}

/// What is wrong with the pod, so that a person mends it in one go. Never empty; short enough for an
/// answer to the API server, whatever the pod says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct Refusal(pub Vec<Problem>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct Problem {
    /// `annotation hotcert.dev/inbound`, `spec.hostNetwork`, …
    pub place: String,
    /// What is wrong and what to write instead.
    pub cause: String,
}

/// Puts the agent into a pod or a pod template that asks for it.
pub fn inject(pod: &Value, context: &Context<'_>) -> Result<Outcome, Refusal> {
    match asked(pod, context) {
        Ok(true) => {}
        Ok(false) => return Ok(Outcome::Untouched),
        Err(problem) => return Err(Refusal(vec![problem])),
    }
    let mut problems = Problems::default();
    check_shape(pod, &mut problems);
    settings::check_sizes(pod, &mut problems);
    problems.so_far()?;

    let mut pod = pod.clone();
    let former = strip(&mut pod);
    check_names(&pod, &mut problems);
    let settings = Settings::of(&pod, context.sidecar, &mut problems);
    if pod["spec"]["hostNetwork"] == true {
        problems.add("spec.hostNetwork", "the agent's loopback would be the whole node's, open to every pod and process on it: set it to false, or label the pod hotcert.dev/inject: disabled");
    }
    ports::check(&pod, &settings, &mut problems);
    problems.so_far()?;

    let job = context.job || owned_by_job(&pod);
    let warnings = warnings::of(&pod, &settings, job);
    let probed = probes::rewrite(&mut pod, &settings);
    add(&mut pod, &settings, context, &probed, former);
    Ok(Outcome::Injected { pod, warnings })
}

impl Problem {
    fn new(place: &str, cause: &str) -> Self {
        Self { place: shortened(place, MOST_OF_PLACE), cause: shortened(cause, MOST_OF_CAUSE) }
    }
}

#[derive(Default)]
pub(super) struct Problems {
    first: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub fn add(&mut self, place: impl AsRef<str>, cause: impl AsRef<str>) {
        match self.first.len() < MOST_PROBLEMS {
            true => self.first.push(Problem::new(place.as_ref(), cause.as_ref())),
            false => self.more += 1,
        }
    }

    fn so_far(&mut self) -> Result<(), Refusal> {
        let Self { mut first, more } = std::mem::take(self);
        if more > 0 {
            first.push(Problem::new(&format!("and {more} more"), "mend these first"));
        }
        if first.is_empty() { Ok(()) } else { Err(Refusal(first)) }
    }
}

/// A text of no more letters than this: what is left out is in its middle, for a value is quoted at
/// the beginning and mended at the end.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let letters = text.chars().count();
    if letters <= most {
        return text.to_owned();
    }
    let at = |letter| text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at);
    let (begin, end) = (most / 4, most - most / 4 - 1);
    format!("{}…{}", &text[..at(begin)], &text[at(letters - end)..])
}

/// A pod's init containers and containers, in the order they start.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|list| items(&pod["spec"][list]))
}

pub(super) fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut).into_iter();
    spec.flat_map(|spec| spec.iter_mut())
        .filter(|(list, _)| *list == "initContainers" || *list == "containers")
        .flat_map(|(_, containers)| containers.as_array_mut().into_iter().flatten())
}

/// The items of a list that may be missing.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn asked(pod: &Value, context: &Context<'_>) -> Result<bool, Problem> {
    let wish = |place: &str, value: Option<&str>| match value {
        None => Ok(None),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(other) => {
            Err(Problem::new(place, &format!("{other:?} is neither \"enabled\" nor \"disabled\"")))
        }
    };
    let label = &pod["metadata"]["labels"][LABEL];
    // A label that is no string is refused by its text.
    let text = label.as_str().map_or_else(|| label.to_string(), str::to_owned);
    let pod = wish(&format!("label {LABEL}"), (!label.is_null()).then_some(text.as_str()))?;
    if pod == Some(false) {
        return Ok(false);
    }
    let place = format!("label {LABEL} of namespace {}", context.namespace);
    let namespace = wish(&place, context.namespace_label)?;
    Ok(namespace != Some(false) && (pod == Some(true) || namespace == Some(true)))
}

/// What is relied upon below, so that a malformed document is refused and not mangled.
fn check_shape(pod: &Value, problems: &mut Problems) {
    for (place, value) in [("metadata", &pod["metadata"]), ("spec", &pod["spec"])] {
        if !value.is_object() {
            problems.add(place, "it must be an object");
        }
    }
    let annotations = &pod["metadata"]["annotations"];
    if !annotations.is_null() && !annotations.is_object() {
        problems.add("metadata.annotations", "it must be an object");
    }
    for list in ["initContainers", "containers", "volumes"] {
        let value = &pod["spec"][list];
        let missing = value.is_null() && OPTIONAL.contains(&list);
        if !missing && !value.as_array().is_some_and(|items| items.iter().all(Value::is_object)) {
            problems.add(format!("spec.{list}"), "it must be a list of objects");
        }
    }
    let count = containers(pod).count();
    if count > MOST_CONTAINERS {
        problems.add("spec.containers", format!("{count} containers, with those of initContainers, are more than {MOST_CONTAINERS}: spread them over several pods"));
    }
}

/// Takes out an earlier injection: only what carries the mark of one was put there by one. Returns
/// the agent's container.
fn strip(pod: &mut Value) -> Option<Value> {
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let injected = annotations.is_some_and(|annotations| annotations.remove(INJECTED).is_some());
    let mut former = None;
    for (list, names) in
        [("initContainers", &[AGENT] as &[&str]), ("containers", &[AGENT]), ("volumes", &container::VOLUMES)]
    {
        let ours = |item: &Value| item["name"].as_str().is_some_and(|name| names.contains(&name));
        let items = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        if let Some(items) = items.filter(|_| injected) {
            let stripped = items.extract_if(.., |item| ours(item));
            former = former.or(stripped.filter(|item| item["name"] == AGENT).last());
        }
    }
    if injected {
        probes::restore(pod);
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        // An empty list is none, with or without an earlier injection.
        spec.retain(|name, value| !OPTIONAL.contains(&name.as_str()) || !is_empty(value));
    }
    former
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn check_names(pod: &Value, problems: &mut Problems) {
    if containers(pod).any(|container| container["name"] == AGENT) {
        problems
            .add(format!("container {AGENT}"), "the name is the injected agent's: take it out, or rename it");
    }
    for name in container::VOLUMES {
        if items(&pod["spec"]["volumes"]).any(|volume| volume["name"] == name) {
            problems.add(format!("volume {name}"), "the name is the injected agent's: rename it");
        }
        for container in containers(pod) {
            if items(&container["volumeMounts"]).any(|mount| mount["name"] == name) {
                problems.add(
                    format!("container {}", container["name"].as_str().unwrap_or_default()),
                    format!("its volumeMount {name} would show it what is the agent's alone: take it out"),
                );
            }
        }
    }
}

fn owned_by_job(pod: &Value) -> bool {
    items(&pod["metadata"]["ownerReferences"]).any(|owner| owner["kind"] == "Job")
}

fn add(
    pod: &mut Value,
    settings: &Settings,
    context: &Context<'_>,
    probed: &[String],
    former: Option<Value>,
) {
    let mut agent = container::agent(&pod["spec"], settings, context.agent_image, probed);
    if let Some(former) = former {
        container::keep(&mut agent, former);
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

/// A list that is made if it is missing; anything else was refused by its shape.
fn list_mut<'a>(spec: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    if !spec[name].is_array() {
        spec[name] = Value::Array(Vec::new());
    }
    match &mut spec[name] {
        Value::Array(items) => items,
        _ => unreachable!("it was just made a list"),
    }
}

#[cfg(test)]
mod tests;
