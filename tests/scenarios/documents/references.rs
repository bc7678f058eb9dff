//! Names that the documents mention: commands and flags, metrics, tests. Each is one that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use kit::agent::program;

use super::block::{documents, prose, repository};

#[test]
fn commands_in_the_text_have_flags_that_their_programs_know() {
    let mut helps = BTreeMap::new();
    for (page, text) in documents() {
        for code in codes(&prose(&text)) {
            let words: Vec<_> = code.split_whitespace().collect();
            let [name @ ("hotcert" | "hotcert-agent"), rest @ ..] = &words[..] else { continue };
            let depth = if matches!(rest.first(), Some(&("notify" | "setup" | "teardown"))) { 2 } else { 1 };
            let Some((subcommand, rest)) = rest.split_at_checked(depth) else { continue };
            let command = subcommand.join(" ");
            let help = helps.entry(format!("{name} {command}")).or_insert_with(|| help(name, subcommand));
            for flag in rest.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(help.contains(flag), "{page}: {code}: {name} {command} knows no {flag}");
            }
        }
    }
    assert!(helps.len() > 5, "{:?}", helps.keys());
}

/// Flags of the whole help.
fn help(name: &str, subcommand: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program(name)).args(subcommand).arg("--help").output().unwrap();
    assert!(output.status.success(), "{name} has no {}", subcommand.join(" "));
    let help = String::from_utf8(output.stdout).unwrap();
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn metrics_are_registered_by_the_programs() {
    let sources = sources(&["tls/src", "agent/src", "control-plane/src"]);
    let (mut known, mut unknown) = (0, BTreeSet::new());
    for (page, text) in documents() {
        for code in codes(&prose(&text)) {
            let names = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for name in names.filter_map(|word| word.strip_prefix("hotcert_")) {
                let name = name.strip_prefix("controller_").unwrap_or(name);
                let name =
                    name.trim_end_matches("_total").trim_end_matches("_bucket").trim_end_matches("_info");
                known += 1;
                if !sources.contains(&format!("\"{name}\"")) {
                    unknown.insert(format!("{page}: {name}"));
                }
            }
        }
    }
    assert!(unknown.is_empty() && known > 10, "of {known} metrics these are not registered: {unknown:#?}");
}

#[test]
fn fields_are_those_of_the_objects() {
    let crds = std::fs::read_to_string(repository().join("manifests/base/crds.yaml")).unwrap();
    for (page, text) in documents() {
        for code in codes(&prose(&text)) {
            let Some(("spec" | "status", fields)) = code.split_once('.') else { continue };
            for field in fields.split('.') {
                assert!(crds.contains(&format!(" {field}:\n")), "{page}: the objects have no {code}");
            }
        }
    }
}

/// A name that ends in `::` stands for all tests that begin so.
#[test]
fn tests_of_the_protocols_exist() {
    let output =
        Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output();
    let list = String::from_utf8(output.unwrap().stdout).unwrap();
    let tests: Vec<_> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let page = std::fs::read_to_string(repository().join("docs/protocols.md")).unwrap();
    let names: Vec<_> =
        codes(&page).into_iter().filter(|code| code.contains("::") && !code.contains(' ')).collect();
    assert!(names.len() > 50, "{names:?}");
    let exists = |name: &&String| match name.ends_with("::") {
        true => tests.iter().any(|test| test.starts_with(name.as_str())),
        false => tests.contains(&name.as_str()),
    };
    let missing: Vec<_> = names.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // Every path of every library has the ten tests that the page speaks of.
    for library in ["grpcio", "grpc_js", "tonic"] {
        for path in ["inbound", "both", "outbound"] {
            let prefix = format!("grpc::{library}::{path}::");
            assert_eq!(tests.iter().filter(|test| test.starts_with(&prefix)).count(), 10, "{prefix}");
        }
    }
}

#[test]
fn tests_that_hold_an_invariant_exist() {
    let sources = sources(&["tls/src", "agent/src", "control-plane/src", "tests/scenarios", "tests/node"]);
    let text = std::fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let invariants = text.split("\n## ").find(|section| section.starts_with("Invariants")).unwrap();
    let rows = invariants.lines().filter_map(|line| line.split(" | ").nth(1)).skip(1);
    let names: Vec<_> = rows.flat_map(codes).collect();
    assert!(names.len() > 30, "{names:?}");
    let missing = |name: &&String| match name.ends_with(".rs") {
        true => !repository().join(name).exists(),
        false => !sources.contains(&format!("fn {name}(")),
    };
    let missing: Vec<_> = names.iter().filter(missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What stands between backticks.
fn codes(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sources(folders: &[&str]) -> String {
    let mut text = String::new();
    folders.iter().for_each(|folder| read(&repository().join(folder), &mut text));
    text
}

fn read(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension() == Some("rs".as_ref()) {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
