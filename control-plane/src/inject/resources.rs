//! Resource requests and limits of the agent's container: Kubernetes quantities from annotations.

use serde_json::{Map, Value, json};

use super::annotations::Annotations;

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i8); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// Quantities as they were written.
#[derive(Clone, Debug)]
pub struct Resources {
    cpu_request: String,
    memory_request: String,
    cpu_limit: Option<String>,
    memory_limit: String,
}

impl Resources {
    pub fn parse(annotations: &mut Annotations<'_>) -> Self {
        let mut quantity =
            |name| annotations.parse(name, |text| parse_quantity(text).map(|_| text.to_owned()));
        let resources = Self {
            cpu_request: quantity("cpu-request").unwrap_or_else(|| "10m".into()),
            memory_request: quantity("memory-request").unwrap_or_else(|| "32Mi".into()),
            cpu_limit: quantity("cpu-limit"),
            memory_limit: quantity("memory-limit").unwrap_or_else(|| "256Mi".into()),
        };
        let cpu_limit = resources.cpu_limit.as_ref().unwrap_or(&resources.cpu_request);
        for (resource, request, limit) in [
            ("cpu", &resources.cpu_request, cpu_limit),
            ("memory", &resources.memory_request, &resources.memory_limit),
        ] {
            if parse_quantity(request) > parse_quantity(limit) {
                annotations.reject(
                    &format!("{resource}-limit"),
                    format!("a limit of {limit} is less than the request of {request}: set hotcert.dev/{resource}-request and hotcert.dev/{resource}-limit together"),
                );
            }
        }
        resources
    }

    /// A container's `resources`.
    pub fn to_json(&self) -> Value {
        let mut limits = Map::new();
        limits.insert("memory".into(), json!(self.memory_limit));
        if let Some(cpu) = &self.cpu_limit {
            limits.insert("cpu".into(), json!(cpu));
        }
        json!({
            "requests": { "cpu": self.cpu_request, "memory": self.memory_request },
            "limits": limits,
        })
    }
}

/// The value of a quantity above 0. What is written in two ways has one value: 700m is 0.7.
fn parse_quantity(text: &str) -> Result<f64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let binary = BINARY.iter().zip(1..).find(|(name, _)| **name == suffix);
    let value = match binary {
        Some((_, power)) => number.parse().map(|number: f64| number * 1024f64.powi(power)).ok(),
        // Rounded once, by the parser, and not again by a multiplication.
        None => exponent(suffix).and_then(|exponent| format!("{number}e{exponent}").parse().ok()),
    };
    value.filter(|value| *value > 0.0 && value.is_finite()).ok_or_else(|| {
        format!("{text:?} is not a Kubernetes quantity above 0: write it like 100m, 0.5, 64Mi or 1Gi")
    })
}

/// The power of ten of a suffix: `m`, `M`, `e3`, `E-3`, or none.
fn exponent(suffix: &str) -> Option<i8> {
    let of_name = DECIMAL.iter().find(|(name, _)| *name == suffix).map(|(_, exponent)| *exponent);
    of_name.or_else(|| suffix.strip_prefix(['e', 'E'])?.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_have_the_values_of_kubernetes() {
        for (text, expected) in [
            ("100m", 0.1),
            ("0.5", 0.5),
            (".5", 0.5),
            ("2", 2.0),
            ("64Mi", 67_108_864.0),
            ("1.5Gi", 1_610_612_736.0),
            ("64M", 64e6),
            ("1e3", 1e3),
            ("5E", 5e18),
            ("12E-1", 1.2),
        ] {
            let found = parse_quantity(text).unwrap();
            assert!((found - expected).abs() < expected * 1e-9, "{text}: {found}");
        }
    }

    #[test]
    fn a_quantity_has_one_value_however_it_is_written() {
        for (one, other) in [
            ("700m", "0.7"),
            ("1409m", "1.409"),
            ("700m", "700000000n"),
            ("8.2G", "8200M"),
            ("8.2e9", "8.2G"),
            ("1.1Gi", "1126.4Mi"),
            ("1Gi", "1073741824"),
        ] {
            assert!(parse_quantity(one).unwrap() == parse_quantity(other).unwrap(), "{one} is {other}");
        }
    }

    #[test]
    fn malformed_quantities_are_rejected() {
        for bad in [
            "", "0", "-1", "64MB", "64mi", "1 Gi", "Mi", "1e", "1e999", "1.2.3", "lots", "0x10", "inf",
            "1e3e3", "1e3m",
        ] {
            assert!(parse_quantity(bad).is_err(), "{bad}");
        }
    }
}
