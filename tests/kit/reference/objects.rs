//! The fields of the objects, as the CRDs describe them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, repository};

const ABOUT: &str = "The objects of the group `hotcert.dev/v1alpha1`, from `manifests/base/crds.yaml`. Durations are \
     written `30d`, `36h`, `10m`. With `--dir` the same objects are files: `authorities/NAME.yaml` and \
     `certificates/NAMESPACE/NAME.yaml`.";

pub fn page() -> String {
    let file = repository().join("manifests/base/crds.yaml");
    let yaml = std::fs::read_to_string(file).expect("the manifest can be read");
    let mut text = format!("# Objects and their fields\n\n{ABOUT}\n");
    for document in yaml.split("\n---\n") {
        let definition: Value = serde_saphyr::from_str(document).expect("a CRD is YAML");
        let names = &definition["spec"]["names"];
        let version = &definition["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let _ = writeln!(
            text,
            "\n## {} ({}, {})\n\n{}",
            names["kind"].as_str().unwrap_or_default(),
            definition["spec"]["scope"].as_str().unwrap_or_default().to_lowercase(),
            names["shortNames"][0].as_str().unwrap_or_default(),
            schema["description"].as_str().unwrap_or_default(),
        );
        for part in ["spec", "status"] {
            let _ = writeln!(text, "\n| {part} | type | meaning |\n|---|---|---|");
            fields(&mut text, &schema["properties"][part], "");
        }
    }
    text
}

fn fields(text: &mut String, schema: &Value, prefix: &str) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let mut meaning = field["description"].as_str().unwrap_or_default().to_owned();
        if required.contains(&name.as_str()) {
            meaning = format!("Required. {meaning}");
        }
        let choices: Vec<_> =
            field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !choices.is_empty() {
            let _ = write!(meaning, " One of `{}`.", choices.join("`, `"));
        }
        let _ = writeln!(text, "| `{path}` | {} | {} |", kind(field), cell(&meaning));
        fields(text, field, &format!("{path}."));
        fields(text, &field["items"], &format!("{path}[]."));
        fields(text, &field["additionalProperties"], &format!("{path}.*."));
    }
}

fn kind(field: &Value) -> String {
    match field["type"].as_str() {
        Some("array") => format!("list of {}", kind(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => {
            format!("map of {}", kind(&field["additionalProperties"]))
        }
        Some("string") if field["format"] == "date-time" => "time".into(),
        Some(kind) => kind.to_owned(),
        None => String::new(),
    }
}
