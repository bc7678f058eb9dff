//! The honest client: requests at a fixed rate over kept connections, and some on new connections. Each request
//! has a time at which it is due, and its latency counts from there, so that one that is held up by the one before
//! it is as slow as it looks to a user.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::attacker::{block_on, on_runtime, server_name};
use crate::figures::Series;

/// A request without a response after this has failed.
pub const PATIENCE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(10);

pub type Ask = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// What one honest client does.
#[derive(Clone)]
pub struct Plan {
    pub address: SocketAddr,
    /// `None` to speak plainly.
    pub tls: Option<Arc<ClientConfig>>,
    /// A whole request.
    pub ask: Ask,
    /// Connections that are kept, and how many requests a second they carry together.
    pub kept: (u32, u32),
    /// New connections a second, each for one request.
    pub new: u32,
    pub patience: Duration,
}

impl Plan {
    /// 200 requests a second over 8 kept connections, and 10 new connections a second.
    pub fn ordinary(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { address, tls, ask: get("/"), kept: (8, 200), new: 10, patience: PATIENCE }
    }

    /// Only new connections, with nothing kept.
    pub fn visits(address: SocketAddr, tls: Option<Arc<ClientConfig>>, ask: Ask) -> Self {
        Self { address, tls, ask, kept: (0, 0), new: 10, patience: PATIENCE }
    }
}

/// `GET` of a path.
pub fn get(path: &str) -> Ask {
    let request = format!("GET {path} HTTP/1.1\r\nhost: payments.shop.svc\r\n\r\n").into_bytes();
    Arc::new(move || request.clone())
}

/// What came of a plan within one phase.
#[derive(Clone, Default)]
pub struct Tally {
    pub kept: Series,
    pub new: Series,
}

impl Tally {
    pub fn all(&self) -> Series {
        let mut all = self.kept.clone();
        all.join(&self.new);
        all
    }
}

pub struct Honest {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

struct Shared {
    plans: Vec<Plan>,
    stop: AtomicBool,
    /// When each phase began, and what came of each plan in it.
    phases: Mutex<Vec<(Instant, Vec<Tally>)>>,
}

impl Honest {
    /// Returns when each plan has had an answer.
    pub fn start(plans: Vec<Plan>) -> anyhow::Result<Self> {
        let warm_up = (Instant::now(), vec![Tally::default(); plans.len()]);
        let shared =
            Arc::new(Shared { plans, stop: AtomicBool::new(false), phases: Mutex::new(vec![warm_up]) });
        let running = Arc::clone(&shared);
        let thread = std::thread::spawn(move || on_runtime(running.run()));
        let honest = Self { shared, thread };
        let begin = Instant::now();
        let answered = |tally: &Tally| tally.all().asked() > tally.all().failures;
        while !honest.shared.phases()[0].1.iter().all(answered) {
            let failure = honest.shared.phases()[0].1.iter().find_map(|tally| tally.all().first_failure);
            ensure!(
                begin.elapsed() < WARM_UP,
                "an honest client without an attack has no answer: {failure:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(honest)
    }

    /// What is due from now on counts for a new phase; its number.
    pub fn next_phase(&self) -> usize {
        let mut phases = self.shared.phases();
        phases.push((Instant::now(), vec![Tally::default(); self.shared.plans.len()]));
        phases.len() - 1
    }

    /// Ends with what is under way. For each phase, what came of each plan.
    pub fn end(self) -> Vec<Vec<Tally>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.shared.phases().drain(..).map(|(_, tallies)| tallies).collect()
    }
}

impl Shared {
    async fn run(self: Arc<Self>) -> io::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..self.plans.len() {
            for connection in 0..self.plans[at].kept.0 {
                tasks.spawn(Arc::clone(&self).keep(at, connection));
            }
            tasks.spawn(Arc::clone(&self).visit(at));
        }
        tasks.join_all().await;
        Ok(())
    }

    /// The requests of one kept connection.
    async fn keep(self: Arc<Self>, at: usize, connection: u32) {
        let plan = &self.plans[at];
        let (connections, rate) = plan.kept;
        let pace = Duration::from_secs(u64::from(connections)) / rate;
        // Spread, so that they do not all ask at once.
        let mut due = Instant::now() + pace * connection / connections;
        let mut kept = None;
        while self.sleeps_until(due).await {
            let outcome = plan.exchange(&mut kept, due).await;
            self.record(at, due, outcome, |tally| &mut tally.kept);
            due += pace;
        }
    }

