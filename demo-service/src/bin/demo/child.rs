//! A child process: this executable again, with a hidden subcommand. [`spawn`] starts one; [`service`] is what a service
//! runs (an agent is `hotcert-agent` itself).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;

use demo_service::service::{Config, serve};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The name of this service's agent in messages and of its log.
pub fn agent_of(service: &str) -> String {
    format!("{service}-agent")
}

/// The addresses that a child has logged as bound, by role, in the order in which it was given them.
#[derive(Clone, Debug, Default)]
pub struct BoundPorts {
    /// Once for each address.
    expected: Vec<&'static str>,
    bound: HashMap<String, Vec<SocketAddr>>,
}

impl BoundPorts {
    pub fn of(&self, role: &str) -> &[SocketAddr] {
        self.bound.get(role).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn complete(&self) -> bool {
        let wanted = |role| self.expected.iter().filter(|expected| *expected == role).count();
        self.expected.iter().all(|role| self.of(role).len() >= wanted(role))
    }
}

/// Starts a child whose stderr goes to `log`, and reads from it which ports the child binds.
pub fn spawn(
    arguments: &[&str],
    stdin: Stdio,
    log: &Path,
    expected: &[&'static str],
) -> io::Result<(Child, watch::Receiver<BoundPorts>)> {
    let log = File::create(log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let ports = BoundPorts { expected: expected.to_vec(), bound: HashMap::new() };
    let (sender, receiver) = watch::channel(ports);
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(copy_log(stderr, log, sender));
    }
    Ok((child, receiver))
}

async fn copy_log(stderr: ChildStderr, mut log: File, ports: watch::Sender<BoundPorts>) {
    #[derive(Deserialize)]
    struct Line {
        message: String,
        role: String,
        address: SocketAddr,
    }
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        // Without its log a failure is harder to explain, but the demo goes on.
        let _ = writeln!(log, "{text}");
        match serde_json::from_str::<Line>(&text) {
            Ok(line) if line.message == "bound" => {
                ports.send_modify(|ports| {
                    ports.bound.entry(line.role).or_default().push(line.address);
                });
            }
            _ => {}
        }
    }
}

/// Has the kernel kill this process when its parent dies.
pub fn die_with_parent() {
    // If it is not supported, the parent still kills its children when it exits normally.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// Runs a service on the listener that is its stdin.
pub fn service(config: Config) -> io::Result<()> {
    let listener = std::net::TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        serve(listener, config, async move {
            terminate.recv().await;
        })
        .await;
        Ok(())
    })
}
