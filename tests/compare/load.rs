//! The load: clients on one thread, each a connection that asks, waits for the answer and asks again, or
//! closes and comes anew. The same for every terminator, and cheaper than any of them: it checks no
//! certificate, since what is measured is the other side.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio_rustls::rustls::ClientConnection;

use crate::dialer::Dialer;
use crate::message::{Message, ZEROS};

/// Handshakes begun and not done yet, while many connections are opened.
const OPENING: usize = 64;
/// Longer than any answer should take.
const STUCK: Duration = Duration::from_secs(20);

/// What every client does.
#[derive(Clone)]
pub struct Script {
    /// The head of a request.
    pub ask: String,
    /// Bytes after it.
    pub body: u64,
    pub connections: usize,
    /// A new connection for each request.
    pub reconnect: bool,
    /// Requests of one connection begin this far apart, whatever becomes of the one before.
    pub pace: Option<Duration>,
}

impl Script {
    pub fn small(connections: usize) -> Self {
        let ask = "GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: load\r\naccept: */*\r\n\r\n".into();
        Self { ask, body: 0, connections, reconnect: false, pace: None }
    }

    pub fn handshakes(connections: usize) -> Self {
        Self { reconnect: true, ..Self::small(connections) }
    }

    pub fn paced(connections: usize, pace: Duration) -> Self {
        Self { pace: Some(pace), ..Self::small(connections) }
    }

    pub fn download(connections: usize, bytes: u64) -> Self {
        let ask = format!("GET /bytes/{bytes} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        Self { ask, ..Self::small(connections) }
    }

    pub fn upload(connections: usize, bytes: u64) -> Self {
        let ask = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n");
        Self { ask, body: bytes, ..Self::small(connections) }
    }
}

/// What came of it.
#[derive(Default)]
pub struct Tally {
    pub answers: u64,
    /// Plain bytes, in both directions.
    pub bytes: u64,
    /// Requests without their answer, connections that could not be made.
    pub failed: u64,
    pub first_failure: Option<String>,
    /// Of each answer, from when it was due to be asked for.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Tally {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    /// The latency that so large a part of the answers kept within, in milliseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(&self.latencies, part)
    }
}

/// In milliseconds.
pub fn quantile(times: &[Duration], part: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * part).round() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

pub struct Load {
    script: Script,
    dialer: Dialer,
    address: SocketAddr,
    clients: Vec<Client>,
    poll: Poll,
    events: Events,
    scratch: Scratch,
}

struct Scratch {
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

impl Load {
    /// Opens all connections; each has had one answer when this returns.
    pub fn open(dialer: &Dialer, address: SocketAddr, script: Script) -> io::Result<Self> {
        let poll = Poll::new()?;
        let scratch = Scratch { sealed: vec![0; 128 * 1024], plain: vec![0; 128 * 1024] };
        let events = Events::with_capacity(1024);
        let clients = Vec::with_capacity(script.connections);
        let mut load = Self { script, dialer: dialer.clone(), address, clients, poll, events, scratch };
        let mut tally = Tally::default();
        let mut last = Instant::now();
        while (tally.answers as usize) < load.script.connections {
            while load.clients.len() < load.script.connections
                && load.clients.len() - (tally.answers as usize) < OPENING
            {
                let client = load.connect(load.clients.len())?;
                load.clients.push(client);
            }
            let before = tally.answers;
            load.turn(&mut tally, Instant::now() + Duration::from_millis(50), false)?;
            if let Some(failure) = &tally.first_failure {
                return Err(io::Error::other(failure.clone()));
            }
            if tally.answers > before {
                last = Instant::now();
            } else if last.elapsed() > STUCK {
                return Err(io::Error::other(format!("only {before} connections had an answer")));
            }
        }
        Ok(load)
    }

