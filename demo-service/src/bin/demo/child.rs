//! One child process: this executable again, with a subcommand that is not in its help.
//!
//! The two ends meet here: [`spawn`] starts a child, [`service`] is what one of them runs (the other
//! kind, an agent, is `hotcert-agent` itself).

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

/// What the agent of this service is called, in messages and as a log.
pub fn agent_of(service: &str) -> String {
    format!("{service}-agent")
}

/// The addresses that a child said it has bound, by role.
#[derive(Clone, Debug, Default)]
pub struct BoundPorts {
    wanted: Vec<&'static str>,
    bound: HashMap<String, SocketAddr>,
}

impl BoundPorts {
    pub fn of(&self, role: &str) -> Option<SocketAddr> {
        self.bound.get(role).copied()
    }

    pub fn complete(&self) -> bool {
        self.wanted.iter().all(|role| self.bound.contains_key(*role))
    }
}

/// Starts a child whose stderr goes to `log`, and follows there which ports it binds.
pub fn spawn(
    arguments: &[&str],
    stdin: Stdio,
    log: &Path,
    wanted: &[&'static str],
) -> io::Result<(Child, watch::Receiver<BoundPorts>)> {
    let log = File::create(log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let ports = BoundPorts { wanted: wanted.to_vec(), bound: HashMap::new() };
    let (sender, receiver) = watch::channel(ports);
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(follow(stderr, log, sender));
    }
    Ok((child, receiver))
}

async fn follow(stderr: ChildStderr, mut log: File, ports: watch::Sender<BoundPorts>) {
    #[derive(Deserialize)]
    struct Line {
        message: String,
        role: String,
        address: SocketAddr,
    }
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        // A log that cannot be written costs the explanation of a failure, not the demonstration.
        let _ = writeln!(log, "{text}");
        match serde_json::from_str::<Line>(&text) {
            Ok(line) if line.message == "bound" => {
                ports.send_modify(|ports| {
                    ports.bound.insert(line.role, line.address);
                });
            }
            _ => {}
        }
    }
}

/// Has the kernel kill this process when its parent dies.
pub fn die_with_parent() {
    // Where that is not possible the parent still kills its children when it ends in good order.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// A service on the listener that is its stdin.
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
