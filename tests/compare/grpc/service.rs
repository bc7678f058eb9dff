//! The service: answers every call at once.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

use super::{ANSWER, MESSAGE, OK, REFUSAL};
use crate::backend;
use crate::http2::{Event, Session};

/// A connection to it.
pub struct Service {
    socket: TcpStream,
    session: Session,
    /// Calls whose message did not come whole: their stream and how much did.
    calls: Vec<(u32, usize)>,
    /// Calls to be answered.
    due: VecDeque<u32>,
}

impl backend::Client for Service {
    fn new(socket: TcpStream) -> Self {
        Self { socket, session: Session::server(), calls: Vec::new(), due: VecDeque::new() }
    }

    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let mut room = false;
        while !room {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            room = count < scratch.len();
            self.session.feed(&scratch[..count])?;
            while let Some(event) = self.session.next()? {
                self.take(event);
            }
        }
        while self.session.has_window(MESSAGE.len())
            && let Some(stream) = self.due.pop_front()
        {
            self.session.send_head(stream, &ANSWER, false);
            self.session.send_data(stream, &MESSAGE, false);
            self.session.send_head(stream, &OK, true);
        }
        self.push()
    }
}

impl Service {
    fn take(&mut self, event: Event) {
        let (stream, more, ends) = match event {
            Event::Head { stream, ends, .. } => (stream, 0, ends),
            Event::Data { stream, length, ends } => (stream, length, ends),
            Event::Reset { stream, .. } => {
                self.calls.retain(|(call, _)| *call != stream);
                self.due.retain(|call| *call != stream);
                return;
            }
            Event::GoAway { .. } => return,
        };
        let at = self.calls.iter().position(|(call, _)| *call == stream);
        let received = more + at.map_or(0, |at| self.calls.swap_remove(at).1);
        match (ends, received == MESSAGE.len()) {
            (false, _) => self.calls.push((stream, received)),
            (true, true) => self.due.push_back(stream),
            (true, false) => self.session.send_head(stream, &REFUSAL, true),
        }
    }

    fn push(&mut self) -> io::Result<()> {
        let output = self.session.output();
        let mut sent = 0;
        while sent < output.len() {
            match self.socket.write(&output[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        output.drain(..sent);
        Ok(())
    }
}
