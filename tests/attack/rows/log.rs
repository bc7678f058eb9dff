//! A log that nobody reads, that is on a full disk, or that is closed: it ends nothing, and holds nothing up.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use kit::agent::program;
use kit::client::SERVER;
use kit::dialer::{Dialer, Group};
use kit::machine::Machine;
use kit::pki::Pki;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;

use super::Row;
use crate::attacker::{AT_ONCE, Attacker, Target, hold, step};
use crate::figures::Line;
use crate::honest::{self, Plan};
use crate::http2::{RST_STREAM, frame, get, hello};
use crate::world::World;
use crate::{Times, app};

pub const ROW: Row = Row {
    name: "log",
    attack: "nobody reads the pipe that is the log, or it is /dev/full, or its reader is gone; a peer has libraries warn \
             by rapid resets",
    measure,
    attacks: &[(RESETS, resets)],
};

const REQUESTS: usize = 20;
/// Handshakes that fail, which is logged.
const GARBAGE: usize = 20;
const START: Duration = Duration::from_secs(20);
/// From SIGTERM to the end, of which the agent may take this much for its drain.
const END: Duration = Duration::from_secs(6);
const O_NONBLOCK: i32 = 0o4000;

const RESETS: &str = "rapid-reset";
/// Requests that are reset, written at once.
const CHUNK: u32 = 100;
/// Lines while a peer resets: what a person may read.
const MOST_LINES: u64 = 50;
const RESETTING: usize = 8;

#[derive(Clone, Copy)]
enum Log {
    Read,
    Unread,
    Full,
    Closed,
}

const BROKEN: [(Log, &str); 3] = [
    (Log::Unread, "nobody reads the pipe"),
    (Log::Full, "/dev/full"),
    (Log::Closed, "the pipe's reader is gone"),
];

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![lines_of_resets(times)?];
    for (program, run) in [("agent", run_agent as fn(Log) -> _), ("controller", run_controller)] {
        let rest = run(Log::Read)?;
        ensure!(rest.is_good(), "{program} with a log that is read: {rest}");
        for (log, name) in BROKEN {
            let outcome: Outcome = run(log)?;
            let bound = "none fails, exit 0 in time";
            lines.push(Line::new(format!("{program}, {name}"), bound, &rest, &outcome, outcome.is_good()));
        }
    }
    Ok(lines)
}

/// How much a peer that resets its requests has the agent log.
fn lines_of_resets(times: Times) -> anyhow::Result<Line> {
    let world = World::http(&[]);
    let count = || world.agent.logged("") as u64;
    let before = count();
    let mut attacker = Attacker::start(RESETS, world.inbound(), RESETTING, Some(&world.attacker))?;
    attacker.wait_under_way()?;
    sleep(times.each().attack);
    let steps = attacker.steps();
    drop(attacker);
    let what = format!("lines while a peer resets {} requests", steps * u64::from(CHUNK));
    Ok(Line::most(what, " lines", MOST_LINES, before, count() - before))
}

fn resets(target: Target) -> io::Result<()> {
    target.keep(AT_ONCE, async |target| {
        let (mut reader, mut writer) = tokio::io::split(target.tls("h2").await?);
        let cancel = 8_u32.to_be_bytes();
        let reset = |stream| [get(stream, "/"), frame(RST_STREAM, 0, stream, &cancel)].concat();
        let write = async {
            writer.write_all(&hello()).await?;
            for chunk in 0.. {
                let streams = (0..CHUNK).map(|at| 2 * (chunk * CHUNK + at) + 1);
                writer.write_all(&streams.flat_map(reset).collect::<Vec<u8>>()).await?;
                writer.flush().await?;
                step();
            }
            Ok(())
        };
        tokio::select! {
            read = hold(&mut reader) => read,
            wrote = write => wrote,
        }
    })
}

struct Outcome {
    failed: usize,
    asked: usize,
    metrics: Result<(), String>,
    /// `None` if it had to be killed.
    exit: Option<(ExitStatus, Duration)>,
}

