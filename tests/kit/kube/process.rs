//! The programs that a cluster is made of: where they are, and how they end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::within;

/// Longer than an API server lets requests finish.
const END: Duration = Duration::from_secs(70);

/// From the folder that `KUBEBUILDER_ASSETS` names, else from the one that `./tests/run` has built.
pub fn program(name: &str) -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        let home = || var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        var("HOTCERT_CACHE")
            .or_else(|| home().map(|home| home.join("hotcert")))
            .map(|cache| cache.join("kubernetes"))
    };
    let folder = var("KUBEBUILDER_ASSETS").or_else(cache).unwrap_or_default();
    let path = folder.join(name);
    assert!(path.exists(), "{} is not there: run ./tests/run once, it is built there", path.display());
    path
}

pub struct Process {
    pub name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it with a log in `directory`. It dies with the thread that started it, however that ends.
    pub fn start(command: Command, directory: &Path, name: &'static str) -> Self {
        let log = File::options().create(true).append(true).open(log(directory, name)).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv, of util-linux");
        Self { name, child }
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        within(END, "the end that SIGTERM asked for", || self.exited());
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of each log.
pub fn show_logs(directory: &Path) {
    for name in ["etcd", "kube-apiserver"] {
        let text = std::fs::read(log(directory, name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        eprintln!("--- log of {name}\n{}\n---", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
}

fn log(directory: &Path, name: &str) -> PathBuf {
    directory.join(name).with_extension("log")
}