    /// Goes on for so long; what happened meanwhile.
    pub fn run(&mut self, time: Duration) -> io::Result<Tally> {
        let begin = Instant::now();
        let mut tally = Tally::default();
        for at in 0..self.clients.len() {
            // Spread over the pace, so that they do not all ask at once.
            let delay = self.script.pace.unwrap_or_default() * at as u32 / self.clients.len() as u32;
            self.clients[at].due = begin + delay;
        }
        while begin.elapsed() < time {
            self.turn(&mut tally, begin + time, true)?;
        }
        // What is under way is brought to its end, so that all that was paid for is counted.
        let end = Instant::now() + STUCK;
        while self.clients.iter().any(|client| client.asked.is_some()) && Instant::now() < end {
            self.turn(&mut tally, end, false)?;
        }
        tally.elapsed = begin.elapsed();
        Ok(tally)
    }

    /// Waits for something to happen and acts on it. With `asking`, who has its answer asks again.
    fn turn(&mut self, tally: &mut Tally, end: Instant, asking: bool) -> io::Result<()> {
        let now = Instant::now();
        let mut wait = end.saturating_duration_since(now);
        if asking {
            for at in 0..self.clients.len() {
                if self.clients[at].asked.is_some() {
                    continue;
                }
                match self.clients[at].due.checked_duration_since(now) {
                    Some(left) if !left.is_zero() => wait = wait.min(left),
                    _ => self.ask_again(at)?,
                }
            }
        }
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for at in ready {
            let client = &mut self.clients[at];
            let outcome = client.turn(&mut self.scratch);
            tally.bytes += std::mem::take(&mut client.moved);
            match outcome {
                Ok(0) => {}
                Ok(_) => {
                    let now = Instant::now();
                    let since = client.asked.take().unwrap_or(now);
                    tally.answers += 1;
                    tally.latencies.push(now.saturating_duration_since(since));
                    client.due = self.script.pace.map_or(now, |pace| client.due + pace);
                    client.answered = Some(now);
                    if asking && self.script.pace.is_none() {
                        self.ask_again(at)?;
                    }
                }
                Err(error) => {
                    // A connection that ends while nothing is asked is simply made anew.
                    if client.asked.take().is_some() {
                        tally.fail(&error);
                        client.due = self.script.pace.map_or_else(Instant::now, |pace| client.due + pace);
                    }
                    client.closed = true;
                }
            }
        }
        Ok(())
    }

    fn ask_again(&mut self, at: usize) -> io::Result<()> {
        let (due, answered) = (self.clients[at].due, self.clients[at].answered);
        if self.script.reconnect || self.clients[at].closed {
            self.clients[at].close();
            self.clients[at] = self.connect(at)?;
        } else {
            let (ask, body) = (self.script.ask.as_bytes(), self.script.body);
            self.clients[at].ask(ask, body);
        }
        // What was not asked when it was due, for want of the answer before, has waited since then. (What
        // our own clock was late for has not.)
        let held_up = answered.is_some_and(|answered| answered > due) && self.script.pace.is_some();
        self.clients[at].asked = Some(if held_up { due } else { Instant::now() });
        self.clients[at].due = due;
        Ok(())
    }

    /// A connection that has asked already.
    fn connect(&self, at: usize) -> io::Result<Client> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        self.poll.registry().register(&mut socket, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        let now = Instant::now();
        let mut client = Client {
            socket,
            tls: self.dialer.tls().map_err(io::Error::other)?,
            unsent: Vec::new(),
            unsent_body: 0,
            answer: Message::default(),
            asked: Some(now),
            due: now,
            answered: None,
            moved: 0,
            closed: false,
            failed: None,
        };
        client.ask(self.script.ask.as_bytes(), self.script.body);
        Ok(client)
    }
}

struct Client {
    socket: TcpStream,
    /// `None` to speak plainly.
    tls: Option<ClientConnection>,
    /// Plain bytes that did not go out yet; without TLS alone.
    unsent: Vec<u8>,
    /// Of the request's body.
    unsent_body: u64,
    answer: Message,
    /// Since when it waits for an answer.
    asked: Option<Instant>,
    /// When it may ask next.
    due: Instant,
    answered: Option<Instant>,
    /// Plain bytes that are not in a tally yet.
    moved: u64,
    /// By the other side, while nothing was asked.
    closed: bool,
    /// What went wrong when it asked, to be told at the event that comes of it.
    failed: Option<io::Error>,
}

impl Client {
    fn ask(&mut self, head: &[u8], body: u64) {
        self.asked = Some(Instant::now());
        self.unsent_body = body;
        let written = match &mut self.tls {
            Some(tls) => tls.writer().write_all(head),
            None => self.unsent.write_all(head),
        };
        self.failed = written.and_then(|()| self.push()).err();
    }

