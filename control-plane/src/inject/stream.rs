//! From a YAML stream to the same stream with agents: what `hotcert inject` does between its input and output.
//!
//! A document in which nothing changes passes through **byte for byte**. One invalid document rejects the
//! whole stream.

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotations::{INJECT_LABEL, PREFIX};
use super::documents::{Document, DocumentsError, split};
use super::pod::{Context, Injection, inject};
use super::problem::InvalidPod;
use super::rbac;
use super::services;
use super::sidecar_kind::SidecarKind;
use super::workload::{InjectedPod, Workload, objects};
use crate::api::yaml;

#[derive(Clone, Debug)]
pub struct Options {
    pub agent_image: String,
    pub sidecar: SidecarKind,
    /// For documents that name none; without it, they are assumed to go to `default`.
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
pub struct InjectedStream {
    pub yaml: String,
    /// One line each.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    #[error("document {number} is not valid YAML: {cause}")]
    Yaml { number: usize, cause: serde_saphyr::Error },
    #[error("document {number} ({workload}):{}", .invalid.0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    InvalidPod { number: usize, workload: String, invalid: InvalidPod },
    #[error("document {number} ({workload}) has no namespace, which its Role needs: set --namespace")]
    NoNamespace { number: usize, workload: String },
}

/// The whole new stream, or every error.
pub fn inject_stream(bytes: &[u8], options: &Options) -> Result<InjectedStream, Vec<StreamError>> {
    let documents = split(bytes).map_err(|error| vec![error.into()])?;
    let values = collect_all(documents.iter().enumerate().map(|(index, document)| {
        yaml::read_lossy(document.body).map_err(|cause| StreamError::Yaml { number: index + 1, cause })
    }))?;
    let mut stream = Stream {
        options,
        namespace_labels: namespace_labels(&values),
        pods: Vec::new(),
        warnings: Vec::new(),
    };
    let texts = collect_all(
        documents
            .iter()
            .zip(&values)
            .enumerate()
            .map(|(index, (document, value))| stream.document(index + 1, document, value)),
    );
    let Stream { pods, mut warnings, .. } = stream;
    let mut yaml = texts?.concat();
    if pods.is_empty() && options.rbac == Rbac::Only {
        warnings.push(format!("no pod of this stream asks for the agent, so no Role was printed. The labels of namespaces in the cluster are not read: set the label {INJECT_LABEL}: enabled on the pod template (spec.template.metadata.labels)"));
    } else if pods.is_empty() {
        warnings.push(format!("no pod asks for the agent, so nothing was changed. Set the label {INJECT_LABEL}: enabled on a pod template (spec.template.metadata.labels) or, in the same stream, on its Namespace"));
    }
    warnings.extend(services::warnings(&values, &pods, options.namespace()));
    if options.rbac == Rbac::Only {
        yaml.clear();
    }
    if options.rbac != Rbac::Without {
        warnings.extend(rbac::warnings(&values, &pods, options.namespace()));
        if !yaml.is_empty() && !yaml.ends_with('\n') {
            yaml.push('\n');
        }
        yaml.extend(rbac::objects(&pods).iter().map(|object| format!("---\n{}", yaml::write(object))));
    }
    Ok(InjectedStream { yaml, warnings })
}

/// Every value, or every error.
fn collect_all<T>(results: impl Iterator<Item = Result<T, StreamError>>) -> Result<Vec<T>, Vec<StreamError>> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// The injection labels of the Namespaces in the stream.
fn namespace_labels(values: &[Value]) -> BTreeMap<String, String> {
    let objects = values.iter().flat_map(objects).map(|(_, object)| object);
    objects
        .filter(|object| object["kind"] == "Namespace" && object["apiVersion"] == "v1")
        .filter_map(|object| {
            let metadata = &object["metadata"];
            Some((
                metadata["name"].as_str()?.to_owned(),
                metadata["labels"][INJECT_LABEL].as_str()?.to_owned(),
            ))
        })
        .collect()
}

struct Stream<'a> {
    options: &'a Options,
    namespace_labels: BTreeMap<String, String>,
    pods: Vec<InjectedPod>,
    warnings: Vec<String>,
}

impl Stream<'_> {
    /// The document's text, injected or unchanged.
    fn document(
        &mut self,
        number: usize,
        document: &Document<'_>,
        value: &Value,
    ) -> Result<String, StreamError> {
        let Document { head, body } = *document;
        let mut changed = Vec::new();
        for (pointer, object) in objects(value) {
            let Some(workload) = Workload::of(&pointer, object) else {
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
        for (pointer, injected) in changed {
            if let Some(pod) = whole.pointer_mut(&pointer) {
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
        let name = format!("{} {namespace}/{}", workload.kind, workload.name);
        let context = Context {
            namespace,
            namespace_label: self.namespace_labels.get(namespace).map(String::as_str),
            agent_image: &self.options.agent_image,
            sidecar: self.options.sidecar,
            is_job: workload.is_job,
        };
        let injection = inject(pod, &context).map_err(|invalid| StreamError::InvalidPod {
            number,
            workload: name.clone(),
            invalid,
        })?;
        if workload.pod != workload.object && has_hotcert_metadata(object) {
            let warning = "its own metadata has hotcert.dev/ labels or annotations, which have an effect only on its pod template (spec.template.metadata)";
            self.warnings.push(format!("document {number} ({name}): {warning}"));
        }
        let Injection::Injected { pod, warnings } = injection else {
            return Ok(None);
        };
        let has_namespace = workload.namespace.is_some() || self.options.namespace.is_some();
        if !has_namespace && self.options.rbac != Rbac::Without && rbac::reads_secret(&pod) {
            let workload = format!("{} {}", workload.kind, workload.name);
            return Err(StreamError::NoNamespace { number, workload });
        }
        self.warnings.extend(warnings.iter().map(|warning| format!("document {number} ({name}): {warning}")));
        self.pods.push(InjectedPod { workload: name, namespace: namespace.to_owned(), pod: pod.clone() });
        Ok(Some(pod))
    }
}

/// Whether labels or annotations of hotcert's are in an object's own metadata.
fn has_hotcert_metadata(object: &Value) -> bool {
    ["labels", "annotations"].iter().any(|field| {
        let entries = object["metadata"][field].as_object().into_iter().flatten();
        entries.map(|(key, _)| key).any(|key| key.starts_with(PREFIX))
    })
}

#[cfg(test)]
pub(super) mod tests;
