//! The metrics that the programs register. A family without a sample does not show in `/metrics`, so the list comes
//! from the registrations in the sources, and their labels from the label sets beside them.

use std::fmt::Write as _;
use std::path::Path;

use super::{cell, repository};

const ABOUT: &str = "Metrics are in the OpenMetrics text format at `/metrics` of the admin port. Counters end in `_total`, \
     histograms in `_bucket`, `_sum` and `_count`; times are seconds. Label values are bounded: generations are \
     `current`, `previous` and `older`; pods are in the objects' status, never in labels.";

/// A family as it is registered: its name with the program's prefix, without the suffix of its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    pub name: String,
    pub help: String,
}

pub fn page() -> String {
    let mut text = format!("# Metrics\n\n{ABOUT}\n");
    for (title, folder, prefix) in PROGRAMS {
        let _ = writeln!(text, "\n## {title}\n\n| metric | meaning |\n|---|---|");
        for Metric { name, help } in registered(&repository().join(folder), prefix) {
            let _ = writeln!(text, "| `{name}` | {}. |", cell(&help));
        }
    }
    text
}

const PROGRAMS: [(&str, &str, &str); 2] =
    [("The agent", "agent/src", "hotcert_"), ("The controller", "control-plane/src", "hotcert_controller_")];

/// All families that the sources below `folder` register.
pub fn registered(folder: &Path, prefix: &str) -> Vec<Metric> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(path).expect("a source can be read");
                found.extend(registrations(&source, prefix));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `register("name", "help", …)` in a source.
fn registrations(source: &str, prefix: &str) -> Vec<Metric> {
    let calls = source.split(".register(").skip(1);
    calls
        .filter_map(|call| {
            let (name, rest) = literal(call.trim_start())?;
            let (help, _) = literal(rest.trim_start().strip_prefix(',')?.trim_start())?;
            Some(Metric { name: format!("{prefix}{name}"), help })
        })
        .collect()
}

fn literal(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = text.strip_prefix('"')?.split_once('"')?;
    Some((inside.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" "), rest))
}