    /// Sends what there is to send, as far as it goes.
    fn push(&mut self) -> io::Result<()> {
        loop {
            let sent = match &mut self.tls {
                Some(tls) => {
                    if self.unsent_body > 0 && !tls.wants_write() && !tls.is_handshaking() {
                        let chunk = ZEROS.len().min(usize::try_from(self.unsent_body).unwrap_or(usize::MAX));
                        let taken = tls.writer().write(&ZEROS[..chunk])? as u64;
                        self.unsent_body -= taken;
                        self.moved += taken;
                    }
                    if !tls.wants_write() {
                        return Ok(());
                    }
                    tls.write_tls(&mut self.socket)
                }
                None => {
                    if self.unsent_body > 0 && self.unsent.is_empty() {
                        let chunk = ZEROS.len().min(usize::try_from(self.unsent_body).unwrap_or(usize::MAX));
                        self.unsent.extend_from_slice(&ZEROS[..chunk]);
                        self.unsent_body -= chunk as u64;
                        self.moved += chunk as u64;
                    }
                    if self.unsent.is_empty() {
                        return Ok(());
                    }
                    self.socket.write(&self.unsent).inspect(|count| drop(self.unsent.drain(..*count)))
                }
            };
            match sent {
                Ok(_) => {}
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what can be done; how many answers are whole by it.
    fn turn(&mut self, scratch: &mut Scratch) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.push()?;
        let mut answers = 0;
        loop {
            match self.socket.read(&mut scratch.sealed) {
                Ok(0) if self.asked.is_none() => {
                    self.closed = true;
                    return Ok(answers);
                }
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => answers += self.take(count, scratch)?,
                Err(error) if is_not_now(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.push()?;
        Ok(answers)
    }

    fn take(&mut self, count: usize, scratch: &mut Scratch) -> io::Result<usize> {
        let mut rest = &scratch.sealed[..count];
        let Some(tls) = &mut self.tls else {
            self.moved += count as u64;
            return self.answer.feed(rest);
        };
        let mut answers = 0;
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                match tls.reader().read(&mut scratch.plain) {
                    Ok(0) => {
                        self.closed = true;
                        break;
                    }
                    Ok(count) => {
                        self.moved += count as u64;
                        answers += self.answer.feed(&scratch.plain[..count])?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if self.closed && self.asked.is_some() && answers == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of an answer"));
        }
        Ok(answers)
    }

    /// As a proper client ends.
    fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.push();
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    // A socket that is still connecting is not connected yet.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// One connection made and one request answered, by hand: how long the handshake took to show the leaf.
pub fn visit(dialer: &Dialer, address: SocketAddr, within: Duration) -> io::Result<Visit> {
    let mut socket = std::net::TcpStream::connect_timeout(&address, within)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(within))?;
    let mut tls = dialer.tls().map_err(io::Error::other)?;
    let mut leaf = None;
    if let Some(tls) = &mut tls {
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        leaf = tls.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    }
    let shown = Instant::now();
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tokio_rustls::rustls::StreamOwned::new(tls, socket)),
        None => Box::new(socket),
    };
    stream.write_all(Script::small(1).ask.as_bytes())?;
    let mut answer = Message::default();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.feed(&buffer[..count])? > 0 {
            return Ok(Visit { shown, leaf });
        }
    }
}

trait Stream: io::Read + io::Write {}
impl<T: io::Read + io::Write> Stream for T {}

pub struct Visit {
    /// When the client had the server's leaf and its proof.
    pub shown: Instant,
    /// DER.
    pub leaf: Option<Vec<u8>>,
}
