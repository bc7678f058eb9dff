//! The terminators that are measured, each set up as its own documentation advises for this one task: TLS 1.3
//! with a client certificate that a root verifies, no resumption, one worker, nothing logged per connection unless the mode says so.

mod agent;
mod envoy;
mod haproxy;
mod hitch;
mod nginx;
mod stunnel;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::dialer::Dialer;
use kit::pki::{Pair, Pki};
use kit::volume::Volume;
use rustix::process::Signal;

use crate::grpc;
use crate::process::{Cores, Running};
use crate::visit::visit;

/// A start takes less by far; what takes longer will not come.
const START: Duration = Duration::from_secs(20);

/// What passes from the client to the service behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes.
    Tcp,
    /// HTTP/1.1 requests, over connections to the service that are used again.
    Http,
    /// As `Http`, with a line in an access log for each request.
    LoggedHttp,
    /// gRPC calls: HTTP/2, which to the service is spoken from the first byte on (h2c).
    Grpc,
}

pub trait Peer: Sync {
    fn name(&self) -> &'static str;

    /// The program's file, found by name in `PATH` if it is no path.
    fn program(&self, programs: &Programs) -> PathBuf;

    /// Arguments that have it print its version, of which the first word with a dot in it is taken.
    fn version(&self) -> &'static [&'static str] {
        &["--version"]
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Tcp]
    }

    /// A lower bound rather than a choice: it does less than is asked for.
    fn is_floor(&self) -> bool {
        false
    }

    /// Writes its configuration into the site's directory; what to run.
    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command>;

    /// Has it serve `site`'s new identity, which is in its files already, by the best way it has. For those
    /// that watch their files there is nothing left to do.
    fn reload(&self, _site: &Site, running: &Running) -> io::Result<()> {
        running.signal(Signal::HUP)
    }

    /// Whether it sees for itself that files have changed.
    fn watches(&self) -> bool {
        false
    }
}

pub static ALL: [&dyn Peer; 7] = [
    &agent::Agent,
    &envoy::Envoy,
    &haproxy::Haproxy,
    &nginx::Nginx { tls: true },
    &stunnel::Stunnel,
    &hitch::Hitch,
    &nginx::Nginx { tls: false },
];

/// Programs that are not in `PATH`.
pub struct Programs {
    pub agent: PathBuf,
    pub envoy: PathBuf,
}

/// What a peer is given: its identity and roots, where it listens and what it stands before.
pub struct Site {
    pub directory: PathBuf,
    pub listen: SocketAddr,
    /// A second address, for the admin interface of peers that have one.
    pub admin: SocketAddr,
    pub app: SocketAddr,
    pub mode: Mode,
    /// `tls.crt`, `tls.key` and `ca.crt` as kubelet mounts them.
    pub volume: Volume,
    roots: String,
}

impl Site {
    pub fn create(directory: PathBuf, pki: &Pki, app: SocketAddr, mode: Mode) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let volume = Volume::open(directory.join("identity"));
        let (listen, admin) = (free_address()?, free_address()?);
        let site = Self { directory, listen, admin, app, mode, volume, roots: pki.roots().into() };
        site.put(&pki.leaf("service"))?;
        Ok(site)
    }

    /// The identity in every form that a peer reads. When the volume was swapped, which is last.
    pub fn put(&self, pair: &Pair) -> anyhow::Result<Instant> {
        let both = format!("{}{}", pair.cert, pair.key);
        for (name, content) in
            [("tls.crt", &pair.cert), ("tls.key", &pair.key), ("tls.pem", &both), ("ca.crt", &self.roots)]
        {
            let half = self.file(&format!("{name}.new"));
            std::fs::write(&half, content)?;
            std::fs::rename(half, self.file(name))?;
        }
        Ok(self.volume.publish(pair, &self.roots))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a configuration.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }
}

/// One that has answered.
pub struct Started {
    pub peer: &'static dyn Peer,
    pub site: Site,
    pub running: Running,
    /// From its start to the first handshake that was answered.
    pub took: Duration,
}

impl Started {
    pub fn start(
        peer: &'static dyn Peer,
        programs: &Programs,
        site: Site,
        dialer: &Dialer,
        cores: Option<Cores>,
    ) -> anyhow::Result<Self> {
        let name = peer.name();
        let command = peer.command(&peer.program(programs), &site)?;
        let log = site.file("log");
        let running = Running::start(command, std::fs::File::create(&log)?, cores);
        let mut running =
            running.with_context(|| format!("{name} cannot be started; ./tests/bench installs it"))?;
        loop {
            let shown = match site.mode {
                Mode::Tcp | Mode::Http | Mode::LoggedHttp => {
                    visit(dialer, site.listen, START).map(|visit| visit.shown)
                }
                Mode::Grpc => grpc::Load::open(dialer, site.listen, 1).map(|_| Instant::now()),
            };
            match shown {
                Ok(shown) => {
                    let took = shown - running.started;
                    running.pin(cores)?;
                    return Ok(Self { peer, site, running, took });
                }
                Err(error) if running.has_ended()? || running.started.elapsed() > START => {
                    let log = std::fs::read_to_string(log).unwrap_or_default();
                    anyhow::bail!("{name} does not serve: {error}\n{log}");
                }
                // The peer does not listen yet, or not with its whole configuration.
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Puts another identity in its place. When: at the swap of the files for who watches them, else at the
    /// moment in which it is told.
    pub fn rotate(&self, pair: &Pair) -> anyhow::Result<Instant> {
        let swapped = self.site.put(pair)?;
        if self.peer.watches() {
            return Ok(swapped);
        }
        let told = Instant::now();
        self.peer.reload(&self.site, &self.running)?;
        Ok(told)
    }
}

/// A port that is free now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
