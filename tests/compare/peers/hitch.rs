//! hitch: one worker process, and one that looks after it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Peer, Programs, Site};

pub struct Hitch;

impl Peer for Hitch {
    fn name(&self) -> &'static str {
        "hitch"
    }

    fn program(&self, _: &Programs) -> PathBuf {
        "hitch".into()
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let config = format!(
            "frontend = {{ host = \"{}\" port = \"{}\" }}
backend = \"[{}]:{}\"
pem-file = \"{}\"
client-verify = required
client-verify-ca = \"{}\"
tls-protos = TLSv1.3
workers = 1
daemon = off
log-level = 0
user = \"root\"
",
            site.listen.ip(),
            site.listen.port(),
            site.app.ip(),
            site.app.port(),
            site.file("tls.pem").display(),
            site.file("ca.crt").display(),
        );
        let mut command = Command::new(program);
        command.arg("--config").arg(site.write("hitch.conf", &config)?);
        Ok(command)
    }
}
