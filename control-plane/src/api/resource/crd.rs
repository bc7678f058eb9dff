//! The definitions of the two objects as an API server takes them: made from the types, so that what a
//! cluster stores is what the programs read. What cannot be acted on is refused when it is written.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::authority::CertificateAuthority;
use super::certificate::ServiceCertificate;

#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("a definition cannot be made from its type: {0}")]
    Type(#[from] serde_json::Error),
    #[error("a definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Both, as `manifests/base/crds.yaml` has them.
pub fn definitions() -> Result<String, DefinitionError> {
    let mut yaml = String::from("# Printed by `hotcert crds`: made from the types, not by hand.\n");
    for (number, (definition, required, what)) in [
        (CertificateAuthority::crd(), &["namespaces"][..], "A root that signs the leaves of services."),
        (ServiceCertificate::crd(), &["authority", "manager"], "A leaf for one service."),
    ]
    .into_iter()
    .enumerate()
    {
        let mut definition = serde_json::to_value(definition)?;
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        tidy(schema);
        schema["description"] = json!(what);
        let spec = &mut schema["properties"]["spec"];
        match required {
            [one] => spec["required"] = json!([one]),
            any => {
                let any: Vec<_> = any.iter().map(|field| json!({ "required": [field] })).collect();
                spec["anyOf"] = json!(any);
            }
        }
        if number > 0 {
            yaml.push_str("---\n");
        }
        yaml.push_str(&serde_saphyr::to_string(&definition)?);
    }
    Ok(yaml)
}

/// What serde takes for a missing field is not what a person meant, and often not even valid. A choice
/// that has null in it is not taken by a kubectl of 1.20. API servers know signed integers only, and warn of the
/// formats of others.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("default");
            if let Some(Value::Array(choices)) = map.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
                map.entry("minimum").or_insert_with(|| json!(0));
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_what_the_types_say() {
        let manifest = include_str!("../../../../manifests/base/crds.yaml");
        assert_eq!(
            manifest,
            definitions().unwrap(),
            "write it anew: hotcert crds > manifests/base/crds.yaml"
        );
    }

    #[test]
    fn nothing_in_them_is_unknown_to_an_api_server_or_shown_as_invalid() {
        let manifest = definitions().unwrap();
        assert!(!manifest.contains("format: uint"), "signed integers only");
        // The age of a date in the future is `<invalid>`.
        let dates: Vec<_> = manifest.split("- ").filter(|column| column.contains("type: date")).collect();
        assert!(!dates.is_empty() && dates.iter().all(|column| column.contains("name: Age")), "{dates:?}");
    }

    #[test]
    fn an_unsigned_integer_has_a_minimum_and_no_format() {
        let mut schema = json!({"properties": {"a": {"format": "uint64", "type": "integer"}, "format": {"type": "string"}}});
        tidy(&mut schema);
        let expected = json!({"a": {"minimum": 0, "type": "integer"}, "format": {"type": "string"}});
        assert_eq!(schema["properties"], expected);
    }
}
