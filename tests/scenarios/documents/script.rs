//! The commands of a page as one script. Each stands on the line that it has in the page, so that an error names the
//! place.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kit::agent::program;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::block::{Block, Marker, blocks, repository};

/// The first line, where a page has its title.
const HEAD: &str = "set -Eeuo pipefail; trap 'echo \"$0:$LINENO: $BASH_COMMAND\" >&2' ERR";
/// Of a whole page.
const SECONDS: &str = "75";

/// Runs a page without a cluster.
#[track_caller]
pub fn run(page: &str) {
    run_with(page, &[Marker::Sh], None);
}

/// Runs a page whose commands find a cluster.
#[track_caller]
pub fn run_on(page: &str, kubeconfig: &Path) {
    run_with(page, &[Marker::Sh, Marker::ShCluster], Some(kubeconfig));
}

/// Runs what is under one heading of such a page, in this directory: of its blocks the one of this number.
#[track_caller]
pub fn run_block(page: &str, heading: &str, number: usize, work: &Path, kubeconfig: &Path) {
    let is_there = |block: &Block| block.page == page && block.heading == heading;
    let block = blocks().into_iter().filter(is_there).nth(number);
    run_blocks(page, &[block.unwrap_or_else(|| panic!("{page}: {heading}"))], work, Some(kubeconfig));
}

#[track_caller]
fn run_with(page: &str, markers: &[Marker], kubeconfig: Option<&Path>) {
    let of_page: Vec<_> =
        blocks().into_iter().filter(|block| block.page == page && markers.contains(&block.marker)).collect();
    assert!(!of_page.is_empty(), "{page} has no commands");
    run_blocks(page, &of_page, TempDir::new().unwrap().path(), kubeconfig);
}

#[track_caller]
fn run_blocks(page: &str, of_page: &[Block], work: &Path, kubeconfig: Option<&Path>) {
    let home = TempDir::new().unwrap();
    let script = home.path().join(page.replace('/', "-"));
    std::fs::write(&script, lines(of_page)).unwrap();
    if kubeconfig.is_some() {
        // What a person has who is in a checkout.
        let link = work.join("manifests");
        if !link.exists() {
            std::os::unix::fs::symlink(repository().join("manifests"), link).unwrap();
        }
    }
    let log = home.path().join("log");
    let output = File::create(&log).unwrap();
    // `timeout` has a process group of its own, which the background jobs belong to, and ends with this thread.
    let mut shell = Command::new("setpriv");
    shell.args(["--pdeathsig", "TERM", "timeout", "--kill-after=1", SECONDS, "bash"]).arg(&script);
    shell.current_dir(work).env("HOME", home.path()).env("PATH", path());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOTCERT_") || name == "KUBECONFIG")
    {
        shell.env_remove(name);
    }
    if let Some(kubeconfig) = kubeconfig {
        shell.env("KUBECONFIG", kubeconfig);
    }
    shell.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut shell = shell.spawn().expect("setpriv, of util-linux");
    let group = Pid::from_child(&shell);
    let status = shell.wait().unwrap();
    let _ = kill_process_group(group, Signal::KILL);
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(status.into_raw(), 0, "{page}: {status}\n{log}");
}

fn lines(blocks: &[Block]) -> String {
    let mut script = format!("{HEAD}\n");
    let mut at = 2;
    for block in blocks {
        for _ in at..block.line {
            script.push('\n');
        }
        script.push_str(&block.text);
        at = block.line + block.text.lines().count();
    }
    script
}

/// What `cargo install` would have put there comes first.
fn path() -> std::ffi::OsString {
    let own = program("hotcert").parent().unwrap().to_owned();
    let before = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&before))).unwrap()
}
