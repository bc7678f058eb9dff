//! The commands that the documents give for a cluster, as they stand there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::agent::program;

const PAGE: &str = "docs/getting-started-cluster.md";

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The commands of the page, in order, among them those that put the demo onto a cluster.
pub fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
    let blocks = page.split("```sh cluster\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: Vec<_> = blocks.flat_map(str::lines).map(str::to_owned).collect();
    assert!(commands.iter().any(|command| command == "kubectl apply -k manifests/demo"), "{commands:?}");
    commands
}

/// What `cargo install` would have put there comes first.
pub fn path() -> OsString {
    let own = program("hotcert").parent().unwrap().to_owned();
    let before = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&before))).unwrap()
}

/// Runs one of them in the repository, with this folder as the home directory and our programs at hand.
pub fn run(command: &str, home: &Path) {
    eprintln!("$ {command}");
    let status = Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(repository())
        .env("PATH", path())
        .env("HOME", home)
        .status()
        .unwrap();
    assert!(status.success(), "{command}: {status}");
}
