//! The load: clients on one thread, each a connection that asks, waits for the answer and asks again, or
//! closes and comes anew. The same for every terminator, and cheaper than any of them: it checks no
//! certificate, since what is measured is the other side.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kit::dialer::Dialer;
use mio::{Events, Poll, Token};

use crate::connection::{Connection, Scratch};
use crate::message::{Message, ZEROS};
use crate::tally::Tally;

/// Handshakes begun and not done yet, while many connections are opened.
pub const OPENING: usize = 64;
/// Longer than any answer should take.
pub const STUCK: Duration = Duration::from_secs(20);

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

pub struct Load {
    script: Script,
    dialer: Dialer,
    address: SocketAddr,
    clients: Vec<Client>,
    poll: Poll,
    events: Events,
    scratch: Scratch,
}

impl Load {
    /// Opens all connections; each has had one answer when this returns.
    pub fn open(dialer: &Dialer, address: SocketAddr, script: Script) -> io::Result<Self> {
        let poll = Poll::new()?;
        let events = Events::with_capacity(1024);
        let clients = Vec::with_capacity(script.connections);
        let scratch = Scratch::new();
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
                    tally.answer(now.saturating_duration_since(since));
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
                    client.failed = true;
                }
            }
        }
        Ok(())
    }

    fn ask_again(&mut self, at: usize) -> io::Result<()> {
        let (due, answered) = (self.clients[at].due, self.clients[at].answered);
        if self.script.reconnect || self.clients[at].is_over() {
            self.clients[at].connection.close();
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
        let connection = Connection::open(&self.dialer, self.address, self.poll.registry(), Token(at))?;
        let now = Instant::now();
        let mut client = Client {
            connection,
            unsent_body: 0,
            answer: Message::default(),
            asked: Some(now),
            due: now,
            answered: None,
            moved: 0,
            failed: false,
            error: None,
        };
        client.ask(self.script.ask.as_bytes(), self.script.body);
        Ok(client)
    }
}

struct Client {
    connection: Connection,
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
    failed: bool,
    /// What went wrong when it asked, to be told at the event that comes of it.
    error: Option<io::Error>,
}

impl Client {
    fn ask(&mut self, head: &[u8], body: u64) {
        self.asked = Some(Instant::now());
        self.unsent_body = body;
        self.error = self.connection.write(head).and_then(|_| self.push()).err();
    }

    /// Whether it needs another connection to ask again.
    fn is_over(&self) -> bool {
        self.failed || self.connection.is_closed()
    }

    /// Sends what there is to send, as far as it goes.
    fn push(&mut self) -> io::Result<()> {
        while self.connection.push()? && self.unsent_body > 0 && !self.connection.is_handshaking() {
            let chunk = ZEROS.len().min(usize::try_from(self.unsent_body).unwrap_or(usize::MAX));
            let taken = self.connection.write(&ZEROS[..chunk])? as u64;
            self.unsent_body -= taken;
            self.moved += taken;
        }
        Ok(())
    }

    /// Does what can be done; how many answers are whole by it.
    fn turn(&mut self, scratch: &mut Scratch) -> io::Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.push()?;
        let mut answers = 0;
        self.connection.pull(scratch, true, |plain| {
            self.moved += plain.len() as u64;
            answers += self.answer.feed(plain)?;
            Ok(())
        })?;
        if self.connection.is_closed() && self.asked.is_some() && answers == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of an answer"));
        }
        self.push()?;
        Ok(answers)
    }
}
