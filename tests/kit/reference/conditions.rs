//! Condition types and their reasons, with what the enum that they come from says of each.

use std::fmt::Write as _;

use hotcert::api::condition::Reason;
use hotcert::planner::Effect;

use super::{cell, repository};

const ABOUT: &str = "Conditions in the status of CertificateAuthority and ServiceCertificate \
     (`kubectl describe`, `hotcert status --json`). `Ready` is what to alert on; the reason is one of the words below, and \
     the message names the object, the cause and what to do.

`Ready` is about the spec: it is False while the spec is refused or cannot be carried out, also if the leaf that was \
     published before serves on, which is `Published`. So `kubectl wait --for=condition=Ready`, Flux and Argo CD see a \
     refused change. `Stalled` and `Reconciling` are what kstatus (Flux) reads beside it. Each condition has the \
     `observedGeneration` that it was computed for.";

const READY: &str = "The column `Ready` says what the reason makes of that condition: False; or as the leaf, or the root, \
     is: True while that is valid. Beside it stands whether the spec waits (`Reconciling`) or is refused until somebody \
     changes something (`Stalled`).";

pub fn page() -> String {
    let file = repository().join("control-plane/src/api/condition.rs");
    let source = std::fs::read_to_string(file).expect("the source can be read");
    let mut text = format!("# Conditions and reasons\n\n{ABOUT}\n");
    let _ = writeln!(text, "\n## Types\n\n| type | meaning |\n|---|---|");
    for (variant, meaning) in variants(&source, "ConditionType") {
        let _ = writeln!(text, "| `{variant}` | {} |", cell(&meaning));
    }
    let _ = writeln!(
        text,
        "\n## Reasons\n\n{READY}\n\n| reason | Ready | meaning, and what to do |\n|---|---|---|"
    );
    for ((variant, meaning), reason) in variants(&source, "Reason").into_iter().zip(Reason::ALL) {
        assert_eq!(variant, reason.as_str());
        let _ = writeln!(text, "| `{variant}` | {} | {} |", effect(*reason), cell(&meaning));
    }
    text
}

fn effect(reason: Reason) -> &'static str {
    match Effect::of(reason) {
        Effect::Refuses => "False, `Stalled`",
        Effect::Blocks => "False, `Reconciling`",
        Effect::Ends => "False",
        Effect::Keeps => "as the leaf, or the root, is",
        Effect::Elsewhere => "",
    }
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
