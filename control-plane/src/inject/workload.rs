//! The workloads of a document, and where their pods are in it.

use serde_json::Value;

/// A pod, or an object with a pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub kind: String,
    pub name: String,
    /// `None`: the namespace it is applied to.
    pub namespace: Option<String>,
    pub is_job: bool,
    /// JSON pointer to the object in the document.
    pub object: String,
    /// JSON pointer to the pod, or the pod template.
    pub pod: String,
}

/// A pod with the agent, and where it is going to run.
pub struct InjectedPod {
    /// `Deployment shop/payments`.
    pub workload: String,
    pub namespace: String,
    pub pod: Value,
}

/// Every object of a document: itself, or the items of a `List`, with JSON pointers to them.
pub fn objects(document: &Value) -> Vec<(String, &Value)> {
    let mut objects = Vec::new();
    collect(document, String::new(), &mut objects);
    objects
}

fn collect<'a>(object: &'a Value, pointer: String, objects: &mut Vec<(String, &'a Value)>) {
    let is_list = object["kind"] == "List" && object["apiVersion"] == "v1";
    match object["items"].as_array().filter(|_| is_list) {
        Some(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/items/{index}"), objects);
            }
        }
        None => objects.push((pointer, object)),
    }
}

impl Workload {
    /// `None` for a kind without pods.
    pub fn of(pointer: &str, object: &Value) -> Option<Self> {
        let kind = object["kind"].as_str()?;
        let version = object["apiVersion"].as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let (template, is_job) = match (group, kind) {
            ("", "Pod") => ("", false),
            ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
                ("/spec/template", false)
            }
            ("batch", "Job") => ("/spec/template", true),
            ("batch", "CronJob") => ("/spec/jobTemplate/spec/template", true),
            _ => return None,
        };
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().or(metadata["generateName"].as_str());
        Some(Self {
            kind: kind.to_owned(),
            name: name.unwrap_or("without a name").to_owned(),
            namespace: metadata["namespace"].as_str().map(str::to_owned),
            is_job,
            object: pointer.to_owned(),
            pod: format!("{pointer}{template}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_found_in_every_workload_kind() {
        for (version, kind, pod, job) in [
            ("v1", "Pod", "", false),
            ("apps/v1", "Deployment", "/spec/template", false),
            ("apps/v1", "StatefulSet", "/spec/template", false),
            ("apps/v1", "DaemonSet", "/spec/template", false),
            ("apps/v1", "ReplicaSet", "/spec/template", false),
            ("batch/v1", "Job", "/spec/template", true),
            ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template", true),
            ("batch/v1beta1", "CronJob", "/spec/jobTemplate/spec/template", true),
        ] {
            let object =
                json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "a", "namespace": "b" } });
            let found = Workload::of("", &object).unwrap();
            assert_eq!((found.pod.as_str(), found.is_job), (pod, job), "{kind}");
            assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("a", Some("b")), "{kind}");
        }
    }

    #[test]
    fn kinds_of_other_api_groups_are_ignored() {
        for (version, kind) in
            [("v1", "Service"), ("example.com/v1", "Deployment"), ("serving.knative.dev/v1", "Service")]
        {
            assert_eq!(Workload::of("", &json!({ "apiVersion": version, "kind": kind })), None);
        }
    }

    #[test]
    fn a_list_is_expanded_into_its_items() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod" });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [pod, { "apiVersion": "v1", "kind": "List", "items": [pod] }] });
        let found: Vec<String> = objects(&list).into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(found, ["/items/0", "/items/1/items/0"]);
    }
}
