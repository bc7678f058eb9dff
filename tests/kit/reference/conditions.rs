//! Condition types and their reasons, with what the enum that they come from says of each.

use std::fmt::Write as _;

use super::{cell, repository};

const ABOUT: &str = "Conditions in the status of CertificateAuthority and ServiceCertificate \
     (`kubectl describe`, `hotcert status --json`). `Ready` is what to alert on; the reason is one of the words below, and \
     the message names the object, the cause and what to do.";

pub fn page() -> String {
    let file = repository().join("control-plane/src/api/condition.rs");
    let source = std::fs::read_to_string(file).expect("the source can be read");
    let mut text = format!("# Conditions and reasons\n\n{ABOUT}\n");
    for (title, name) in [("Types", "ConditionType"), ("Reasons", "Reason")] {
        let _ = writeln!(
            text,
            "\n## {title}\n\n| {} | meaning, and what to do |\n|---|---|",
            title.to_lowercase()
        );
        for (variant, meaning) in variants(&source, name) {
            let _ = writeln!(text, "| `{variant}` | {} |", cell(&meaning));
        }
    }
    text
}

/// The variants of an enum in `source`, each with its doc comment.
fn variants(source: &str, name: &str) -> Vec<(String, String)> {
    let body = source.split_once(&format!("\n    {name} {{\n")).expect("the enum is in the source").1;
    let mut found = Vec::new();
    let mut meaning = String::new();
    for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
        if let Some(doc) = line.strip_prefix("/// ") {
            let _ = write!(meaning, " {doc}");
        } else if let Some(variant) = line.strip_suffix(',')
            && !variant.starts_with('#')
        {
            found.push((variant.to_owned(), std::mem::take(&mut meaning).trim().to_owned()));
        }
    }
    found
}
