//! Where the pods are in a document.

use serde_json::Value;

/// A pod or a pod template, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub kind: String,
    pub name: String,
    /// `None`: wherever the document is applied.
    pub namespace: Option<String>,
    pub job: bool,
    /// JSON pointers into the document: the object that has the workload's own metadata…
    pub object: String,
    /// … and the pod in it.
    pub pod: String,
}

/// Every object of a document: itself, or the items of a `List`, with JSON pointers to them.
pub fn objects(document: &Value) -> Vec<(String, &Value)> {
    let mut objects = Vec::new();
    collect(document, String::new(), &mut objects);
    objects
}

fn collect<'a>(object: &'a Value, at: String, objects: &mut Vec<(String, &'a Value)>) {
    let is_list = object["kind"] == "List" && object["apiVersion"] == "v1";
    match object["items"].as_array().filter(|_| is_list) {
        Some(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{at}/items/{index}"), objects);
            }
        }
        None => objects.push((at, object)),
    }
}

impl Workload {
    /// `None` for what has no pods.
    pub fn of(at: &str, object: &Value) -> Option<Self> {
        let kind = object["kind"].as_str()?;
        let version = object["apiVersion"].as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let (template, job) = match (group, kind) {
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
            job,
            object: at.to_owned(),
            pod: format!("{at}{template}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_found_in_every_kind() {
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
            assert_eq!((found.pod.as_str(), found.job), (pod, job), "{kind}");
            assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("a", Some("b")), "{kind}");
        }
    }

    #[test]
    fn namesakes_of_other_groups_have_no_pods_that_are_known() {
        for (version, kind) in
            [("v1", "Service"), ("example.com/v1", "Deployment"), ("serving.knative.dev/v1", "Service")]
        {
            assert_eq!(Workload::of("", &json!({ "apiVersion": version, "kind": kind })), None);
        }
    }

    #[test]
    fn a_list_is_its_items() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod" });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [pod, { "apiVersion": "v1", "kind": "List", "items": [pod] }] });
        let found: Vec<String> = objects(&list).into_iter().map(|(at, _)| at).collect();
        assert_eq!(found, ["/items/0", "/items/1/items/0"]);
    }
}
