//! `hotcert inject` without its ends: a stream of YAML in, the same with agents in it out.
//!
//! A document in which nothing changes goes through **byte for byte**; one that is refused stops
//! the whole stream.

use std::collections::BTreeMap;

use serde_json::Value;

use super::documents::{Document, DocumentsError, split};
use super::pod::{Context, LABEL, Outcome, Refusal, SidecarKind, inject};
use super::rbac;
use super::services;
use super::settings::PREFIX;
use super::workload::{Workload, objects};
use super::yaml;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    pub agent_image: String,
    pub sidecar: SidecarKind,
    /// Of documents that name none; without it, wherever they are applied.
    pub namespace: Option<String>,
    pub rbac: Rbac,
}

impl Options {
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rbac {
    /// Print no Role or RoleBinding
    Without,
    /// Append them to the output
    With,
    /// Print them and nothing else
    Only,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub yaml: String,
    /// For a person, one line each.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    #[error("document {number} is not YAML that kubectl would read: {cause}")]
    Yaml { number: usize, cause: serde_saphyr::Error },
    #[error("document {number} ({workload}):{}", .refusal.0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Refused { number: usize, workload: String, refusal: Refusal },
    #[error(
        "document {number} ({workload}) names no namespace: give --namespace, for the Role that lets its agent read the Secret"
    )]
    NoNamespace { number: usize, workload: String },
}

/// A pod with an agent, and where it is going to run.
pub struct Placed {
    pub workload: String,
    pub namespace: String,
    pub pod: Value,
}

/// All that is wrong, or the whole new stream.
pub fn run(bytes: &[u8], options: &Options) -> Result<Injected, Vec<StreamError>> {
    let documents = split(bytes).map_err(|error| vec![error.into()])?;
    let values = gather(documents.iter().enumerate().map(|(index, document)| {
        yaml::look(document.body).map_err(|cause| StreamError::Yaml { number: index + 1, cause })
    }))?;
    let mut stream =
        Stream { options, namespaces: namespaces(&values), placed: Vec::new(), notes: Vec::new() };
    let texts = gather(
        documents
            .iter()
            .zip(&values)
            .enumerate()
            .map(|(index, (document, value))| stream.document(index + 1, document, value)),
    );
    let Stream { placed, mut notes, .. } = stream;
    let mut yaml = texts?.concat();
    if placed.is_empty() && options.rbac == Rbac::Only {
        notes.push(format!("no pod of this stream asks for the agent: no permission was printed. The label of a namespace in the cluster cannot be seen from here: set the label {LABEL}: enabled on the pod template too (spec.template.metadata.labels)"));
    } else if placed.is_empty() {
        notes.push(format!("no pod asks for the agent: nothing was changed. Set the label {LABEL}: enabled on a pod template (spec.template.metadata.labels) or, in the same stream, on its Namespace"));
    }
    notes.extend(services::warnings(&values, &placed, options.namespace()));
    if options.rbac == Rbac::Only {
        yaml.clear();
    }
    if options.rbac != Rbac::Without {
        notes.extend(rbac::warnings(&values, &placed, options.namespace()));
        if !yaml.is_empty() && !yaml.ends_with('\n') {
            yaml.push('\n');
        }
        yaml.extend(rbac::objects(&placed).iter().map(|object| format!("---\n{}", yaml::write(object))));
    }
    Ok(Injected { yaml, notes })
}

/// Every value, or every error.
fn gather<T>(results: impl Iterator<Item = Result<T, StreamError>>) -> Result<Vec<T>, Vec<StreamError>> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// What the stream's own Namespaces say.
fn namespaces(values: &[Value]) -> BTreeMap<String, String> {
    let objects = values.iter().flat_map(objects).map(|(_, object)| object);
    objects
        .filter(|object| object["kind"] == "Namespace" && object["apiVersion"] == "v1")
        .filter_map(|object| {
            let metadata = &object["metadata"];
            Some((metadata["name"].as_str()?.to_owned(), metadata["labels"][LABEL].as_str()?.to_owned()))
        })
        .collect()
}

struct Stream<'a> {
    options: &'a Options,
    namespaces: BTreeMap<String, String>,
    placed: Vec<Placed>,
    notes: Vec<String>,
}

impl Stream<'_> {
    /// The document's text, changed or as it was.
    fn document(
        &mut self,
        number: usize,
        document: &Document<'_>,
        value: &Value,
    ) -> Result<String, StreamError> {
        let Document { head, body } = *document;
        let mut changed = Vec::new();
        for (at, object) in objects(value) {
            let Some(workload) = Workload::of(&at, object) else {
                continue;
            };
            let pod = value.pointer(&workload.pod).unwrap_or(&Value::Null);
            if let Some(injected) = self.workload(number, &workload, object, pod)?
                && injected != *pod
            {
                changed.push((workload.pod, injected));
            }
        }
        if changed.is_empty() {
            return Ok(format!("{head}{body}"));
        }
        let mut whole = yaml::read(body).map_err(|cause| StreamError::Yaml { number, cause })?;
        for (at, injected) in changed {
            if let Some(pod) = whole.pointer_mut(&at) {
                *pod = injected;
            }
        }
        let line_end = if head.ends_with(['-', '.']) { "\n" } else { "" };
        Ok(format!("{head}{line_end}{}", yaml::write(&whole)))
    }

    fn workload(
        &mut self,
        number: usize,
        workload: &Workload,
        object: &Value,
        pod: &Value,
    ) -> Result<Option<Value>, StreamError> {
        let namespace = workload.namespace.as_deref().unwrap_or(self.options.namespace());
        let who = format!("{} {namespace}/{}", workload.kind, workload.name);
        let context = Context {
            namespace,
            namespace_label: self.namespaces.get(namespace).map(String::as_str),
            agent_image: &self.options.agent_image,
            sidecar: self.options.sidecar,
            job: workload.job,
        };
        let outcome = inject(pod, &context).map_err(|refusal| StreamError::Refused {
            number,
            workload: who.clone(),
            refusal,
        })?;
        if workload.pod != workload.object && speaks(object) {
            let note = "its own metadata has hotcert.dev/ labels or annotations, which count on its pod template alone (spec.template.metadata)";
            self.notes.push(format!("document {number} ({who}): {note}"));
        }
        let Outcome::Injected { pod, warnings } = outcome else {
            return Ok(None);
        };
        let placed = workload.namespace.is_some() || self.options.namespace.is_some();
        if !placed && self.options.rbac != Rbac::Without && rbac::reads_secret(&pod) {
            let workload = format!("{} {}", workload.kind, workload.name);
            return Err(StreamError::NoNamespace { number, workload });
        }
        self.notes.extend(warnings.iter().map(|warning| format!("document {number} ({who}): {warning}")));
        self.placed.push(Placed { workload: who, namespace: namespace.to_owned(), pod: pod.clone() });
        Ok(Some(pod))
    }
}

/// Whether an object's own metadata asks for something of ours.
fn speaks(object: &Value) -> bool {
    ["labels", "annotations"].iter().any(|place| {
        let entries = object["metadata"][place].as_object().into_iter().flatten();
        entries.map(|(key, _)| key).any(|key| key.starts_with(PREFIX))
    })
}

#[cfg(test)]
pub(super) mod tests;
