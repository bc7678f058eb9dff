//! Attackers run in processes of their own: their memory, descriptors and CPU time are not the honest client's,
//! and they are gone when they are killed. This program starts itself again with [`COMMAND`].

use std::fs;
use std::future::Future;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kit::dialer::{Dialer, Group};
use kit::pki::Pair;
use rustix::process::{Signal, nice, set_parent_process_death_signal};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::rows;

pub const COMMAND: &str = "attack";
/// Whose address every attacker has; honest clients have 127.0.0.1.
pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// They take what the programs that they attack leave of the machine.
pub const NICE: i32 = 10;
const UNDER_WAY: Duration = Duration::from_secs(10);
/// For all of its connections: some may never get in.
const IN_PLACE: Duration = Duration::from_secs(4);
const REPORT: Duration = Duration::from_millis(20);
/// From the end of a connection to the next one in its place: of a flood, and of an attack that holds what it has.
/// The latter must not become a flood of handshakes where its connections are ended.
pub const AT_ONCE: Duration = Duration::from_millis(20);
pub const LATER: Duration = Duration::from_secs(1);

/// Runs until its process is killed.
pub type Attack = fn(Target) -> io::Result<()>;

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Another connection, request or whatever the attack is made of.
pub fn step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// In the attacker's process: what it is to attack, and as whom.
pub struct Target {
    pub address: SocketAddr,
    pub connections: usize,
    config: Arc<ClientConfig>,
}

impl Target {
    pub fn socket(&self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((SOURCE, 0).into())?;
        Ok(socket)
    }

    pub async fn connect(&self) -> io::Result<TcpStream> {
        let stream = self.socket()?.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub async fn tls(&self, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        self.tls_over(self.connect().await?, alpn).await
    }

    pub async fn tls_over(&self, stream: TcpStream, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![alpn.into()];
        TlsConnector::from(Arc::new(config)).connect(server_name(), stream).await
    }

    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// As many connections as asked for, each begun anew so long after it has ended.
    pub fn keep<F>(self, again: Duration, each: impl Fn(Arc<Self>) -> F) -> io::Result<()>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let target = Arc::new(self);
        on_runtime(async {
            let each = &each;
            let connections = (0..target.connections).map(|_| {
                let target = Arc::clone(&target);
                async move {
                    loop {
                        let _ = each(Arc::clone(&target)).await;
                        tokio::time::sleep(again).await;
                    }
                }
            });
            let _: Vec<()> = futures_util::future::join_all(connections).await;
            Ok(())
        })
    }
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("payments.shop.svc").expect("a name")
}

/// On this thread.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// As [`block_on`], for what ends by an error alone.
pub fn on_runtime(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    block_on(work)
}

/// Holds a connection until the other side ends it, and whatever it says is read.
pub async fn hold(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<()> {
    let mut sink = tokio::io::sink();
    tokio::io::copy(stream, &mut sink).await.map(drop)
}

/// The attacker's process: `KIND ADDRESS CONNECTIONS [FILES]`.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICE)?;
    crate::raise_descriptors()?;
    let [kind, address, connections, files @ ..] = words else {
        anyhow::bail!("attack KIND ADDRESS CONNECTIONS [FILES]")
    };
    let dialer = match files.first().map(Path::new) {
        Some(files) => {
            let read = |name: &str| fs::read_to_string(files.join(name));
            Dialer::new(&Pair::new(read("cert")?, read("key")?), Group::X25519)?
        }
        None => Dialer::anonymous(Group::X25519)?,
    };
    let target = Target {
        address: address.parse()?,
        connections: connections.parse()?,
        config: dialer.config().context("TLS")?,
    };
    let attack = rows::attack(kind).with_context(|| format!("there is no attack {kind}"))?;
    std::thread::spawn(report);
    Ok(attack(target)?)
}

fn report() {
    let mut out = io::stdout().lock();
    while writeln!(out, "{}", STEPS.load(Ordering::Relaxed)).is_ok() {
        std::thread::sleep(REPORT);
    }
}

/// An attacker's process, seen from here. Killed when dropped.
pub struct Attacker {
    kind: &'static str,
    connections: u64,
    child: Child,
    steps: Arc<AtomicU64>,
    _files: Option<TempDir>,
}

impl Attacker {
    /// With this certificate, or with none.
    pub fn start(
        kind: &'static str,
        address: SocketAddr,
        connections: usize,
        identity: Option<&Pair>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([COMMAND, kind, &address.to_string(), &connections.to_string()]);
        let files = match identity {
            Some(pair) => {
                let files = tempfile::tempdir()?;
                fs::write(files.path().join("cert"), &pair.cert)?;
                fs::write(files.path().join("key"), &pair.key)?;
                command.arg(files.path());
                Some(files)
            }
            None => None,
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let steps = Arc::new(AtomicU64::new(0));
        let (lines, counter) =
            (BufReader::new(child.stdout.take().context("stdout")?).lines(), Arc::clone(&steps));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                counter.store(line.parse().unwrap_or(0), Ordering::Relaxed);
            }
        });
        Ok(Self { kind, connections: connections as u64, child, steps, _files: files })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Waits until all of them have had as many connections as they want; half of them at least.
    pub fn wait_in_place(attackers: &mut [Self]) -> anyhow::Result<()> {
        Self::wait_as_far_as_they_get(attackers)?;
        for one in attackers {
            let (steps, connections) = (one.steps(), one.connections);
            ensure!(
                steps * 2 >= connections,
                "the attack {} made {steps} of {connections} connections",
                one.kind
            );
        }
        Ok(())
    }

    /// The same, for attackers that keep each other out.
    pub fn wait_as_far_as_they_get(attackers: &mut [Self]) -> anyhow::Result<()> {
        attackers.iter_mut().try_for_each(Self::wait_under_way)?;
        let end = Instant::now() + IN_PLACE;
        while attackers.iter().any(|one| one.steps() < one.connections) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits for its first step: an attack that does not happen proves nothing.
    pub fn wait_under_way(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + UNDER_WAY;
        while self.steps() == 0 {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "the attack {} ended: {ended:?}", self.kind);
            ensure!(Instant::now() < end, "the attack {} is not under way within {UNDER_WAY:?}", self.kind);
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
