//! nginx of the distribution, with a configuration of the test's, in the foreground.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::until;

pub struct Nginx {
    child: Child,
    log: PathBuf,
}

impl Nginx {
    /// With `http` as the content of that block; returns when it listens on these.
    pub fn start(folder: &Path, http: &str, listening: &[SocketAddr]) -> Self {
        let (mut command, folder) = configured(folder, http);
        let child = command.spawn().expect("nginx, which ./tests/run installs");
        let mut this = Self { child, log: folder.join("log") };
        until("nginx listens", || {
            assert_eq!(this.child.try_wait().unwrap(), None, "nginx ended: {}", this.log());
            listening.iter().all(|address| TcpStream::connect(address).is_ok()).then_some(())
        });
        this
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it when it is told, not when it is killed.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

/// Whether nginx takes a configuration with `http` as the content of that block, and the files that it names.
pub fn takes(folder: &Path, http: &str) -> bool {
    let (mut command, _) = configured(folder, http);
    command.arg("-t").stderr(Stdio::null()).status().expect("nginx, which ./tests/run installs").success()
}

/// The command, and the directory that it keeps its files in.
fn configured(folder: &Path, http: &str) -> (Command, PathBuf) {
    std::fs::create_dir_all(folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};", file(kind)))
        .join(" ");
    let config = format!(
        "daemon off; worker_processes 1; pid {}; error_log {} info; {}
events {{ worker_connections 1000; }}
http {{ access_log off; server_tokens off; {temporary}
{http}
}}
",
        file("pid"),
        file("log"),
        // Its workers would be of another user.
        if rustix::process::geteuid().is_root() { "user root;" } else { "" },
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    // Debian keeps servers out of the way of people.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    (command, folder)
}

/// Addresses of loopback that are free now.
pub fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}
