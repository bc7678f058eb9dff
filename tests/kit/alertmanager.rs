//! Alertmanager of the distribution, which tells of its alerts by a webhook.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::client::get;
use crate::pki::write;
use crate::until;

pub struct Alertmanager {
    child: Child,
    pub address: SocketAddr,
}

impl Alertmanager {
    /// `webhook`: the URL that it calls.
    pub fn start(folder: &Path, webhook: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let config = format!(
            "route: {{ receiver: hook, group_by: [alertname, subject], group_wait: 100ms, group_interval: 100ms }}\n\
             receivers:\n- {{ name: hook, webhook_configs: [{{ url: '{webhook}', send_resolved: true }}] }}\n"
        );
        let config = write(&folder.join("alertmanager.yml"), config);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new("prometheus-alertmanager");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", folder.join("storage").display()));
        command.args([&format!("--web.listen-address={address}"), "--cluster.listen-address="]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("Alertmanager, which ./tests/run installs");
        until("Alertmanager is ready", || {
            assert_eq!(child.try_wait().unwrap(), None, "Alertmanager ended");
            get(address, "/-/ready").ok().filter(|answer| answer.status == 200)
        });
        Self { child, address }
    }

    /// The alerts that are firing.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = get(self.address, "/api/v2/alerts").unwrap().json();
        answer.as_array().unwrap().clone()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
