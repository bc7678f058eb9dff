//! The clients: a few connections, on each of which so many calls are always under way.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kit::dialer::Dialer;
use mio::{Events, Poll, Token};

use super::{CALL, MESSAGE};
use crate::connection::{Connection, Scratch};
use crate::http2::{Event, Session};
use crate::load::{OPENING, STUCK};
use crate::tally::Tally;

pub struct Load {
    clients: Vec<Client>,
    poll: Poll,
    events: Events,
    scratch: Scratch,
}

impl Load {
    /// Opens all connections; each has had one call answered when this returns.
    pub fn open(dialer: &Dialer, address: SocketAddr, connections: usize) -> io::Result<Self> {
        let clients = Vec::with_capacity(connections);
        let events = Events::with_capacity(1024);
        let mut load = Self { clients, poll: Poll::new()?, events, scratch: Scratch::new() };
        let mut tally = Tally::default();
        let mut last = Instant::now();
        while (tally.answers as usize) < connections {
            while load.clients.len() < connections && load.clients.len() - (tally.answers as usize) < OPENING
            {
                let token = Token(load.clients.len());
                let connection = Connection::open(dialer, address, load.poll.registry(), token)?;
                let mut client = Client::new(connection);
                client.fill(1)?;
                load.clients.push(client);
            }
            let before = tally.answers;
            load.turn(&mut tally, Instant::now() + Duration::from_millis(50), 0)?;
            if tally.answers > before {
                last = Instant::now();
            } else if last.elapsed() > STUCK {
                return Err(io::Error::other(format!("only {before} connections had an answer")));
            }
        }
        for client in &load.clients {
            if client.connection.is_tls() && client.connection.protocol() != Some(b"h2") {
                return Err(io::Error::other("HTTP/2 was not agreed on by ALPN"));
            }
        }
        Ok(load)
    }

    /// Keeps `calls` under way on each connection for so long. A call that fails is the end.
    pub fn run(&mut self, calls: usize, time: Duration) -> io::Result<Tally> {
        let begin = Instant::now();
        let mut tally = Tally::default();
        for client in &mut self.clients {
            client.fill(calls)?;
        }
        while begin.elapsed() < time {
            self.turn(&mut tally, begin + time, calls)?;
        }
        // What is under way is brought to its end, so that all that was paid for is counted.
        let end = Instant::now() + STUCK;
        while self.clients.iter().any(|client| !client.calls.is_empty()) {
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "calls without an answer"));
            }
            self.turn(&mut tally, end, 0)?;
        }
        tally.elapsed = begin.elapsed();
        Ok(tally)
    }

    /// Waits for something to happen and acts on it. Whoever had an answer makes calls again, up to `calls`.
    fn turn(&mut self, tally: &mut Tally, end: Instant, calls: usize) -> io::Result<()> {
        let wait = end.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            client.turn(&mut self.scratch, event.is_read_closed(), tally)?;
            client.fill(calls)?;
        }
        Ok(())
    }
}

struct Client {
    connection: Connection,
    session: Session,
    calls: Vec<Call>,
    next_stream: u32,
}

struct Call {
    stream: u32,
    since: Instant,
    /// Whether the answer has begun.
    begun: bool,
    /// Of the answer's message.
    received: usize,
}

impl Client {
    fn new(connection: Connection) -> Self {
        Self { connection, session: Session::client(), calls: Vec::new(), next_stream: 1 }
    }

    /// Makes calls until so many are under way, as far as the other side takes them.
    fn fill(&mut self, calls: usize) -> io::Result<()> {
        let calls = calls.min(self.session.max_streams());
        while self.calls.len() < calls && self.session.has_window(MESSAGE.len()) {
            let stream = self.next_stream;
            self.next_stream += 2;
            self.session.send_head(stream, &CALL, false);
            self.session.send_data(stream, &MESSAGE, true);
            self.calls.push(Call { stream, since: Instant::now(), begun: false, received: 0 });
        }
        let output = self.session.output();
        let taken = self.connection.write(output)?;
        output.drain(..taken);
        self.connection.push()?;
        Ok(())
    }

    /// With `ended`, the other side sends nothing more.
    fn turn(&mut self, scratch: &mut Scratch, ended: bool, tally: &mut Tally) -> io::Result<()> {
        self.connection.push()?;
        self.connection.pull(scratch, ended, |plain| self.session.feed(plain))?;
        while let Some(event) = self.session.next()? {
            if let Some(call) = self.take(event)? {
                tally.answer(call.since.elapsed());
            }
        }
        if self.connection.is_closed() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other side"));
        }
        Ok(())
    }

    /// The call that is over by it.
    fn take(&mut self, event: Event) -> io::Result<Option<Call>> {
        let (Event::Head { stream, .. } | Event::Data { stream, .. }) = event else {
            return Err(io::Error::other(format!("{event:?}")));
        };
        let wrong = || io::Error::other(format!("stream {stream} was answered with {event:?}"));
        let at = self.calls.iter().position(|call| call.stream == stream).ok_or_else(wrong)?;
        let call = &mut self.calls[at];
        match event {
            Event::Head { head, ends: false, .. } if !call.begun && head.status == Some(true) => {
                call.begun = true;
                Ok(None)
            }
            Event::Data { length, ends: false, .. } if call.begun => {
                call.received += length;
                Ok(None)
            }
            Event::Head { head, ends: true, .. }
                if call.received == MESSAGE.len() && head.grpc_status == Some(true) =>
            {
                Ok(Some(self.calls.swap_remove(at)))
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::backend;
    use crate::grpc::Service;

    #[test]
    fn every_call_is_answered() {
        let service = backend::start::<Service>().unwrap();
        let mut load = Load::open(&Dialer::plain(), service, 2).unwrap();
        // More data than the window with which a connection begins.
        let (begin, mut answers) = (Instant::now(), 0);
        while answers < 2_000 {
            assert!(begin.elapsed() < STUCK, "only {answers} answers");
            let tally = load.run(5, Duration::from_millis(50)).unwrap();
            assert_eq!(tally.latencies.len() as u64, tally.answers);
            answers += tally.answers;
        }
    }
}
