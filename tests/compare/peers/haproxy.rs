//! HAProxy, given a new certificate by its runtime API, which keeps every connection.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Mode, Peer, Programs, Site};
use crate::process::Running;

pub struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn program(&self, _: &Programs) -> PathBuf {
        "haproxy".into()
    }

    fn version(&self) -> &'static [&'static str] {
        &["-v"]
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Tcp, Mode::Http, Mode::LoggedHttp, Mode::Grpc]
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let mode = if site.mode == Mode::Tcp { "tcp" } else { "http" };
        // With HTTP it tells the service who the client is, as the others do.
        let identity = match site.mode {
            Mode::Http | Mode::LoggedHttp | Mode::Grpc => {
                "http-request set-header x-client-certificate %{+Q}[ssl_c_s_dn]"
            }
            Mode::Tcp => "",
        };
        let (alpn, proto) = if site.mode == Mode::Grpc { ("alpn h2", "proto h2") } else { ("", "") };
        let (log, option) = match site.mode {
            Mode::LoggedHttp => ("log stdout format raw local0", "log global\n    option httplog"),
            _ => ("", ""),
        };
        let config = format!(
            "global
    nbthread 1
    maxconn 9500
    {log}
    tune.ssl.cachesize 0
    stats socket {socket} mode 600 level admin
defaults
    mode {mode}
    {option}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend in
    bind {listen} ssl crt {pem} ca-file {roots} verify required ssl-min-ver TLSv1.3 no-tls-tickets {alpn}
    {identity}
    default_backend app
backend app
    server app {app} {proto}
",
            socket = site.file("socket").display(),
            listen = site.listen,
            pem = site.file("tls.pem").display(),
            roots = site.file("ca.crt").display(),
            app = site.app,
        );
        let config = site.write("haproxy.cfg", &config)?;
        let mut command = Command::new(program);
        command.args(["-db", "-f"]).arg(config);
        Ok(command)
    }

    fn reload(&self, site: &Site, _: &Running) -> io::Result<()> {
        let pem = site.file("tls.pem");
        let content = std::fs::read_to_string(&pem)?;
        say(site, &format!("set ssl cert {} <<\n{content}\n", pem.display()))?;
        say(site, &format!("commit ssl cert {}\n", pem.display()))
    }
}

fn say(site: &Site, command: &str) -> io::Result<()> {
    let mut socket = UnixStream::connect(site.file("socket"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(command.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    match ["Success", "Transaction"].iter().any(|good| answer.contains(good)) {
        true => Ok(()),
        false => Err(io::Error::other(format!("HAProxy answered: {answer}"))),
    }
}
