//! HAProxy of the distribution, with a configuration of the test's, in the foreground.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::until;

pub struct Haproxy {
    child: Child,
}

impl Haproxy {
    /// Returns when it listens on these.
    pub fn start(folder: &Path, config: &str, listening: &[SocketAddr]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        // Debian keeps servers out of the way of people.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(["-db", "-q", "-f"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("HAProxy, which ./tests/run installs");
        until("HAProxy listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "HAProxy ended");
            listening.iter().all(|address| TcpStream::connect(address).is_ok()).then_some(())
        });
        Self { child }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
