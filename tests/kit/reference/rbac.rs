//! The rights that the manifests of the base ask for, each with the comment that stands above it.

use std::fmt::Write as _;

use super::{cell, repository};

const ABOUT: &str = "What the control plane may do, from `manifests/base/rbac.yaml`. Rights over the Secrets of a \
     namespace are a ClusterRole that is bound nowhere: a RoleBinding in each namespace with certificates grants them \
     there, as `manifests/demo/control-plane.yaml` does. The agent needs `get`, `list` and `watch` on the one Secret that \
     it follows; `hotcert inject --rbac` prints that Role.";

pub fn page() -> String {
    let file = repository().join("manifests/base/rbac.yaml");
    let yaml = std::fs::read_to_string(file).expect("the manifest can be read");
    let mut text = format!("# Rights (RBAC)\n\n{ABOUT}\n");
    for document in yaml.split("\n---\n") {
        let kind = value(document, "kind:");
        if kind != "Role" && kind != "ClusterRole" {
            continue;
        }
        let (head, rules) = document.split_once("\nrules:\n").expect("a role has rules");
        let namespace = match value(head, "  namespace:") {
            "" => String::new(),
            namespace => format!(" in `{namespace}`"),
        };
        let _ = writeln!(text, "\n## {kind} `{}`{namespace}\n", value(head, "  name:"));
        let why = comment(head.lines());
        if !why.is_empty() {
            let _ = writeln!(text, "{why}\n");
        }
        let _ = writeln!(text, "| API group | resources | verbs | why |\n|---|---|---|---|");
        for rule in rules_of(rules) {
            let mut resources = list(&rule, "resources:");
            let names = list(&rule, "resourceNames:");
            if !names.is_empty() {
                let _ = write!(resources, " named {names}");
            }
            let group = list(&rule, "apiGroups:").replace("\"\"", "core");
            let verbs = list(&rule, "verbs:");
            let why = comment(rule.iter().copied());
            let _ = writeln!(text, "| {} | {} | {verbs} | {} |", cell(&group), cell(&resources), cell(&why));
        }
    }
    text
}

/// Each rule with the comment above it.
fn rules_of(rules: &str) -> Vec<Vec<&str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut comments: Vec<&str> = Vec::new();
    for line in rules.lines() {
        if line.trim_start().starts_with('#') {
            comments.push(line);
        } else if line.trim_start().starts_with("- ") {
            found.push(std::mem::take(&mut comments));
            found.last_mut().expect("it was pushed").push(line);
        } else if let Some(rule) = found.last_mut() {
            rule.push(line);
        }
    }
    found
}

fn comment<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines = lines.filter_map(|line| line.trim_start().strip_prefix("# "));
    lines.collect::<Vec<_>>().join(" ")
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).map_or("", str::trim)
}

fn list(rule: &[&str], key: &str) -> String {
    let line = rule.iter().find_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key));
    line.map_or("", |line| line.trim().trim_start_matches('[').trim_end_matches(']')).to_owned()
}
