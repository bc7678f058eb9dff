//! stunnel: a thread for each connection.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Peer, Programs, Site};

pub struct Stunnel;

impl Peer for Stunnel {
    fn name(&self) -> &'static str {
        "stunnel"
    }

    fn program(&self, _: &Programs) -> PathBuf {
        "stunnel".into()
    }

    fn version(&self) -> &'static [&'static str] {
        &["-version"]
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let config = format!(
            "foreground = yes
pid =
syslog = no
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[in]
accept = {}
connect = {}
cert = {}
CAfile = {}
requireCert = yes
verifyChain = yes
sslVersionMin = TLSv1.3
sessionResume = no
",
            site.listen,
            site.app,
            site.file("tls.pem").display(),
            site.file("ca.crt").display(),
        );
        let mut command = Command::new(program);
        command.arg(site.write("stunnel.conf", &config)?);
        Ok(command)
    }
}