impl Outcome {
    fn is_good(&self) -> bool {
        self.failed == 0 && self.metrics.is_ok() && self.exit.is_some_and(|(status, _)| status.success())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.asked > 0 {
            write!(f, "{} of {} requests failed, ", self.failed, self.asked)?;
        }
        match &self.metrics {
            Ok(()) => write!(f, "/metrics, ")?,
            Err(error) => write!(f, "no /metrics ({error}), ")?,
        }
        match self.exit {
            Some((status, after)) => match status.code() {
                Some(code) => write!(f, "exit {code} after {:.1} s", after.as_secs_f64()),
                None => write!(f, "{status}"),
            },
            None => write!(f, "SIGTERM ignored for {} s", END.as_secs()),
        }
    }
}

fn run_agent(log: Log) -> anyhow::Result<Outcome> {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let [admin, inbound, proof] = free_addresses()?;
    let mut command = Command::new(program("hotcert-agent"));
    command.args(["run", "--identity"]).arg(&volume.path);
    command.args(["--admin", &admin.to_string(), "--proof", &proof.to_string()]);
    command.args(["--inbound", &format!("http:{inbound}={}", app::start())]);
    command.args(["--shutdown-delay", "100ms", "--shutdown-grace", "2s", "--outbound-linger", "100ms"]);
    let mut started = Started::start(command, admin, log)?;
    for _ in 0..GARBAGE {
        let _ =
            TcpStream::connect(inbound).and_then(|mut stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n"));
    }
    let client = Dialer::new(&pki.leaf("storefront"), Group::X25519)?.config();
    let plan = Plan::visits(inbound, client, honest::get("/"));
    let failed = plan.at_once(REQUESTS).into_iter().filter(Result::is_err).count();
    Ok(Outcome { failed, asked: REQUESTS, metrics: started.metrics(), exit: started.terminate()? })
}

fn run_controller(log: Log) -> anyhow::Result<Outcome> {
    let machine = Machine::with(&[]);
    let [admin] = free_addresses()?;
    let mut command = Command::new(program("hotcert"));
    command.arg("controller").arg("--dir").arg(machine.home.path()).args(["--admin", &admin.to_string()]);
    let mut started = Started::start(command, admin, log)?;
    Ok(Outcome { failed: 0, asked: 0, metrics: started.metrics(), exit: started.terminate()? })
}

/// Nobody is told of ports by a log that is broken.
pub(super) fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}

struct Started {
    child: Child,
    admin: SocketAddr,
    /// The end that nobody reads.
    _reader: Option<PipeReader>,
}

impl Started {
    /// The log breaks when it has begun to serve, except for a disk, which is full from the beginning.
    fn start(mut command: Command, admin: SocketAddr, log: Log) -> anyhow::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let stderr = match log {
            Log::Full => Stdio::from(OpenOptions::new().write(true).open("/dev/full")?),
            _ => writer.try_clone()?.into(),
        };
        let inherited = std::env::vars().filter(|(name, _)| name.starts_with("HOTCERT_"));
        for (name, _) in inherited {
            command.env_remove(name);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?;
        drop(command);
        let mut started = Self { child, admin, _reader: None };
        let begin = Instant::now();
        // A program that does not start fails what is asked of it below.
        while started.ask("/readyz").is_err()
            && begin.elapsed() < START
            && started.child.try_wait()?.is_none()
        {
            sleep(Duration::from_millis(10));
        }
        match log {
            Log::Read => drop(std::thread::spawn(move || { reader }.read_to_end(&mut Vec::new()))),
            Log::Unread => {
                fill(&writer)?;
                started._reader = Some(reader);
            }
            Log::Full | Log::Closed => drop(reader),
        }
        Ok(started)
    }

    fn ask(&self, path: &str) -> io::Result<()> {
        Plan::visits(self.admin, None, honest::get(path)).at_once(1).remove(0)
    }

    fn metrics(&self) -> Result<(), String> {
        self.ask("/metrics").map_err(|error| error.to_string())
    }

    fn terminate(&mut self) -> anyhow::Result<Option<(ExitStatus, Duration)>> {
        let begin = Instant::now();
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while begin.elapsed() < END {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some((status, begin.elapsed())));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(None)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Through a description of our own: that of the program must go on blocking.
fn fill(writer: &PipeWriter) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut own: File = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path)?;
    for piece in [4096, 1] {
        loop {
            match own.write(&vec![b'\n'; piece]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => drop(written?),
            }
        }
    }
    Ok(())
}
