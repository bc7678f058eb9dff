//! hotcert-agent, with the defaults that it has in a pod of one core.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Mode, Peer, Programs, Site};

pub struct Agent;

impl Peer for Agent {
    fn name(&self) -> &'static str {
        "hotcert"
    }

    fn program(&self, programs: &Programs) -> PathBuf {
        programs.agent.clone()
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Tcp, Mode::Http, Mode::LoggedHttp, Mode::Grpc]
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let mode = match site.mode {
            Mode::Tcp => "",
            Mode::Http | Mode::LoggedHttp => "http:",
            Mode::Grpc => "h2c:",
        };
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOTCERT_")) {
            command.env_remove(name);
        }
        command.args(["run", "--workers", "1", "--proof", "127.0.0.1:0"]);
        command.arg("--admin").arg(site.admin.to_string()).arg("--identity").arg(&site.volume.path);
        command.arg("--inbound").arg(format!("{mode}{}={}", site.listen, site.app));
        if site.mode == Mode::LoggedHttp {
            command.args(["--access-log", "stdout"]);
        }
        Ok(command)
    }

    fn watches(&self) -> bool {
        true
    }
}