    async fn visit(self: Arc<Self>, at: usize) {
        let plan = &self.plans[at];
        let pace = Duration::from_secs(1) / plan.new.max(1);
        let mut due = Instant::now();
        let mut visits = tokio::task::JoinSet::new();
        while plan.new > 0 && self.sleeps_until(due).await {
            let shared = Arc::clone(&self);
            visits.spawn(async move {
                let outcome = shared.plans[at].exchange(&mut None, due).await;
                shared.record(at, due, outcome, |tally| &mut tally.new);
            });
            due += pace;
        }
        visits.join_all().await;
    }

    /// Whether it is to go on.
    async fn sleeps_until(&self, due: Instant) -> bool {
        sleep_until(due).await;
        !self.stop.load(Ordering::Relaxed)
    }

    fn record(&self, at: usize, due: Instant, outcome: io::Result<()>, of: fn(&mut Tally) -> &mut Series) {
        let mut phases = self.phases();
        let phase = phases.iter_mut().rev().find(|(begin, _)| *begin <= due);
        let Some((_, tallies)) = phase else { return };
        let series = of(&mut tallies[at]);
        match outcome {
            Ok(()) => series.answer(due.elapsed()),
            Err(error) => series.fail(error.to_string()),
        }
    }

    fn phases(&self) -> MutexGuard<'_, Vec<(Instant, Vec<Tally>)>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Kept = Option<Box<dyn Stream>>;

impl Plan {
    /// So many new connections with a request each, at the same time.
    pub fn at_once(&self, count: usize) -> Vec<io::Result<()>> {
        block_on(async {
            let asked = (0..count).map(async |_| self.exchange(&mut None, Instant::now()).await);
            futures_util::future::join_all(asked).await
        })
    }

    /// These requests on one connection, one after the other.
    pub fn converse(&self, requests: &[Vec<u8>]) -> Vec<io::Result<()>> {
        block_on(async {
            let mut kept = None;
            let mut outcomes = Vec::new();
            for request in requests {
                let request = request.clone();
                let plan = Self { ask: Arc::new(move || request.clone()), ..self.clone() };
                outcomes.push(plan.exchange(&mut kept, Instant::now()).await);
            }
            outcomes
        })
    }

    async fn exchange(&self, kept: &mut Kept, due: Instant) -> io::Result<()> {
        match timeout_at(due + self.patience, self.ask_over(kept)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                *kept = None;
                Err(io::Error::other(format!("no response within {:?}", self.patience)))
            }
        }
    }

    /// A kept connection that was closed before any byte of the response is replaced once, as any client does.
    async fn ask_over(&self, kept: &mut Kept) -> io::Result<()> {
        let request = (self.ask)();
        if let Some(mut stream) = kept.take() {
            match ask(&mut *stream, &request).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                outcome => return Self::put_back(kept, stream, outcome),
            }
        }
        let mut stream = self.dial().await?;
        let outcome = ask(&mut *stream, &request).await;
        Self::put_back(kept, stream, outcome)
    }

    fn put_back(kept: &mut Kept, stream: Box<dyn Stream>, outcome: io::Result<bool>) -> io::Result<()> {
        let persists = outcome?;
        *kept = Some(stream).filter(|_| persists);
        Ok(())
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(config) => {
                Box::new(TlsConnector::from(Arc::clone(config)).connect(server_name(), stream).await?)
            }
            None => Box::new(stream),
        })
    }
}

/// One request and its whole response, which must be 200. Whether the connection may be used again.
async fn ask(stream: &mut dyn Stream, request: &[u8]) -> io::Result<bool> {
    let closed = |cause: &str| io::Error::new(io::ErrorKind::ConnectionAborted, cause.to_owned());
    if stream.write_all(request).await.is_err() || stream.flush().await.is_err() {
        return Err(closed("closed instead of a response"));
    }
    let mut response = Vec::with_capacity(512);
    loop {
        let read = stream.read_buf(&mut response).await;
        match read {
            Ok(0) | Err(_) if response.is_empty() => return Err(closed("closed instead of a response")),
            Ok(0) => return Err(io::Error::other("closed within a response")),
            read => drop(read?),
        }
        if let Some(persists) = whole(&response)? {
            return Ok(persists);
        }
    }
}

/// `None` if there is more to come.
fn whole(response: &[u8]) -> io::Result<Option<bool>> {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&response[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(io::Error::other(format!("status {status}")));
    }
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    let persists = field("connection:") != Some("close");
    Ok((response.len() >= end + 4 + length).then_some(persists))
}
