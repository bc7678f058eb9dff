//! The commands that the README gives for a cluster, as they stand there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::agent::program;

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The block of commands that puts the demo onto a cluster, without its prompts.
pub fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let section =
        readme.split("\n## ").find(|section| section.starts_with("Onto a cluster")).expect("a section");
    let block = section
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains("kubectl apply -k manifests/demo"))
        .expect("a block that applies the demo");
    block.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
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
